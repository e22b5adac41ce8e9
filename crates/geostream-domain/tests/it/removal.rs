//! What becomes of the clients of regions that are removed, and how many may be.

use std::collections::BTreeMap;

use geostream_domain::{
    Capacity, Change, Client, Config, Fate, GeoPoint, Health, Load, Observation, Observations,
    Override, OverrideAction, Reason, Region, RegionId, Removal, RemovalBudget, RoutingTable,
    Service, Share, Timestamp,
};

use crate::world::line;

/// Regions in a row from west to east, each 10 degrees from the next, with what is seen of them.
struct Row {
    capacity: Option<u32>,
    budget: u8,
    /// The place of a region that an operator has drained.
    drained: Option<usize>,
    seen: Vec<Observation>,
}

impl Row {
    fn of(seen: Vec<Observation>) -> Self {
        Self { capacity: None, budget: 50, drained: None, seen }
    }

    fn table(&self) -> RoutingTable {
        let id = |number: usize| -> RegionId { format!("r{number}").parse().unwrap() };
        let mut observed = Observations::default();
        let mut changes = Vec::new();
        for (number, observation) in self.seen.iter().enumerate() {
            let longitude = f64::from(u32::try_from(number).unwrap()) * 10.0;
            let mut region = Region::new(id(number), GeoPoint::new(0.0, longitude).unwrap());
            region.capacity = self.capacity.map(|units| Capacity::new(units).unwrap());
            changes.push(Change::from(region));
            observed.note(id(number), *observation);
        }
        let mut service = Service::new("api".parse().unwrap(), (0..self.seen.len()).map(id));
        service.removal_budget = RemovalBudget::from_percent(self.budget).unwrap();
        changes.push(Change::from(service));
        changes.extend(self.drained.map(|number| {
            let (region, action) = (id(number), OverrideAction::Drain);
            let (owner, reason, since) = (line("ops"), line("test"), Timestamp::EPOCH);
            Change::SetOverride(Override { region, action, owner, reason, since, expires: None })
        }));
        let config = Config::default().after(changes).unwrap();
        RoutingTable::compile(config.into(), &observed, Timestamp::EPOCH, None)
    }

    /// Counts where 30,000 clients of the region at this place are sent, and by which reasons.
    fn clients_of(&self, place: usize) -> BTreeMap<(String, Reason), u32> {
        let table = self.table();
        let longitude = f64::from(u32::try_from(place).unwrap()) * 10.0;
        let home = geostream_domain::Location::at(GeoPoint::new(1.0, longitude).unwrap());
        let mut counts = BTreeMap::new();
        for network in 0..30_000_u32 {
            let address = std::net::Ipv4Addr::from((11 << 24) + network * 256);
            let client = Client::new(address.into(), home);
            let decision = table.service("api").unwrap().route(&client).unwrap();
            let region = table.region(decision.region).id.to_string();
            *counts.entry((region, decision.reason)).or_default() += 1;
        }
        counts
    }

    fn retained(&self) -> usize {
        self.table().service("api").unwrap().retained().len()
    }
}

fn seen(health: Health, load: f64, since: u64) -> Observation {
    let load = Load::new(load).ok();
    let since = Timestamp::from_unix_millis(since);
    Observation { load, demand: load, since, ..Observation::of(health, Timestamp::EPOCH) }
}

fn well() -> Observation {
    Observation::of(Health::Healthy, Timestamp::EPOCH)
}

fn dead(since: u64) -> Observation {
    let since = Timestamp::from_unix_millis(since);
    Observation { since, ..Observation::of(Health::Unhealthy, Timestamp::EPOCH) }
}

fn gone(removal: Removal, since: u64) -> Observation {
    Observation { removal, ..dead(since) }
}

#[test]
fn half_of_a_service_is_removed_without_proof_at_most() {
    for (regions, removed) in [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2)] {
        let row = Row::of((0..regions).map(dead).collect());
        let regions = usize::try_from(regions).unwrap();
        assert_eq!(row.retained(), regions - removed, "of {regions}");
    }
}

