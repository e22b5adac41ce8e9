//! Health over a restart, and without a log of it.

use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use geostream_app::{
    HealthDriver, Outcome, Publisher, RegionHealth, RegionStatus, StoreState, Tracer,
};
use geostream_domain::{
    Change, CheckTiming, Config, GeoPoint, Health, HealthCheck, ProbeOutcome, ProbeTarget, Region,
    RegionId, Revision, Snapshot, Timestamp,
};
use geostream_ports::{
    HealthLog, HealthRecord, KeptConnection, Probed, Prober, TraceContext, Unavailable,
};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::advance;
use tokio_util::sync::CancellationToken;

use crate::world::SetClock;

/// Regions that never answer.
struct Silence;

impl Prober for Silence {
    async fn probe(&self, _: &HealthCheck, _: Option<TraceContext>) -> Probed {
        pending().await
    }
}

/// A log that says this at once, or is on a disk that hangs. A store with a thread of its own would
/// not know that the time of a test is paused.
pub(crate) struct Log(pub(crate) Option<Vec<HealthRecord>>);

impl HealthLog for Log {
    async fn append(&self, _: Vec<HealthRecord>) -> Result<(), Unavailable> {
        match &self.0 {
            Some(_) => Ok(()),
            None => pending().await,
        }
    }

    async fn latest(&self) -> Result<Vec<HealthRecord>, Unavailable> {
        match &self.0 {
            Some(records) => Ok(records.clone()),
            None => pending().await,
        }
    }

    async fn changes(
        &self,
        _: Option<RegionId>,
        _: usize,
    ) -> Result<Vec<HealthRecord>, Unavailable> {
        pending().await
    }
}

const RESTARTED: u64 = 60_000;

/// Watches `eu`, which has a check, and `us`, which has none.
fn watch(log: Log) -> (Arc<RegionHealth<Log, SetClock>>, JoinHandle<()>) {
    let clock = SetClock::default();
    clock.set(RESTARTED);
    let publisher = Arc::new(Publisher::new(clock.clone()));
    let mut eu = region("eu");
    let url = "http://eu.example.com/".parse().unwrap();
    eu.check = Some(HealthCheck::of(ProbeTarget::new(url).unwrap()));
    publisher.publish(of(1, [eu, region("us")]), StoreState::Current);
    let health = Arc::new(RegionHealth::new(publisher, log, clock, &[], 7));
    let driven = Arc::clone(&health);
    let driver = tokio::spawn(async {
        HealthDriver::resume(driven, Silence, Tracer::OFF)
            .await
            .run(CancellationToken::new())
            .await;
    });
    (health, driver)
}

fn region(id: &str) -> Region {
    Region::new(id.parse().unwrap(), GeoPoint::new(1.0, 2.0).unwrap())
}

fn of<const N: usize>(revision: u64, regions: [Region; N]) -> Snapshot {
    let config = Arc::new(Config::default().after(regions.map(Change::from)).unwrap());
    Snapshot { revision: Revision::new(revision), config }
}

fn well(region: &RegionId) -> Outcome {
    Outcome { region: region.clone(), is_well: Some(true), client: None, rtt: None, load: None }
}

