//! Regions with more clients than capacity, in simulated time: what is decided makes the loads by
//! which the next is decided.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use geostream_domain::{
    Capacity, Change, Client, ClientKey, Config, Decision, GeoPoint, Health, HealthWatch, Line,
    Load, Location, Override, OverrideAction, Region, RegionId, RegionIndex, RoutingTable, Service,
    Timestamp,
};
use proptest::prelude::*;

use crate::health::reports;
use crate::health::state::HealthState;
use crate::load::Tally;

/// Regions in a row from west to east, each 10 degrees from the next.
#[derive(Clone, Debug)]
struct Row {
    /// What each can take, and the clients a second that it is the best for.
    regions: Vec<(u32, u32)>,
    reports: Option<Reports>,
    /// The place of one that an operator has taken down.
    down: Option<usize>,
}

/// How regions report their loads.
#[derive(Clone, Copy, Debug)]
struct Reports {
    /// So many seconds late.
    late: usize,
    /// This much load a client a second.
    per_client: u32,
}

struct Simulation {
    row: Row,
    ids: Vec<RegionId>,
    config: Config,
    tallies: BTreeMap<RegionId, Arc<Tally>>,
    seen: HealthState,
    table: RoutingTable,
    /// What was answered in the last seconds, by region.
    answered: VecDeque<Vec<f64>>,
    second: u32,
    start: Instant,
}

impl Row {
    fn config(&self, ids: &[RegionId]) -> Config {
        let per_client = self.reports.map_or(1, |reports| reports.per_client);
        let regions = ids.iter().zip(&self.regions).enumerate();
        let mut changes: Vec<_> = regions
            .map(|(place, (id, (capacity, _)))| {
                let mut region = Region::new(id.clone(), point(place));
                region.capacity = Capacity::new(capacity * per_client).ok();
                Change::from(region)
            })
            .collect();
        let service = Service::new("api".parse().unwrap(), ids.iter().cloned());
        changes.push(Change::from(service));
        changes.extend(self.down.map(|place| down(ids[place].clone())));
        Config::default().after(changes).unwrap()
    }

    /// Returns by how much the demand exceeds all capacity, at least 1.
    fn stretch(&self) -> f64 {
        let able = self.regions.iter().enumerate().filter(|(place, _)| Some(*place) != self.down);
        let capacity: u32 = able.map(|(_, (capacity, _))| capacity).sum();
        (f64::from(self.demand()) / f64::from(capacity)).max(1.0)
    }

    /// Tells whether all demand is at most this share of the capacity that is left.
    fn is_within(&self, share: f64) -> bool {
        let able = self.regions.iter().enumerate().filter(|(place, _)| Some(*place) != self.down);
        let capacity: u32 = able.map(|(_, (capacity, _))| capacity).sum();
        f64::from(self.demand()) <= f64::from(capacity) * share
    }

    fn demand(&self) -> u32 {
        self.regions.iter().map(|(_, demand)| demand).sum()
    }
}

impl Simulation {
    fn new(row: Row) -> Self {
        let ids: Vec<RegionId> =
            (0..row.regions.len()).map(|place| format!("r{place}").parse().unwrap()).collect();
        let config = row.config(&ids);
        let start = start();
        let mut watch = HealthWatch::new(1);
        watch.handle_config(&config, |_| Health::Unknown, start);
        let mut simulation = Self {
            tallies: ids.iter().map(|id| (id.clone(), Arc::default())).collect(),
            table: RoutingTable::compile(
                config.clone().into(),
                &<_>::default(),
                Timestamp::EPOCH,
                None,
            ),
            seen: HealthState::new(watch, reports::queue().1),
            answered: VecDeque::new(),
            second: 0,
            row,
            ids,
            config,
            start,
        };
        simulation.seen.measure(simulation.tallies.iter(), start);
        simulation
    }

