//! What every [`HealthLog`] promises.

use std::time::Duration;

use geostream_domain::{Health, Timestamp};

use super::id;
use crate::{CHANGES_PER_REGION, HealthLog, HealthRecord};

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
