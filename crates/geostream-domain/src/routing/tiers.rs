//! In which order the regions of a service take displaced clients.

use crate::hash::ClientKey;
use crate::routing::candidate::Eligibility;
use crate::routing::index::RegionIndex;
use crate::routing::spill::{Room, Spill};

/// Divides displaced clients among the eligibilities that may take them, best first.
///
/// Each eligibility takes what those before it have no room for, so a region that the removal budget
/// retains has no client while an eligible one has room. A client's number decides which eligibility
/// it falls to, and within that eligibility which region of its own order.
#[derive(Clone, Debug)]
pub(crate) struct Tiers {
    tiers: [Tier; Eligibility::TAKING.len()],
}

#[derive(Clone, Debug)]
struct Tier {
    spill: Spill,
    /// The number below which clients fall to this tier or to one before.
    until: f64,
}

impl Tiers {
    pub(crate) fn new(rooms: &(impl Iterator<Item = Room> + Clone), regions: usize) -> Self {
        let displaced: f64 = rooms.clone().map(|room| room.displaced).sum();
        let assumed: f64 = rooms.clone().map(|room| room.assumed).sum();
        // The share of the displaced load that no tier has taken yet.
        let mut left = if displaced > 0.0 { 1.0 } else { 0.0 };
        let mut tiers = Eligibility::TAKING.map(|eligibility| {
            let of_tier = rooms.clone().map(|room| Room {
                displaced: if left > 0.0 { room.displaced * left } else { 0.0 },
                spare: if room.eligibility == eligibility { room.spare } else { Some(0.0) },
                ..room
            });
            let spare: f64 = of_tier.clone().map(|room| room.spare.unwrap_or(f64::INFINITY)).sum();
            let spill = Spill::new(of_tier, regions);
            // A load of which nothing can be assumed is not known to be too much for the first
            // regions with room.
            let takes = match spare {
                0.0 => 0.0,
                _ if assumed <= 0.0 || spare.is_infinite() => left,
                _ => (spare / assumed).min(left),
            };
            left -= takes;
            Tier { spill, until: 1.0 - left }
        });
        // Where there is too little room, all of it is given away.
        let placed = 1.0 - left;
        for tier in &mut tiers {
            tier.until = if placed > 0.0 { tier.until / placed } else { 1.0 };
        }
        Self { tiers }
    }

    /// Returns the eligibility that a displaced client falls to, as a place in [`Eligibility::TAKING`].
    pub(crate) fn fallen_to(&self, client: ClientKey) -> usize {
        let number = Spill::number(client);
        self.tiers.iter().position(|tier| number < tier.until).unwrap_or_default()
    }

    /// Tells whether the regions at this place of [`Eligibility::TAKING`] have limited room.
    pub(crate) fn is_limited(&self, place: usize) -> bool {
        self.tiers[place].spill.is_limited()
    }

    /// Returns which of these regions, in the client's order, takes it, where it falls to this
    /// place of [`Eligibility::TAKING`].
    pub(crate) fn region(
        &self,
        place: usize,
        order: impl Iterator<Item = RegionIndex> + Clone,
        client: ClientKey,
    ) -> usize {
        let number = Spill::number(client);
        let begins = place.checked_sub(1).map_or(0.0, |before| self.tiers[before].until);
        let until = self.tiers[place].until;
        // A client of another tier, whose regions it may not have, keeps its number.
        let within = if (begins..until).contains(&number) {
            (number - begins) / (until - begins)
        } else {
            number
        };
        self.tiers[place].spill.place(order, within)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::iter::once;

    /// Counts where 10,000 clients go whose order is that of these regions: an eligibility, the room,
    /// and what is displaced.
    fn counts(regions: &[(Eligibility, Option<f64>, f64)]) -> BTreeMap<Option<usize>, u32> {
        let rooms =
            regions.iter().enumerate().map(|(index, &(eligibility, spare, displaced))| Room {
                region: RegionIndex::new(index),
                eligibility,
                displaced,
                assumed: if displaced.is_finite() { displaced } else { 0.0 },
                spare,
                is_settled: true,
            });
        let tiers = Tiers::new(&rooms, regions.len());
        let mut counts = BTreeMap::new();
        for number in 0..10_000_u32 {
            let client = ClientKey::of_bytes(&number.to_le_bytes());
            let place = tiers.fallen_to(client);
            let of_tier = |room: &Room| room.eligibility == Eligibility::TAKING[place];
            let order: Vec<_> = rooms.clone().filter(of_tier).map(|room| room.region).collect();
            let taken = tiers.region(place, order.iter().copied(), client);
            *counts.entry(order.get(taken).map(|index| index.get())).or_default() += 1;
        }
        counts
    }

    #[test]
    fn a_tier_takes_what_those_before_it_have_no_room_for() {
        use Eligibility::{Able, Held, Retained, Unhealthy};
        let dead = (Unhealthy, Some(0.0), 100.0);
        let regions = [dead, (Retained, Some(50.0), 0.0), (Held, Some(30.0), 0.0)];
        for (able, expected) in [(100.0, [0, 0, 100]), (60.0, [10, 30, 60]), (0.0, [50, 30, 0])] {
            let regions: Vec<_> =
                regions.into_iter().chain(once((Able, Some(able), 0.0))).collect();
            let counts = counts(&regions);
            let all: i32 = expected.iter().sum();
            for (index, expected) in (1..).zip(expected) {
                let share = f64::from(counts.get(&Some(index)).copied().unwrap_or_default()) / 1e4;
                let expected = f64::from(expected) / f64::from(all);
                assert!((share - expected).abs() < 0.02, "{able}: {counts:?}");
            }
        }
    }

    #[test]
    fn an_unknown_load_goes_to_the_first_tier_with_room() {
        use Eligibility::{Able, Held, Retained, Unhealthy};
        let dead = (Unhealthy, Some(0.0), f64::INFINITY);
        let retained = (Retained, Some(50.0), 0.0);
        let regions = [dead, retained, (Able, Some(10.0), 0.0), (Able, Some(30.0), 0.0)];
        let able = counts(&regions);
        assert_eq!(able.keys().copied().collect::<Vec<_>>(), [Some(2), Some(3)]);
        assert!((2_400..2_600).contains(&able[&Some(2)]), "by spare capacity: {able:?}");
        let held = counts(&[dead, retained, (Held, Some(10.0), 0.0)]);
        assert_eq!(held.keys().copied().collect::<Vec<_>>(), [Some(2)]);
    }

    #[test]
    fn unlimited_room_leaves_nothing_to_the_tiers_behind() {
        use Eligibility::{Able, Retained, Unhealthy};
        let regions = [
            (Unhealthy, Some(0.0), 100.0),
            (Retained, None, 0.0),
            (Able, Some(10.0), 0.0),
            (Able, None, 0.0),
        ];
        let counts = counts(&regions);
        assert_eq!(counts.keys().copied().collect::<Vec<_>>(), [Some(2), Some(3)]);
    }
}
