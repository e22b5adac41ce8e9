//! Random worlds: configurations, observations and clients.

use std::collections::BTreeMap;

use geostream_domain::{
    AllDown, Band, BandKm, Bias, Capacity, Change, Client, ClientKey, ClientSelector, Config,
    Continent, Cost, FenceRule, GeoPoint, Geofence, Health, Labels, Line, Load, Location, Member,
    Objective, Observation, Observations, Override, OverrideAction, Policy, Region, RegionId,
    RemovalBudget, RoutingTable, Rtt, Service, ServiceTable, Timestamp, Weight,
};
use proptest::prelude::*;
use proptest::sample::select;

/// A region with all that a decision could read of it.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) region: Region,
    pub(crate) member: Member,
    pub(crate) observation: Option<Observation>,
    pub(crate) overridden: Option<OverrideAction>,
}

/// One service over some regions.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) places: Vec<Place>,
    pub(crate) objective: Objective,
    pub(crate) geofence: Geofence,
    pub(crate) all_down: AllDown,
}

impl World {
    pub(crate) fn config(&self) -> Config {
        let mut changes: Vec<_> =
            self.places.iter().map(|p| Change::from(p.region.clone())).collect();
        let mut service = Service::new("api".parse().expect("a name"), []);
        service.members =
            self.places.iter().map(|p| (p.region.id.clone(), p.member)).collect::<BTreeMap<_, _>>();
        service.policy = Policy { objective: self.objective, without_location: Vec::new() };
        service.geofence = self.geofence.clone();
        service.all_down = self.all_down.clone();
        // The budget takes regions back by what else is down, so it has tests of its own.
        service.removal_budget = RemovalBudget::from_percent(100).unwrap();
        changes.push(Change::from(service));
        for place in &self.places {
            let Some(action) = place.overridden else { continue };
            changes.push(Change::SetOverride(Override {
                region: place.region.id.clone(),
                action,
                owner: line("ops"),
                reason: line("test"),
                since: Timestamp::EPOCH,
                expires: None,
            }));
        }
        Config::default().after(changes).expect("a world is valid")
    }

    pub(crate) fn table(&self) -> RoutingTable {
        let mut observed = Observations::default();
        for place in &self.places {
            if let Some(observation) = place.observation {
                observed.note(place.region.id.clone(), observation);
            }
        }
        RoutingTable::compile(self.config().into(), &observed, Timestamp::EPOCH, None)
    }

    /// Has no region more clients than it can have: nobody is displaced by what another takes.
    pub(crate) fn without_demand(mut self) -> Self {
        for place in &mut self.places {
            let unknown = Observation::of(Health::Unknown, Timestamp::EPOCH);
            let observation = place.observation.get_or_insert(unknown);
            observation.demand = Load::new(0.0).ok();
        }
        self
    }

    pub(crate) fn place(&self, id: &RegionId) -> &Place {
        self.places.iter().find(|p| p.region.id == *id).expect("a region of this world")
    }
}

pub(crate) fn service(table: &RoutingTable) -> &ServiceTable {
    table.service("api").expect("the service")
}

/// Returns the id of the region that serves a client.
pub(crate) fn served_by(table: &RoutingTable, client: &Client) -> Option<RegionId> {
    Some(table.region(service(table).route(client).ok()?.region).id.clone())
}

pub(crate) fn point() -> impl Strategy<Value = GeoPoint> {
    let anywhere = (-90.0..=90.0, -180.0..=180.0);
    let edges = (
        select(vec![-90.0, -89.999, 0.0, 89.999, 90.0]),
        select(vec![-180.0, -179.999, 0.0, 179.999, 180.0]),
    );
    prop_oneof![4 => anywhere, 1 => edges]
        .prop_map(|(lat, lon)| GeoPoint::new(lat, lon).expect("a point on the Earth"))
}

pub(crate) fn client() -> impl Strategy<Value = Client> {
    let country = proptest::option::of(select(vec!["DE", "US", "JP", "BR", "ZZ"]));
    (proptest::option::weighted(0.9, point()), country, any::<[u8; 8]>()).prop_map(
        |(point, country, key)| {
            let location = point.map_or(Location::UNKNOWN, Location::at);
            let location = match country {
                Some(code) => location.in_country(code.parse().expect("a country")),
                None => location,
            };
            Client { location, key: ClientKey::of_bytes(&key) }
        },
    )
}

