//! How long a decision may be kept.

use std::time::Duration;

use geostream_domain::{
    CheckTiming, Client, Config, GeoPoint, Health, HealthCheck, LONGEST_TTL, Observation,
    Observations, Override, OverrideAction, ProbeTarget, Region, Removal, RoutingTable, Service,
    Share, Timestamp,
};

const NOW: Timestamp = Timestamp::from_unix_millis(1_000_000);

/// Two regions: `checked` is probed each 5 s and removed after three failures, `other` is not probed.
fn ttl(observed: Observation, override_: Option<(OverrideAction, Option<Duration>)>) -> Duration {
    let region = |id: &str| Region::new(id.parse().unwrap(), GeoPoint::new(1.0, 2.0).unwrap());
    let (mut checked, other) = (region("checked"), region("other"));
    let url = "http://checked.example.com/".parse().unwrap();
    let mut check = HealthCheck::of(ProbeTarget::new(url).unwrap());
    let [interval, timeout] = [5, 1].map(Duration::from_secs);
    check.timing = CheckTiming::new(interval, timeout, 3, 1, Duration::ZERO).unwrap();
    checked.check = Some(check);
    let id = checked.id.clone();
    let service = Service::new("api".parse().unwrap(), [id.clone(), other.id.clone()]);
    let mut changes = vec![checked.into(), other.into(), service.into()];
    if let Some((action, lasts)) = override_ {
        changes.push(geostream_domain::Change::SetOverride(Override {
            region: id.clone(),
            action,
            owner: "ops".parse().unwrap(),
            reason: "test".parse().unwrap(),
            since: NOW,
            expires: lasts.map(|lasts| NOW.after(lasts)),
        }));
    }
    let config = Config::default().after(changes).unwrap();
    let mut observations = Observations::default();
    observations.note(id, observed);
    let table = RoutingTable::compile(config.into(), &observations, NOW, None);
    let service = table.service("api").unwrap();
    let decision = service.route(&Client::at(GeoPoint::new(0.0, 0.0).unwrap())).unwrap();
    assert_eq!(decision.ttl, service.ttl());
    decision.ttl
}

#[test]
fn a_decision_is_kept_for_as_long_as_no_regular_probe_can_change_a_members_health() {
    let [probe, fall] = [5, 15].map(Duration::from_secs);
    let healthy = Observation::of(Health::Healthy, NOW);
    let half = Share::new(0.5);
    let removed =
        Observation { removal: Removal::Proven, ..Observation::of(Health::Unhealthy, NOW) };
    for (what, observation, expected) in [
        ("healthy: three failures remove it", healthy, fall),
        ("not probed yet", Observation::of(Health::Unknown, NOW), probe),
        ("removed: one success brings it back", removed, probe),
        ("comes back", Observation { share: half, ..healthy }, probe),
        (
            "fails, and nothing corroborates it",
            Observation { is_unconfirmed: true, ..healthy },
            probe,
        ),
    ] {
        assert_eq!(ttl(observation, None), expected, "{what}");
    }
}

#[test]
fn an_override_is_kept_to_its_end_whatever_probes_find() {
    let failing = Observation::of(Health::Unhealthy, NOW);
    for (lasts, expected) in [
        (None, LONGEST_TTL),
        (Some(Duration::from_secs(3_600)), LONGEST_TTL),
        (Some(Duration::from_secs(7)), Duration::from_secs(7)),
    ] {
        for action in [OverrideAction::Drain, OverrideAction::Up, OverrideAction::Down] {
            assert_eq!(ttl(failing, Some((action, lasts))), expected, "{action:?} for {lasts:?}");
        }
    }
}
