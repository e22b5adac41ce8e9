//! A loss is never followed by another: wherever clients of lost regions go, there is room for
//! them.

use geostream_domain::{
    Capacity, Change, Client, ClientKey, Config, GeoPoint, Health, Load, Location, Observation,
    Observations, Region, RegionId, RemovalBudget, RoutingTable, Service, Timestamp,
};
use proptest::prelude::*;

/// A region and the load that its own clients make.
#[derive(Clone, Copy, Debug)]
struct Place {
    longitude: f64,
    capacity: Option<u32>,
    demand: f64,
    /// What is known of the demand.
    known: Known,
    is_lost: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    All,
    /// It may be the beginning of more.
    Rising,
    Nothing,
}

/// How many clients of each region are asked for.
const CLIENTS: u32 = 2_000;

impl Place {
    fn new(longitude: f64, capacity: u32, demand: f64) -> Self {
        let capacity = Some(capacity);
        Self { longitude, capacity, demand, known: Known::All, is_lost: false }
    }

    fn capacity(&self) -> f64 {
        self.capacity.map_or(f64::INFINITY, f64::from)
    }

    fn observation(&self) -> Observation {
        let health = if self.is_lost { Health::Unhealthy } else { Health::Healthy };
        let load = Load::new(self.demand).ok().filter(|_| self.known != Known::Nothing);
        let is_rising = self.known == Known::Rising;
        let of_health = Observation::of(health, Timestamp::EPOCH);
        Observation { load, demand: load, is_rising, ..of_health }
    }
}

fn id(place: usize) -> RegionId {
    format!("r{place}").parse().unwrap()
}

fn table(places: &[Place]) -> RoutingTable {
    let mut observed = Observations::default();
    let mut changes = Vec::new();
    for (number, place) in places.iter().enumerate() {
        let point = GeoPoint::new(0.0, place.longitude).unwrap();
        let mut region = Region::new(id(number), point);
        region.capacity = place.capacity.and_then(|units| Capacity::new(units).ok());
        changes.push(Change::from(region));
        observed.note(id(number), place.observation());
    }
    let mut service = Service::new("api".parse().unwrap(), (0..places.len()).map(id));
    service.removal_budget = RemovalBudget::from_percent(100).unwrap();
    changes.push(Change::from(service));
    let config = Config::default().after(changes).unwrap();
    RoutingTable::compile(config.into(), &observed, Timestamp::EPOCH, None)
}

/// Returns the share of one region's clients that each region is sent.
fn shares(table: &RoutingTable, places: &[Place], of: usize) -> Vec<f64> {
    let location = Location::at(GeoPoint::new(0.0, places[of].longitude).unwrap());
    let mut sent = vec![0.0; places.len()];
    for number in 0..CLIENTS {
        let key = ClientKey::of_bytes(format!("{of}-{number}").as_bytes());
        let decision = table.service("api").unwrap().route(&Client { location, key }).unwrap();
        sent[decision.region.get()] += 1.0 / f64::from(CLIENTS);
    }
    sent
}

/// Returns the load that each region is sent in all.
fn loads(places: &[Place]) -> Vec<f64> {
    let table = table(places);
    let mut loads = vec![0.0; places.len()];
    for (of, place) in places.iter().enumerate() {
        for (load, share) in loads.iter_mut().zip(shares(&table, places, of)) {
            *load += share * place.demand;
        }
    }
    loads
}

