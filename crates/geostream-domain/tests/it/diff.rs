//! The changes between two configurations.

use proptest::prelude::*;

use crate::world::world;

proptest! {
    #[test]
    fn the_changes_between_two_configurations_lead_from_one_to_the_other(
        old in world(20), new in world(20), swap in any::<bool>(),
    ) {
        let (mut old, new) = (old.config(), new.config());
        if swap {
            old = geostream_domain::Config::default();
        }
        let changes = old.changes_to(&new);
        prop_assert_eq!(&old.after(changes).unwrap(), &new);
        prop_assert_eq!(new.changes_to(&new), vec![]);
    }
}
