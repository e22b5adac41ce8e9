//! A writer that is killed, again and again: what it was told is committed must be there.

use std::collections::BTreeMap;
use std::env;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use geostream_domain::{Change, GeoPoint, Health, Region, Timestamp};
use geostream_embedded::EmbeddedStore;
use geostream_ports::{
    CHANGES_PER_REGION, ConfigStore as _, HealthLog as _, HealthRecord, Proposal,
};

const ROUNDS: u64 = 40;
const DATABASE: &str = "GEOSTREAM_TEST_CRASH_DATABASE";

#[tokio::test]
async fn nothing_that_was_acknowledged_is_lost_by_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.redb");
    let mut acknowledged = 0;
    for round in 0..ROUNDS {
        // From none to 90 commits before the kill, so that it hits checkpoints as well.
        acknowledged = acknowledged.max(write_until_killed(&path, round * 37 % 91));
        let store = EmbeddedStore::open(&path).unwrap();
        let snapshot = store.load().await.unwrap();
        let revision = snapshot.revision.get();
        assert!(revision >= acknowledged, "round {round}: {revision} of {acknowledged}");
        assert_eq!(snapshot.config.regions().len() as u64, revision, "one region a commit");
        let history = store.history(None, 10_000).await.unwrap();
        assert_eq!(history.len() as u64, revision);
        let kills = round + 1;
        expect_whole_history_of_health(&store, revision - kills.min(revision)).await;
    }
    assert!(acknowledged > ROUNDS, "the writer got something done");
}

/// Checks that there are so many changes at least, without a gap, as far as they are kept: each kill
/// may have come between a commit and its change.
async fn expect_whole_history_of_health(store: &EmbeddedStore, least: u64) {
    let history = store.changes(None, usize::MAX).await.unwrap();
    let changes: Vec<u64> = history.iter().map(|record| record.at.unix_millis()).collect();
    let newest = changes.first().copied().unwrap_or_default();
    assert!(newest >= least, "{newest} of {least} changes");
    let kept = newest.min(CHANGES_PER_REGION as u64);
    assert!((newest - kept + 1..=newest).rev().eq(changes), "changes up to {newest}");
    assert_eq!(store.latest().await.unwrap(), history[..history.len().min(1)]);
}

/// Starts a writer, kills it after it has acknowledged that many commits, and returns the last
/// revision that it acknowledged, or started from.
fn write_until_killed(path: &Path, commits: u64) -> u64 {
    let mut writer = Command::new(env::current_exe().expect("this test"))
        .args(["--exact", "crash::writer", "--nocapture"])
        .env(DATABASE, path)
        .stdout(Stdio::piped())
        .spawn()
        .expect("this test can be started");
    let output = BufReader::new(writer.stdout.take().expect("it is piped"));
    let revisions = output.lines().filter_map(|line| {
        let line = line.expect("text");
        line.strip_prefix("at revision ")?.parse().ok()
    });
    let started_from = 1;
    let last = revisions.take(usize::try_from(started_from + commits).expect("few")).last();
    writer.kill().expect("it is running");
    writer.wait().expect("it was started here");
    last.expect("the writer says where it starts from")
}

/// Writes until it is killed; does nothing unless it is started by the test above.
#[tokio::test]
async fn writer() {
    let Some(path) = env::var_os(DATABASE) else { return };
    let path = Path::new(&path);
    let open = if path.exists() { EmbeddedStore::open } else { EmbeddedStore::create };
    let store = open(path).unwrap();
    let mut expected = store.load().await.unwrap().revision;
    let newest = store.changes(None, 1).await.unwrap();
    let mut changes = newest.first().map_or(0, |record| record.at.unix_millis());
    println!("\nat revision {expected}");
    loop {
        let id = format!("r{expected}").parse().unwrap();
        let region = Region::new(id, GeoPoint::new(1.0, 2.0).unwrap());
        let proposal = Proposal {
            expected,
            changes: vec![Change::from(region)],
            author: "writer".parse().unwrap(),
            reason: "to be killed".parse().unwrap(),
            at: Timestamp::EPOCH,
            lasting: BTreeMap::new(),
            attempt: None,
        };
        expected = store.propose(proposal).await.unwrap().revision;
        changes += 1;
        let change = HealthRecord {
            region: "r0".parse().unwrap(),
            node: None,
            health: Health::Unhealthy,
            evidence: "it will be killed".to_owned(),
            at: Timestamp::from_unix_millis(changes),
            response_time: None,
            errors: 1,
        };
        store.append(vec![change]).await.unwrap();
        println!("at revision {expected}");
    }
}
