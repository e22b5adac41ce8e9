//! How long a decision takes: `cargo bench -p geostream-domain`.

mod scene;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use geostream_domain::{GeoPoint, Objective, RoutingTable, Timestamp};

use crate::scene::{CLIENTS, clients, configuration, objectives, scattered, table};

fn decisions(c: &mut Criterion) {
    let mut group = c.benchmark_group("latency");
    for regions in [30, 1_000, 10_000] {
        let table = table(regions, Objective::default());
        group.bench_function(BenchmarkId::from_parameter(regions), |b| each_client(b, &table));
    }
    group.finish();
    for (name, objective) in objectives() {
        let mut group = c.benchmark_group(format!("objective_{name}"));
        for regions in [30, 10_000] {
            let table = table(regions, objective);
            group.bench_function(BenchmarkId::from_parameter(regions), |b| each_client(b, &table));
        }
        group.finish();
    }
}

/// What a change of health costs: a new table of the same regions, as soon as it is seen.
fn tables(c: &mut Criterion) {
    for regions in [30, 1_000, 10_000] {
        c.bench_function(&format!("compile/{regions}"), |b| {
            let (snapshot, observed) = configuration(regions, Objective::default());
            b.iter(|| RoutingTable::compile(snapshot.clone(), &observed, Timestamp::EPOCH, None));
        });
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
    let clients = clients();
    let mut turn = clients.iter().cycle();
    b.iter(|| black_box(service.route(turn.next().expect("a cycle"))));
}

criterion_group!(benches, decisions, tables, bare_scans);
criterion_main!(benches);
