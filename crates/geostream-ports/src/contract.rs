//! The suites that every adapter passes, run against the real thing.
//!
//! Each takes a way to make a new, empty adapter and panics where a promise of the port is broken.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use geostream_domain::{
    Change, Commit, ConfigError, GeoPoint, Grant, GrantLimits, Health, LeaseRequest, Load,
    LoadShare, LostCommits, NamePattern, NodeId, NodeSummary, NodeView, Override, OverrideAction,
    Rate, ReachabilityTargets, Region, Removal, ReplayError, RequestLimit, Revision, Service,
    Setting, Sight, Skew, Snapshot, Timestamp, VIEW_HOLDS, Vote,
};

use crate::{
    Actor, Attempt, AuditLog, AuditOutcome, AuditRecord, Audited, CHANGES_PER_REGION, Cache,
    ConfigStore, CounterKey, Effect, Exchanged, Head, HealthLog, HealthRecord, Import, ImportError,
    ImportId, ImportPart, Kept, LastGood, Look, Marked, Proposal, ProposeError, SavedTable, Scope,
    SharedCounters, SharedViews, TokenId, TokenRecord, TokenStore, TrailQuery, Writes,
};

/// Holds a [`ConfigStore`] to its promises.
///
/// # Panics
///
/// Where the store breaks one.
pub async fn config_store<S: ConfigStore>(new: impl AsyncFn() -> S) {
    a_new_log_is_empty(&new().await).await;
    commits_add_up(&new().await).await;
    a_stale_proposal_is_a_conflict(&new().await).await;
    an_invalid_proposal_leaves_no_trace(&new().await).await;
    settings_of_all_nodes_are_kept_and_taken_back(&new().await).await;
    history_is_newest_first_and_paged(&new().await).await;
    an_override_lasts_from_the_commit_on(&new().await).await;
    old_revisions_are_kept(&new().await).await;
    whoever_waits_is_told(&new().await).await;
    of_two_proposals_at_once_one_wins(Arc::new(new().await)).await;
    the_log_is_told_from_its_beginning(&new().await).await;
    a_log_moves_whole(&new().await, &new().await).await;
    an_import_that_has_not_ended_is_nothing(&new().await).await;
    an_import_that_does_not_fit_is_refused(&new().await).await;
    a_look_changes_nothing(&new().await).await;
}

async fn a_look_changes_nothing(store: &impl ConfigStore) {
    let revision = propose(store, 0, vec![region("a")]).await.expect("propose").revision;
    for look in [Look::Read, Look::TryWrite, Look::TryWrite] {
        let found = store.look(look).await.expect("look");
        assert!(matches!(found, Writes::Accepted), "{look:?}: {found:?}");
    }
    assert_eq!(store.load().await.expect("load").revision, revision);
    assert_eq!(store.history(None, 10).await.expect("history").len(), 1);
    assert!(propose(store, revision.get(), vec![region("b")]).await.is_ok());
}

/// Holds a [`HealthLog`] to its promises.
///
/// # Panics
///
/// Where the log breaks one.
pub async fn health_log<L: HealthLog>(new: impl AsyncFn() -> L) {
    the_last_change_of_each_region_is_kept(&new().await).await;
    changes_are_kept_newest_first(&new().await).await;
    a_restless_region_costs_no_other_its_history(&new().await).await;
}

async fn the_last_change_of_each_region_is_kept(log: &impl HealthLog) {
    assert_eq!(log.latest().await.expect("a new log is empty"), []);
    let first = [change("b", Health::Healthy, 1), change("a", Health::Unhealthy, 2)];
    log.append(first.to_vec()).await.expect("append");
    let again = [change("b", Health::Unhealthy, 3), change("b", Health::Unknown, 4)];
    log.append(again.to_vec()).await.expect("append");
    let latest = log.latest().await.expect("latest");
    let nameless = |record: &HealthRecord| HealthRecord { node: None, ..record.clone() };
    assert_eq!(latest, [&first[1], &again[1]].map(nameless), "the last of each, by their ids");
}

async fn changes_are_kept_newest_first(log: &impl HealthLog) {
    assert_eq!(log.changes(None, 10).await.expect("a new log is empty"), []);
    let healths = [Health::Healthy, Health::Unhealthy, Health::Unknown, Health::Healthy];
    let changes: Vec<_> = (0..)
        .zip(["a", "b", "a", "ab"])
        .zip(healths)
        .map(|((at, region), health)| change(region, health, at))
        .collect();
    let (first, second) = changes.split_at(3);
    log.append(first.to_vec()).await.expect("append");
    log.append(second.to_vec()).await.expect("append");
    let seen = async |region: Option<&str>, limit| {
        let history = log.changes(region.map(id), limit).await.expect("history");
        history.iter().map(|record| record.at.unix_millis()).collect::<Vec<_>>()
    };
    assert_eq!(log.changes(None, 1).await.expect("history"), second, "as it was appended");
    assert_eq!(seen(None, 10).await, [3, 2, 1, 0]);
    assert_eq!(seen(Some("a"), 10).await, [2, 0], "and none of ab");
    assert_eq!(seen(Some("a"), 1).await, [2]);
    assert_eq!(seen(Some("c"), 10).await, [0_u64; 0]);
}

async fn a_restless_region_costs_no_other_its_history(log: &impl HealthLog) {
    let many = CHANGES_PER_REGION as u64 + 20;
    log.append(vec![change("calm", Health::Healthy, 0)]).await.expect("append");
    for at in 1..=many {
        let health = if at % 2 == 0 { Health::Healthy } else { Health::Unhealthy };
        log.append(vec![change("restless", health, at)]).await.expect("append");
    }
    let restless = log.changes(Some(id("restless")), usize::MAX).await.expect("history");
    assert_eq!(restless.len(), CHANGES_PER_REGION);
    assert_eq!(restless[0].at.unix_millis(), many, "it is the oldest that go");
    assert_eq!(restless[CHANGES_PER_REGION - 1].at.unix_millis(), 21);
    let all = log.changes(None, usize::MAX).await.expect("history");
    assert_eq!(all.len(), CHANGES_PER_REGION + 1);
    assert_eq!(all[CHANGES_PER_REGION], change("calm", Health::Healthy, 0));
}

fn change(region: &str, health: Health, at: u64) -> HealthRecord {
    HealthRecord {
        region: id(region),
        node: (!at.is_multiple_of(3)).then(|| "node-1".parse().expect("a name")),
        health,
        evidence: format!("seen at {at}: \"quoted\""),
        at: Timestamp::from_unix_millis(at),
        response_time: at.is_multiple_of(2).then(|| Duration::from_millis(at)),
        errors: 5,
    }
}

