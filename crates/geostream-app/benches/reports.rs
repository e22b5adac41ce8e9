//! How many reports a second two threads hand in while a hundred regions are probed each second:
//! `cargo bench -p geostream-app --bench reports`.
#![expect(clippy::print_stdout, reason = "the figures are what was asked for")]
#![expect(clippy::disallowed_methods, reason = "a bench looks at the clock")]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use geostream_app::{Clocks, HealthDriver, Outcome, Publisher, RegionHealth, StoreState, Tracer};
use geostream_domain::{
    Change, Config, GeoPoint, Health, HealthCheck, ProbeOutcome, ProbeTarget, Region, RegionId,
    Revision, Snapshot,
};
use geostream_embedded::EmbeddedStore;
use geostream_ports::{Probed, Prober, TraceContext};
use tokio_util::sync::CancellationToken;

const REGIONS: u32 = 100;
const THREADS: u32 = 2;
const SECONDS: u64 = 5;

/// Reports that a gateway hands in at a time.
const AT_ONCE: u32 = 10;

/// Regions that answer after two milliseconds.
struct Answers(Arc<AtomicU64>);

impl Prober for Answers {
    async fn probe(&self, _: &HealthCheck, _: Option<TraceContext>) -> Probed {
        const TOOK: Duration = Duration::from_millis(2);
        tokio::time::sleep(TOOK).await;
        self.0.fetch_add(1, Ordering::Relaxed);
        Probed { outcome: ProbeOutcome::Well(TOOK), load: None, connection: None }
    }
}

fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        // `cargo test` only looks whether it compiles.
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let publisher = Arc::new(Publisher::new(Clocks::default()));
    let config = Config::default().after((0..REGIONS).map(region)).expect("a configuration");
    let snapshot = Snapshot { revision: Revision::new(1), config: config.into() };
    publisher.publish(snapshot, StoreState::Current);
    let log = EmbeddedStore::in_memory().expect("a log");
    let health = Arc::new(RegionHealth::new(publisher, log, Clocks::default(), &[], 7));
    let probes = Arc::new(AtomicU64::new(0));
    let stop = CancellationToken::new();
    let prober = Answers(Arc::clone(&probes));
    let driver = runtime.spawn({
        let (health, stop) = (Arc::clone(&health), stop.clone());
        async move { HealthDriver::resume(health, prober, Tracer::OFF).await.run(stop).await }
    });
    thread::sleep(Duration::from_secs(3));

    for rate in [Some(200_000), None] {
        let probed = probes.load(Ordering::Relaxed);
        let (accepted, dropped) = hand_in(&health, rate);
        let asked =
            rate.map_or_else(|| "as many as can be".to_owned(), |rate: u32| rate.to_string());
        println!("asked for {asked} a second:");
        println!("  accepted a second: {}", accepted / SECONDS);
        println!("  dropped a second: {}", dropped / SECONDS);
        let probed = probes.load(Ordering::Relaxed) - probed;
        println!("  probes a second: {}", probed / SECONDS);
        let regions = health.regions();
        let healthy = regions.iter().filter(|status| status.watched.health == Health::Healthy);
        println!("  healthy regions: {} of {REGIONS}", healthy.count());
    }
    stop.cancel();
    runtime.block_on(driver).expect("the driver");
}

/// Hands in reports from two threads, so many a second together; returns how many were accepted and
/// dropped.
fn hand_in(health: &Arc<RegionHealth<EmbeddedStore, Clocks>>, rate: Option<u32>) -> (u64, u64) {
    let began = Instant::now();
    let threads = (0..THREADS).map(|thread| {
        let health = Arc::clone(health);
        thread::spawn(move || {
            let regions: Vec<RegionId> = (0..REGIONS).map(id).collect();
            let (mut number, mut accepted, mut dropped) = (thread, 0, 0);
            while began.elapsed() < Duration::from_secs(SECONDS) {
                let due = rate.map(|rate| f64::from(rate) * began.elapsed().as_secs_f64());
                if due.is_some_and(|due| f64::from(number) >= due) {
                    thread::sleep(Duration::from_micros(200));
                    continue;
                }
                let reported = health.report((0..AT_ONCE).map(|_| {
                    number = number.wrapping_add(THREADS);
                    report(&regions[(number % REGIONS) as usize], number)
                }));
                assert_eq!(reported.unknown, []);
                accepted += reported.accepted as u64;
                dropped += reported.dropped;
            }
            (accepted, dropped)
        })
    });
    let threads: Vec<_> = threads.collect();
    let counted = threads.into_iter().map(|thread| thread.join().expect("a thread"));
    counted.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1))
}

fn id(number: u32) -> RegionId {
    format!("r{number}").parse().expect("a region's id")
}

fn region(number: u32) -> Change {
    let mut region = Region::new(id(number), GeoPoint::new(1.0, 2.0).expect("a point"));
    let url = format!("http://r{number}.example.com/").parse().expect("a URL");
    region.check = Some(HealthCheck::of(ProbeTarget::new(url).expect("a target")));
    region.into()
}

/// Returns what one of many clients has come across; one in a hundred was not served.
fn report(region: &RegionId, number: u32) -> Outcome {
    Outcome {
        region: region.clone(),
        is_well: Some(!number.is_multiple_of(101)),
        client: Some(IpAddr::V4(Ipv4Addr::from_bits(number << 8))),
        rtt: Some(Duration::from_millis(20)),
        load: None,
    }
}
