//! One of three regions is lost shortly after a cold start, in simulated time: clients ask one by
//! one, and each region's probes and the looks at loads have moments of their own.

use std::array;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::iter::once;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use geostream_domain::{
    Capacity, Change, Client, Config, GeoPoint, Health, HealthWatch, Load, Region, RegionId,
    RoutingTable, Service, Timestamp,
};
use proptest::prelude::*;

use crate::health::overload::{count, down, start};
use crate::health::reports;
use crate::health::state::HealthState;
use crate::load::Tally;

const REGIONS: usize = 3;

/// The load that each region can take: each client makes one unit a request.
const CAPACITY: u32 = 800;

/// The clients of each region. Each asks once in a cycle: 480 requests a second, which are 60 % of
/// the capacity.
const CLIENTS: u32 = 960;

/// The time after which a client asks again, and over which a region counts the load that it
/// reports.
const CYCLE: Duration = Duration::from_secs(2);

/// The place of the region that is lost.
const LOST: usize = 0;

/// How long the course goes on after the loss.
const AFTER: Duration = Duration::from_secs(20);

/// The time between two probes of a region, and between two looks at loads.
const PERIOD: Duration = Duration::from_secs(1);

/// The smallest difference between two moments.
const STEP: Duration = Duration::from_millis(10);

/// What happens when, counted from the start of the node.
#[derive(Clone, Debug)]
struct Course {
    /// When the first clients ask.
    clients_come: Duration,
    /// When each region is probed first.
    probes: [Duration; REGIONS],
    /// Whether answers to probes report loads.
    is_reported: bool,
    /// When the region stops answering, and when its clients are first sent elsewhere.
    lost: Duration,
    noticed: Duration,
}

struct Simulation {
    course: Course,
    ids: [RegionId; REGIONS],
    clients: [Vec<Client>; REGIONS],
    config: Config,
    tallies: BTreeMap<RegionId, Arc<Tally>>,
    seen: HealthState,
    table: RoutingTable,
    withheld: BTreeSet<RegionId>,
    /// When each region was sent clients in the last cycle.
    work: [VecDeque<Duration>; REGIONS],
    /// The most clients that each region was sent within a cycle.
    most: [usize; REGIONS],
    start: Instant,
}

impl Simulation {
    fn new(course: Course) -> Self {
        let ids: [RegionId; REGIONS] = array::from_fn(|place| format!("r{place}").parse().unwrap());
        let regions = ids.iter().enumerate().map(|(place, id)| {
            let mut region = Region::new(id.clone(), point(place, 0));
            region.capacity = Capacity::new(CAPACITY).ok();
            Change::from(region)
        });
        let service = Service::new("api".parse().unwrap(), ids.iter().cloned());
        let changes: Vec<_> = regions.chain(once(Change::from(service))).collect();
        let config = Config::default().after(changes).unwrap();
        let start = start();
        let mut watch = HealthWatch::new(1);
        watch.handle_config(&config, |_| Health::Unknown, start);
        let observed = <_>::default();
        let snapshot = config.clone().into();
        Self {
            clients: array::from_fn(|place| {
                (1..=CLIENTS).map(|number| Client::at(point(place, number))).collect()
            }),
            tallies: ids.iter().map(|id| (id.clone(), Arc::default())).collect(),
            table: RoutingTable::compile(snapshot, &observed, Timestamp::EPOCH, None),
            seen: HealthState::new(watch, reports::queue().1),
            withheld: BTreeSet::new(),
            work: Default::default(),
            most: Default::default(),
            course,
            ids,
            config,
            start,
        }
    }

    /// Lets the course happen, and returns the most clients that each region was sent within a
    /// cycle.
    fn run(mut self) -> [usize; REGIONS] {
        let Course { lost, noticed, .. } = self.course;
        let mut next_client = self.course.clients_come;
        let mut number = 0;
        let mut at = Duration::ZERO;
        while at < lost + AFTER {
            while next_client <= at {
                self.ask(number, at);
                number = (number + 1) % self.clients[LOST].len();
                next_client += CYCLE / CLIENTS;
            }
            self.probe(at);
            if at >= noticed && self.withheld.is_empty() {
                self.lose();
                self.compile(at);
            }
            if is_periodic(at, Duration::ZERO) {
                self.look(at);
            }
            at += STEP;
        }
        self.most
    }

