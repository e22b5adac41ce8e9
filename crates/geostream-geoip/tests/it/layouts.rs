//! Files of many makers, and what they write where they know nothing.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use geostream_domain::{Continent, Location, Precision};
use geostream_geoip::{Database, GeoIp};
use geostream_ports::GeoLocator as _;

use crate::maker::{Value, built, file};
use crate::{locate, testdata};
use Value::{Double, Float, I32, Map, Text, U16, U32, U64, U128};

const CLIENT: &str = "5.9.0.1";
const NETWORK: &str = "5.9.0.0/16";

/// Opens a file in which the client's network has this record.
fn open(record: Value) -> GeoIp {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("one.mmdb");
    fs::write(&path, file("one", &[(NETWORK, record)])).unwrap();
    GeoIp::open([path])
}

fn found(record: Value) -> Location {
    let geoip = open(record);
    assert!(geoip.is_complete(), "{:?}", geoip.databases());
    locate(&geoip, CLIENT).location
}

fn country(location: &Location) -> Option<String> {
    location.country.map(|code| code.to_string())
}

fn nested(latitude: Value, longitude: Value, radius: Value) -> Value {
    Map(vec![
        ("city", Map(vec![("names", Map(vec![("en", Text("Frankfurt"))]))])),
        ("country", Map(vec![("iso_code", Text("DE"))])),
        (
            "location",
            Map(vec![
                ("latitude", latitude),
                ("longitude", longitude),
                ("accuracy_radius", radius),
            ]),
        ),
    ])
}

#[test]
fn each_makers_layout_is_read() {
    let frankfurt = [
        ("GeoLite2", nested(Double(50.1), Double(8.7), U16(20))),
        (
            "ip-location-db",
            Map(vec![
                ("city", Text("Frankfurt")),
                ("country_code", Text("DE")),
                ("latitude", Float(50.1)),
                ("longitude", Float(8.7)),
            ]),
        ),
        (
            "a table as it is downloaded",
            Map(vec![
                ("city", Text("Frankfurt")),
                ("country", Text("DE")),
                ("latitude", Double(50.1)),
                ("longitude", Double(8.7)),
            ]),
        ),
        (
            "IPinfo",
            Map(vec![
                ("city", Text("Frankfurt")),
                ("country", Text("DE")),
                ("lat", Text("50.1")),
                ("lng", Text("8.7")),
            ]),
        ),
        (
            "IPinfo, as JSON has it",
            Map(vec![
                ("city", Text("Frankfurt")),
                ("country", Text("DE")),
                ("loc", Text("50.1,8.7")),
            ]),
        ),
        (
            "within geo",
            Map(vec![(
                "geo",
                Map(vec![
                    ("city", Text("Frankfurt")),
                    ("country_code", Text("DE")),
                    ("latitude", Double(50.1)),
                    ("longitude", Double(8.7)),
                ]),
            )]),
        ),
    ];
    for (maker, record) in frankfurt {
        let location = found(record);
        assert_eq!(country(&location).as_deref(), Some("DE"), "{maker}");
        assert_eq!(location.continent, Some(Continent::Europe), "{maker}");
        assert_eq!(location.precision, Precision::City, "{maker}");
        let point = location.point.unwrap();
        assert!((point.latitude() - 50.1).abs() < 1e-5, "{maker}: {point:?}");
        assert!((point.longitude() - 8.7).abs() < 1e-5, "{maker}: {point:?}");
    }
}

#[test]
fn a_code_is_found_beside_its_name() {
    let lite = |code, name, continent_code, continent| {
        found(Map(vec![
            ("country_code", Text(code)),
            ("country", Text(name)),
            ("continent_code", Text(continent_code)),
            ("continent", Text(continent)),
        ]))
    };
    let us = lite("US", "United States", "NA", "North America");
    assert_eq!(
        (country(&us).as_deref(), us.continent),
        (Some("US"), Some(Continent::NorthAmerica))
    );
    let europe = lite("", "", "EU", "Europe");
    assert_eq!((country(&europe), europe.continent), (None, Some(Continent::Europe)));
}

