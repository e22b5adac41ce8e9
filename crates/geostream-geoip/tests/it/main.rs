//! Files in both schemas, broken ones, and files that change while they are used.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod layouts;
mod maker;

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use geostream_domain::{Continent, GeoPoint, Location, Precision};
use geostream_geoip::{Database, GeoIp};
use geostream_ports::{Families, GeoLocator as _, Place};
use maxminddb::{Reader, WithinOptions, path};

fn testdata(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(file)
}

fn open(file: &str) -> GeoIp {
    let geoip = GeoIp::open([testdata(file)]);
    assert!(geoip.is_complete(), "{file} is read: {:?}", Database::open(&testdata(file)));
    geoip
}

fn locate(geoip: &GeoIp, address: &str) -> Place {
    geoip.locate(address.parse().expect("an address"))
}

#[test]
fn the_nested_schema_is_read() {
    let geoip = open("GeoLite2-City-Test.mmdb");
    let london = locate(&geoip, "81.2.69.142");
    let Location { point, precision, accuracy_km, country, continent } = london.location;
    let point = point.expect("coordinates");
    assert_eq!((point.latitude(), point.longitude()), (51.5142, -0.0931));
    assert_eq!((precision, accuracy_km), (Precision::City, Some(10)));
    assert_eq!(country.map(|c| c.to_string()).as_deref(), Some("GB"));
    assert_eq!(continent, Some(Continent::Europe));
    assert_eq!(london.network.map(|n| n.to_string()).as_deref(), Some("81.2.69.142/31"));
    assert_eq!(locate(&geoip, "::ffff:81.2.69.142"), london, "IPv4-mapped IPv6 is IPv4");
    assert!(locate(&geoip, "2001:218::1").location.point.is_some());
}

#[test]
fn a_country_stands_at_its_typical_point() {
    let geoip = open("GeoLite2-Country-Test.mmdb");
    let place = locate(&geoip, "81.2.69.142").location;
    assert_eq!(place.precision, Precision::Country);
    assert!(place.point.is_some());
    assert_eq!(place.continent, Some(Continent::Europe));
}

#[test]
fn the_flat_schema_is_read() {
    let geoip = open("dbip-city-flat-sample.mmdb");
    let expected = fs::read_to_string(testdata("dbip-city-flat-sample.csv")).expect("the answers");
    let mut checked = 0;
    for line in expected.lines().skip(1) {
        let [address, latitude, longitude, country] = line.split(',').collect::<Vec<_>>()[..]
        else {
            panic!("four fields: {line}");
        };
        let place = locate(&geoip, address).location;
        let point = place.point.expect(line);
        let off = |number: f64, text: &str| (number - text.parse::<f64>().expect(line)).abs();
        assert!(off(point.latitude(), latitude) < 1e-4, "{line}: {place:?}");
        assert!(off(point.longitude(), longitude) < 1e-4, "{line}: {place:?}");
        assert_eq!(place.country.map(|c| c.to_string()).as_deref(), Some(country), "{line}");
        checked += 1;
    }
    assert!(checked > 900, "{checked} addresses");
}

#[test]
fn private_reserved_and_unknown_addresses_are_at_unknown_places() {
    for file in ["GeoLite2-City-Test.mmdb", "dbip-city-flat-sample.mmdb"] {
        let geoip = open(file);
        for address in
            ["10.0.0.1", "127.0.0.1", "169.254.1.1", "0.0.0.0", "255.255.255.255", "::1", "fe80::1"]
        {
            assert_eq!(locate(&geoip, address), Place::UNKNOWN, "{address} in {file}");
        }
    }
}