async fn a_new_log_is_empty(store: &impl ConfigStore) {
    let snapshot = store.load().await.expect("a new store loads");
    assert_eq!(snapshot, Default::default());
    assert_eq!(store.history(None, 10).await.expect("history"), []);
    assert_eq!(store.at(Revision::ZERO).await.expect("at"), Some(Arc::default()));
    assert_eq!(store.at(Revision::new(1)).await.expect("at"), None);
}

async fn commits_add_up(store: &impl ConfigStore) {
    let service = Service::new("api".parse().expect("a name"), ["a", "b"].map(id));
    let first = propose(store, 0, vec![region("a"), region("b")]).await.expect("valid");
    assert_eq!(first.revision, Revision::new(1), "changes proposed together are one revision");
    let second = propose(store, 1, vec![Change::from(service)]).await;
    let second = second.expect("valid");
    assert_eq!(second.config.services().len(), 1);
    assert_eq!(store.load().await.expect("load"), second, "what was answered is what is kept");
}

async fn a_stale_proposal_is_a_conflict(store: &impl ConfigStore) {
    propose(store, 0, vec![region("a")]).await.expect("valid");
    for expected in [0, 2] {
        let stale = propose(store, expected, vec![region("b")]).await;
        assert!(
            matches!(stale, Err(ProposeError::Conflict { current }) if current == Revision::new(1)),
            "expected {expected}: {stale:?}"
        );
    }
    assert_eq!(store.load().await.expect("load").config.regions().len(), 1);
}

async fn an_invalid_proposal_leaves_no_trace(store: &impl ConfigStore) {
    let missing = Setting::DefaultService(Some("api".parse().expect("a name")));
    let invalid = propose(store, 0, vec![region("a"), Change::SetSetting(missing)]).await;
    let Err(ProposeError::Invalid(error)) = invalid else { panic!("accepted: {invalid:?}") };
    assert_eq!(error.position, 1);
    assert!(matches!(error.source, ConfigError::UnknownService(_)));
    assert_eq!(store.load().await.expect("load"), Default::default());
}

async fn settings_of_all_nodes_are_kept_and_taken_back(store: &impl ConfigStore) {
    let said = shared_settings(50, &["192.0.2.1:443", "[2001:db8::1]:53"]);
    let lifted = shared_settings(0, &[]);
    let taken_back = vec![
        Change::SetSetting(Setting::RequestsPerSecond(None)),
        Change::SetSetting(Setting::RequestsPerSecondPerToken(None)),
        Change::SetSetting(Setting::ReachabilityTargets(None)),
    ];
    let steps = [said, lifted, taken_back];
    for (expected, changes) in (0..).zip(&steps) {
        let proposed = propose(store, expected, changes.clone()).await.expect("valid");
        assert_eq!(store.load().await.expect("load"), proposed);
        let kept = store.at(proposed.revision).await.expect("at");
        assert_eq!(kept, Some(proposed.config));
    }
    let commits = store.commits(Revision::ZERO, 10).await.expect("commits");
    assert!(commits.iter().map(|commit| &commit.changes).eq(&steps), "{commits:?}");
    let config = store.load().await.expect("load").config;
    assert_eq!(*config, geostream_domain::Config::default(), "nothing is said any more");
}

/// Settings that hold for all nodes: this limit for clients, another for tokens, these targets.
fn shared_settings(requests: u64, targets: &[&str]) -> Vec<Change> {
    let limit = |number| Some(RequestLimit::new(number).expect("a limit"));
    let targets = targets.iter().map(|target| target.parse().expect("an address"));
    let targets = ReachabilityTargets::new(targets).expect("few");
    vec![
        Change::SetSetting(Setting::RequestsPerSecond(limit(requests))),
        Change::SetSetting(Setting::RequestsPerSecondPerToken(limit(requests * 2))),
        Change::SetSetting(Setting::ReachabilityTargets(Some(targets))),
    ]
}

async fn history_is_newest_first_and_paged(store: &impl ConfigStore) {
    fill(store, 3).await;
    let newest = store.history(None, 2).await.expect("history");
    assert_eq!(newest.iter().map(|c| c.revision.get()).collect::<Vec<_>>(), [3, 2]);
    let oldest = store.history(Some(newest[1].revision), 10).await.expect("history");
    assert_eq!(oldest.len(), 1);
    let commit = &oldest[0];
    assert_eq!(commit.changes, [region("r0")]);
    assert_eq!((commit.author.as_str(), commit.reason.as_str()), ("ops", "because"));
    let proposed = Timestamp::from_unix_millis(1_700_000_000_123);
    assert!(commit.at >= proposed, "as proposed, or by a clock of the store: {:?}", commit.at);
}

async fn an_override_lasts_from_the_commit_on(store: &impl ConfigStore) {
    let line = |text: &str| text.parse().expect("a line");
    let literal = Timestamp::from_unix_millis(1_900_000_000_999);
    let at = Timestamp::from_unix_millis(1_700_000_000_123);
    let drain = |region: &str| {
        Change::SetOverride(Override {
            region: id(region),
            action: OverrideAction::Drain,
            owner: line("ops"),
            reason: line("work"),
            since: at,
            expires: Some(literal),
        })
    };
    propose(store, 0, vec![region("a"), region("b")]).await.expect("valid");
    let lasts = Duration::from_secs(1800);
    let proposal = Proposal {
        expected: Revision::new(1),
        changes: vec![drain("a"), drain("b")],
        author: line("ops"),
        reason: line("because"),
        at,
        lasting: [(id("a"), lasts)].into(),
        attempt: None,
    };
    let set = store.propose(proposal.dated(at)).await.expect("valid");
    let commit = store.history(None, 1).await.expect("history").remove(0);
    let expires = |snapshot: &Snapshot, region| snapshot.config.overrides()[&id(region)].expires;
    assert_eq!(expires(&set, "a"), Some(commit.at.after(lasts)), "so long after the commit");
    assert_eq!(expires(&set, "b"), Some(literal), "what is said is taken literally");
    assert_eq!(set.config.overrides()[&id("a")].since, commit.at);
    assert_eq!(store.load().await.expect("load"), set);
    let Change::SetOverride(logged) = &commit.changes[0] else { panic!("{commit:?}") };
    assert_eq!(*logged, set.config.overrides()[&id("a")], "the log says the same");
}

async fn old_revisions_are_kept(store: &impl ConfigStore) {
    const COMMITS: u64 = 150;
    fill(store, COMMITS).await;
    for revision in [0, 1, 63, 64, 65, 128, COMMITS] {
        let config = store.at(Revision::new(revision)).await.expect("at").expect("kept");
        assert_eq!(config.regions().len() as u64, revision);
    }
}

async fn whoever_waits_is_told(store: &impl ConfigStore) {
    propose(store, 0, vec![region("a")]).await.expect("valid");
    let past = store.changed(Revision::ZERO).await.expect("it has changed already");
    assert_eq!(past, Revision::new(1));
    let waiting = store.changed(past);
    let proposing = propose(store, 1, vec![region("b")]);
    let (told, proposed) = join(waiting, proposing).await;
    assert_eq!(told.expect("told"), proposed.expect("valid").revision);
}