#[test]
fn whoever_failed_first_is_removed_first() {
    let row = Row::of(vec![dead(3), dead(1), dead(2), well()]);
    let row = Row { budget: 49, ..row };
    let table = row.table();
    let retained = table.service("api").unwrap().retained();
    let ids: Vec<_> = retained.iter().map(|&index| table.region(index).id.as_str()).collect();
    assert_eq!(ids, ["r0", "r2"]);
    for place in 0..3 {
        let answered: Vec<_> = row.clients_of(place).into_keys().collect();
        assert_eq!(answered, [("r3".into(), Reason::Failover)], "retained or not");
    }
}

#[test]
fn operators_may_allow_more() {
    let row = Row { budget: 100, ..Row::of(vec![dead(1), dead(2), well()]) };
    assert_eq!(row.retained(), 0);
    assert_eq!(row.clients_of(0).keys().next().unwrap().0, "r2");
}

#[test]
fn one_of_three_regions_lost_overloads_nobody() {
    // Each has room for 100 and a load of 60; the first one's clients prefer the second.
    let row = Row {
        capacity: Some(100),
        ..Row::of(vec![
            seen(Health::Unhealthy, 60.0, 1),
            seen(Health::Healthy, 60.0, 0),
            seen(Health::Healthy, 60.0, 0),
        ])
    };
    let counts = row.clients_of(0);
    let taken = |region: &str| {
        let clients = counts[&(region.to_owned(), Reason::Failover)];
        f64::from(clients) / 30_000.0 * 60.0
    };
    let (next, last) = (60.0 + taken("r1"), 60.0 + taken("r2"));
    assert!(next < 100.0 && last < 100.0, "{next} and {last} of 100");
    assert!(next > last, "and the nearer one has more: {next} and {last}");
}

#[test]
fn the_clients_of_a_dead_region_go_down_their_own_order() {
    // The second has room for a third of what the first had, the third for the rest.
    let row = Row {
        capacity: Some(90),
        ..Row::of(vec![
            seen(Health::Unhealthy, 60.0, 1),
            seen(Health::Healthy, 70.0, 0),
            seen(Health::Healthy, 30.0, 0),
            seen(Health::Healthy, 0.0, 0),
        ])
    };
    let counts = row.clients_of(0);
    let share = |region: &str| {
        let clients = counts.get(&(region.to_owned(), Reason::Failover)).copied();
        f64::from(clients.unwrap_or_default()) / 30_000.0
    };
    assert!((share("r1") - 15.5 / 60.0).abs() < 0.01, "up to 95 % of 90: {counts:?}");
    assert!((share("r2") - 44.5 / 60.0).abs() < 0.01, "room for the rest: {counts:?}");
    assert_eq!(share("r3"), 0.0, "so the farthest has none: {counts:?}");
}

#[test]
fn the_clients_of_a_drained_region_go_where_there_is_room_as_well() {
    let row = Row {
        capacity: Some(90),
        drained: Some(0),
        ..Row::of(vec![
            seen(Health::Healthy, 60.0, 0),
            seen(Health::Healthy, 70.0, 0),
            seen(Health::Healthy, 30.0, 0),
        ])
    };
    let counts = row.clients_of(0);
    let share = |region: &str, reason: Reason| {
        let clients = counts.get(&(region.to_owned(), reason)).copied();
        f64::from(clients.unwrap_or_default()) / 30_000.0
    };
    let (next, last) = (share("r1", Reason::LowestLatency), share("r2", Reason::Overflow));
    assert!((next - 15.5 / 60.0).abs() < 0.01, "up to 95 % of 90: {counts:?}");
    assert!((next + last - 1.0).abs() < 1e-9, "nothing has failed: {counts:?}");
    let others = row.clients_of(1);
    assert_eq!(others.keys().collect::<Vec<_>>(), [&("r1".to_owned(), Reason::LowestLatency)]);
}