#[test]
fn numbers_of_any_type_are_read() {
    for (latitude, longitude, radius, km) in [
        (I32(50), I32(9), I32(12), 12),
        (U16(50), U32(9), Double(12.4), 12),
        (U64(50), U128(9), Float(12.6), 13),
        (Text("50"), Text(" 9.0 "), Text("12"), 12),
        (Double(50.0), Double(9.0), U32(100_000), u16::MAX),
    ] {
        let location = found(nested(latitude.clone(), longitude, radius));
        let point = location.point.unwrap();
        assert_eq!((point.latitude(), point.longitude()), (50.0, 9.0), "{latitude:?}");
        assert_eq!(location.accuracy_km, Some(km), "{latitude:?}");
    }
}

#[test]
fn placeholders_are_no_places() {
    let of = |code: &'static str, continent: &'static str| {
        found(Map(vec![
            ("city", Map(vec![("names", Map(vec![("en", Text("-"))]))])),
            ("country", Map(vec![("iso_code", Text(code))])),
            ("continent", Map(vec![("code", Text(continent))])),
            ("location", Map(vec![("latitude", Double(0.0)), ("longitude", Double(0.0))])),
        ]))
    };
    for code in ["-", "", "ZZ", "XX"] {
        assert_eq!(of(code, "-"), Location::UNKNOWN, "{code}");
    }
    let us = of("US", "NA");
    assert_eq!(us.precision, Precision::Country);
    assert_eq!(us.point, "US".parse::<geostream_domain::CountryCode>().unwrap().typical_point());
    let empty = found(Map(vec![
        ("country_code", Text("")),
        ("latitude", Text("")),
        ("longitude", Text("-")),
    ]));
    assert_eq!(empty, Location::UNKNOWN);
}

#[test]
fn a_layout_that_is_not_known_is_called_so_with_its_network_and_field() {
    for (record, expected) in [
        (Map(vec![("country", Text("Germany"))]), "the country is \"Germany\""),
        (Map(vec![("country", Text("DEU"))]), "codes of two letters"),
        (Map(vec![("countryCode", Text("DE"))]), "\"countryCode\""),
        (Map(vec![("Latitude", Double(50.0))]), "\"Latitude\""),
        (Map(vec![("latitude", Text("50 N"))]), "\"50 N\" is not a number"),
        (Map(vec![("loc", Text("50.1"))]), "\"50.1\" is not a latitude"),
        (Map(vec![("latitude", Map(vec![]))]), "expected a number"),
    ] {
        let geoip = open(record);
        assert!(!geoip.is_complete(), "{expected}");
        let refused = geoip.databases().remove(0).refused.unwrap();
        assert!(refused.contains("layout"), "{refused}");
        assert!(refused.contains("5.9.0.0") && refused.contains(expected), "{refused}");
        assert!(!refused.contains("damaged"), "{refused}");
    }
}

#[test]
fn a_file_that_says_nothing_of_places_is_no_fault_beside_others() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let asn = Map(vec![("autonomous_system_number", U32(64500))]);
    fs::write(path("GeoLite2-ASN.mmdb"), file("GeoLite2-ASN", &[(NETWORK, asn)])).unwrap();
    fs::copy(testdata("GeoLite2-City-Test.mmdb"), path("GeoLite2-City.mmdb")).unwrap();
    let geoip = GeoIp::open_directory(directory.path());
    assert!(geoip.is_complete());
    assert!(locate(&geoip, "81.2.69.142").location.point.is_some());
    let refused = geoip.databases().remove(0).refused.unwrap();
    assert!(refused.contains("nothing of countries"), "{refused}");
    // Where it is named, somebody expects places of it.
    assert!(!GeoIp::open([path("GeoLite2-ASN.mmdb")]).is_complete());
}