async fn of_two_proposals_at_once_one_wins<S: ConfigStore>(store: Arc<S>) {
    let (a, b) =
        join(propose(&*store, 0, vec![region("a")]), propose(&*store, 0, vec![region("b")])).await;
    assert!(a.is_ok() != b.is_ok(), "one wins: {a:?}, {b:?}");
    let Err(loser) = a.and(b) else { panic!("both win") };
    assert!(matches!(loser, ProposeError::Conflict { current } if current == Revision::new(1)));
}

async fn the_log_is_told_from_its_beginning(store: &impl ConfigStore) {
    fill(store, 3).await;
    let told = async |after, limit| {
        let commits = store.commits(Revision::new(after), limit).await.expect("commits");
        commits.iter().map(|commit| commit.revision.get()).collect::<Vec<_>>()
    };
    assert_eq!(told(0, 2).await, [1, 2]);
    assert_eq!(told(2, 2).await, [3]);
    assert_eq!(told(3, 2).await, [0; 0]);
    let commits = store.commits(Revision::ZERO, 3).await.expect("commits");
    let history = store.history(None, 3).await.expect("history");
    assert!(commits.iter().eq(history.iter().rev()), "it is the history the other way round");
}

/// More than from one checkpoint to the next, wherever the store makes them.
const MANY: u64 = 600;

async fn a_log_moves_whole(from: &impl ConfigStore, to: &impl ConfigStore) {
    fill(from, MANY).await;
    // An embedded log that has been running for long begins anywhere.
    let base = Revision::new(17);
    let config = from.at(base).await.expect("at").expect("kept");
    begin(to, 1, Snapshot { revision: base, config }).await;
    let mut after = base;
    loop {
        let commits = from.commits(after, 250).await.expect("commits");
        let Some(last) = commits.last() else { break };
        after = last.revision;
        import(to, 1, ImportPart::Commits(commits)).await.expect("it goes on");
    }
    import(to, 1, ImportPart::End(after)).await.expect("it is all there");
    assert_eq!(to.changed(Revision::ZERO).await.expect("whoever waits is told"), after);
    assert_eq!(to.load().await.expect("load"), from.load().await.expect("load"));
    let theirs = from.commits(base, usize::MAX).await.expect("commits");
    assert_eq!(to.commits(Revision::ZERO, usize::MAX).await.expect("commits"), theirs);
    for revision in [17, 18, 255, 256, 257, MANY].map(Revision::new) {
        let at = to.at(revision).await.expect("at");
        assert_eq!(at, from.at(revision).await.expect("at"), "{revision}");
    }
    assert_eq!(to.at(Revision::new(16)).await.expect("at"), None);
    propose(to, MANY, vec![region("more")]).await.expect("it goes on from there");
    let again = import(to, 2, ImportPart::End(after)).await;
    assert!(matches!(again, Err(ImportError::NotEmpty { .. })), "{again:?}");
}

async fn an_import_that_has_not_ended_is_nothing(store: &impl ConfigStore) {
    let commits = || vec![commit(1, "a"), commit(2, "b")];
    begin(store, 1, Snapshot::default()).await;
    import(store, 1, ImportPart::Commits(commits())).await.expect("it fits");
    a_new_log_is_empty(store).await;
    begin(store, 2, Snapshot::default()).await;
    let other = import(store, 1, ImportPart::Commits(commits())).await;
    assert!(matches!(other, Err(ImportError::NotBegun)), "it is another's turn: {other:?}");
    import(store, 2, ImportPart::Commits(commits())).await.expect("it fits");
    let early = import(store, 2, ImportPart::End(Revision::new(3))).await;
    assert!(matches!(early, Err(ImportError::Unfit(ReplayError::Gap { .. }))), "{early:?}");
    a_new_log_is_empty(store).await;
    propose(store, 0, vec![region("own")]).await.expect("nothing is in the way");
    assert_eq!(store.history(None, 10).await.expect("history").len(), 1);
    assert_eq!(store.load().await.expect("load").config.regions().len(), 1);
}

async fn an_import_that_does_not_fit_is_refused(store: &impl ConfigStore) {
    let refused = async |commits| import(store, 1, ImportPart::Commits(commits)).await;
    let early = refused(vec![commit(1, "a")]).await;
    assert!(matches!(early, Err(ImportError::NotBegun)), "{early:?}");
    begin(store, 1, Snapshot::default()).await;
    let gap = refused(vec![commit(1, "a"), commit(3, "b")]).await;
    let Err(ImportError::Unfit(ReplayError::Gap { expected, found })) = gap else {
        panic!("accepted: {gap:?}")
    };
    assert_eq!((expected.get(), found.get()), (2, 3));
    let gone = Commit { changes: vec![Change::RemoveRegion(id("b"))], ..commit(2, "b") };
    let invalid = refused(vec![commit(1, "a"), gone]).await;
    let unfit = ReplayError::Invalid {
        revision: Revision::new(2),
        source: ConfigError::UnknownRegion(id("b")),
    };
    assert!(matches!(&invalid, Err(ImportError::Unfit(error)) if *error == unfit), "{invalid:?}");
    refused(vec![commit(1, "a")]).await.expect("nothing of it was taken in");
}

async fn begin(store: &impl ConfigStore, number: u128, base: Snapshot) {
    import(store, number, ImportPart::Begin(base)).await.expect("the store is empty");
}

async fn import(
    store: &impl ConfigStore,
    number: u128,
    part: ImportPart,
) -> Result<(), ImportError> {
    store.import(Import { id: ImportId(number), part, attempt: None }).await
}

fn commit(revision: u64, name: &str) -> Commit {
    let line = |text: &str| text.parse().expect("a line");
    Commit {
        revision: Revision::new(revision),
        changes: vec![region(name)],
        author: line("somebody else"),
        reason: line("long ago"),
        at: Timestamp::from_unix_millis(1_500_000_000_000 + revision),
    }
}

/// Makes commits of which each adds a region.
async fn fill(store: &impl ConfigStore, commits: u64) {
    for expected in 0..commits {
        propose(store, expected, vec![region(&format!("r{expected}"))]).await.expect("valid");
    }
}

/// Holds a [`Cache`] to its promises, as two nodes see it.
///
/// # Panics
///
/// Where the cache breaks one.
pub async fn cache<C: Cache>(new: impl AsyncFn() -> (C, C)) {
    what_one_node_puts_the_others_find(new().await).await;
    an_earlier_revision_replaces_no_later_one(new().await).await;
    what_is_forgotten_is_the_commit_that_was_meant(new().await).await;
    of_many_nodes_one_reads(new().await).await;
}