    /// Lets a second pass, and returns how many clients each region was answered.
    fn pass(&mut self) -> Vec<f64> {
        let mut answered = vec![0.0; self.ids.len()];
        for (place, (_, demand)) in self.row.regions.clone().into_iter().enumerate() {
            for number in 0..demand {
                // Each client asks every 20 seconds.
                let key = (place, self.second % 20 * demand + number);
                answered[self.answer(place, &format!("{key:?}"))] += 1.0;
            }
        }
        self.second += 1;
        self.answered.push_back(answered.clone());
        self.look();
        answered
    }

    fn answer(&self, place: usize, key: &str) -> usize {
        let location = Location::at(point(place));
        let client = Client { location, key: ClientKey::of_bytes(key.as_bytes()) };
        let decision = self.table.service("api").unwrap().route(&client).unwrap();
        count(&decision, |index| &self.tallies[&self.ids[index.get()]]);
        decision.region.get()
    }

    /// Has an operator take a region down from now on.
    fn lose(&mut self, place: usize) {
        self.row.down = Some(place);
        self.config = self.row.config(&self.ids);
        let withheld = BTreeSet::from([self.ids[place].clone()]);
        let now = self.start + Duration::from_secs(self.second.into());
        self.seen.note(&[], &withheld, now, Timestamp::EPOCH);
        self.compile();
    }

    /// Does what a driver does each second.
    fn look(&mut self) {
        let now = self.start + Duration::from_secs(self.second.into());
        if let Some(Reports { late, per_client }) = self.row.reports
            && self.answered.len() > late
        {
            let then = self.answered.pop_front().unwrap();
            for (place, (id, clients)) in self.ids.iter().zip(then).enumerate() {
                if Some(place) != self.row.down {
                    self.seen.report_load(
                        id,
                        Load::new(clients * f64::from(per_client)).unwrap(),
                        now,
                    );
                }
            }
        }
        self.seen.measure(self.tallies.iter(), now);
        let withheld: BTreeSet<_> =
            self.row.down.map(|place| self.ids[place].clone()).into_iter().collect();
        self.seen.take_in_loads(&withheld, now);
        self.seen.note(&[], &withheld, now, Timestamp::EPOCH);
        self.compile();
    }

    fn compile(&mut self) {
        let snapshot = self.config.clone().into();
        let observations = self.seen.observations();
        self.table =
            RoutingTable::compile(snapshot, &observations, Timestamp::EPOCH, Some(&self.table));
    }
}