fn places() -> impl Strategy<Value = Vec<Place>> {
    let known = prop_oneof![2 => Just(Known::All), 1 => Just(Known::Rising)];
    let place = (50_u32..200, 0.0..1.2, known);
    proptest::collection::vec(place, 2..8).prop_map(|places| {
        let placed = (0_u32..).zip(places).map(|(number, (capacity, used, known))| {
            // So far apart that each client has one nearest region.
            let longitude = f64::from(number) * 25.0 - 170.0;
            let place = Place::new(longitude, capacity, f64::from(capacity) * used);
            Place { known, ..place }
        });
        placed.collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_loss_or_series_of_losses_sends_a_living_region_more_than_its_capacity(
        places in places(), order in proptest::collection::vec(any::<prop::sample::Index>(), 1..4),
    ) {
        let mut places = places;
        for index in order {
            let lost = index.index(places.len());
            places[lost].is_lost = true;
            let living = places.iter().filter(|place| !place.is_lost);
            let room: f64 = living.map(Place::capacity).sum();
            let demand: f64 = places.iter().map(|place| place.demand).sum();
            // A region is filled to 95 %, and a rise is to find room as well.
            if demand > room * 0.9 {
                break;
            }
            for (place, load) in places.iter().zip(loads(&places)) {
                let most = if place.is_lost { 0.0 } else { place.capacity() };
                // Two thousand clients are divided by chance, and shares are kept in steps.
                let by_chance = demand * 0.03;
                prop_assert!(load <= most + by_chance, "{load} of {most}: {places:?}");
            }
        }
    }

    #[test]
    fn where_nothing_is_known_each_has_its_share_by_capacity(
        places in places(), lost in any::<prop::sample::Index>(),
    ) {
        let lost = lost.index(places.len());
        let mut places = places;
        for place in &mut places {
            place.known = Known::Nothing;
        }
        places[lost].is_lost = true;
        let room: f64 = places.iter().filter(|place| !place.is_lost).map(Place::capacity).sum();
        let shares = shares(&table(&places), &places, lost);
        for (place, share) in places.iter().zip(shares) {
            let expected = if place.is_lost { 0.0 } else { place.capacity() / room };
            prop_assert!((share - expected).abs() < 0.05, "{share}, not {expected}: {places:?}");
        }
    }
}

/// Tells what shares of the clients of the first region, which is lost, the others are sent.
#[track_caller]
fn check(places: [Place; 3], expected: [f64; 2]) {
    let mut places = places;
    places[0].is_lost = true;
    let shares = shares(&table(&places), &places, 0);
    for (share, expected) in shares[1..].iter().zip(expected) {
        assert!((share - expected).abs() < 0.04, "{shares:?}, not {expected:?}");
    }
}

#[test]
fn a_demand_that_rises_is_spread_by_spare_capacity_and_one_that_is_known_goes_to_the_next() {
    let [lost, next, last] =
        [Place::new(0.0, 100, 20.0), Place::new(10.0, 100, 45.0), Place::new(20.0, 100, 70.0)];
    check([lost, next, last], [1.0, 0.0]);
    let rising = Place { known: Known::Rising, ..lost };
    check([rising, next, last], [50.0 / 75.0, 25.0 / 75.0]);
}

#[test]
fn a_region_of_unknown_demand_is_taken_to_use_as_much_as_the_others_and_has_no_more_than_its_share()
{
    let lost = Place::new(0.0, 100, 60.0);
    let next = Place { known: Known::Nothing, ..Place::new(10.0, 100, 0.0) };
    let last = Place::new(20.0, 100, 20.0);
    // The known ones use 40 %, so it has room for 55, and the last one for 75.
    check([lost, next, last], [55.0 / 130.0, 75.0 / 130.0]);
}

#[test]
fn what_nothing_limits_takes_all_that_a_limited_region_has_no_share_of() {
    let lost = Place { known: Known::Nothing, ..Place::new(0.0, 100, 60.0) };
    let next = Place { known: Known::Nothing, ..Place::new(10.0, 100, 0.0) };
    let last = Place { known: Known::Nothing, capacity: None, ..Place::new(20.0, 100, 0.0) };
    check([lost, next, last], [0.5, 0.5]);
    let unlimited = [lost, next, last].map(|place| Place { capacity: None, ..place });
    check(unlimited, [1.0, 0.0]);
}

#[test]
fn only_regions_without_room_at_all_are_overfull() {
    let ids = [id(0), id(1), id(2)];
    let overfull = |demand: f64| {
        let place = |longitude| Place::new(longitude, 100, demand);
        let mut places = [place(0.0), place(10.0), place(20.0)];
        places[0].is_lost = true;
        let table = table(&places);
        ids.each_ref().map(|id| table.is_overfull(id))
    };
    assert_eq!(overfull(60.0), [false; 3]);
    assert_eq!(overfull(70.0), [true; 3]);
}
