//! Properties of decisions.

use std::collections::BTreeMap;

use geostream_domain::{
    AllDown, AlternativeCount, Change, Client, ClientSelector, Continent, Fate, FenceRule,
    GeoPoint, Geofence, Labels, Location, Member, Objective, Observations, OverrideAction, Reason,
    Region, RoutingTable, Setting, Timestamp, Weight,
};
use proptest::prelude::*;

use crate::world::{Place, World, client, served_by, service, world};

proptest! {
    #[test]
    fn ranks_are_a_total_order_and_decide(world in world(120), client in client()) {
        let table = world.table();
        let explained = table.explain(service(&table), &client);
        let ranked: Vec<_> = explained.regions.iter().filter_map(|r| r.rank).collect();
        prop_assert!(ranked.is_sorted_by(|a, b| a < b), "ranks differ and are in order");
        prop_assert_eq!(explained.regions.len(), world.places.len(), "every region has its fate");
        // Whatever way the search took, the answer is the best of those that may be chosen.
        let Ok(decision) = explained.outcome else { return Ok(()) };
        if !matches!(decision.reason, Reason::FailOpen | Reason::LastGood | Reason::Static) {
            let others = explained.regions.iter().filter(|r| {
                matches!(r.fate, Fate::Outranked | Fate::Spilled)
            });
            let expected: Vec<_> = others.map(|r| r.region).take(3).collect();
            // Where nobody takes others' clients, they are those who would be spared them.
            if !expected.is_empty() {
                let answered: Vec<_> = decision.alternatives.iter().map(|a| a.region).collect();
                prop_assert_eq!(answered, expected);
            }
            let mut undrained = explained.regions.iter().filter(|r| r.fate != Fate::Drained);
            let over_better = undrained.next().unwrap().fate;
            let expected: &[Fate] = if decision.reason == Reason::Failover {
                &[Fate::Unhealthy]
            } else if decision.reason == Reason::Overflow {
                &[Fate::Full, Fate::Spilled]
            } else {
                &[Fate::Chosen]
            };
            prop_assert!(expected.contains(&over_better), "{over_better:?}: {:?}", decision.reason);
        }
    }

    #[test]
    fn an_unconfirmed_region_is_marked_and_decided_on_like_any_other(
        world in world(40), client in client(),
    ) {
        let mut doubtful = world.clone();
        for place in &mut doubtful.places {
            if let Some(seen) = &mut place.observation {
                seen.is_unconfirmed = true;
            }
        }
        let table = world.table();
        let marked = doubtful.table();
        prop_assert_eq!(service(&table).route(&client), service(&marked).route(&client));
        prop_assert!(table.regions().iter().all(|entry| !entry.is_unconfirmed));
        for entry in marked.regions() {
            let place = doubtful.place(&entry.region.id);
            let is_forced_up = place.overridden == Some(OverrideAction::Up);
            let expected = place.observation.is_some() && !is_forced_up;
            prop_assert_eq!(entry.is_unconfirmed, expected);
        }
    }

    #[test]
    fn every_region_is_found_by_its_id_and_no_other_is(world in world(40)) {
        let table = world.table();
        for (place, entry) in table.regions().iter().enumerate() {
            let id = &entry.region.id;
            prop_assert_eq!(table.index_of(id).map(|index| index.get()), Some(place));
            prop_assert_eq!(&table.entry(id).unwrap().region.id, id);
            let other = format!("{id}-x").parse().unwrap();
            prop_assert!(table.entry(&other).is_none());
        }
    }

    #[test]
    fn the_answer_does_not_depend_on_the_order_of_regions(
        world in world(40), client in client(), seed in any::<u64>(),
    ) {
        let mut shuffled = world.clone();
        shuffled.places.sort_by_key(|place| {
            place.region.id.as_str().bytes().fold(seed, |h, b| h.wrapping_mul(31) ^ u64::from(b))
        });
        prop_assert_eq!(served_by(&world.table(), &client), served_by(&shuffled.table(), &client));
    }

    #[test]
    fn a_fenced_or_drained_region_is_never_answered(world in world(12), client in client()) {
        let table = world.table();
        let explained = table.explain(service(&table), &client);
        let Ok(decision) = explained.outcome else { return Ok(()) };
        let answered = std::iter::once(decision.region)
            .chain(decision.alternatives.iter().map(|a| a.region));
        for index in answered {
            let region = table.region(index);
            prop_assert_ne!(world.place(&region.id).overridden, Some(OverrideAction::Drain));
            // As it would be explained if it were not the answer.
            let fenced = explained.regions.iter().any(|r| {
                r.region == index && matches!(r.fate, Fate::Fenced { .. })
            });
            prop_assert!(!fenced);
            let residency = region.labels.iter().next().map(|(_, value)| value.as_str());
            let europeans_stay = world.geofence.rules().iter().any(|rule| !rule.allow.is_empty());
            let in_europe = client.location.continent.is_some_and(|c| c.code() == "EU");
            if europeans_stay && in_europe {
                prop_assert_eq!(residency, Some("eu"));
            }
        }
    }

    #[test]
    fn a_new_region_moves_only_clients_that_it_serves(world in world(40), client in client()) {
        // Where clients are displaced, one more region changes what each of the others takes.
        let world = world.without_demand();
        prop_assume!(world.places.len() > 1);
        let mut before = world.clone();
        let added = before.places.pop().unwrap();
        before.all_down = AllDown::FailOpen;
        let after = World { all_down: AllDown::FailOpen, ..world };
        // One table where some are able and one where all are down rank different regions.
        let (old, new) = (before.table(), after.table());
        let is_fallback = |table: &RoutingTable| {
            service(table).route(&client).is_ok_and(|d| d.reason == Reason::FailOpen)
        };
        prop_assume!(is_fallback(&old) == is_fallback(&new));
        let (old, new) = (served_by(&old, &client), served_by(&new, &client));
        if new.as_ref() != Some(&added.region.id) {
            prop_assert_eq!(old, new, "it is read the other way for a region that goes");
        }
    }

    #[test]
    fn any_number_of_alternatives_is_a_prefix_of_the_longest(
        world in world(40), client in client(), count in 0_u8..=8,
    ) {
        let answered = |count| {
            let setting = Setting::Alternatives(AlternativeCount::new(count).unwrap());
            let config = world.config().after([Change::SetSetting(setting)]).unwrap();
            let observed = Observations::default();
            let table = RoutingTable::compile(config.into(), &observed, Timestamp::EPOCH, None);
            let decision = service(&table).route(&client).ok()?;
            Some((decision.region, decision.alternatives.to_vec()))
        };
        let (few, many) = (answered(count), answered(8));
        prop_assert_eq!(few.as_ref().map(|f| f.0), many.as_ref().map(|m| m.0));
        if let (Some((_, few)), Some((_, many))) = (few, many) {
            prop_assert!(few.len() <= usize::from(count));
            prop_assert!(many.starts_with(&few));
        }
    }
}

