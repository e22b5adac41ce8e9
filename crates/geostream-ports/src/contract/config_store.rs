//! What every [`ConfigStore`] promises.

use std::sync::Arc;
use std::time::Duration;

use geostream_domain::{
    Change, Commit, ConfigError, Override, OverrideAction, ReplayError, Revision, Service, Setting,
    Snapshot, Timestamp,
};

use super::{begin, commit, id, import, join, propose, region, shared_settings};
use crate::{ConfigStore, ImportError, ImportPart, Look, Proposal, ProposeError, Writes};

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

/// Makes commits of which each adds a region.
async fn fill(store: &impl ConfigStore, commits: u64) {
    for expected in 0..commits {
        propose(store, expected, vec![region(&format!("r{expected}"))]).await.expect("valid");
    }
}