async fn what_one_node_puts_the_others_find((cache, other): (impl Cache, impl Cache)) {
    let (empty, second) = (marked("a", 0), marked("b", 1));
    assert_eq!(look(&other, &empty).await, Kept::Nothing);
    cache.put(&empty).await.expect("put");
    assert_eq!(
        look(&other, &empty).await,
        Kept::This(empty.snapshot.clone()),
        "nothing is a result"
    );
    let told = other.news();
    join(told, async { cache.put(&second).await.expect("put") }).await;
    assert_eq!(look(&other, &second).await, Kept::This(second.snapshot.clone()));
    assert_eq!(look(&other, &empty).await, Kept::Other(head(&second)));
}

async fn an_earlier_revision_replaces_no_later_one((cache, other): (impl Cache, impl Cache)) {
    let (early, late, instead) = (marked("a", 1), marked("b", 2), marked("c", 2));
    cache.put(&late).await.expect("put");
    other.put(&early).await.expect("it is late, which is no error");
    assert_eq!(look(&cache, &late).await, Kept::This(late.snapshot.clone()));
    other.put(&instead).await.expect("put");
    assert_eq!(
        look(&cache, &late).await,
        Kept::Other(head(&instead)),
        "another of the same number"
    );
}

async fn what_is_forgotten_is_the_commit_that_was_meant((cache, other): (impl Cache, impl Cache)) {
    let (kept, another) = (marked("a", 1), marked("b", 1));
    cache.put(&kept).await.expect("put");
    other.forget(&head(&another)).await.expect("forget");
    assert_eq!(look(&cache, &kept).await, Kept::This(kept.snapshot.clone()));
    other.forget(&head(&kept)).await.expect("forget");
    assert_eq!(look(&cache, &kept).await, Kept::Nothing);
}

async fn of_many_nodes_one_reads((cache, other): (impl Cache, impl Cache)) {
    let (one, another) = (head(&marked("a", 1)), head(&marked("b", 1)));
    assert!(cache.claim(&one).await.expect("claim"));
    assert!(!other.claim(&one).await.expect("claim"));
    assert!(other.claim(&another).await.expect("claim"), "of each commit");
}

async fn look(cache: &impl Cache, wanted: &Marked) -> Kept {
    cache.look(&head(wanted)).await.expect("look")
}

fn marked(mark: &str, regions: u64) -> Marked {
    let names = (0..regions).map(|number| region(&format!("r{number}")));
    let settings = shared_settings(regions, &["192.0.2.1:443"]);
    let config = geostream_domain::Config::default().after(names.chain(settings)).expect("valid");
    let mut snapshot = Snapshot::from(config);
    snapshot.revision = Revision::new(regions);
    Marked { mark: mark.to_owned(), snapshot }
}

fn head(marked: &Marked) -> Head {
    Head { revision: marked.snapshot.revision, mark: marked.mark.clone() }
}

/// Holds a [`TokenStore`] to its promises.
///
/// # Panics
///
/// Where the store breaks one.
pub async fn token_store<S: TokenStore>(new: impl AsyncFn() -> S) {
    let store = new().await;
    assert_eq!(store.tokens().await.expect("tokens"), []);
    let record = |id, scope| TokenRecord {
        id: TokenId(id),
        name: "ops".parse().expect("a line"),
        grant: Grant::unlimited(scope),
        hash: [7; 32],
        created: Timestamp::from_unix_millis(1),
        node: (id == 1).then(|| "node-1".parse().expect("a name")),
    };
    store.put_token(record(1, Scope::Viewer), None).await.expect("put");
    store.put_token(record(2, Scope::Admin), None).await.expect("put");
    store.put_token(record(1, Scope::Operator), None).await.expect("replace");
    let mut tokens = store.tokens().await.expect("tokens");
    tokens.sort_by_key(|token| token.id);
    assert_eq!(tokens, [record(1, Scope::Operator), record(2, Scope::Admin)]);
    assert!(store.remove_token(TokenId(1), None).await.expect("remove"));
    assert!(!store.remove_token(TokenId(1), None).await.expect("remove"));
    assert_eq!(store.tokens().await.expect("tokens"), [record(2, Scope::Admin)]);
    one_admin_is_the_first(&new().await).await;
    limits_and_ends_are_kept(&new().await).await;
}

async fn limits_and_ends_are_kept(store: &impl TokenStore) {
    let named = |texts: &[&str]| {
        let patterns = texts.iter().map(|text| text.parse().expect("a pattern"));
        patterns.collect::<Vec<NamePattern>>()
    };
    let limits = |services: &[&str], regions: &[&str]| {
        let limits = GrantLimits::new(named(services), named(regions));
        Some(Arc::new(limits.expect("something is named")))
    };
    let expires = Some(Timestamp::from_unix_millis(1_893_456_000_123));
    let plain = Grant::unlimited(Scope::Admin);
    let grants = [
        plain.clone(),
        Grant { expires, ..plain.clone() },
        Grant { limits: limits(&["api"], &["eu-*", "us-1"]), ..plain.clone() },
        Grant { limits: limits(&[], &["*"]), expires, scope: Scope::Reporter },
        Grant { limits: limits(&["*"], &[]), ..plain },
    ];
    let record = |id, grant: &Grant| TokenRecord {
        id: TokenId(id),
        name: "ops".parse().expect("a line"),
        grant: grant.clone(),
        hash: [7; 32],
        created: Timestamp::from_unix_millis(1),
        node: Some("node-1".parse().expect("a name")),
    };
    let kept = async || {
        let mut tokens = store.tokens().await.expect("tokens");
        tokens.sort_by_key(|token| token.id);
        tokens
    };
    let mut expected = Vec::new();
    for (id, grant) in (0..).zip(&grants) {
        store.put_token(record(id, grant), None).await.expect("put");
        expected.push(record(id, grant));
    }
    assert_eq!(kept().await, expected);
    for old in &grants {
        for new in &grants {
            store.put_token(record(9, old), None).await.expect("put");
            store.put_token(record(9, new), None).await.expect("replace");
            let replaced = kept().await;
            assert_eq!(replaced[expected.len()..], [record(9, new)], "in place of {old:?}");
        }
    }
    for id in [0, 1, 2, 3, 4, 9] {
        assert!(store.remove_token(TokenId(id), None).await.expect("remove"), "{id}");
        assert!(!store.remove_token(TokenId(id), None).await.expect("remove"), "{id}");
    }
    assert_eq!(kept().await, []);
    store.put_token(record(1, &grants[2]), None).await.expect("put");
    let first = store.put_first_admin(record(2, &grants[0]), None).await.expect("put");
    assert_eq!(first, None, "an admin token with limits is not the first");
    let ending = record(1, &grants[1]);
    store.put_token(ending.clone(), None).await.expect("replace");
    store.remove_token(TokenId(2), None).await.expect("remove");
    let first = store.put_first_admin(record(3, &grants[0]), None).await.expect("put");
    assert_eq!(first, Some(ending), "one that ends is");
}