/// Waits until the regions are watched.
async fn watched(health: &RegionHealth<Log, SetClock>) -> [RegionStatus; 2] {
    loop {
        advance(Duration::from_millis(100)).await;
        if let Ok(regions) = health.regions().try_into() {
            return regions;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_region_is_as_old_as_its_last_change_until_it_is_seen_again() {
    let changed = Timestamp::from_unix_millis(RESTARTED - 5_000);
    let record = HealthRecord {
        region: "eu".parse().unwrap(),
        node: None,
        health: Health::Healthy,
        evidence: "a probe was well".to_owned(),
        at: changed,
        response_time: None,
        errors: 0,
    };
    let (health, driver) = watch(Log(Some(vec![record])));
    let [eu, us] = watched(&health).await;
    assert_eq!((eu.watched.health, eu.seen_at), (Health::Healthy, Some(changed)));
    assert_eq!((us.watched.health, us.seen_at), (Health::Unknown, None));

    assert_eq!(health.report([well(&us.region)]).accepted, 1);
    let seen = health.seen_at([&us.region])[0];
    assert_eq!(seen, Some(Timestamp::from_unix_millis(RESTARTED)));
    advance(Duration::from_secs(3)).await;
    let seen = health.seen_at([&us.region])[0];
    assert_eq!(
        seen,
        Some(Timestamp::from_unix_millis(RESTARTED - 3_000)),
        "this wall clock stands"
    );
    driver.abort();
}

#[tokio::test(start_paused = true)]
async fn a_log_that_hangs_holds_nobody_up() {
    let (health, driver) = watch(Log(None));
    let [eu, _] = watched(&health).await;
    assert_eq!((eu.watched.health, eu.seen_at), (Health::Unknown, None));
    driver.abort();
}

#[tokio::test]
async fn a_region_may_be_reported_as_soon_as_it_is_configured() {
    let publisher = Arc::new(Publisher::new(SetClock::default()));
    publisher.publish(of(1, [region("us")]), StoreState::Current);
    let log = Log(Some(Vec::new()));
    let (watched, clock) = (Arc::clone(&publisher), SetClock::default());
    let health = Arc::new(RegionHealth::new(watched, log, clock, &[], 7));
    let _slow = HealthDriver::resume(Arc::clone(&health), Silence, Tracer::OFF).await;
    publisher.publish(of(2, [region("eu")]), StoreState::Current);
    let [us, eu] = ["us", "eu"].map(|id| id.parse().unwrap());
    assert_eq!(health.report([well(&us), well(&eu)]).unknown, [us]);
    let known = health.regions().into_iter().map(|status| status.region);
    assert_eq!(known.collect::<Vec<_>>(), [eu]);
}

/// Regions that are well, and whose connections end when the test says so.
#[derive(Clone, Default)]
struct Ending {
    end: Arc<Notify>,
    probes: Arc<AtomicUsize>,
    /// Cancelled when the latest connection is closed.
    closed: Arc<Mutex<CancellationToken>>,
}

impl Prober for Ending {
    async fn probe(&self, _: &HealthCheck, _: Option<TraceContext>) -> Probed {
        self.probes.fetch_add(1, Ordering::SeqCst);
        let end = Arc::clone(&self.end);
        let closed = CancellationToken::new();
        *self.closed.lock().unwrap() = closed.clone();
        let guard = closed.drop_guard();
        let connection = KeptConnection::new(async move {
            end.notified().await;
            drop(guard);
        });
        let outcome = ProbeOutcome::Well(Duration::ZERO);
        Probed { outcome, load: None, connection: Some(connection) }
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_kept_connection_brings_the_next_probe_forward() {
    let publisher = Arc::new(Publisher::new(SetClock::default()));
    let mut eu = region("eu");
    let url = "http://eu.example.com/".parse().unwrap();
    let hour = Duration::from_secs(3_600);
    let timing = CheckTiming::new(hour, Duration::from_secs(1), 5, 3, Duration::ZERO).unwrap();
    eu.check = Some(HealthCheck { timing, ..HealthCheck::of(ProbeTarget::new(url).unwrap()) });
    publisher.publish(of(1, [eu]), StoreState::Current);
    let log = Log(Some(Vec::new()));
    let watched = Arc::clone(&publisher);
    let health = Arc::new(RegionHealth::new(watched, log, SetClock::default(), &[], 7));
    let ending = Ending::default();
    let driver = HealthDriver::resume(health, ending.clone(), Tracer::OFF).await;
    let driver = tokio::spawn(driver.run(CancellationToken::new()));
    let probed = |times: usize| {
        let ending = ending.clone();
        async move {
            while ending.probes.load(Ordering::SeqCst) < times {
                advance(Duration::from_secs(60)).await;
            }
        }
    };
    probed(1).await;
    advance(Duration::from_millis(1)).await;
    // An hour passes until the next one, unless the connection ends.
    ending.end.notify_waiters();
    let asked = tokio::time::Instant::now();
    tokio::time::timeout(hour / 2, probed(2)).await.expect("it is probed long before");
    assert!(asked.elapsed() < hour / 2);

    advance(Duration::from_millis(1)).await;
    let closed = ending.closed.lock().unwrap().clone();
    assert!(!closed.is_cancelled());
    publisher.publish(of(2, [region("eu")]), StoreState::Current);
    closed.cancelled().await;
    driver.abort();
}