fn place() -> impl Strategy<Value = Place> {
    let region = (
        point(),
        proptest::option::of(0_u32..20),
        proptest::option::of(1_u32..4),
        proptest::option::of(select(vec!["eu", "us"])),
    );
    let member = (0_u32..5, 0_u16..3, -500_i32..500);
    let health = select(vec![Health::Healthy, Health::Healthy, Health::Unhealthy, Health::Unknown]);
    let observation = proptest::option::of((health, proptest::option::of(0_u32..6)));
    let overridden = proptest::option::weighted(0.2, select(OverrideAction::ALL.to_vec()));
    (region, member, observation, overridden).prop_map(
        |((point, cost, capacity, residency), (weight, priority, bias), seen, overridden)| {
            let mut region = Region::new("unnamed".parse().expect("a name"), point);
            region.cost = cost.and_then(|c| Cost::from_usd_per_gb(f64::from(c) / 100.0).ok());
            region.capacity = capacity.and_then(|c| Capacity::new(c).ok());
            let labels = residency.map(|r| ("residency".parse().unwrap(), r.parse().unwrap()));
            region.labels = Labels::new(labels.into_iter().collect()).unwrap();
            let observation = seen.map(|(health, load)| {
                let load = load.and_then(|units| Load::new(f64::from(units)).ok());
                Observation { load, demand: load, ..Observation::of(health, Timestamp::EPOCH) }
            });
            let weight = Weight::new(weight).unwrap();
            let member = Member { weight, priority, bias: Bias::from_km(bias).unwrap() };
            Place { region, member, observation, overridden }
        },
    )
}

/// Worlds of 1 to `most` regions.
pub(crate) fn world(most: usize) -> impl Strategy<Value = World> {
    let places = proptest::collection::vec(place(), 1..=most).prop_map(|mut places| {
        for (number, place) in places.iter_mut().enumerate() {
            // Names in another order than the regions are in.
            place.region.id = format!("r{}", (number * 7919 + 13) % 100_003).parse().unwrap();
        }
        places
    });
    (places, objective(), geofence(), select(vec![0, 1, 2, 3])).prop_map(
        |(places, objective, geofence, rule)| {
            let all_down = match rule {
                0 => AllDown::FailOpen,
                1 => AllDown::Closed,
                2 => AllDown::LastGood,
                _ => AllDown::Static(places[0].region.id.clone()),
            };
            World { places, objective, geofence, all_down }
        },
    )
}

fn objective() -> impl Strategy<Value = Objective> {
    let allowance = (0.0..300.0).prop_map(|ms| Rtt::from_millis(ms).unwrap());
    let band = (0.1..50.0).prop_map(|ms| Band::from_millis(ms).unwrap());
    let band_km = (1.0..2_000.0).prop_map(|km| BandKm::from_km(km).unwrap());
    (allowance, band, band_km, 0..6).prop_map(|(allowance, band, band_km, kind)| match kind {
        0 => Objective::Latency { band },
        1 => Objective::Proximity { band: band_km },
        2 => Objective::Cost { allowance, band },
        3 => Objective::Load { allowance, band },
        4 => Objective::Priority { band },
        _ => Objective::Weighted,
    })
}

fn geofence() -> impl Strategy<Value = Geofence> {
    let eu_stays = FenceRule {
        clients: ClientSelector {
            continents: vec![Continent::Europe],
            ..ClientSelector::default()
        },
        allow: vec!["residency=eu".parse().unwrap()],
        deny: Vec::new(),
    };
    let nowhere_in_us = FenceRule {
        clients: ClientSelector {
            countries: vec!["JP".parse().unwrap()],
            unknown: true,
            ..ClientSelector::default()
        },
        allow: Vec::new(),
        deny: vec!["residency=us".parse().unwrap()],
    };
    proptest::sample::subsequence(vec![eu_stays, nowhere_in_us], 0..=2)
        .prop_map(|rules| Geofence::new(rules).unwrap())
}

pub(crate) fn line(text: &str) -> Line {
    text.parse().expect("a line of text")
}
