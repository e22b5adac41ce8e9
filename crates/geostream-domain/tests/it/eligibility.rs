//! Whom the removal budget and flapping keep from clients, over random failures, recoveries,
//! budgets, overrides and capacities.
//!
//! Each run is drawn from a seed, which it prints.

#![expect(clippy::print_stdout, reason = "a run that fails can be repeated by its seed")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use geostream_domain::{
    AllDown, Capacity, Chance, Change, Client, ClientKey, Config, Decision, Fate, GeoPoint, Health,
    Load, Location, NoRegion, Observation, Observations, Override, OverrideAction, ProbeFailure,
    Reason, Region, RegionId, Removal, RemovalBudget, RoutingTable, Service, Timestamp,
};
use proptest::prelude::*;

use crate::simulation::{Fault, Simulation};
use crate::world::line;

/// A region as a decision finds it.
#[derive(Clone, Debug)]
struct Site {
    health: Health,
    removal: Removal,
    since: u64,
    capacity: Option<u32>,
    demand: u32,
    overridden: Option<OverrideAction>,
}

#[derive(Clone, Debug)]
struct Sites {
    sites: Vec<Site>,
    budget: u8,
    all_down: u8,
}

impl Site {
    fn is_drained(&self) -> bool {
        self.overridden == Some(OverrideAction::Drain)
    }

    fn is_eligible(&self) -> bool {
        match self.overridden {
            Some(OverrideAction::Up) => true,
            Some(OverrideAction::Drain | OverrideAction::Down) => false,
            None => self.health != Health::Unhealthy,
        }
    }

    fn removal(&self) -> Option<Removal> {
        let is_removed = self.overridden.is_none() && self.health == Health::Unhealthy;
        is_removed.then_some(self.removal)
    }
}

impl Sites {
    fn id(place: usize) -> RegionId {
        format!("r{place:02}").parse().unwrap()
    }

    fn all_down(&self) -> AllDown {
        match self.all_down {
            0 => AllDown::FailOpen,
            1 => AllDown::Closed,
            2 => AllDown::LastGood,
            _ => AllDown::Static(Self::id(0)),
        }
    }

    fn config(&self) -> Config {
        let mut changes = Vec::new();
        for (place, site) in self.sites.iter().enumerate() {
            let mut region = Region::new(Self::id(place), point(place));
            region.capacity = site.capacity.map(|units| Capacity::new(units).unwrap());
            changes.push(Change::from(region));
        }
        let ids = (0..self.sites.len()).map(Self::id);
        let mut service = Service::new("api".parse().unwrap(), ids);
        service.removal_budget = RemovalBudget::from_percent(self.budget).unwrap();
        service.all_down = self.all_down();
        changes.push(Change::from(service));
        for (place, site) in self.sites.iter().enumerate() {
            let Some(action) = site.overridden else { continue };
            let owner = line("ops");
            let reason = line("test");
            let since = Timestamp::EPOCH;
            let region = Self::id(place);
            let expires = None;
            let wish = Override { region, action, owner, reason, since, expires };
            changes.push(Change::SetOverride(wish));
        }
        Config::default().after(changes).unwrap()
    }

    fn table(&self, previous: Option<&RoutingTable>) -> RoutingTable {
        let mut observed = Observations::default();
        for (place, site) in self.sites.iter().enumerate() {
            let since = Timestamp::from_unix_millis(site.since);
            let demand = Load::new(f64::from(site.demand)).ok();
            let removal = site.removal;
            let seen = Observation { removal, demand, ..Observation::of(site.health, since) };
            observed.note(Self::id(place), seen);
        }
        RoutingTable::compile(self.config().into(), &observed, Timestamp::EPOCH, previous)
    }

    fn with_all(&self, change: impl Fn(&mut Site)) -> Self {
        let mut changed = self.clone();
        changed.sites.iter_mut().for_each(change);
        changed
    }

    /// Tells whether eligible regions have room for all clients.
    fn have_room(&self) -> bool {
        let eligible = || self.sites.iter().filter(|site| site.is_eligible());
        let room: Option<f64> =
            eligible().map(|site| site.capacity.map(|units| f64::from(units) * 0.95)).sum();
        let demand: f64 = self.sites.iter().map(|site| f64::from(site.demand)).sum();
        // A share is a multiple of 1/255, so that regions are filled to a little less.
        eligible().next().is_some() && room.is_none_or(|room| demand < room * 0.99)
    }
}

