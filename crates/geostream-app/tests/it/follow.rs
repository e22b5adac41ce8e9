//! What is published without anybody asking.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use geostream_app::{
    Configuration, Follower, Publisher, RouteQuery, Router, StoreBehind, StoreState, WriteError,
};
use geostream_domain::{Change, Commit, Override, OverrideAction, Revision, Snapshot, Timestamp};
use geostream_embedded::{EmbeddedStore, LastGoodFile};
use geostream_ports::{ConfigStore as _, LastGood as _, Proposal, SavedTable};

use tokio_util::sync::CancellationToken;

use crate::world::{Berlin, SetClock, config, intent, line, region, two_regions};

struct Setup {
    directory: tempfile::TempDir,
    clock: SetClock,
    publisher: Arc<Publisher<SetClock>>,
}

impl Setup {
    fn new() -> Self {
        let clock = SetClock::default();
        let publisher = Arc::new(Publisher::new(clock.clone()));
        Self { directory: tempfile::tempdir().unwrap(), clock, publisher }
    }

    fn last_good(&self) -> LastGoodFile {
        LastGoodFile::new(&self.directory.path().join("last-good.json"))
    }

    fn follower(&self, store: EmbeddedStore) -> Follower<EmbeddedStore, LastGoodFile, SetClock> {
        let publisher = Arc::clone(&self.publisher);
        Follower::new(store, self.last_good(), publisher, self.clock.clone())
    }

    /// Lets the follower work until what is waited for is true.
    async fn until(&self, is_so: impl Fn(&Self) -> bool) {
        let waited = async {
            while !is_so(self) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(7200), waited).await.expect("it comes true");
    }
}

#[tokio::test]
async fn what_others_commit_is_published_and_kept() {
    let setup = Setup::new();
    let store = EmbeddedStore::in_memory().unwrap();
    let follower = tokio::spawn(setup.follower(store.clone()).run(CancellationToken::new()));
    let proposal = Proposal {
        expected: Revision::ZERO,
        changes: two_regions(),
        author: line("another node"),
        reason: line("because"),
        at: Timestamp::EPOCH,
        lasting: BTreeMap::new(),
        attempt: None,
    };
    store.propose(proposal).await.unwrap();
    setup.until(|setup| setup.publisher.snapshot().revision == Revision::new(1)).await;
    let mut kept = None;
    while kept.is_none() {
        tokio::task::yield_now().await;
        let saved = setup.last_good().load().await.unwrap();
        kept = saved.filter(|saved| saved.snapshot.revision == Revision::new(1));
    }
    assert_eq!(*kept.unwrap().snapshot.config, config());
    follower.abort();
}

#[tokio::test]
async fn without_the_store_the_last_good_table_decides() {
    let setup = Setup::new();
    let snapshot = Snapshot { revision: Revision::new(7), config: Arc::new(config()) };
    let at = Timestamp::from_unix_millis(5);
    setup.last_good().save(&SavedTable { snapshot, recent: <_>::default(), at }).await.unwrap();
    let path = setup.directory.path().join("config.redb");
    std::fs::write(&path, "this is no database").unwrap();

    setup.follower(EmbeddedStore::unopened(&path).unwrap()).start().await;
    let router = Router::new(&setup.publisher, Arc::new(Berlin));
    let view = router.view();
    assert!(view.route(&RouteQuery::default()).is_ok());
    assert!(matches!(view.store(), StoreState::LastGood { saved, .. } if *saved == at));
    assert_eq!(view.table().revision(), Revision::new(7));

    // A store that is lost is not an empty one.
    std::fs::remove_file(&path).unwrap();
    setup.follower(EmbeddedStore::unopened(&path).unwrap()).start().await;
    assert_eq!(router.view().table().revision(), Revision::new(7));
}

#[tokio::test]
async fn nobody_goes_back_to_an_earlier_revision_unasked() {
    let setup = Setup::new();
    let snapshot = Snapshot { revision: Revision::new(2), config: Arc::new(config()) };
    let at = Timestamp::from_unix_millis(5);
    setup.last_good().save(&SavedTable { snapshot, recent: <_>::default(), at }).await.unwrap();

    let store = EmbeddedStore::in_memory().unwrap();
    assert!(setup.follower(store.clone()).start().await, "the store can be read");
    let router = Router::new(&setup.publisher, Arc::new(Berlin));
    let behind = StoreBehind { store: Revision::ZERO, in_use: Revision::new(2) };
    assert_eq!(*router.view().store(), StoreState::Behind(behind));
    assert_eq!(router.view().table().revision(), Revision::new(2));
    // Nothing is known of the commits but their numbers and what they led to.
    assert_eq!(setup.last_good().lost().await.unwrap(), ["lost-commits-1-2.json"]);
    let kept = setup.last_good().load().await.unwrap().expect("it is not overwritten by less");
    assert_eq!(kept.snapshot.revision, Revision::new(2));

    let publisher = Arc::clone(&setup.publisher);
    let configuration = Configuration::new(store.clone(), publisher, setup.clock.clone());
    let refused = configuration.write(intent(2), Vec::new()).await;
    assert!(matches!(refused, Err(WriteError::Unavailable(_))), "{refused:?}");
    let declared = configuration.bootstrap(intent(0), &config()).await;
    assert!(!declared.unwrap(), "there is a configuration");

    // A commit of the same number that says something else is the store's, and so are later ones.
    for expected in 0..3 {
        let changes = if expected == 0 { two_regions() } else { Vec::new() };
        let (author, reason) = (line("another node"), line("because"));
        let (expected, at) = (Revision::new(expected), Timestamp::EPOCH);
        let proposal = Proposal {
            expected,
            changes,
            author,
            reason,
            at,
            lasting: BTreeMap::new(),
            attempt: None,
        };
        store.propose(proposal).await.unwrap();
        setup.follower(store.clone()).start().await;
        let in_use = expected.next().max(Revision::new(2));
        assert_eq!(router.view().table().revision(), in_use);
    }
    assert_eq!(*router.view().store(), StoreState::Current);
}

