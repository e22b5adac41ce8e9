//! The audit trail, which nobody waits for.

use std::time::Duration;

use geostream_app::{AuditTrail, Retention};
use geostream_domain::Timestamp;
use geostream_embedded::EmbeddedStore;
use geostream_ports::{
    Actor, Attempt, AuditLog as _, AuditOutcome, AuditRecord, Clock as _, Scope, TokenId,
    TrailQuery,
};
use tokio_util::sync::CancellationToken;

use crate::world::SetClock;

const RETENTION: Retention = Retention { age: Duration::from_secs(60), records: 1_050 };

/// Returns a refusal of one of many tokens, none of which repeats itself.
fn refused(at: u64) -> AuditRecord {
    let token = Some((TokenId(at / 20), Scope::Viewer));
    let mut record = anonymous(at);
    record.attempt.who = Some(Actor { name: "ci".parse().unwrap(), token });
    record
}

fn anonymous(at: u64) -> AuditRecord {
    let attempt = Attempt {
        at: Timestamp::from_unix_millis(at),
        node: "node".parse().unwrap(),
        who: None,
        address: Some([192, 0, 2, 1].into()),
        action: "getConfig".to_owned(),
        target: "/api/v1/config".to_owned(),
    };
    let (problem, detail) = ("unauthorized".to_owned(), "send a token".to_owned());
    AuditRecord {
        attempt,
        outcome: AuditOutcome::Refused { status: 401, problem, detail, count: 1 },
    }
}

/// Waits until so many are kept, the latest first, and returns when they were asked for.
async fn kept(store: &EmbeddedStore, expected: usize) -> Vec<u64> {
    let waited = async {
        loop {
            match store.trail(TrailQuery::latest(10_000)).await {
                Ok(trail) if trail.len() == expected => return trail,
                Ok(_) | Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    let trail = tokio::time::timeout(Duration::from_secs(60), waited).await.expect("it comes true");
    trail.iter().map(|audited| audited.record.attempt.at.unix_millis()).collect()
}

#[tokio::test]
async fn what_is_noted_is_kept_until_it_is_too_old_or_too_much() {
    let store = EmbeddedStore::in_memory().unwrap();
    let clock = SetClock::default();
    let (trail, keeper) = AuditTrail::new(store.clone(), RETENTION, clock.clone());
    let stop = CancellationToken::new();
    let running = tokio::spawn(keeper.run(stop.clone()));
    let note_thousand = |from: u64, step: u64| {
        let times = (0..1_000).map(|number| from + number * step);
        times.for_each(|at| trail.note(refused(at), clock.now()));
    };
    note_thousand(0, 1);
    assert_eq!(kept(&store, 1_000).await.last(), Some(&0));
    note_thousand(1_000, 1);
    assert_eq!(kept(&store, 1_050).await.last(), Some(&950), "the oldest are too many");
    clock.set(61_990);
    note_thousand(2_000, 60);
    assert_eq!(kept(&store, 1_010).await.last(), Some(&1_990), "the others are too old");
    assert_eq!(trail.read(TrailQuery::latest(1)).await.unwrap().len(), 1);
    trail.note(refused(62_000), clock.now());
    stop.cancel();
    running.await.unwrap();
    assert_eq!(kept(&store, 1_011).await[0], 62_000, "what was noted before the end is kept");
}

#[tokio::test]
async fn a_store_that_is_away_is_waited_for_and_memory_is_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.redb");
    let store = EmbeddedStore::unopened(&path).unwrap();
    let (trail, keeper) = AuditTrail::new(store.clone(), RETENTION, SetClock::default());
    (0..2_000).for_each(|at| trail.note(refused(at), SetClock::default().now()));
    let running = tokio::spawn(keeper.run(CancellationToken::new()));
    assert!(store.trail(TrailQuery::latest(1)).await.is_err());
    drop(EmbeddedStore::create(&path).unwrap());
    let kept = kept(&store, 1_000).await;
    assert_eq!((kept[0], kept[999]), (999, 0), "what comes beyond them is lost");
    running.abort();
}

#[tokio::test]
async fn a_hundred_thousand_anonymous_refusals_are_few_notes_and_evict_no_refusal_of_a_token() {
    let store = EmbeddedStore::in_memory().unwrap();
    let clock = SetClock::default();
    let retention = Retention { records: 5, ..RETENTION };
    let (trail, keeper) = AuditTrail::new(store.clone(), retention, clock.clone());
    let stop = CancellationToken::new();
    let running = tokio::spawn(keeper.run(stop.clone()));
    (0..5).for_each(|at| trail.note(refused(at), clock.now()));
    (0..100_000).for_each(|at| trail.note(anonymous(at), clock.now()));
    kept(&store, 6).await;
    (0..100_000).for_each(|at| trail.note(anonymous(at), clock.now()));
    stop.cancel();
    running.await.unwrap();
    store.forget(retention.age, Timestamp::EPOCH, retention.records).await.unwrap();
    let trail = store.trail(TrailQuery::latest(100)).await.unwrap();
    let (strangers, known): (Vec<_>, Vec<_>) = trail
        .iter()
        .map(|audited| &audited.record)
        .partition(|record| record.attempt.who.is_none());
    assert_eq!(known.len(), 5);
    let count = |record: &&AuditRecord| match record.outcome {
        AuditOutcome::Refused { count, .. } => count,
        AuditOutcome::Done(_) => 0,
    };
    assert_eq!(strangers.iter().map(count).collect::<Vec<_>>(), [100_000, 100_000]);
}