fn point(place: usize) -> GeoPoint {
    let longitude = f64::from(u32::try_from(place).unwrap()) * 10.0;
    GeoPoint::new(0.0, longitude).unwrap()
}

fn client(place: usize, key: u32) -> Client {
    let key = ClientKey::of_bytes(&key.to_le_bytes());
    Client { location: Location::at(point(place)), key }
}

fn route(table: &RoutingTable, client: &Client) -> Result<Decision, NoRegion> {
    table.service("api").unwrap().route(client)
}

fn site() -> impl Strategy<Value = Site> {
    let health = prop_oneof![
        2 => Just(Health::Healthy),
        1 => Just(Health::Unknown),
        4 => Just(Health::Unhealthy),
    ];
    let removal = prop_oneof![
        Just(Removal::Held),
        Just(Removal::Unproven),
        Just(Removal::Unproven),
        Just(Removal::Proven),
    ];
    let action = proptest::sample::select(OverrideAction::ALL.to_vec());
    let overridden = proptest::option::weighted(0.15, action);
    let capacity = proptest::option::weighted(0.7, 1_u32..200);
    (health, removal, 0_u64..9, capacity, 0_u32..150, overridden).prop_map(
        |(health, removal, since, capacity, demand, overridden)| Site {
            health,
            removal,
            since,
            capacity,
            demand,
            overridden,
        },
    )
}

fn sites() -> impl Strategy<Value = Sites> {
    let sites = proptest::collection::vec(site(), 1..9);
    (sites, 0_u8..=100, 0_u8..4).prop_map(|(sites, budget, all_down)| Sites {
        sites,
        budget,
        all_down,
    })
}