/// Tells what is wrong with the answers of 20 seconds after so many.
fn check(row: &Row, settled: u32) -> Result<(), TestCaseError> {
    let mut simulation = Simulation::new(row.clone());
    for _ in 0..settled {
        simulation.pass();
    }
    let seconds: Vec<Vec<f64>> = (0..20).map(|_| simulation.pass()).collect();
    for (place, (capacity, _)) in row.regions.iter().enumerate() {
        let loads = seconds.iter().map(|answered| answered[place]);
        let mean = loads.clone().sum::<f64>() / 20.0;
        // Below all capacity, nobody is above its own, but by chance.
        let most = f64::from(*capacity) * row.stretch() * 1.03 + 3.0;
        prop_assert!(mean <= most, "r{} has {} of {}: {:?}", place, mean, most, seconds);
        let jumps = seconds.windows(2).map(|pair| (pair[1][place] - pair[0][place]).abs());
        let jump = jumps.fold(0.0, f64::max);
        // Each second has other clients: some of them are kept, by chance.
        let little = mean * 0.06 + f64::from(row.demand()).sqrt() * 3.0 + 3.0;
        prop_assert!(jump <= little, "r{} jumps by {}: {:?}", place, jump, seconds);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn constant_demand_settles_below_capacity_or_alike_above(
        regions in proptest::collection::vec((50_u32..200, 0_u32..250), 2..5),
        late in proptest::option::of(0_usize..4),
        per_client in 1_u32..10,
        down in proptest::option::of(0_usize..4),
    ) {
        let reports = late.map(|late| Reports { late, per_client });
        // What a client makes where nobody has been yet, nobody knows.
        let down = down.filter(|place| *place < regions.len() && reports.is_none());
        let settled = if reports.is_some() { 80 } else { 15 };
        check(&Row { regions, reports, down }, settled)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn a_loss_at_any_time_after_a_cold_start_overloads_no_other(
        regions in proptest::collection::vec((200_u32..600, 20_u32..80), 3..5),
        late in proptest::option::of(0_usize..4),
        per_client in 1_u32..10,
        lost in any::<prop::sample::Index>(),
        after in 0_u32..15,
    ) {
        let lost = lost.index(regions.len());
        let used = |(capacity, percent): (u32, u32)| (capacity, capacity * percent / 100);
        let regions: Vec<_> = regions.into_iter().map(used).collect();
        let reports = late.map(|late| Reports { late, per_client });
        let row = Row { regions, reports, down: Some(lost) };
        // With so much room that those who are divided by chance find it as well.
        prop_assume!(row.is_within(0.85));
        let mut simulation = Simulation::new(Row { down: None, ..row.clone() });
        for _ in 0..after {
            simulation.pass();
        }
        simulation.lose(lost);
        let seconds: Vec<_> = (0..20).map(|_| simulation.pass()).collect();
        let by_chance = f64::from(row.regions[lost].1).sqrt() * 4.0 + 3.0;
        for (place, (capacity, _)) in row.regions.iter().enumerate() {
            for pair in seconds.windows(2) {
                let load = f64::midpoint(pair[0][place], pair[1][place]);
                let most = f64::from(*capacity) + by_chance;
                prop_assert!(load <= most, "r{} has {} of {}: {:?}", place, load, most, seconds);
            }
        }
    }
}

#[test]
fn reports_of_bursts_move_few_clients_of_a_lost_region() {
    let reports = Some(Reports { late: 1, per_client: 1 });
    let regions = vec![(800, 480), (800, 480), (800, 480)];
    let mut simulation = Simulation::new(Row { regions, reports, down: None });
    for _ in 0..20 {
        simulation.pass();
    }
    simulation.lose(0);
    for _ in 0..20 {
        simulation.pass();
    }
    let mut seconds = Vec::new();
    for second in 0..60 {
        // Every fifth report of the next region is of half as much again.
        if second % 5 == 0 {
            let then = simulation.answered.back_mut().unwrap();
            then[1] *= 1.5;
        }
        seconds.push(simulation.pass());
    }
    for pair in seconds.windows(2) {
        let change = (pair[1][1] - pair[0][1]).abs();
        assert!(change <= 70.0, "a tenth of 720 by chance, and no more: {seconds:?}");
    }
}

#[test]
fn one_region_and_a_half_are_shared_from_the_first_seconds_on() {
    let row = Row { regions: vec![(100, 150), (100, 80), (1000, 0)], reports: None, down: None };
    check(&row, 2).unwrap();
    let reports = Some(Reports { late: 1, per_client: 3 });
    check(&Row { reports, ..row }, 30).unwrap();
}

/// Returns the change by which an operator takes a region down.
pub(super) fn down(region: RegionId) -> Change {
    let line: Line = "test".parse().unwrap();
    Change::SetOverride(Override {
        region,
        action: OverrideAction::Down,
        owner: line.clone(),
        reason: line,
        since: Timestamp::EPOCH,
        expires: None,
    })
}

/// Counts a decision as the router does.
pub(super) fn count<'a>(decision: &Decision, tally: impl Fn(RegionIndex) -> &'a Arc<Tally>) {
    match decision.displaced_from {
        None => tally(decision.region).count_own(),
        Some(home) => {
            tally(decision.region).count_displaced();
            tally(home).count_away();
        }
    }
}

fn point(place: usize) -> GeoPoint {
    GeoPoint::new(50.0, f64::from(u32::try_from(place).unwrap()) * 10.0).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "any moment will do")]
pub(super) fn start() -> Instant {
    Instant::now()
}