    /// Sends the client of this number of each region where the table says.
    fn ask(&mut self, number: usize, at: Duration) {
        for clients in &self.clients {
            let decision = self.table.service("api").unwrap().route(&clients[number]).unwrap();
            count(&decision, |index| &self.tallies[&self.ids[index.get()]]);
            let place = decision.region.get();
            let work = &mut self.work[place];
            work.push_back(at);
            forget(work, at);
            self.most[place] = self.most[place].max(work.len());
        }
    }

    /// Takes in the reports of the regions that are probed now.
    fn probe(&mut self, at: Duration) {
        let Course { probes, is_reported, lost, .. } = self.course.clone();
        for (place, first) in probes.into_iter().enumerate() {
            let answers = is_reported && (place != LOST || at < lost);
            if answers && is_periodic(at, first) {
                let work = &mut self.work[place];
                forget(work, at);
                let load = f64::from(u32::try_from(work.len()).unwrap()) / CYCLE.as_secs_f64();
                let load = Load::new(load).unwrap();
                self.seen.report_load(&self.ids[place], load, self.start + at);
            }
        }
    }

    fn lose(&mut self) {
        let lost = &self.ids[LOST];
        self.withheld.insert(lost.clone());
        self.config = self.config.after([down(lost.clone())]).unwrap();
    }

    /// Does what a driver does each second.
    fn look(&mut self, at: Duration) {
        let now = self.start + at;
        self.seen.measure(self.tallies.iter(), now);
        self.seen.take_in_loads(&self.withheld, now);
        self.compile(at);
    }

    fn compile(&mut self, at: Duration) {
        self.seen.note(&[], &self.withheld, self.start + at, Timestamp::EPOCH);
        let snapshot = self.config.clone().into();
        let observed = self.seen.observations();
        self.table =
            RoutingTable::compile(snapshot, &observed, Timestamp::EPOCH, Some(&self.table));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_region_lost_while_its_first_clients_are_counted_overloads_no_other(
        clients_come in steps(0..200),
        probes in proptest::array::uniform3(steps(0..100)),
        is_reported in any::<bool>(),
        lost_after in prop_oneof![steps(50..400), steps(400..1_500)],
        noticed_after in steps(10..120),
    ) {
        let lost = clients_come + lost_after;
        let noticed = lost + noticed_after;
        check(Course { clients_come, probes, is_reported, lost, noticed })?;
    }

    #[test]
    fn a_region_that_was_down_before_the_start_overloads_no_other(
        clients_come in steps(0..200),
        probes in proptest::array::uniform3(steps(0..100)),
        is_reported in any::<bool>(),
    ) {
        let lost = Duration::ZERO;
        check(Course { clients_come, probes, is_reported, lost, noticed: lost })?;
    }
}

/// Tells whether a region that is left was sent more than it can take.
fn check(course: Course) -> Result<(), TestCaseError> {
    let most = Simulation::new(course).run();
    let cycle = f64::from(CAPACITY) * CYCLE.as_secs_f64();
    for (place, clients) in most.into_iter().enumerate().filter(|(place, _)| *place != LOST) {
        let clients = u32::try_from(clients).map_or(f64::INFINITY, f64::from);
        prop_assert!(clients <= cycle, "r{place} was sent {clients} of {cycle}");
    }
    Ok(())
}

fn steps(range: Range<u32>) -> impl Strategy<Value = Duration> {
    range.prop_map(|steps| STEP * steps)
}

fn is_periodic(at: Duration, first: Duration) -> bool {
    at.checked_sub(first).is_some_and(|since| since.as_millis() % PERIOD.as_millis() == 0)
}

/// Drops what is older than a cycle.
fn forget(work: &mut VecDeque<Duration>, at: Duration) {
    while work.front().is_some_and(|then| at - *then >= CYCLE) {
        work.pop_front();
    }
}

/// Returns the place of a region, which is that of number 0, or of one of its clients.
fn point(place: usize, number: u32) -> GeoPoint {
    let longitude = f64::from(u32::try_from(place).unwrap()) * 20.0 - 170.0;
    GeoPoint::new(f64::from(number) * 0.002, longitude).unwrap()
}
