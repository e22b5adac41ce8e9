//! How long a decision takes: `cargo bench -p geostream-domain`.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use geostream_domain::{
    Band, BandKm, Capacity, Change, Client, Config, Cost, GeoPoint, Health, Load, Member,
    Objective, Observation, Observations, Region, RegionId, RoutingTable, Rtt, Service, Timestamp,
    Weight,
};

const CLIENTS: usize = 1024;

fn decisions(c: &mut Criterion) {
    let mut group = c.benchmark_group("latency");
    for regions in [30, 1_000, 10_000] {
        let table = table(regions, Objective::default());
        group.bench_function(BenchmarkId::from_parameter(regions), |b| each_client(b, &table));
    }
    group.finish();
    let allowance = Rtt::from_millis(80.0).expect("a duration");
    let band = Band::default();
    for (name, objective) in [
        ("proximity", Objective::Proximity { band: BandKm::default() }),
        ("cost", Objective::Cost { allowance, band }),
        ("load", Objective::Load { allowance, band }),
        ("priority", Objective::Priority { band }),
        ("weighted", Objective::Weighted),
    ] {
        let mut group = c.benchmark_group(format!("objective_{name}"));
        for regions in [30, 10_000] {
            let table = table(regions, objective);
            group.bench_function(BenchmarkId::from_parameter(regions), |b| each_client(b, &table));
        }
        group.finish();
    }
}

/// What a decision is measured against: the nearest by dot product alone, without bands, draws,
/// reasons or alternatives; and by haversine.
fn bare_scans(c: &mut Criterion) {
    for regions in [30, 10_000] {
        let points: Vec<GeoPoint> = scattered(regions, 1).collect();
        let vectors: Vec<_> = points.iter().map(|&point| unit_vector(point)).collect();
        let clients: Vec<GeoPoint> = scattered(CLIENTS, 2).collect();
        let mut turn = clients.iter().cycle();
        c.bench_function(&format!("bare_dot/{regions}"), |b| {
            b.iter(|| {
                let client = unit_vector(*turn.next().expect("a cycle"));
                let dots = vectors.iter().map(|&vector| dot(vector, client));
                black_box(dots.enumerate().max_by(|a, b| a.1.total_cmp(&b.1)))
            });
        });
        c.bench_function(&format!("bare_haversine/{regions}"), |b| {
            b.iter(|| {
                let client = *turn.next().expect("a cycle");
                let distances = points.iter().map(|point| point.distance_km(client));
                black_box(distances.enumerate().min_by(|a, b| a.1.total_cmp(&b.1)))
            });
        });
    }
}

fn unit_vector(point: GeoPoint) -> [f64; 3] {
    let (sin_lat, cos_lat) = point.latitude().to_radians().sin_cos();
    let (sin_lon, cos_lon) = point.longitude().to_radians().sin_cos();
    [cos_lat * cos_lon, cos_lat * sin_lon, sin_lat]
}

fn dot([x1, y1, z1]: [f64; 3], [x2, y2, z2]: [f64; 3]) -> f64 {
    x1 * x2 + y1 * y2 + z1 * z2
}

fn each_client(b: &mut criterion::Bencher<'_>, table: &RoutingTable) {
    let service = table.service("api").expect("the service");
    let clients: Vec<Client> = scattered(CLIENTS, 2).map(Client::at).collect();
    let mut turn = clients.iter().cycle();
    b.iter(|| black_box(service.route(turn.next().expect("a cycle"))));
}

fn table(regions: usize, objective: Objective) -> RoutingTable {
    let mut observed = Observations::default();
    let mut changes = Vec::new();
    let mut members = Vec::new();
    for (number, point) in (0_u32..).zip(scattered(regions, 1)) {
        let id: RegionId = format!("region-{number}").parse().expect("a name");
        let mut region = Region::new(id.clone(), point);
        region.cost = Cost::from_usd_per_gb(f64::from(number % 17) / 100.0).ok();
        region.capacity = Capacity::new(1000).ok();
        changes.push(Change::PutRegion(Arc::new(region)));
        let load = Load::new(f64::from(number * 37 % 1000)).ok();
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
    changes.push(Change::PutService(Arc::new(service)));
    let config = Config::default().after(changes).expect("a valid configuration");
    RoutingTable::compile(config.into(), &observed, Timestamp::EPOCH, None)
}

/// Points spread evenly over the Earth, the same for the same seed.
fn scattered(count: usize, seed: u64) -> impl Iterator<Item = GeoPoint> {
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

criterion_group!(benches, decisions, bare_scans);
criterion_main!(benches);
