//! Which known place coordinates are near: numbers that are swapped look as good as right ones.

use std::fmt;
use std::sync::OnceLock;

use serde_json::Value;

use crate::provider_regions::{Entry, catalog};

/// A place that the catalog of cloud regions knows, as seen from other coordinates.
#[derive(Clone, Debug)]
pub(crate) struct Near {
    name: String,
    km: f64,
}

impl fmt::Display for Near {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, km } = self;
        if *km < 1.0 { write!(f, "{name}") } else { write!(f, "{km:.0} km from {name}") }
    }
}

/// The radius of the earth in kilometres: IUGG's mean.
const EARTH_KM: f64 = 6371.0088;

/// Up to here, coordinates are those of the city.
const CITY_KM: f64 = 60.0;

/// From here on, no city of the catalog is near.
const FAR_KM: f64 = 300.0;

/// Returns the nearest place of the catalog.
pub(crate) fn nearest(latitude: f64, longitude: f64) -> Option<Near> {
    // A file may have thousands of regions, and the catalog is a text.
    static CATALOG: OnceLock<Vec<Entry>> = OnceLock::new();
    let entries = CATALOG.get_or_init(|| catalog().unwrap_or_default());
    let near = entries.iter().map(|entry| {
        let km = distance_km((latitude, longitude), (entry.latitude, entry.longitude));
        // Of several providers in one city, the one that writes the city's name is taken.
        (km.round(), !entry.name.contains('('), entry)
    });
    let nearest = near.min_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
    let (_, _, entry) = nearest?;
    let km = distance_km((latitude, longitude), (entry.latitude, entry.longitude));
    Some(Near { name: name_of(entry), km })
}

/// Returns the place that is meant, if these look like longitude and latitude.
pub(crate) fn if_swapped(latitude: f64, longitude: f64) -> Option<Near> {
    if longitude.abs() > 90.0 {
        return None;
    }
    let meant = nearest(longitude, latitude).filter(|near| near.km < CITY_KM)?;
    nearest(latitude, longitude).filter(|near| near.km > FAR_KM).map(|_| meant)
}

/// Returns the coordinates in a region's document.
pub(crate) fn coordinates(region: &Value) -> Option<(f64, f64)> {
    let number = |name: &str| region.get(name).and_then(Value::as_f64);
    number("latitude").zip(number("longitude"))
}

/// Returns the city and the country: providers write `Europe (Frankfurt)`, `Frankfurt` or
/// `Germany West Central`.
fn name_of(entry: &Entry) -> String {
    let name = &entry.name;
    let inner = name.split_once('(').map(|(_, rest)| rest.trim_end_matches(')'));
    format!("{}, {}", inner.unwrap_or(name), entry.country)
}

/// Returns the length of the great circle between two points in degrees, by the haversine formula.
fn distance_km(one: (f64, f64), other: (f64, f64)) -> f64 {
    let half = |from: f64, to: f64| ((to - from).to_radians() / 2.0).sin().powi(2);
    let across = one.0.to_radians().cos() * other.0.to_radians().cos();
    let square = half(one.0, other.0) + across * half(one.1, other.1);
    2.0 * EARTH_KM * square.min(1.0).sqrt().asin()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_are_told_by_the_nearest_place() {
        assert_eq!(nearest(50.1109, 8.6821).unwrap().to_string(), "Frankfurt, DE");
        let bonn = nearest(50.73, 7.1).unwrap();
        assert!(bonn.to_string().ends_with(" km from Frankfurt, DE"), "{bonn}");
        assert!((bonn.km - 131.0).abs() < 3.0, "{bonn}");
        assert!(nearest(35.6762, 139.6503).unwrap().to_string().contains("Tokyo"));
    }

    #[test]
    fn swapped_coordinates_are_noticed() {
        assert_eq!(if_swapped(8.68, 50.11).unwrap().to_string(), "Frankfurt, DE");
        for (latitude, longitude) in [(50.11, 8.68), (35.68, 139.65), (0.0, 0.0), (45.52, -122.68)]
        {
            assert!(if_swapped(latitude, longitude).is_none(), "{latitude}, {longitude}");
        }
    }
}