#[test]
fn whoever_is_past_a_drained_region_and_a_dead_one_is_there_for_the_dead_one() {
    let row = Row { drained: Some(0), ..Row::of(vec![well(), dead(1), well(), well()]) };
    assert_eq!(
        row.clients_of(0).into_keys().collect::<Vec<_>>(),
        [("r2".into(), Reason::Failover)]
    );
    let row = Row { drained: Some(1), ..Row::of(vec![dead(1), well(), well(), well()]) };
    assert_eq!(
        row.clients_of(0).into_keys().collect::<Vec<_>>(),
        [("r2".into(), Reason::Failover)]
    );
    let own = row.clients_of(1).into_keys().next().unwrap();
    assert_eq!(own, ("r2".into(), Reason::LowestLatency), "the dead one is not theirs");
}

#[test]
fn only_who_is_sent_where_he_would_go_anyway_is_a_regions_own_client() {
    let is_displaced = |row: &Row, place: usize| {
        let longitude = f64::from(u32::try_from(place).unwrap()) * 10.0;
        let client = Client::at(GeoPoint::new(1.0, longitude).unwrap());
        row.table().service("api").unwrap().route(&client).unwrap().displaced_from.is_some()
    };
    let drained = Row { drained: Some(0), ..Row::of(vec![well(), well()]) };
    assert!(is_displaced(&drained, 0) && !is_displaced(&drained, 1));
    let dead = Row::of(vec![dead(1), well()]);
    assert!(is_displaced(&dead, 0) && !is_displaced(&dead, 1));
}

#[test]
fn what_is_too_much_for_all_is_spread_over_all() {
    let row = Row {
        capacity: Some(100),
        ..Row::of(vec![
            seen(Health::Unhealthy, 90.0, 1),
            seen(Health::Healthy, 80.0, 0),
            seen(Health::Healthy, 90.0, 0),
        ])
    };
    let counts = row.clients_of(0);
    let share = |region: &str| f64::from(counts[&(region.to_owned(), Reason::Failover)]) / 30_000.0;
    assert!((share("r1") - 5.0 / 9.0).abs() < 0.01, "50 of 90, as all get to 130 %: {counts:?}");
    assert!((share("r2") - 4.0 / 9.0).abs() < 0.01, "40 of 90: {counts:?}");
}

#[test]
fn a_region_with_more_clients_than_capacity_keeps_what_it_has_capacity_for() {
    let demands = [150.0, 70.0, 10.0].map(|demand| seen(Health::Healthy, demand, 0));
    let row = Row { capacity: Some(100), ..Row::of(demands.into()) };
    let counts = row.clients_of(0);
    let load =
        |region: &str, reason| f64::from(counts[&(region.to_owned(), reason)]) / 30_000.0 * 150.0;
    assert!((load("r0", Reason::LowestLatency) - 95.0).abs() < 2.0, "{counts:?}");
    assert!((load("r1", Reason::Overflow) - 25.0).abs() < 2.0, "up to 95 %: {counts:?}");
    assert!((load("r2", Reason::Overflow) - 30.0).abs() < 2.0, "the rest: {counts:?}");
    assert_eq!(counts.len(), 3);
    for place in [1, 2] {
        let region = format!("r{place}");
        let own = BTreeMap::from([((region, Reason::LowestLatency), 30_000)]);
        assert_eq!(row.clients_of(place), own, "whoever has room keeps its own");
    }
}

#[test]
fn regions_with_more_clients_than_capacity_altogether_are_filled_alike() {
    let demands = [300.0, 100.0, 50.0];
    let regions = demands.map(|demand| seen(Health::Healthy, demand, 0));
    let row = Row { capacity: Some(100), ..Row::of(regions.into()) };
    let mut loads = BTreeMap::<String, f64>::new();
    for (place, demand) in demands.into_iter().enumerate() {
        for ((region, _), clients) in row.clients_of(place) {
            *loads.entry(region).or_default() += f64::from(clients) / 30_000.0 * demand;
        }
    }
    assert!(loads.values().all(|load| (load - 150.0).abs() < 3.0), "{loads:?}");
    let alone = Row { capacity: Some(100), ..Row::of(vec![seen(Health::Healthy, 300.0, 0)]) };
    assert_eq!(
        alone.clients_of(0),
        BTreeMap::from([(("r0".into(), Reason::LowestLatency), 30_000)])
    );
}