#[test]
fn every_network_is_where_the_file_says() {
    for (file, latitude) in [
        ("GeoLite2-City-Test.mmdb", &path!["location", "latitude"][..]),
        ("GeoIP2-City-Test.mmdb", &path!["location", "latitude"]),
        ("dbip-city-flat-sample.mmdb", &path!["latitude"]),
    ] {
        let database = Database::open(&testdata(file)).expect(file);
        let reader = Reader::open_readfile(testdata(file)).expect(file);
        let all = WithinOptions::default().include_aliased_networks();
        let all = reader.networks(all.include_networks_without_data()).expect(file);
        for said in all.map(|said| said.expect(file)) {
            let latitude: Option<f64> = said.decode_path(latitude).expect(file);
            let network = said.network().expect(file);
            for address in [network.network(), network.broadcast()] {
                let found = database.find(address);
                let point = found.and_then(|place| place.location.point);
                let found_at = point.map(GeoPoint::latitude);
                assert!(found_at == latitude || latitude.is_none(), "{address}, {network}, {file}");
                assert_eq!(found.is_some(), said.has_data(), "{address}, {network}, {file}");
                let Some(around) = found.and_then(|place| place.network) else { continue };
                assert!(around.prefix <= network.prefix(), "{network} is in {around}, {file}");
                assert_eq!(database.find(around.address), found, "{around}, {file}");
            }
        }
    }
}

#[test]
fn files_of_one_family_answer_together() {
    let v4 = testdata("GeoLite2-City-Test.mmdb");
    let geoip = GeoIp::open([v4.clone(), testdata("dbip-city-flat-sample.mmdb")]);
    let families: Vec<_> =
        geoip.databases().iter().filter_map(|d| Some(d.data.as_ref()?.families)).collect();
    assert_eq!(families, [Families::Both, Families::Both]);
    // The first file that knows an address answers for it.
    assert_eq!(locate(&geoip, "81.2.69.142"), locate(&GeoIp::open([v4]), "81.2.69.142"));
    assert!(locate(&geoip, "165.100.97.15").location.point.is_some());
}

#[test]
fn broken_files_are_refused_and_never_crash() {
    for file in fs::read_dir(testdata("")).expect("the test data") {
        let path = file.expect("a file").path();
        if path.extension().is_none_or(|extension| extension != "mmdb") {
            continue;
        }
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
        let is_good = [
            "GeoIP2-City-Test.mmdb",
            "GeoLite2-City-Test.mmdb",
            "GeoLite2-Country-Test.mmdb",
            "dbip-city-flat-sample.mmdb",
        ]
        .contains(&name.as_str());
        let opened = Database::open(&path);
        assert_eq!(opened.is_ok(), is_good, "{name}: {:?}", opened.err());
        for cut in 1..20 {
            let bytes = fs::read(&path).expect("a file");
            survive(&bytes[..bytes.len() * cut / 20]);
        }
    }
}

#[test]
fn flipped_bits_never_crash() {
    let bytes = fs::read(testdata("GeoLite2-City-Test.mmdb")).expect("a file");
    for position in (0..bytes.len()).step_by(7) {
        let mut flipped = bytes.clone();
        flipped[position] ^= 1 << (position % 8);
        survive(&flipped);
    }
}

/// Whatever a file holds, it is refused or it answers.
fn survive(bytes: &[u8]) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("broken.mmdb");
    fs::write(&path, bytes).expect("a file");
    let geoip = GeoIp::open([path]);
    for address in ["81.2.69.142", "2001:218::1", "0.0.0.0", "165.100.97.15"] {
        geoip.locate(address.parse::<IpAddr>().expect("an address"));
    }
}

/// A path whose content is replaced as an update would.
struct Updated {
    directory: tempfile::TempDir,
}

impl Updated {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a temporary directory") }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("city.mmdb")
    }

    fn put(&self, bytes: &[u8]) {
        let new = self.directory.path().join("new");
        fs::write(&new, bytes).expect("a file");
        fs::rename(new, self.path()).expect("a file");
    }
}

/// Returns the city database as if it had been made at another time.
fn city_built(seconds_later: i64) -> Vec<u8> {
    let mut bytes = fs::read(testdata("GeoLite2-City-Test.mmdb")).expect("a file");
    let key = b"build_epoch";
    let at = bytes.windows(key.len()).rposition(|w| w == key).expect("metadata") + key.len();
    // The control bytes of a 4-byte unsigned 64-bit number, then the number.
    assert_eq!(bytes[at..at + 2], [0x04, 0x02]);
    let number: [u8; 4] = bytes[at + 2..at + 6].try_into().expect("four bytes");
    let built = i64::from(u32::from_be_bytes(number)) + seconds_later;
    let built = u32::try_from(built).expect("a moment of this century").to_be_bytes();
    bytes[at + 2..at + 6].copy_from_slice(&built);
    bytes
}

