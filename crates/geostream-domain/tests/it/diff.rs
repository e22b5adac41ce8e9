//! The changes between two configurations.

use std::net::SocketAddr;

use geostream_domain::{Change, Config, ReachabilityTargets, RequestLimit, Setting};
use proptest::option;
use proptest::prelude::*;

use crate::world::world;

proptest! {
    #[test]
    fn the_changes_between_two_configurations_lead_from_one_to_the_other(
        old in world(20), new in world(20),
        old_settings in settings(), new_settings in settings(),
        swap in any::<bool>(),
    ) {
        let mut old = old.config().after(old_settings).unwrap();
        let new = new.config().after(new_settings).unwrap();
        if swap {
            old = Config::default();
        }
        let changes = old.changes_to(&new);
        prop_assert_eq!(&old.after(changes).unwrap(), &new);
        prop_assert_eq!(new.changes_to(&new), vec![]);
    }
}

/// Settings that hold for all nodes, each of which may be left to the nodes.
fn settings() -> impl Strategy<Value = Vec<Change>> {
    let limit = || option::of((0_u64..4).prop_map(|number| RequestLimit::new(number).unwrap()));
    let ports = prop::collection::btree_set(1_u16..6, 0..4);
    let targets = option::of(ports.prop_map(|ports| {
        let addresses = ports.into_iter().map(|port| SocketAddr::from(([192, 0, 2, 1], port)));
        ReachabilityTargets::new(addresses).unwrap()
    }));
    (limit(), limit(), targets).prop_map(|(client, token, targets)| {
        let settings = [
            Setting::RequestsPerSecond(client),
            Setting::RequestsPerSecondPerToken(token),
            Setting::ReachabilityTargets(targets),
        ];
        settings.map(Change::SetSetting).to_vec()
    })
}