#[test]
fn a_proven_death_is_never_retained_and_uses_up_the_budget() {
    use Removal::{Proven, Unproven};
    // By the budget of 50 %, one of three and two of four may be missing by the word of checks.
    for (removals, retained) in [
        (vec![Proven, Proven], vec![]),
        (vec![Proven, Unproven], vec!["r1"]),
        (vec![Unproven, Proven], vec!["r0"]),
        (vec![Unproven, Unproven], vec!["r1"]),
        (vec![Proven, Proven, Unproven], vec!["r2"]),
        (vec![Unproven, Unproven, Proven], vec!["r1"]),
    ] {
        let regions = removals.iter().zip(1..).map(|(removal, since)| gone(*removal, since));
        let row = Row::of(regions.chain([well()]).collect());
        let table = row.table();
        let kept = table.service("api").unwrap().retained();
        let ids: Vec<_> = kept.iter().map(|&index| table.region(index).id.as_str()).collect();
        assert_eq!(ids, retained, "{removals:?}");
        let living = format!("r{}", removals.len());
        for place in 0..removals.len() {
            let answered: Vec<_> = row.clients_of(place).into_keys().collect();
            assert_eq!(answered, [(living.clone(), Reason::Failover)], "{removals:?}");
        }
    }
}

#[test]
fn a_held_region_uses_up_nothing_of_the_budget_and_serves_before_a_dead_one() {
    let held = gone(Removal::Held, 1);
    let row = Row::of(vec![held, dead(2), well()]);
    assert_eq!(row.retained(), 0, "one of three is removed by its checks");
    let answered: Vec<_> = row.clients_of(0).into_keys().collect();
    assert_eq!(answered, [("r2".into(), Reason::Failover)], "an eligible one comes first");
    for others in [[dead(2), dead(3)], [dead(2), gone(Removal::Proven, 3)]] {
        let [one, other] = others;
        let row = Row::of(vec![one, held, other]);
        for place in 0..3 {
            let answered: Vec<_> = row.clients_of(place).into_keys().collect();
            assert_eq!(answered, [("r1".into(), Reason::Held)], "the service is not all down");
        }
    }
    let client = Client::at(GeoPoint::new(1.0, 0.0).unwrap());
    let table = Row::of(vec![dead(1), held, dead(2)]).table();
    let explained = table.explain(table.service("api").unwrap(), &client).regions;
    let fates: Vec<_> = explained.iter().map(|explained| explained.fate).collect();
    assert_eq!(fates, [Fate::Unhealthy, Fate::Chosen, Fate::Retained]);
    let table = Row::of(vec![held, well()]).table();
    let explained = table.explain(table.service("api").unwrap(), &client).regions;
    let fates: Vec<_> = explained.iter().map(|explained| explained.fate).collect();
    assert_eq!(fates, [Fate::Held, Fate::Chosen]);
}

