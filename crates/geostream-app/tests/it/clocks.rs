//! The store's time, by which overrides are judged.

use std::sync::Arc;
use std::time::Duration;

use geostream_app::{Clocks, Publisher, StoreState};
use geostream_domain::{
    Change, ClockReading, Config, Override, OverrideAction, Revision, Skew, Snapshot, Timestamp,
};
use geostream_ports::{Clock as _, SystemClock};
use tokio::sync::watch;

use crate::world::{line, two_regions};

const HALF_AN_HOUR: Duration = Duration::from_secs(1800);
const HOUR: i64 = 3_600_000;

/// A reading of a store's clock that is right while this node's is ahead by so many milliseconds.
fn reading(ahead: i64) -> ClockReading {
    let wall = SystemClock.wall();
    let told = Skew::from_millis(ahead).correct(wall);
    ClockReading::new(SystemClock.now(), wall, Duration::ZERO, told)
}

/// A configuration in which `eu` is drained for half an hour from this moment of the store's on.
fn drained_at(now: Timestamp) -> Snapshot {
    let drain = Change::SetOverride(Override {
        region: "eu".parse().expect("a name"),
        action: OverrideAction::Drain,
        owner: line("ops"),
        reason: line("work"),
        since: now,
        expires: Some(now.after(HALF_AN_HOUR)),
    });
    let config = Config::default().after(two_regions().into_iter().chain([drain]));
    Snapshot { revision: Revision::new(1), config: Arc::new(config.expect("valid")) }
}

fn is_drained(publisher: &Publisher<Clocks>) -> bool {
    // What has ended is no part of the table, so it ends no more.
    publisher.expires().is_some()
}

#[tokio::test]
async fn an_override_is_judged_by_the_time_that_the_store_told_last() {
    for ahead in [2 * HOUR, -24 * HOUR] {
        let (told, readings) = watch::channel(None);
        let clocks = Clocks::following(readings);
        assert_eq!(clocks.skews().store, None);
        told.send_replace(Some(reading(ahead)));
        let publisher = Publisher::new(clocks.clone());
        let store_time = Skew::from_millis(ahead).correct(SystemClock.wall());
        publisher.publish(drained_at(store_time), StoreState::Current);
        assert!(is_drained(&publisher), "{ahead}");
        let late = store_time.before(Duration::from_secs(1801));
        let over = Snapshot { revision: Revision::new(2), ..drained_at(late) };
        publisher.publish(over, StoreState::Current);
        assert!(!is_drained(&publisher), "{ahead}");
        let known = clocks.skews().store.expect("it was told");
        assert!((known.skew.millis() - ahead).abs() < 1000 && known.is_beyond, "{known:?}");
        drop(told);
        assert!(clocks.wall().since(store_time) < Duration::from_secs(60), "it goes on");
        assert!(clocks.own_wall() >= SystemClock.wall().before(Duration::from_secs(60)));
    }
}

#[tokio::test]
async fn a_step_of_the_stores_time_publishes_again() {
    let (told, readings) = watch::channel(Some(reading(0)));
    let clocks = Clocks::following(readings);
    let publisher = Arc::new(Publisher::new(clocks.clone()));
    let refreshing = tokio::spawn(clocks.refresh(Arc::clone(&publisher)));
    publisher.publish(drained_at(SystemClock.wall()), StoreState::Current);
    assert!(is_drained(&publisher));
    // The store's clock was set an hour ahead, so that the override is over.
    told.send_replace(Some(reading(-HOUR)));
    while is_drained(&publisher) {
        tokio::task::yield_now().await;
    }
    told.send_replace(Some(reading(0)));
    while !is_drained(&publisher) {
        tokio::task::yield_now().await;
    }
    refreshing.abort();
}