fn equal_regions(count: usize, weights: &[u32], objective: Objective) -> World {
    let place = |number: usize| {
        let id = format!("equal-{number}").parse().unwrap();
        let weight = Weight::new(weights[number % weights.len()]).unwrap();
        Place {
            region: Region::new(id, GeoPoint::new(50.0, 8.0).unwrap()),
            member: Member { weight, ..Member::default() },
            observation: None,
            overridden: None,
        }
    };
    World {
        places: (0..count).map(place).collect(),
        objective,
        geofence: Geofence::default(),
        all_down: AllDown::FailOpen,
    }
}

/// Regions spread over the Earth along a spiral.
pub(crate) fn scattered(count: usize) -> Vec<Place> {
    let mut places = equal_regions(count, &[1], Objective::default()).places;
    for (number, place) in (0_u32..).zip(&mut places) {
        let share = f64::from(number) / f64::from(u32::try_from(count).unwrap());
        let longitude = (f64::from(number) * 137.5).rem_euclid(360.0) - 180.0;
        place.region.point = GeoPoint::new(share * 170.0 - 85.0, longitude).unwrap();
    }
    places
}

/// Counts the clients of each region over 40,000 neighbouring /24 networks.
fn shares(table: &RoutingTable) -> BTreeMap<String, u32> {
    let berlin = Location::at(GeoPoint::new(52.5, 13.4).unwrap());
    let mut shares = BTreeMap::new();
    for network in 0..40_000_u32 {
        let client =
            Client::new(std::net::Ipv4Addr::from((11 << 24) + network * 256).into(), berlin);
        let region = served_by(table, &client).unwrap();
        *shares.entry(region.as_str().to_owned()).or_default() += 1;
    }
    shares
}

#[test]
fn equal_regions_share_clients_equally() {
    for objective in [Objective::default(), Objective::Weighted] {
        let shares = shares(&equal_regions(4, &[1], objective).table());
        for (region, share) in shares {
            assert!((9_500..=10_500).contains(&share), "{objective:?}: {region} serves {share}");
        }
    }
}

#[test]
fn weights_are_shares() {
    let shares = shares(&equal_regions(2, &[9, 1], Objective::Weighted).table());
    let canary = shares["equal-1"];
    assert!((3_800..=4_200).contains(&canary), "a tenth of 40,000 and not {canary}");
}

#[test]
fn weight_zero_serves_only_when_nobody_else_can() {
    let mut world = equal_regions(2, &[1, 0], Objective::Weighted);
    assert_eq!(shares(&world.table()).keys().collect::<Vec<_>>(), ["equal-0"]);
    world.places[0].overridden = Some(OverrideAction::Down);
    assert_eq!(shares(&world.table()).keys().collect::<Vec<_>>(), ["equal-1"]);
}

#[test]
fn what_was_good_last_is_known_behind_each_fence() {
    let mut world = equal_regions(3, &[1], Objective::default());
    world.all_down = AllDown::LastGood;
    world.geofence = Geofence::new(vec![FenceRule {
        clients: ClientSelector { continents: vec![Continent::Europe], ..<_>::default() },
        allow: vec!["residency=eu".parse().unwrap()],
        deny: Vec::new(),
    }])
    .unwrap();
    for place in &mut world.places[..2] {
        let residency = BTreeMap::from([("residency".parse().unwrap(), "eu".parse().unwrap())]);
        place.region.labels = Labels::new(residency).unwrap();
        place.region.point = GeoPoint::new(52.0, 13.0).unwrap();
    }
    // The nearer of the two that Europeans may have is down from the start.
    world.places[1].region.point = GeoPoint::new(40.0, -3.0).unwrap();
    world.places[0].overridden = Some(OverrideAction::Down);
    let before = world.table();
    world.places[1].overridden = Some(OverrideAction::Down);
    let observed = Observations::default();
    let after =
        RoutingTable::compile(world.config().into(), &observed, Timestamp::EPOCH, Some(&before));
    let berlin = Location::at(GeoPoint::new(52.5, 13.4).unwrap());
    let client = |country: &str| {
        let location = berlin.in_country(country.parse().unwrap());
        Client::new(std::net::Ipv4Addr::LOCALHOST.into(), location)
    };
    for (country, region, reason) in
        [("DE", "equal-1", Reason::LastGood), ("US", "equal-2", Reason::Failover)]
    {
        let decision = service(&after).route(&client(country)).unwrap();
        assert_eq!(after.region(decision.region).id.as_str(), region);
        assert_eq!(decision.reason, reason);
    }
}