#[test]
fn what_is_too_much_for_eligible_regions_goes_to_held_and_then_to_retained_ones() {
    // 95 % of 100 is the room of each; the first two have to be replaced.
    let seen = |removal, demand| Observation { removal, ..seen(Health::Unhealthy, demand, 1) };
    for (demand, shares) in [
        (40.0, [80.0, 0.0, 0.0]),
        (60.0, [95.0, 25.0, 0.0]),
        (110.0, [95.0, 95.0, 30.0]),
        // More than all have room for stretches the eligible one alone.
        (200.0, [210.0, 95.0, 95.0]),
    ] {
        let regions = vec![
            seen(Removal::Proven, demand),
            seen(Removal::Proven, demand),
            Observation { load: Load::new(0.0).ok(), demand: Load::new(0.0).ok(), ..well() },
            seen(Removal::Held, 0.0),
            seen(Removal::Unproven, 0.0),
        ];
        let row = Row { capacity: Some(100), ..Row::of(regions) };
        assert_eq!(row.retained(), 1);
        let counts = row.clients_of(0);
        let reasons = [("r2", Reason::Failover), ("r3", Reason::Held), ("r4", Reason::Retained)];
        for ((region, reason), expected) in reasons.into_iter().zip(shares) {
            let clients = counts.get(&(region.to_owned(), reason)).copied().unwrap_or_default();
            let taken = f64::from(clients) / 30_000.0 * 2.0 * demand;
            assert!((taken - expected).abs() < 0.02 * demand, "{demand}: {region}: {counts:?}");
        }
    }
}

#[test]
fn a_region_that_comes_back_takes_what_the_others_have_no_room_for() {
    let back = Observation { share: Share::new(0.1), ..seen(Health::Healthy, 60.0, 0) };
    let regions = vec![seen(Health::Unhealthy, 60.0, 1), seen(Health::Healthy, 60.0, 0), back];
    let counts = Row { capacity: Some(100), ..Row::of(regions) }.clients_of(0);
    // Of 114 that are displaced, the second has room for 35.
    let next = f64::from(counts[&("r1".to_owned(), Reason::Failover)]) / 30_000.0;
    assert!((next - 35.0 / 114.0).abs() < 0.02, "{counts:?}");
    let last = f64::from(counts[&("r2".to_owned(), Reason::Failover)]) / 30_000.0;
    assert!((last - 79.0 / 114.0).abs() < 0.02, "{counts:?}");
}

#[test]
fn a_retained_region_may_get_its_own_clients_back() {
    let full = seen(Health::Healthy, 95.0, 0);
    let regions = vec![seen(Health::Unhealthy, 40.0, 2), seen(Health::Unhealthy, 40.0, 1), full];
    let row = Row { capacity: Some(100), ..Row::of(regions) };
    assert_eq!(
        row.clients_of(0).into_keys().collect::<Vec<_>>(),
        [("r0".into(), Reason::Retained)]
    );
    let client = Client::at(GeoPoint::new(1.0, 0.0).unwrap());
    let table = row.table();
    let explanation = table.explain(table.service("api").unwrap(), &client);
    assert_eq!(explanation.outcome.unwrap().displaced_from, None, "it is its own client");
    let fates: Vec<_> = explanation.regions.iter().map(|explained| explained.fate).collect();
    assert_eq!(
        fates,
        [Fate::Chosen, Fate::Unhealthy, Fate::Spilled],
        "the eligible one had no room"
    );
}

#[test]
fn when_all_are_unhealthy_the_rule_decides_whatever_the_budget() {
    for budget in [0, 50, 100] {
        let row = Row { budget, ..Row::of(vec![dead(1), dead(2), gone(Removal::Proven, 3)]) };
        for place in 0..3 {
            let answered: Vec<_> = row.clients_of(place).into_keys().collect();
            assert_eq!(answered, [(format!("r{place}"), Reason::FailOpen)], "{budget} %");
        }
    }
}

#[test]
fn nobody_is_sent_past_a_dead_region_to_one_that_seems_as_dead() {
    // The first two are removed, the third is one too many; the fourth is well and idle.
    let failed = |since| Observation { since: Timestamp::from_unix_millis(since), ..dead(since) };
    let with_load = |seen: Observation, units| {
        let load = Load::new(units).ok();
        Observation { load, demand: load, ..seen }
    };
    for units in [0.0, 20.0, 30.0] {
        let regions = vec![
            with_load(failed(1), units),
            with_load(failed(2), units),
            with_load(failed(3), units),
            with_load(well(), 0.0),
        ];
        let row = Row { capacity: Some(100), ..Row::of(regions) };
        assert_eq!(row.retained(), 1);
        for place in [0, 1, 2] {
            let answered: Vec<_> = row.clients_of(place).into_keys().collect();
            assert_eq!(answered, [("r3".into(), Reason::Failover)], "{units} each");
        }
        let table = row.table();
        let client = Client::at(GeoPoint::new(1.0, 0.0).unwrap());
        let explained = table.explain(table.service("api").unwrap(), &client).regions;
        let fates: Vec<_> = explained.iter().map(|explained| explained.fate).collect();
        assert_eq!(fates, [Fate::Unhealthy, Fate::Unhealthy, Fate::Retained, Fate::Chosen]);
    }
}

