//! The ports' suites against the real thing.

use std::path::PathBuf;
use std::sync::Arc;

use geostream_domain::{Change, GeoPoint, Region, Revision, Timestamp};
use geostream_embedded::{EmbeddedStore, LastGoodFile};
use geostream_ports::{ConfigStore as _, LastGood as _, Proposal, contract};
use tempfile::TempDir;

/// A new path with each call, in a directory that is removed at the end.
struct Paths {
    directory: TempDir,
    used: std::cell::Cell<u32>,
}

impl Paths {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        Self { directory, used: std::cell::Cell::default() }
    }

    fn next(&self) -> PathBuf {
        self.used.set(self.used.get() + 1);
        self.directory.path().join(format!("{}.redb", self.used.get()))
    }
}

#[tokio::test]
async fn a_file_keeps_the_contract_of_a_config_store() {
    let paths = Paths::new();
    contract::config_store(async || EmbeddedStore::create(&paths.next()).unwrap()).await;
}

#[tokio::test]
async fn memory_keeps_the_contract_of_a_config_store() {
    contract::config_store(async || EmbeddedStore::in_memory().unwrap()).await;
}

#[tokio::test]
async fn a_file_keeps_the_contract_of_a_token_store() {
    let paths = Paths::new();
    contract::token_store(async || EmbeddedStore::create(&paths.next()).unwrap()).await;
}

#[tokio::test]
async fn a_file_keeps_the_contract_of_last_good() {
    let paths = Paths::new();
    contract::last_good(async || LastGoodFile::new(&paths.next())).await;
}

#[tokio::test]
async fn a_damaged_last_good_file_is_as_none() {
    let paths = Paths::new();
    for content in ["", "{", "{\"revision\": 1}", "\u{0}\u{0}\u{0}"] {
        let path = paths.next();
        std::fs::write(&path, content).unwrap();
        assert_eq!(LastGoodFile::new(&path).load().await.unwrap(), None, "{content:?}");
    }
}

#[tokio::test]
async fn a_database_that_is_none_is_refused_and_left_alone() {
    let path = Paths::new().next();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, "this is no database").unwrap();
    assert!(EmbeddedStore::open(&path).is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "this is no database");
}

#[tokio::test]
async fn a_lost_database_does_not_become_a_new_one() {
    let paths = Paths::new();
    let path = paths.next();
    drop(EmbeddedStore::create(&path).unwrap());
    std::fs::remove_file(&path).unwrap();
    assert!(EmbeddedStore::open(&path).is_err());
    let store = EmbeddedStore::unopened(&path).unwrap();
    assert!(store.load().await.is_err());
    assert!(!path.exists());
    std::fs::write(&path, "").unwrap();
    assert!(EmbeddedStore::open(&path).is_err());
    assert!(store.load().await.is_err());
    assert!(std::fs::read(&path).unwrap().is_empty());
    std::fs::remove_file(&path).unwrap();
    drop(EmbeddedStore::create(&path).unwrap());
    assert!(store.load().await.is_ok(), "somebody has put one there");
}

#[tokio::test]
async fn a_database_with_wrong_bytes_is_refused() {
    let path = Paths::new().next();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let store = EmbeddedStore::create(&path).unwrap();
    fill(&store).await;
    drop(store);
    let whole = std::fs::read(&path).unwrap();
    let mut refused = 0;
    for start in (0..whole.len()).step_by(1 << 12) {
        let mut wrong = whole.clone();
        wrong[start..start + 64].iter_mut().for_each(|byte| *byte ^= 0xff);
        std::fs::write(&path, wrong).unwrap();
        refused += u32::from(EmbeddedStore::open(&path).is_err());
        let store = EmbeddedStore::unopened(&path).unwrap();
        if let Ok(snapshot) = store.load().await {
            assert_eq!(snapshot.revision.get(), COMMITS, "wrong bytes at {start} are not in use");
        }
    }
    assert!(refused > 0);
    std::fs::write(&path, whole).unwrap();
    assert!(EmbeddedStore::open(&path).is_ok());
}

const COMMITS: u64 = 100;

async fn fill(store: &EmbeddedStore) {
    for number in 0..COMMITS {
        let id = format!("r{number}").parse().expect("a name");
        let region = Region::new(id, GeoPoint::new(1.0, 2.0).expect("a point"));
        let proposal = Proposal {
            expected: Revision::new(number),
            changes: vec![Change::PutRegion(Arc::new(region))],
            author: "writer".parse().expect("a line"),
            reason: "to have something".parse().expect("a line"),
            at: Timestamp::EPOCH,
        };
        store.propose(proposal).await.expect("written");
    }
}

#[tokio::test]
async fn a_second_process_is_kept_out() {
    let paths = Paths::new();
    let path = paths.next();
    let first = EmbeddedStore::create(&path).unwrap();
    assert!(EmbeddedStore::open(&path).is_err());
    assert!(first.load().await.is_ok());
}

#[tokio::test]
async fn a_file_and_memory_keep_the_contract_of_a_health_log() {
    let paths = Paths::new();
    contract::health_log(EmbeddedStore::create(&paths.next()).unwrap()).await;
    contract::health_log(EmbeddedStore::in_memory().unwrap()).await;
}
