//! What a decision costs in memory: nothing.

use geostream_domain::{
    AllDown, Client, GeoPoint, Geofence, Health, Location, Objective, Observation, Removal,
    Timestamp,
};

use crate::world::{World, service};

#[test]
fn a_decision_allocates_nothing() {
    for count in [1, 30, 3_000] {
        for all_down in [AllDown::FailOpen, AllDown::LastGood] {
            let world = World {
                places: crate::decisions::scattered(count),
                objective: Objective::default(),
                geofence: Geofence::default(),
                all_down,
            };
            measure(&world);
        }
    }
}

#[test]
fn a_decision_allocates_nothing_where_all_but_a_held_region_are_dead() {
    for count in [1, 30, 3_000] {
        let mut world = World {
            places: crate::decisions::scattered(count),
            objective: Objective::default(),
            geofence: Geofence::default(),
            all_down: AllDown::FailOpen,
        };
        for (number, place) in world.places.iter_mut().enumerate() {
            let removal = if number == 0 { Removal::Held } else { Removal::Proven };
            let seen = Observation::of(Health::Unhealthy, Timestamp::EPOCH);
            place.observation = Some(Observation { removal, ..seen });
        }
        measure(&world);
    }
}

#[track_caller]
fn measure(world: &World) {
    let table = world.table();
    let service = service(&table);
    let clients = [
        Client::at(GeoPoint::new(48.9, 2.4).unwrap()),
        Client::new("192.0.2.1".parse().unwrap(), Location::UNKNOWN),
    ];
    for client in clients {
        let cost = allocation_counter::measure(|| {
            std::hint::black_box(service.route(&client)).expect("a region");
        });
        assert_eq!(cost.count_total, 0, "{} regions", world.places.len());
    }
}