proptest! {
    #[test]
    fn a_decision_keeps_the_order_of_eligibility(
        world in sites(), place in 0_usize..9, key in any::<u32>(),
    ) {
        let table = world.table(None);
        let client = client(place, key);
        let outcome = route(&table, &client);
        prop_assert_eq!(outcome, route(&world.table(None), &client), "it is a function of the table");
        let is_served = world.sites.iter().any(|site| {
            site.is_eligible() || site.removal() == Some(Removal::Held)
        });
        if !is_served {
            return Ok(());
        }
        let decision = outcome.expect("a region that serves is not drained, and nothing is fenced");
        let named = decision.alternatives.iter().map(|alternative| alternative.region);
        for region in named.chain([decision.region]) {
            let site = &world.sites[region.get()];
            prop_assert!(!site.is_drained());
            prop_assert_ne!(site.removal(), Some(Removal::Proven), "a living one could serve");
            prop_assert!(site.overridden != Some(OverrideAction::Down));
        }
        let removal = world.sites[decision.region.get()].removal();
        prop_assert_eq!(decision.reason == Reason::Held, removal == Some(Removal::Held));
        prop_assert_eq!(decision.reason == Reason::Retained, removal == Some(Removal::Unproven));
        let is_retained = table.service("api").unwrap().retained().contains(&decision.region);
        prop_assert_eq!(removal == Some(Removal::Unproven), is_retained);
        if world.have_room() {
            prop_assert_eq!(removal, None, "an eligible one has room");
        }
        let explained = table.explain(table.service("api").unwrap(), &client);
        prop_assert_eq!(explained.outcome, Ok(decision));
        for region in explained.regions {
            let site = &world.sites[region.region.get()];
            let expected: &[Fate] = match (region.fate, site.removal()) {
                (Fate::Chosen, _) => &[Fate::Chosen],
                (_, Some(Removal::Held)) => &[Fate::Held],
                (_, Some(Removal::Proven)) => &[Fate::Unhealthy],
                (_, Some(Removal::Unproven)) => &[Fate::Unhealthy, Fate::Retained],
                (_, None) if site.is_drained() => &[Fate::Drained],
                (_, None) if !site.is_eligible() => &[Fate::Unhealthy],
                (_, None) => &[Fate::Outranked, Fate::Spilled, Fate::Full],
            };
            prop_assert!(expected.contains(&region.fate), "{:?} of {site:?}", region.fate);
        }
    }

    #[test]
    fn without_a_region_that_serves_the_rule_decides_whatever_the_budget(
        world in sites(), place in 0_usize..9, key in any::<u32>(),
    ) {
        let before = world.with_all(|site| {
            site.health = Health::Healthy;
            site.overridden = None;
        });
        let world = world.with_all(|site| {
            site.health = Health::Unhealthy;
            if site.removal == Removal::Held {
                site.removal = Removal::Unproven;
            }
            site.overridden = site.overridden.filter(|action| *action != OverrideAction::Up);
        });
        let client = client(place, key);
        let outcome = |budget| {
            let world = Sites { budget, ..world.clone() };
            route(&world.table(Some(&before.table(None))), &client)
        };
        let decided = outcome(world.budget);
        prop_assert_eq!(decided, outcome(100), "what is retained changes nothing");
        let may_serve = world.sites.iter().any(|site| !site.is_drained());
        let expected = match world.all_down() {
            AllDown::FailOpen => Some(Reason::FailOpen),
            AllDown::LastGood => Some(Reason::LastGood),
            AllDown::Static(_) => Some(Reason::Static).filter(|_| !world.sites[0].is_drained()),
            AllDown::Closed => None,
        };
        prop_assert_eq!(decided.ok().map(|decision| decision.reason), expected.filter(|_| may_serve));
    }

    #[test]
    fn the_budget_limits_what_is_removed_without_proof(world in sites()) {
        let table = world.table(None);
        let retained = table.service("api").unwrap().retained();
        let sizes: Option<Vec<u64>> =
            world.sites.iter().map(|site| site.capacity.map(u64::from)).collect();
        let sizes = sizes.unwrap_or_else(|| vec![1; world.sites.len()]);
        let all: u64 = sizes.iter().sum();
        let mut proven = 0;
        let mut removed = 0;
        for ((site, size), index) in world.sites.iter().zip(&sizes).zip(0..) {
            let is_retained = retained.iter().any(|region| region.get() == index);
            match site.removal() {
                Some(Removal::Unproven) if !is_retained => removed += size,
                Some(Removal::Unproven) => {}
                Some(Removal::Proven) => {
                    proven += size;
                    prop_assert!(!is_retained);
                }
                Some(Removal::Held) | None => prop_assert!(!is_retained),
            }
        }
        let permitted = all * u64::from(world.budget) / 100;
        prop_assert!(removed == 0 || proven + removed <= permitted, "{removed} of {all}");
    }
}

/// What is wrong with a region of the simulation, as the routing table should see it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ailment {
    None,
    Dead,
    Wrong,
}

