//! The latency estimate against round trips that were measured.

use std::collections::BTreeMap;

use geostream_domain::{GeoPoint, Rtt};

/// Where AWS regions are: latitude and longitude.
const PLACES: [(&str, f64, f64); 18] = [
    ("af-south-1", -33.9249, 18.4241),
    ("ap-east-1", 22.3964, 114.1095),
    ("ap-northeast-1", 35.6895, 139.6917),
    ("ap-northeast-2", 37.5665, 126.978),
    ("ap-northeast-3", 34.6937, 135.5023),
    ("ap-south-1", 19.076, 72.8777),
    ("ap-southeast-1", 1.3521, 103.8198),
    ("ap-southeast-2", -33.8688, 151.2093),
    ("eu-central-1", 50.1109, 8.6821),
    ("eu-south-1", 45.4642, 9.19),
    ("eu-west-1", 53.3498, -6.2603),
    ("eu-west-2", 51.5074, -0.1278),
    ("eu-west-3", 48.8566, 2.3522),
    ("me-south-1", 26.2235, 50.5875),
    ("us-east-1", 38.8048, -77.0469),
    ("us-east-2", 39.9612, -82.9988),
    ("us-west-1", 37.7749, -122.4194),
    ("us-west-2", 45.5231, -122.6765),
];

/// Round-trip times in milliseconds, as CloudPing published them in November 2024: of 210 pairs in
/// the order of their distance, each tenth or eleventh.
const MEASURED: [(&str, &str, f64); 20] = [
    ("us-east-1", "us-east-2", 17.56),
    ("ap-northeast-1", "ap-northeast-2", 38.2),
    ("ap-east-1", "ap-northeast-1", 56.18),
    ("eu-central-1", "me-south-1", 95.92),
    ("eu-west-1", "me-south-1", 111.95),
    ("ap-southeast-1", "ap-southeast-2", 96.73),
    ("eu-south-1", "us-east-1", 103.78),
    ("af-south-1", "me-south-1", 241.99),
    ("ap-northeast-3", "us-west-2", 100.78),
    ("eu-central-1", "us-west-2", 151.97),
    ("eu-west-3", "us-west-1", 147.28),
    ("af-south-1", "eu-central-1", 157.53),
    ("ap-east-1", "eu-west-3", 204.75),
    ("ap-south-1", "ap-southeast-2", 156.73),
    ("ap-southeast-1", "eu-west-3", 169.12),
    ("ap-northeast-2", "us-east-1", 186.91),
    ("ap-southeast-2", "me-south-1", 192.26),
    ("af-south-1", "us-east-2", 238.87),
    ("ap-southeast-1", "us-east-1", 233.16),
    ("ap-southeast-2", "eu-west-2", 273.64),
];

#[test]
fn the_estimate_is_near_to_measured_round_trips() {
    let places: BTreeMap<_, _> = PLACES
        .into_iter()
        .map(|(region, latitude, longitude)| (region, GeoPoint::new(latitude, longitude).unwrap()))
        .collect();
    let error = |(from, to, measured): (&str, &str, f64)| {
        let km = places[from].distance_km(places[to]);
        (Rtt::over_distance(km).as_millis() - measured).abs()
    };
    let mut errors = MEASURED.map(error);
    errors.sort_by(f64::total_cmp);
    let mean = errors.iter().sum::<f64>() / 20.0;
    // Of all 420 round trips, the mean error is 30.2 ms and the median 16.2 ms.
    assert_eq!(format!("{mean:.1} {:.1}", errors[10]), "18.3 14.1");
}