async fn one_admin_is_the_first<S: TokenStore>(store: &S) {
    let record = |id, scope| TokenRecord {
        id: TokenId(id),
        name: "first".parse().expect("a line"),
        grant: Grant::unlimited(scope),
        hash: [7; 32],
        created: Timestamp::from_unix_millis(9 - id),
        node: None,
    };
    store.put_token(record(1, Scope::Operator), None).await.expect("put");
    let put = async |id| store.put_first_admin(record(id, Scope::Admin), None).await.expect("put");
    let (one, other) = join(put(2), put(3)).await;
    let made = if one.is_none() { record(2, Scope::Admin) } else { record(3, Scope::Admin) };
    assert_eq!(one.or(other), Some(made.clone()), "one is added, and the other is told which");
    assert_eq!(put(made.id.0).await, Some(made.clone()), "nor is it added again");
    let mut tokens = store.tokens().await.expect("tokens");
    tokens.sort_by_key(|token| token.id);
    assert_eq!(tokens, [record(1, Scope::Operator), made]);
    store.put_token(record(4, Scope::Admin), None).await.expect("put");
    assert_eq!(put(5).await, Some(record(4, Scope::Admin)), "the one that was made first");
}

/// Holds an [`AuditLog`] to its promises, and the other ports of its store to what they promise it.
///
/// # Panics
///
/// Where one is broken.
pub async fn audit_log<S: AuditLog + ConfigStore + TokenStore>(new: impl AsyncFn() -> S) {
    the_trail_tells_everything_newest_first(&new().await).await;
    the_trail_is_searched_and_paged(&new().await).await;
    what_was_refused_pushes_out_nothing_that_was_done(&new().await).await;
    what_was_refused_without_a_token_pushes_out_no_other_refusal(&new().await).await;
    what_is_old_by_the_trail_is_forgotten(&new().await).await;
    a_wrong_clock_does_not_erase_the_trail(&new().await).await;
    a_commit_is_recorded_with_its_changes(&new().await).await;
    tokens_are_recorded_without_their_hashes(&new().await).await;
    an_import_is_recorded_when_it_begins_and_ends(&new().await).await;
}

async fn the_trail_tells_everything_newest_first(log: &impl AuditLog) {
    assert_eq!(log.trail(TrailQuery::latest(10)).await.expect("a new one is empty"), []);
    let stranger = Attempt { who: None, address: None, ..attempt("getConfig", 2) };
    let odd = Attempt { target: "/100%/\"a' \\u0000".to_owned(), ..attempt("putRegion", 3) };
    let effect = Effect {
        revision: Some(Revision::new(7)),
        reason: Some("it was \"odd\"".parse().expect("a line")),
        changes: r#"{"changes": [],  "left_out": 1}"#.to_owned(),
    };
    let records = [
        attempt("deleteRegion", 1).done(effect.clone()),
        refused(stranger),
        odd.done(Effect { revision: None, reason: None, ..effect }),
    ];
    log.record(records[..2].to_vec()).await.expect("record");
    log.record(Vec::new()).await.expect("nothing is recorded");
    log.record(records[2..].to_vec()).await.expect("record");
    let trail = log.trail(TrailQuery::latest(10)).await.expect("trail");
    assert!(trail.is_sorted_by(|one, next| one.number > next.number), "{trail:?}");
    let told: Vec<_> = trail.into_iter().rev().map(|audited| audited.record).collect();
    assert_eq!(told, records);
}

async fn the_trail_is_searched_and_paged(log: &impl AuditLog) {
    let put = |region: &str, at| Attempt {
        target: format!("/api/v1/regions/{region}"),
        ..attempt("putRegion", at)
    };
    let other = Actor { name: "other".parse().expect("a line"), token: None };
    let start_of_eu = NodeId::of_start("eu-1", 7).expect("a name");
    let records = vec![
        put("a", 1).done(effect()),
        refused(put("b", 2)),
        Attempt { who: Some(other), ..put("a", 3) }.done(effect()),
        refused(Attempt { who: None, ..put("a", 4) }),
        Attempt { node: start_of_eu.clone(), ..attempt("rollBack", 5) }.done(effect()),
    ];
    log.record(records).await.expect("record");
    let all = || TrailQuery::latest(10);
    let told = async |wanted: TrailQuery| {
        let trail = log.trail(wanted).await.expect("trail");
        trail.iter().map(|audited| audited.record.attempt.at.unix_millis()).collect::<Vec<_>>()
    };
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(told(all()).await, [5, 4, 3, 2, 1]);
    assert_eq!(told(TrailQuery::latest(2)).await, [5, 4]);
    let since = Some(Timestamp::from_unix_millis(4));
    assert_eq!(told(TrailQuery { since, ..all() }).await, [5, 4]);
    let until = Some(Timestamp::from_unix_millis(3));
    assert_eq!(told(TrailQuery { until, ..all() }).await, [2, 1]);
    let node = |name: &str| Some(name.parse().expect("a name"));
    assert_eq!(told(TrailQuery { node: node("node-1"), ..all() }).await, [4, 3, 2, 1]);
    assert_eq!(told(TrailQuery { node: node("eu-1"), ..all() }).await, [5], "of all starts");
    assert_eq!(told(TrailQuery { node: Some(start_of_eu), ..all() }).await, [5]);
    assert_eq!(told(TrailQuery { node: node("eu"), ..all() }).await, [0_u64; 0]);
    assert_eq!(told(TrailQuery { who: text("ops"), ..all() }).await, [5, 2, 1]);
    assert_eq!(told(TrailQuery { who: text("000000000000002a"), ..all() }).await, [5, 2, 1]);
    assert_eq!(told(TrailQuery { who: text("op"), ..all() }).await, [0_u64; 0]);
    assert_eq!(told(TrailQuery { what: text("rollBack"), ..all() }).await, [5]);
    assert_eq!(told(TrailQuery { what: text("regions/a"), ..all() }).await, [4, 3, 1]);
    assert_eq!(told(TrailQuery { what: text("_"), ..all() }).await, [0_u64; 0], "no pattern");
    let both = TrailQuery { who: text("ops"), what: text("putRegion"), since, ..all() };
    assert_eq!(told(both).await, [0_u64; 0]);
    let page = log.trail(TrailQuery::latest(2)).await.expect("trail");
    let below = page.last().map(|audited| audited.number);
    assert_eq!(told(TrailQuery { below, ..TrailQuery::latest(2) }).await, [3, 2]);
}