#[test]
fn a_newer_file_is_taken_and_a_worse_one_refused() {
    let file = Updated::new();
    file.put(&city_built(0));
    let geoip = GeoIp::open([file.path()]);
    let place = locate(&geoip, "81.2.69.142");
    let state = || geoip.databases().pop().expect("a database");
    let built = || state().data.expect("data in use").built;
    let first = built();
    assert!(!geoip.refresh(), "nothing has changed");

    file.put(&city_built(1000));
    assert!(geoip.refresh());
    assert_eq!(built().since(first).as_secs(), 1000);

    let country = fs::read(testdata("GeoLite2-Country-Test.mmdb")).expect("a file");
    let half = city_built(2000).split_at(9000).0.to_vec();
    for (worse, why) in [
        (city_built(500), "before the data in use"),
        (country, "of type \"GeoLite2-Country\""),
        (half, "damaged"),
        (Vec::new(), "damaged"),
    ] {
        file.put(&worse);
        assert!(geoip.refresh(), "{why}");
        assert!(state().refused.is_some_and(|refused| refused.contains(why)), "{why}");
        assert_eq!(locate(&geoip, "81.2.69.142"), place, "the data in use stays");
        assert!(!geoip.refresh(), "a refused file is not read again until it changes");
    }

    fs::remove_file(file.path()).expect("removed");
    assert!(geoip.refresh());
    assert_eq!(locate(&geoip, "81.2.69.142"), place, "the data in use outlives its file");

    file.put(&city_built(3000));
    assert!(geoip.refresh());
    assert_eq!(state().refused, None);
    assert_eq!(built().since(first).as_secs(), 3000);
}

#[test]
fn a_missing_file_is_taken_when_it_comes() {
    let file = Updated::new();
    let geoip = GeoIp::open([file.path()]);
    assert!(!geoip.is_complete());
    assert_eq!(locate(&geoip, "81.2.69.142"), Place::UNKNOWN);
    file.put(&city_built(0));
    assert!(geoip.refresh());
    assert!(geoip.is_complete());
}

#[test]
fn a_file_that_was_never_well_is_described() {
    for content in [&b"no GeoIP data"[..], b""] {
        let file = Updated::new();
        file.put(content);
        let geoip = GeoIp::open([file.path()]);
        let described = geoip.databases().pop().expect("a file");
        assert_eq!(described.data, None);
        assert!(described.refused.is_some_and(|why| why.contains("damaged")));
    }
}

#[test]
fn files_that_come_into_a_directory_are_used() {
    let file = Updated::new();
    let directory = file.directory.path().to_owned();
    let geoip = GeoIp::open_directory(&directory);
    assert!(geoip.is_complete(), "no file at all is permitted");
    assert!(!geoip.refresh());
    fs::write(directory.join("a.mmdb"), "half a file").expect("a file");
    assert!(geoip.refresh());
    assert!(geoip.is_complete(), "a file that only comes may be still on its way");
    file.put(&city_built(0));
    assert!(geoip.refresh());
    assert!(locate(&geoip, "81.2.69.142").location.point.is_some());
    assert!(!geoip.refresh(), "nothing has changed");
}

#[test]
fn a_file_that_cannot_be_read_is_tried_again() {
    // Unlike a missing permission, this holds for root as well: a directory is there, and no file.
    let file = Updated::new();
    fs::create_dir(file.path()).expect("a directory");
    let geoip = GeoIp::open([file.path()]);
    assert!(!geoip.refresh(), "tried again, with the same end");
    let refused = geoip.databases().pop().expect("a file").refused;
    assert!(refused.is_some_and(|why| why.contains("cannot be read")));
    assert!(!geoip.is_complete());
    fs::remove_dir(file.path()).expect("removed");
    file.put(&city_built(0));
    assert!(geoip.refresh() && geoip.is_complete());
}
