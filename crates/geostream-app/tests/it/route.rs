//! What a router makes of a query.

use std::sync::Arc;

use geostream_app::{Claim, LocationSource, Publisher, RouteError, RouteQuery, Router, StoreState};
use geostream_domain::{
    Change, Flag, Health, Load, Observation, Observations, Reason, Revision, Setting, Snapshot,
    Timestamp,
};

use crate::world::{Berlin, SetClock, config, point, region as region_of};

fn router(changes: impl IntoIterator<Item = Change>) -> Router<Berlin> {
    let publisher = Publisher::new(SetClock::default());
    let config = Arc::new(config().after(changes).unwrap());
    let snapshot = Snapshot { revision: Revision::new(1), config };
    publisher.publish(snapshot, StoreState::Current);
    Router::new(&publisher, Arc::new(Berlin))
}

fn region(router: &Router<Berlin>, query: &RouteQuery<'_>) -> (String, Reason, LocationSource) {
    let view = router.view();
    let routed = view.route(query).unwrap();
    let region = routed.table.region(routed.decision.region).id.to_string();
    (region, routed.decision.reason, routed.source)
}

#[test]
fn a_client_is_placed_by_its_address_or_by_the_caller() {
    let router = router([]);
    let address = Some("192.0.2.7".parse().unwrap());
    let by_address = RouteQuery { address, ..RouteQuery::default() };
    let lowest = Reason::LowestLatency;
    assert_eq!(region(&router, &by_address), ("eu".into(), lowest, LocationSource::GeoIp));
    let claim = Some(Claim { point: point(40.7, -74.0), country: None });
    let by_caller = RouteQuery { claim, ..by_address };
    assert_eq!(region(&router, &by_caller), ("us".into(), lowest, LocationSource::Caller));
    let view = router.view();
    let country = view.route(&by_caller).unwrap().client.location.country;
    assert_eq!(country.map(|c| c.to_string()).as_deref(), Some("DE"), "the address's still");
}

#[test]
fn a_client_without_a_location_gets_an_answer() {
    let router = router([]);
    for address in [None, Some("10.0.0.1".parse().unwrap())] {
        let (_, reason, source) = region(&router, &RouteQuery { address, ..<_>::default() });
        assert_eq!((reason, source), (Reason::Priority, LocationSource::None));
    }
}

#[test]
fn what_cannot_be_answered_is_said() {
    let unready = Router::new(&Publisher::new(SetClock::default()), Arc::new(Berlin));
    let error = unready.view().route(&RouteQuery::default()).unwrap_err();
    assert_eq!(error, RouteError::NotReady);

    let router = router([
        Change::SetFlag(Flag::CallerLocation, false),
        Change::SetSetting(Setting::DefaultService(None)),
    ]);
    let error = router.view().route(&RouteQuery::default()).unwrap_err();
    assert_eq!(error, RouteError::NoDefaultService);
    let unknown = RouteQuery { service: Some("web"), ..<_>::default() };
    let error = router.view().route(&unknown).unwrap_err();
    assert_eq!(error, RouteError::UnknownService("web".to_owned()));
    let claim = Some(Claim { point: point(0.0, 0.0), country: None });
    let claimed = RouteQuery { service: Some("api"), claim, ..<_>::default() };
    assert_eq!(router.view().route(&claimed).unwrap_err(), RouteError::ClaimRefused);
}

#[test]
fn a_table_for_another_load_costs_no_look_up_of_counters() {
    let publisher = Publisher::new(SetClock::default());
    let publish = |revision, changes: Vec<Change>| {
        let config = Arc::new(config().after(changes).unwrap());
        let snapshot = Snapshot { revision: Revision::new(revision), config };
        publisher.publish(snapshot, StoreState::Current);
    };
    publish(1, Vec::new());
    let router = Router::new(&publisher, Arc::new(Berlin));
    let claim = Some(Claim { point: point(50.0, 8.0), country: None });
    let query = RouteQuery { claim, ..RouteQuery::default() };
    let allocations = || {
        let decide = || assert!(router.view().route(&query).is_ok());
        allocation_counter::measure(decide).count_total
    };
    assert!(allocations() > 0, "the counters are looked up");
    for units in [10.0, 20.0] {
        let load = Load::new(units).ok();
        let seen = Observation { load, ..Observation::of(Health::Healthy, Timestamp::EPOCH) };
        let mut observed = Observations::default();
        observed.note("eu".parse().unwrap(), seen);
        publisher.observe(observed);
        assert_eq!(router.view().table().regions()[0].observed, Some(seen));
        assert_eq!(allocations(), 0, "at a load of {units}");
    }
    publish(2, vec![region_of("ap", 35.7, 139.7)]);
    assert!(allocations() > 0, "other names have other counters");
}

#[test]
fn a_view_decides_by_one_table() {
    let publisher = Publisher::new(SetClock::default());
    let config = Arc::new(config());
    let publish = |revision| {
        let snapshot = Snapshot { revision: Revision::new(revision), config: Arc::clone(&config) };
        publisher.publish(snapshot, StoreState::Current);
    };
    publish(1);
    let router = Router::new(&publisher, Arc::new(Berlin));
    let view = router.view();
    publish(2);
    assert_eq!(view.table().revision(), Revision::new(1));
    assert_eq!(router.view().table().revision(), Revision::new(2));
}