/// Plays random failures and recoveries, and looks at what is decided each quarter of a second.
fn play(seed: u64) {
    const REGIONS: usize = 5;
    const SECONDS: u32 = 300;
    /// The longest that anything takes to be believed: three probes of a region that is probed once
    /// a second, the last of which times out.
    const PROOF: Duration = Duration::from_millis(4_500);
    let mut chance = Chance::new(seed);
    // Targets vouch for deaths even where all regions die.
    let mut simulation = Simulation::new(REGIONS, seed).with_canaries(1);
    let mut below = move |count: u32| -> u32 {
        let number = chance.fraction() * f64::from(count);
        (0..count).rfind(|n| number >= f64::from(*n)).unwrap_or_default()
    };
    let mut ailments = [(Ailment::None, Duration::ZERO); REGIONS];
    let mut world = Sites {
        sites: vec![
            Site {
                health: Health::Unknown,
                removal: Removal::default(),
                since: 0,
                capacity: None,
                demand: 0,
                overridden: None,
            };
            REGIONS
        ],
        budget: [0, 34, 50, 100][below(4) as usize],
        all_down: 0,
    };
    let mut reasons = BTreeSet::new();
    for step in 0..SECONDS * 4 {
        let now = simulation.now - simulation.start;
        if step % 4 == 0 && below(8) == 0 {
            let place = below(5) as usize;
            let (fault, ailment) = match below(5) {
                0 => (Fault::Refuses, Ailment::Dead),
                1 => (Fault::Silent, Ailment::Dead),
                2 => (Fault::Answers(ProbeFailure::Status(503)), Ailment::Wrong),
                _ => (Fault::None, Ailment::None),
            };
            simulation.break_region(&format!("r{place}"), fault);
            if ailments[place].0 != ailment {
                ailments[place] = (ailment, now);
            }
        }
        simulation.run(Duration::from_millis(250));
        let now = simulation.now - simulation.start;
        for (place, site) in world.sites.iter_mut().enumerate() {
            let seen = simulation.of(&format!("r{place}"));
            if seen.health != site.health {
                site.since = u64::try_from(now.as_millis()).unwrap();
            }
            site.health = seen.health;
            site.removal = seen.removal.unwrap_or_default();
            assert_eq!(seen.removal.is_some(), seen.health == Health::Unhealthy);
            // A death that has lasted is proven, and what answers is never taken for dead.
            let (ailment, since) = ailments[place];
            let lasted = now - since;
            if ailment == Ailment::Dead && lasted > PROOF {
                assert_eq!(seen.removal, Some(Removal::Proven), "r{place} at {now:?}");
            }
            if ailment != Ailment::Dead && lasted > PROOF {
                assert_ne!(seen.removal, Some(Removal::Proven), "r{place} at {now:?}");
            }
            if ailment == Ailment::Wrong && lasted > PROOF {
                assert_eq!(seen.removal, Some(Removal::Unproven), "r{place} at {now:?}");
            }
        }
        let table = world.table(None);
        let is_any_alive = ailments
            .iter()
            .any(|(ailment, since)| *ailment == Ailment::None && now - *since > PROOF);
        for place in 0..REGIONS {
            let decision = route(&table, &client(place, step)).unwrap();
            reasons.insert(decision.reason.as_str());
            let (ailment, since) = ailments[decision.region.get()];
            if is_any_alive && ailment == Ailment::Dead {
                assert!(now - since <= PROOF, "dead for {:?}: {decision:?}", now - since);
            }
        }
    }
    println!("budget {} %: {reasons:?}", world.budget);
}

#[test]
fn no_dead_region_has_a_client_while_a_living_one_can_take_it() {
    for seed in 0..15 {
        play(seed);
    }
}

#[test]
fn two_of_three_sites_that_die_leave_all_clients_to_the_third() {
    for fault in [Fault::Refuses, Fault::Silent] {
        let mut slowest = Duration::ZERO;
        for seed in 0..40 {
            let mut simulation = Simulation::new(3, seed);
            simulation.run(Duration::from_millis(10_000 + seed * 37));
            for region in ["r0", "r1"] {
                simulation.break_region(region, fault);
            }
            let broken = simulation.now;
            let answered = loop {
                simulation.run(Duration::from_millis(10));
                let answered = answered(&simulation);
                let took = simulation.now - broken;
                if answered.keys().all(|(region, _)| region == "r2") {
                    slowest = slowest.max(took);
                    break answered;
                }
                assert!(took < Duration::from_secs(3), "{answered:?}");
            };
            let reasons = answered.into_keys().map(|(_, reason)| reason).collect::<BTreeSet<_>>();
            assert_eq!(reasons, [Reason::LowestLatency, Reason::Failover].into());
        }
        println!("{fault:?}: all at the third after {slowest:?}");
    }
}

/// Counts where the clients of each of three regions are sent, by the default budget.
fn answered(simulation: &Simulation) -> BTreeMap<(String, Reason), u32> {
    let site = |place: usize| {
        let seen = simulation.of(&format!("r{place}"));
        Site {
            health: seen.health,
            removal: seen.removal.unwrap_or_default(),
            since: 0,
            capacity: None,
            demand: 0,
            overridden: None,
        }
    };
    let world = Sites { sites: (0..3).map(site).collect(), budget: 50, all_down: 0 };
    let table = world.table(None);
    let mut counts = BTreeMap::new();
    for place in 0..3 {
        let decision = route(&table, &client(place, 7)).unwrap();
        let region = format!("r{}", decision.region.get());
        *counts.entry((region, decision.reason)).or_default() += 1;
    }
    counts
}