#[test]
fn clients_are_found_by_the_ipv4_address_in_theirs() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("one.mmdb");
    let of = |code: &'static str| Map(vec![("country", Map(vec![("iso_code", Text(code))]))]);
    let records = [
        ("5.9.0.0/16", of("DE")),
        ("2002::/16", of("US")),
        ("2001::/23", of("US")),
        ("2400::/12", of("JP")),
        ("10.0.0.0/8", of("CH")),
    ];
    fs::write(&path, file("one", &records)).unwrap();
    let geoip = GeoIp::open([path]);
    for (address, expected) in [
        ("5.9.0.1", Some("DE")),
        ("::ffff:5.9.0.1", Some("DE")),
        ("2002:509:1::1", Some("DE")),
        ("64:ff9b::509:1", Some("DE")),
        ("2001:0:cb00:7101:0:fbff:faf6:fffe", Some("DE")),
        ("2002:909:909::1", None),
        ("2001:20::1", None),
        ("2400::1", Some("JP")),
        ("10.1.2.3", Some("CH")),
        ("192.168.0.1", None),
    ] {
        let location = locate(&geoip, address).location;
        assert_eq!(country(&location).as_deref(), expected, "{address}");
    }
}

#[test]
fn what_is_no_file_is_refused_and_stops_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::create_dir(path("a.mmdb")).unwrap();
    let made = Command::new("mkfifo").arg(path("b.mmdb")).status().unwrap();
    assert!(made.success());
    symlink("/dev/zero", path("c.mmdb")).unwrap();
    let sparse = fs::File::create(path("d.mmdb")).unwrap();
    sparse.set_len(2_000_000_000).unwrap();
    let larger = fs::File::create(path("e.mmdb")).unwrap();
    larger.set_len(3_000_000_000).unwrap();
    fs::copy(testdata("GeoLite2-City-Test.mmdb"), path("f.mmdb")).unwrap();
    let geoip = GeoIp::open_directory(directory.path());
    assert!(locate(&geoip, "81.2.69.142").location.point.is_some());
    let refused: Vec<_> =
        geoip.databases().into_iter().map(|file| file.refused.unwrap_or_default()).collect();
    let [a, b, c, d, e, f] = &refused[..] else { panic!("{refused:?}") };
    for not_a_file in [a, b, c] {
        assert!(not_a_file.contains("no regular file"), "{not_a_file}");
    }
    assert!(d.contains("no metadata"), "{d}");
    assert!(e.contains("3000000000 bytes"), "{e}");
    assert_eq!(f, "");
    fs::copy(testdata("GeoLite2-Country-Test.mmdb"), path("g.mmdb")).unwrap();
    assert!(geoip.refresh(), "the next file is found as well");
}

#[test]
fn a_months_file_that_is_gone_leaves_when_the_next_is_in_use() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let of = |code: &'static str| Map(vec![("country", Map(vec![("iso_code", Text(code))]))]);
    let month = |epoch, code| built("DBIP-City-Lite", epoch, &[(NETWORK, of(code))]);
    let seen = |geoip: &GeoIp| country(&locate(geoip, CLIENT).location);
    fs::write(path("dbip-2026-10.mmdb"), month(1, "DE")).unwrap();
    let geoip = GeoIp::open_directory(directory.path());
    fs::remove_file(path("dbip-2026-10.mmdb")).unwrap();
    assert!(geoip.refresh());
    assert_eq!(seen(&geoip).as_deref(), Some("DE"), "the data in use outlives its file");
    fs::write(path("dbip-2026-11.mmdb"), month(2, "FR")).unwrap();
    assert!(geoip.refresh());
    assert_eq!(seen(&geoip).as_deref(), Some("FR"));
    assert_eq!(geoip.databases().len(), 1);
    assert!(geoip.is_complete());
    assert!(Database::open(&path("dbip-2026-11.mmdb")).is_ok());
}
