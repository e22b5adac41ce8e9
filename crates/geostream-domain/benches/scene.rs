//! What decisions are measured on: regions and clients spread over the Earth, the same in every run.

use geostream_domain::{
    Band, BandKm, Capacity, Change, Client, Config, Cost, GeoPoint, Health, Load, Member,
    Objective, Observation, Observations, Region, RegionId, RoutingTable, Rtt, Service, Snapshot,
    Timestamp, Weight,
};

pub(crate) const CLIENTS: usize = 1024;

pub(crate) fn clients() -> Vec<Client> {
    scattered(CLIENTS, 2).map(Client::at).collect()
}

/// Returns every objective but the default one.
pub(crate) fn objectives() -> [(&'static str, Objective); 5] {
    let allowance = Rtt::from_millis(80.0).expect("a duration");
    let band = Band::default();
    [
        ("proximity", Objective::Proximity { band: BandKm::default() }),
        ("cost", Objective::Cost { allowance, band }),
        ("load", Objective::Load { allowance, band }),
        ("priority", Objective::Priority { band }),
        ("weighted", Objective::Weighted),
    ]
}

/// Compiles a table of so many regions.
pub(crate) fn table(regions: usize, objective: Objective) -> RoutingTable {
    let (snapshot, observed) = configuration(regions, objective);
    RoutingTable::compile(snapshot, &observed, Timestamp::EPOCH, None)
}

/// Declares so many regions, which have all that any objective looks at.
pub(crate) fn configuration(regions: usize, objective: Objective) -> (Snapshot, Observations) {
    let mut observed = Observations::default();
    let mut changes = Vec::new();
    let mut members = Vec::new();
    for (number, point) in (0_u32..).zip(scattered(regions, 1)) {
        let id: RegionId = format!("region-{number}").parse().expect("a name");
        let mut region = Region::new(id.clone(), point);
        region.cost = Cost::from_usd_per_gb(f64::from(number % 17) / 100.0).ok();
        region.capacity = Capacity::new(1000).ok();
        changes.push(Change::from(region));
        let load = Load::new(f64::from(number * 37 % 900)).ok();
        observed.note(
            id.clone(),
            Observation { load, ..Observation::of(Health::Healthy, Timestamp::EPOCH) },
        );
        let weight = Weight::new(1 + number % 10).expect("a weight");
        let priority = u16::try_from(number % 5).expect("a small number");
        members.push((id, Member { weight, priority, ..Member::default() }));
    }
    let mut service = Service::new("api".parse().expect("a name"), []);
    service.members = members.into_iter().collect();
    service.policy.objective = objective;
    changes.push(Change::from(service));
    let config = Config::default().after(changes).expect("a valid configuration");
    (config.into(), observed)
}

/// Points spread evenly over the Earth, the same for the same seed.
pub(crate) fn scattered(count: usize, seed: u64) -> impl Iterator<Item = GeoPoint> {
    let mut state = seed;
    let mut uniform = move || {
        // SplitMix64, for points that are the same in every run.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        f64::from(u32::try_from((bits ^ (bits >> 31)) >> 32).expect("32 bits")) / 4_294_967_296.0
    };
    std::iter::repeat_with(move || {
        let latitude = (2.0 * uniform() - 1.0).asin().to_degrees();
        GeoPoint::new(latitude, 360.0 * uniform() - 180.0).expect("a point on the Earth")
    })
    .take(count)
}
