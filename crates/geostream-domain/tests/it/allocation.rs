//! What a decision costs in memory: nothing.

use geostream_domain::{AllDown, Client, GeoPoint, Geofence, Location, Objective};

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
                assert_eq!(cost.count_total, 0, "{count} regions");
            }
        }
    }
}