async fn what_was_refused_pushes_out_nothing_that_was_done(log: &impl AuditLog) {
    let told = async || {
        let trail = log.trail(TrailQuery::latest(100)).await.expect("trail");
        let told = trail.iter().map(|audited| {
            let is_done = matches!(audited.record.outcome, AuditOutcome::Done(_));
            (is_done, audited.record.attempt.at.unix_millis())
        });
        told.collect::<Vec<_>>()
    };
    let done = |at| attempt("putFlag", at).done(effect());
    log.record((0..5).map(done).collect()).await.expect("record");
    log.record((5..25).map(|at| refused(attempt("putFlag", at))).collect()).await.expect("record");
    let at = Timestamp::from_unix_millis;
    log.forget(Duration::MAX, at(25), 3).await.expect("forget");
    let kept = [(false, 24), (false, 23), (false, 22), (true, 4), (true, 3), (true, 2)];
    assert_eq!(told().await, kept);
    log.record(vec![done(25)]).await.expect("it goes on");
    log.forget(Duration::MAX, at(26), 3).await.expect("the oldest of what was done goes");
    let kept = [(true, 25), kept[0], kept[1], kept[2], kept[3], kept[4]];
    assert_eq!(told().await, kept);
}

async fn what_was_refused_without_a_token_pushes_out_no_other_refusal(log: &impl AuditLog) {
    let anonymous = |at| {
        let mut record = refused(Attempt { who: None, ..attempt("putFlag", at) });
        let AuditOutcome::Refused { count, .. } = &mut record.outcome else { return record };
        *count = at;
        record
    };
    log.record((1..3).map(|at| refused(attempt("putFlag", at))).collect()).await.expect("record");
    log.record((3..100).map(anonymous).collect()).await.expect("record");
    log.forget(Duration::MAX, Timestamp::EPOCH, 2).await.expect("forget");
    let trail = log.trail(TrailQuery::latest(100)).await.expect("trail");
    let told = trail.iter().map(|audited| match audited.record.outcome {
        AuditOutcome::Refused { count, .. } => (audited.record.attempt.at.unix_millis(), count),
        AuditOutcome::Done(_) => (0, 0),
    });
    assert_eq!(told.collect::<Vec<_>>(), [(99, 99), (98, 98), (2, 1), (1, 1)]);
}

/// The age of the records in the tests below: they are an hour apart.
const AGE: Duration = Duration::from_secs(80 * 3600);

/// Records something for each of these hours, in turn done, refused to a token and refused to none.
async fn record_hours(log: &impl AuditLog, hours: impl Iterator<Item = u64>) {
    let record = |(number, hour): (u64, u64)| {
        let attempt = attempt("putFlag", hour * 3_600_000);
        match number % 3 {
            0 => attempt.done(effect()),
            1 => refused(attempt),
            _ => refused(Attempt { who: None, ..attempt }),
        }
    };
    log.record((0..).zip(hours).map(record).collect()).await.expect("record");
}

/// Forgets by a clock that shows this hour, and returns the hours of what is kept, oldest first.
async fn hours_after(log: &impl AuditLog, hour: u64) -> Vec<u64> {
    let now = Timestamp::from_unix_millis(hour * 3_600_000);
    log.forget(AGE, now, usize::MAX).await.expect("forget");
    let trail = log.trail(TrailQuery::latest(1_000)).await.expect("trail");
    let hour = |audited: &Audited| audited.record.attempt.at.unix_millis() / 3_600_000;
    trail.iter().rev().map(hour).collect()
}

async fn what_is_old_by_the_trail_is_forgotten(log: &impl AuditLog) {
    assert_eq!(hours_after(log, 100).await, [0_u64; 0], "of nothing, nothing is forgotten");
    record_hours(log, 0..80).await;
    assert_eq!(hours_after(log, 80).await.len(), 80, "nothing is more than 80 hours old");
    record_hours(log, 80..100).await;
    assert_eq!(hours_after(log, 100).await, Vec::from_iter(20..100));
    assert_eq!(hours_after(log, 100).await, Vec::from_iter(20..100), "nor is more the next time");
    assert_eq!(hours_after(log, 105).await, Vec::from_iter(25..100));
}

async fn a_wrong_clock_does_not_erase_the_trail(log: &impl AuditLog) {
    record_hours(log, 0..80).await;
    let all = Vec::from_iter(0..80);
    assert_eq!(hours_after(log, 80).await, all);
    let ahead = 100_000;
    assert_eq!(hours_after(log, ahead).await, all[9..], "an eighth of the age at the most");
    record_hours(log, [ahead; 4].into_iter()).await;
    assert_eq!(hours_after(log, ahead).await, [&all[9..], &[ahead; 4]].concat());
    record_hours(log, [80].into_iter()).await;
    assert_eq!(hours_after(log, 80).await, [&all[9..], &[ahead; 4], &[80]].concat());
}

async fn a_commit_is_recorded_with_its_changes(store: &(impl AuditLog + ConfigStore)) {
    let line = |text: &str| text.parse().expect("a line");
    let propose = async |expected, names: &[&str]| {
        let proposal = Proposal {
            expected: Revision::new(expected),
            changes: names.iter().map(|name| region(name)).collect(),
            author: line("ops"),
            reason: line("because"),
            at: Timestamp::from_unix_millis(expected),
            lasting: BTreeMap::new(),
            attempt: Some(attempt("putRegion", expected)),
        };
        store.propose(proposal).await
    };
    propose(0, &["a"]).await.expect("valid");
    propose(0, &["b"]).await.expect_err("it is a conflict");
    let many: Vec<_> = (0..1_000).map(|number| format!("r{number}")).collect();
    propose(1, &many.iter().map(String::as_str).collect::<Vec<_>>()).await.expect("valid");
    let trail = log_of(store).await;
    let [(second, large), (first, small)] = &trail[..] else { panic!("{trail:?}") };
    assert_eq!((first, second), (&attempt("putRegion", 0), &attempt("putRegion", 1)));
    let reason = Some(line("because"));
    assert_eq!((small.revision, &small.reason), (Some(Revision::new(1)), &reason));
    assert_eq!(large.revision, Some(Revision::new(2)));
    let parts = ["\"path\":\"regions/a\"", "\"before\":null", "\"latitude\":52.5"];
    assert!(parts.iter().all(|part| small.changes.contains(part)), "{}", small.changes);
    assert!(large.changes.len() < 20_000, "{} bytes", large.changes.len());
}

