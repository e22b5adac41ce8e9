//! The ports' suites against the real thing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use geostream_domain::{Change, GeoPoint, Health, Region, Revision, Snapshot, Timestamp};
use geostream_embedded::{EmbeddedStore, LastGoodFile};
use geostream_ports::{
    AuditLog as _, CHANGES_IN_ALL, ConfigStore as _, HealthLog as _, HealthRecord, Import,
    ImportId, ImportPart, LastGood as _, Proposal, TrailQuery, contract,
};
use redb::{MultimapTableHandle as _, TableHandle as _};
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
            changes: vec![Change::from(region)],
            author: "writer".parse().expect("a line"),
            reason: "to have something".parse().expect("a line"),
            at: Timestamp::EPOCH,
            lasting: BTreeMap::new(),
            attempt: None,
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
async fn a_file_keeps_the_contract_of_a_health_log() {
    let paths = Paths::new();
    contract::health_log(async || EmbeddedStore::create(&paths.next()).unwrap()).await;
}

#[tokio::test]
async fn memory_keeps_the_contract_of_a_health_log() {
    contract::health_log(async || EmbeddedStore::in_memory().unwrap()).await;
}

#[tokio::test]
async fn a_file_keeps_the_contract_of_an_audit_log() {
    let paths = Paths::new();
    contract::audit_log(async || EmbeddedStore::create(&paths.next()).unwrap()).await;
}

#[tokio::test]
async fn memory_keeps_the_contract_of_an_audit_log() {
    contract::audit_log(async || EmbeddedStore::in_memory().unwrap()).await;
}

#[tokio::test]
async fn regions_that_come_and_go_do_not_fill_the_disk() {
    const TOO_MANY: usize = 5;
    let store = EmbeddedStore::in_memory().unwrap();
    let changes = 0..CHANGES_IN_ALL + TOO_MANY;
    let changes = changes.map(|number| change(&format!("r{number}"), number as u64));
    store.append(changes.collect()).await.unwrap();
    let kept = store.changes(None, usize::MAX).await.unwrap();
    assert_eq!(kept.len(), CHANGES_IN_ALL);
    assert_eq!(kept.last().unwrap().at.unix_millis(), TOO_MANY as u64, "the oldest go");
    let first = Some("r0".parse().unwrap());
    assert_eq!(store.changes(first, 10).await.unwrap(), []);
}

#[tokio::test]
async fn a_file_of_the_first_versions_gets_what_it_lacks() {
    let paths = Paths::new();
    let path = paths.next();
    let store = EmbeddedStore::create(&path).unwrap();
    store.append(vec![change("eu", 1)]).await.unwrap();
    drop(store);
    take_away_what_came_later(&path);
    let store = EmbeddedStore::open(&path).unwrap();
    assert_eq!(store.latest().await.unwrap(), [change("eu", 1)], "as it was written");
    assert_eq!(store.changes(None, 10).await.unwrap(), []);
    store.append(vec![change("eu", 2)]).await.unwrap();
    assert_eq!(store.changes(None, 10).await.unwrap(), [change("eu", 2)]);
    assert_eq!(store.latest().await.unwrap(), [change("eu", 2)]);
    let parts = [
        ImportPart::Begin(Snapshot { revision: Revision::new(7), ..Snapshot::default() }),
        ImportPart::End(Revision::new(7)),
    ];
    for part in parts {
        store.import(Import { id: ImportId(1), part, attempt: None }).await.unwrap();
    }
    assert_eq!(store.load().await.unwrap().revision, Revision::new(7));
    assert_eq!(store.trail(TrailQuery::latest(1)).await.unwrap(), []);
    drop(store);
    take_away(&path, &["import", "audit_done", "audit_anonymous", "limited_tokens"]);
    let store = EmbeddedStore::open(&path).unwrap();
    assert_eq!(store.load().await.unwrap().revision, Revision::new(7), "whichever it lacks");
}

/// Leaves the tables that the first versions made.
fn take_away_what_came_later(path: &Path) {
    let audit = ["audit_done", "audit_refused", "audit_anonymous"];
    let others = ["health_changes", "health_numbers", "import", "limited_tokens"];
    take_away(path, &[&others[..], &audit].concat());
}

#[tokio::test]
async fn a_file_that_kept_all_refusals_together_gets_them_apart() {
    let paths = Paths::new();
    let path = paths.next();
    drop(EmbeddedStore::create(&path).unwrap());
    take_away(&path, &["audit_anonymous"]);
    // As the version before wrote them, which did not count.
    let refusal = |who: &str| {
        format!(
            r#"{{"at": "2026-11-22T12:30:00.120Z", "node": "one", "who": {who}, "token": null,
                "address": "192.0.2.1", "action": "getConfig", "target": "/api/v1/config",
                "outcome": {{"refused": {{"status": 403, "problem": "forbidden", "detail": ""}}}}}}"#
        )
    };
    let table: redb::TableDefinition<'_, u64, &[u8]> = redb::TableDefinition::new("audit_refused");
    let database = redb::Database::open(&path).unwrap();
    let write = database.begin_write().unwrap();
    for number in 1..=10 {
        let document = refusal(if number <= 2 { r#""ops""# } else { "null" });
        write.open_table(table).unwrap().insert(number, document.as_bytes()).unwrap();
    }
    write.commit().unwrap();
    drop(database);
    let store = EmbeddedStore::open(&path).unwrap();
    let numbers = async || {
        let trail = store.trail(TrailQuery::latest(100)).await.unwrap();
        trail.iter().map(|audited| audited.number).collect::<Vec<_>>()
    };
    assert_eq!(numbers().await, [10, 9, 8, 7, 6, 5, 4, 3, 2, 1]);
    store.forget(Duration::MAX, Timestamp::EPOCH, 3).await.unwrap();
    assert_eq!(numbers().await, [10, 9, 8, 2, 1]);
}

fn take_away(path: &Path, names: &[&str]) {
    let database = redb::Database::open(path).unwrap();
    let write = database.begin_write().unwrap();
    for name in names {
        let gone = write.list_tables().unwrap().find(|table| table.name() == *name);
        let gone = gone.map(|table| write.delete_table(table).unwrap());
        let lists = write.list_multimap_tables().unwrap().find(|table| table.name() == *name);
        let lists = lists.map(|table| write.delete_multimap_table(table).unwrap());
        assert_eq!(gone.or(lists), Some(true), "{name}");
    }
    write.commit().unwrap();
}

fn change(region: &str, at: u64) -> HealthRecord {
    HealthRecord {
        region: region.parse().unwrap(),
        node: None,
        health: Health::Unhealthy,
        evidence: "it was seen".to_owned(),
        at: Timestamp::from_unix_millis(at),
        response_time: None,
        errors: 5,
    }
}
