//! The latency estimate against the measurements that it was fitted on.

use geostream_domain::{GeoPoint, Rtt};
use std::collections::BTreeMap;

#[test]
fn the_documented_error_is_the_real_one() {
    let places: BTreeMap<&str, GeoPoint> = include_str!("../../data/aws_regions_2024.csv")
        .lines()
        .skip(1)
        .map(|line| {
            let mut fields = line.rsplit(',');
            let longitude = fields.next().unwrap().parse().unwrap();
            let latitude = fields.next().unwrap().parse().unwrap();
            (line.split(',').next().unwrap(), GeoPoint::new(latitude, longitude).unwrap())
        })
        .collect();
    let mut errors: Vec<f64> = include_str!("../../data/aws_interregion_2024-11.csv")
        .lines()
        .skip(1)
        .filter_map(|line| {
            let [from, to, millis] = line.split(',').collect::<Vec<_>>()[..] else { return None };
            let km = places[from].distance_km(places[to]);
            let measured: f64 = millis.parse().unwrap();
            (from != to).then(|| (Rtt::over_distance(km).as_millis() - measured).abs())
        })
        .collect();
    errors.sort_by(f64::total_cmp);
    let mean = errors.iter().sum::<f64>() / 420.0;
    assert_eq!(errors.len(), 420);
    assert_eq!(format!("{mean:.1} {:.1}", errors[210]), "30.2 16.2");
}