async fn tokens_are_recorded_without_their_hashes(store: &(impl AuditLog + TokenStore)) {
    let record = TokenRecord {
        id: TokenId(0xabc),
        name: "ci".parse().expect("a line"),
        grant: Grant::unlimited(Scope::Viewer),
        hash: [0x77; 32],
        created: Timestamp::from_unix_millis(1),
        node: Some("node-1".parse().expect("a name")),
    };
    store.put_token(record, Some(attempt("createToken", 1))).await.expect("put");
    let remove = async |at| {
        store.remove_token(TokenId(0xabc), Some(attempt("deleteToken", at))).await.expect("remove")
    };
    assert!(remove(2).await);
    assert!(!remove(3).await, "and nothing is recorded");
    let trail = log_of(store).await;
    let [(revoked, after), (made, before)] = &trail[..] else { panic!("{trail:?}") };
    assert_eq!((made, revoked), (&attempt("createToken", 1), &attempt("deleteToken", 2)));
    for effect in [before, after] {
        assert!(effect.changes.contains("tokens/0000000000000abc"), "{}", effect.changes);
        assert!(effect.changes.contains("viewer"), "{}", effect.changes);
        assert!(!effect.changes.contains("77") && !effect.changes.contains("119"), "{effect:?}");
    }
    assert!(before.changes.contains("\"before\":null"), "{}", before.changes);
    assert!(after.changes.contains("\"after\":null"), "{}", after.changes);
}

async fn an_import_is_recorded_when_it_begins_and_ends(store: &(impl AuditLog + ConfigStore)) {
    let base = Snapshot::default();
    let parts = [
        ImportPart::Begin(base),
        ImportPart::Commits(vec![commit(1, "a"), commit(2, "b")]),
        ImportPart::End(Revision::new(2)),
    ];
    for (at, part) in (0..).zip(parts) {
        let import = Import { id: ImportId(1), part, attempt: Some(attempt("importLog", at)) };
        store.import(import).await.expect("it fits");
    }
    let trail = log_of(store).await;
    let [(end, adopted), (begin, nothing)] = &trail[..] else { panic!("{trail:?}") };
    assert_eq!((begin, end), (&attempt("importLog", 0), &attempt("importLog", 2)));
    assert_eq!((nothing.revision, adopted.revision), (None, Some(Revision::new(2))));
    assert!(adopted.changes.contains("regions/b"), "{}", adopted.changes);
}

/// Returns what was done, newest first.
async fn log_of(log: &impl AuditLog) -> Vec<(Attempt, Effect)> {
    let trail = log.trail(TrailQuery::latest(100)).await.expect("trail");
    let done = trail.into_iter().map(|Audited { record, .. }| match record.outcome {
        AuditOutcome::Done(effect) => (record.attempt, effect),
        refused @ AuditOutcome::Refused { .. } => panic!("{refused:?}"),
    });
    done.collect()
}

fn attempt(action: &str, at: u64) -> Attempt {
    Attempt {
        at: Timestamp::from_unix_millis(at),
        node: "node-1".parse().expect("a name"),
        who: Some(Actor {
            name: "ops".parse().expect("a line"),
            token: Some((TokenId(42), Scope::Operator)),
        }),
        address: Some("2001:db8::1".parse().expect("an address")),
        action: action.to_owned(),
        target: "/api/v1/config".to_owned(),
    }
}

fn refused(attempt: Attempt) -> AuditRecord {
    let outcome = AuditOutcome::Refused {
        status: 412,
        problem: "revision-conflict".to_owned(),
        detail: "somebody was \"faster\"".to_owned(),
        count: 1,
    };
    AuditRecord { attempt, outcome }
}

fn effect() -> Effect {
    Effect { revision: None, reason: None, changes: "{}".to_owned() }
}

/// Holds a [`LastGood`] to its promises.
///
/// # Panics
///
/// Where it breaks one.
pub async fn last_good<L: LastGood>(new: impl AsyncFn() -> L) {
    let kept = new().await;
    assert_eq!(kept.load().await.expect("load"), None);
    for names in [vec!["a"], vec!["a", "b"]] {
        let regions = names.iter().map(|name| region(name));
        let changes = regions.chain(shared_settings(9, &["192.0.2.1:443"]));
        let config = geostream_domain::Config::default().after(changes);
        let mut snapshot = Snapshot::from(config.expect("valid"));
        snapshot.revision = Revision::new(names.len() as u64);
        let recent = [commit(names.len() as u64, names[0])].into_iter().collect();
        let table = SavedTable { snapshot, recent, at: Timestamp::from_unix_millis(5) };
        kept.save(&table).await.expect("save");
        assert_eq!(kept.load().await.expect("load"), Some(table));
    }
    lost_commits_are_kept_once_until_they_are_removed(&kept).await;
}

async fn lost_commits_are_kept_once_until_they_are_removed(kept: &impl LastGood) {
    let names = async || kept.lost().await.expect("lost");
    assert_eq!(names().await, [""; 0]);
    let lost = |revision: u64, id: &str| LostCommits {
        first: Revision::new(revision),
        last: Revision::new(revision),
        commits: vec![commit(revision, id)],
        config: Arc::default(),
        changes: vec![region(id)],
        store: Revision::ZERO,
        found: Timestamp::EPOCH,
    };
    let name = kept.keep_lost(&lost(1, "a")).await.expect("keep");
    assert_eq!(kept.keep_lost(&lost(1, "a")).await.expect("keep"), name);
    let other = kept.keep_lost(&lost(1, "b")).await.expect("keep");
    assert_ne!(other, name, "other commits of that number are not the same");
    assert_eq!(names().await.len(), 2);
    kept.forget_lost(&name).await.expect("forget");
    assert_eq!(names().await, [other]);
    for revision in 2..40 {
        let name = kept.keep_lost(&lost(revision, "a")).await.expect("keep");
        assert!(names().await.contains(&name), "the oldest goes");
    }
    assert!(names().await.len() < 20, "their number is limited");
}

/// Holds [`SharedViews`] to its promises, by nodes that tell each other.
///
/// # Panics
///
/// Where it breaks one.
pub async fn shared_views<V: SharedViews>(new: impl AsyncFn() -> [V; 3]) {
    let [a, b, c] = new().await;
    let summary = summary("1.0.0");
    let nothing = Arc::<NodeSummary>::default();
    let alone = a.exchange(&view(Vote::Well, 1.0), &summary).await.expect("exchange");
    let alone = Exchanged { clock: None, ..alone };
    assert_eq!(alone, Exchanged::default(), "no node hears itself");
    whoever_waits_is_told_of_views(&a, &b).await;
    // What it said first may be forgotten by now.
    a.exchange(&view(Vote::Well, 1.0), &summary).await.expect("exchange");
    let said = view(Vote::Down(Removal::Proven), 2.5);
    let heard = b.exchange(&said, &nothing).await.expect("exchange").heard;
    assert_eq!(heard.len(), 1);
    assert_eq!(heard[0].summary, Some(Arc::clone(&summary)), "the summary travels whole");
    assert_eq!(heard[0].view, view(Vote::Well, 1.0));
    assert!(heard[0].age < VIEW_HOLDS, "{heard:?}");
    let later = self::summary("1.0.1");
    a.exchange(&view(Vote::Well, 1.0), &later).await.expect("exchange");
    let heard = b.exchange(&said, &nothing).await.expect("exchange").heard;
    assert_eq!(heard[0].summary, Some(Arc::clone(&later)), "a new one replaces the old one");
    c.exchange(&Arc::default(), &nothing).await.expect("exchange");
    let own = view(Vote::Well, 1.0);
    let first = a.exchange(&own, &later).await.expect("exchange").heard;
    let views: Vec<_> = first.iter().map(|heard| Arc::clone(&heard.view)).collect();
    assert!(views.contains(&said) && views.contains(&Arc::default()), "{first:?}");
    assert!(first[0].node < first[1].node);
    let again = a.exchange(&own, &later).await.expect("exchange").heard;
    let is_same = first.iter().zip(&again).all(|(one, two)| Arc::ptr_eq(&one.view, &two.view));
    assert!(is_same, "what is known is not read again");
    b.exchange(&Arc::default(), &nothing).await.expect("exchange");
    let heard = a.exchange(&own, &later).await.expect("exchange").heard;
    assert!(
        heard.iter().all(|heard| heard.view.regions.is_empty()),
        "who goes has no say: {heard:?}"
    );
    // Whoever says nothing is forgotten.
    while !a.exchange(&own, &later).await.expect("exchange").heard.is_empty() {}
}