#[test]
fn a_region_that_comes_back_has_its_share_and_no_more() {
    let back = Observation { share: Share::new(0.25), ..well() };
    let counts = Row::of(vec![back, well()]).clients_of(0);
    let own = f64::from(counts[&("r0".to_owned(), Reason::LowestLatency)]) / 30_000.0;
    assert!((own - 0.25).abs() < 0.02, "{counts:?}");
    assert!(counts.contains_key(&("r1".to_owned(), Reason::Failover)));
    let alone = Row::of(vec![back]).clients_of(0);
    assert_eq!(alone.values().sum::<u32>(), 30_000, "with nobody else it serves all");
}

#[test]
fn an_explanation_tells_who_was_spared() {
    let row = Row {
        capacity: Some(100),
        ..Row::of(vec![
            seen(Health::Unhealthy, 60.0, 1),
            seen(Health::Healthy, 90.0, 0),
            seen(Health::Healthy, 0.0, 0),
        ])
    };
    let table = row.table();
    let service = table.service("api").unwrap();
    let home = geostream_domain::Location::at(GeoPoint::new(1.0, 0.0).unwrap());
    let spilled = (0..1000_u32).find_map(|network| {
        let address = std::net::Ipv4Addr::from((11 << 24) + network * 256);
        let client = Client::new(address.into(), home);
        let decision = service.route(&client).ok()?;
        (table.region(decision.region).id.as_str() == "r2").then_some(client)
    });
    let explanation = table.explain(service, &spilled.unwrap());
    let fates: Vec<_> = explanation.regions.iter().map(|explained| explained.fate).collect();
    assert_eq!(fates, [Fate::Unhealthy, Fate::Spilled, Fate::Chosen]);
    let drained = Row { drained: Some(0), ..row }.table();
    let explanation = drained.explain(drained.service("api").unwrap(), &spilled.unwrap());
    let fates: Vec<_> = explanation.regions.iter().map(|explained| explained.fate).collect();
    assert_eq!(fates, [Fate::Drained, Fate::Spilled, Fate::Chosen]);
}

#[test]
fn those_who_are_not_back_yet_go_where_there_is_room() {
    let back = Observation { share: Share::new(0.1), ..seen(Health::Healthy, 60.0, 1) };
    let row = Row {
        capacity: Some(100),
        ..Row::of(vec![back, seen(Health::Healthy, 80.0, 0), seen(Health::Healthy, 0.0, 0)])
    };
    let counts = row.clients_of(0);
    let share = |region: &str| {
        let clients = counts.get(&(region.to_owned(), Reason::Failover)).copied();
        f64::from(clients.unwrap_or_default()) / 30_000.0 * 60.0
    };
    assert!(share("r1") < 20.0, "it has room for 20: {counts:?}");
    assert!(share("r2") > 30.0, "{counts:?}");
}

#[test]
fn clients_whose_order_is_too_short_fill_it_alike() {
    // Nine of the fifteen are looked at, and all have too little room.
    let mut regions = vec![seen(Health::Unhealthy, 540.0, 1)];
    regions.extend((0..15).map(|_| seen(Health::Healthy, 94.0, 0)));
    let row = Row { capacity: Some(100), ..Row::of(regions) };
    let counts = row.clients_of(0);
    let most = counts.values().max().unwrap();
    assert!(*most < 30_000 / 9 + 500, "{counts:?}");
}