#[tokio::test]
async fn a_store_on_another_branch_is_noticed_by_its_commits_though_it_has_more() {
    let setup = Setup::new();
    let store = EmbeddedStore::in_memory().unwrap();
    let commit = |revision: u64, reason: &str| Commit {
        revision: Revision::new(revision),
        changes: two_regions(),
        author: line("ops"),
        reason: line(reason),
        at: Timestamp::EPOCH,
    };
    let ours = [commit(1, "shared"), commit(2, "ours"), commit(3, "ours")];
    for (expected, reason) in ["shared", "theirs", "theirs", "theirs"].into_iter().enumerate() {
        let Commit { changes, author, reason, at, .. } = commit(0, reason);
        let expected = Revision::new(u64::try_from(expected).unwrap());
        let lasting = BTreeMap::new();
        let proposal = Proposal { expected, changes, author, reason, at, lasting, attempt: None };
        store.propose(proposal).await.unwrap();
    }
    let snapshot = Snapshot { revision: Revision::new(3), config: Arc::new(config()) };
    let recent = ours.into_iter().collect();
    let saved = SavedTable { snapshot, recent, at: Timestamp::EPOCH };
    setup.last_good().save(&saved).await.unwrap();

    let mut follower = setup.follower(store.clone());
    follower.start().await;
    assert_eq!(setup.publisher.snapshot().revision, Revision::new(4), "the store's is in use");
    assert_eq!(follower.directory().files().lost, ["lost-commits-2-3.json"]);
    let kept = setup.last_good().load().await.unwrap().unwrap().recent;
    assert_eq!(kept.last().map(|last| last.reason.as_str()), Some("theirs"));

    // The node goes on from there: what it commits itself is not taken for another branch.
    let publisher = Arc::clone(&setup.publisher);
    let configuration = Configuration::new(store, publisher, setup.clock.clone());
    configuration.write(intent(4), vec![region("ap", 35.7, 139.7)]).await.unwrap();
    follower.start().await;
    assert_eq!(follower.directory().files().lost, ["lost-commits-2-3.json"]);
}

#[tokio::test]
async fn without_anything_the_router_says_so() {
    let setup = Setup::new();
    let path = setup.directory.path().join("config.redb");
    std::fs::write(&path, "this is no database").unwrap();
    setup.follower(EmbeddedStore::unopened(&path).unwrap()).start().await;
    let router = Router::new(&setup.publisher, Arc::new(Berlin));
    assert!(matches!(router.view().store(), StoreState::Nothing { .. }));
}

#[tokio::test(start_paused = true)]
async fn an_override_ends_by_itself() {
    let setup = Setup::new();
    let store = EmbeddedStore::in_memory().unwrap();
    let publisher = Arc::clone(&setup.publisher);
    let configuration = Configuration::new(store.clone(), publisher, setup.clock.clone());
    let mut changes = two_regions();
    changes.push(Change::SetOverride(Override {
        region: "eu".parse().unwrap(),
        action: OverrideAction::Drain,
        owner: line("ops"),
        reason: line("because"),
        since: Timestamp::EPOCH,
        expires: Some(Timestamp::from_unix_millis(60_000)),
    }));
    configuration.write(intent(0), changes).await.unwrap();
    let router = Router::new(&setup.publisher, Arc::new(Berlin));
    let address = Some("192.0.2.1".parse().unwrap());
    let region = || {
        let view = router.view();
        let routed = view.route(&RouteQuery { address, ..<_>::default() }).unwrap();
        routed.table.region(routed.decision.region).id.to_string()
    };
    assert_eq!(region(), "us");
    let follower = tokio::spawn(setup.follower(store).run(CancellationToken::new()));
    tokio::task::yield_now().await;
    setup.clock.set(60_000);
    tokio::time::advance(Duration::from_secs(61)).await;
    setup.until(|_| region() == "eu").await;
    follower.abort();
}