async fn whoever_waits_is_told_of_views(a: &impl SharedViews, b: &impl SharedViews) {
    let mut news = std::pin::pin!(a.news());
    let (mut vote, mut is_told) = (Vote::Well, false);
    // It may not listen at once.
    while !is_told {
        vote = match vote {
            Vote::Well => Vote::Down(Removal::Unproven),
            Vote::Down(Removal::Unproven) => Vote::Down(Removal::Proven),
            Vote::Down(_) => Vote::Well,
        };
        b.exchange(&view(vote, 1.0), &Arc::default()).await.expect("exchange");
        is_told = std::future::poll_fn(|cx| Poll::Ready(news.as_mut().poll(cx).is_ready())).await;
    }
}

/// Makes a summary in which everything is said.
fn summary(version: &str) -> Arc<NodeSummary> {
    Arc::new(NodeSummary {
        version: version.to_owned(),
        started: Timestamp::from_unix_millis(1_700_000_000_123),
        revision: Revision::new(7),
        store: "current".to_owned(),
        last_good: Some(Revision::new(6)),
        warnings: vec!["clock-skew".to_owned()],
        store_skew: Some(Skew::from_millis(-7_200_000)),
        cache_skew: Some(Skew::ZERO),
        limits: [("http.requests_per_second".to_owned(), 50)].into(),
        is_leaving: true,
    })
}

fn view(vote: Vote, own: f64) -> Arc<NodeView> {
    let load = |units| Load::new(units).expect("a load");
    let reported = Some(load(1e3));
    let load = LoadShare { own: load(own), displaced: load(0.25), away: load(0.5), reported };
    let seen = Sight { vote: Some(vote), load };
    let abstains = Sight { vote: None, ..seen };
    Arc::new(NodeView { regions: [(id("a"), seen), (id("b"), abstains)].into() })
}

/// Holds [`SharedCounters`] to their promises.
///
/// # Panics
///
/// Where they break one.
pub async fn shared_counters<S: SharedCounters>(new: impl AsyncFn() -> S) {
    let counters = new().await;
    let rate = Rate::per_second(10).expect("a rate");
    let key = |number| CounterKey { purpose: "test", number };
    let lease = async |number, reserved, spent, wanted| {
        let request = (key(number), LeaseRequest { spent, wanted });
        let tokens = counters.lease(rate, reserved, vec![request]).await.expect("lease");
        assert_eq!(tokens.len(), 1);
        tokens[0].expect("the bucket is there")
    };
    let begun = now();
    // What comes meanwhile.
    let since = || u32::try_from((now() - begun).as_millis() / 100).expect("a short while") + 1;
    assert_eq!(lease(1, 0, 0, 4).await, 4);
    let rest = lease(1, 0, 0, 100).await;
    assert!((6..=6 + since()).contains(&rest), "the rest of a burst: {rest}");
    // What is reserved is not handed out, and what has passed is charged all the same.
    assert_eq!(lease(2, 7, 0, 100).await, 3);
    let beyond = lease(2, 7, 5, 100).await;
    assert!(beyond <= since().saturating_sub(5), "{beyond}");
    let rest = beyond + lease(2, 0, 0, 100).await;
    assert!((2..=2 + since()).contains(&rest), "{rest}");
    // A debt is bounded: it is over when two bursts have come.
    assert_eq!(lease(3, 0, u32::MAX, 100).await, 0);
    // Each key has a bucket of its own, and the tokens come in the order of the requests.
    let many = (10..200).map(|number| {
        let wanted = u32::try_from(number % 10).expect("a digit");
        (key(number), LeaseRequest { spent: 0, wanted })
    });
    let tokens = counters.lease(rate, 0, many.collect()).await.expect("lease");
    let tokens = tokens.into_iter().map(|tokens| tokens.map(u64::from));
    assert!(tokens.eq((10..200).map(|number| Some(number % 10))));
    assert_eq!(counters.lease(rate, 0, Vec::new()).await.expect("lease"), []);
    // A bucket fills again by the clock of whoever keeps it.
    let mut tokens = 0;
    while tokens < 3 {
        tokens += lease(3, 0, 0, 1).await;
    }
}

async fn propose(
    store: &impl ConfigStore,
    expected: u64,
    changes: Vec<Change>,
) -> Result<Snapshot, ProposeError> {
    let line = |text: &str| text.parse().expect("a line");
    let at = Timestamp::from_unix_millis(1_700_000_000_123);
    let expected = Revision::new(expected);
    let (author, reason) = (line("ops"), line("because"));
    let lasting = BTreeMap::new();
    store.propose(Proposal { expected, changes, author, reason, at, lasting, attempt: None }).await
}

fn region(name: &str) -> Change {
    let point = GeoPoint::new(52.5, 13.4).expect("a point");
    Change::from(Region::new(id(name), point))
}

fn id(name: &str) -> geostream_domain::RegionId {
    name.parse().expect("a name")
}

/// Polls two futures until both are done, in one task.
async fn join<A, B>(a: impl Future<Output = A>, b: impl Future<Output = B>) -> (A, B) {
    let (mut a, mut b) = (std::pin::pin!(a), std::pin::pin!(b));
    let (mut left, mut right) = (None, None);
    std::future::poll_fn(|cx| {
        if left.is_none()
            && let Poll::Ready(value) = a.as_mut().poll(cx)
        {
            left = Some(value);
        }
        if right.is_none()
            && let Poll::Ready(value) = b.as_mut().poll(cx)
        {
            right = Some(value);
        }
        if left.is_some() && right.is_some() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    (left.expect("polled until ready"), right.expect("polled until ready"))
}

#[expect(clippy::disallowed_methods, reason = "buckets fill by a real clock")]
fn now() -> Instant {
    Instant::now()
}
