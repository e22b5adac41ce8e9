//! The regions that GeoStream and its peers choose from, and which of them is right for a client.

use std::fmt::Write as _;

use anyhow::Context as _;
use geostream_domain::{Band, GeoPoint, Rtt};

/// A region.
#[derive(Clone, Debug)]
pub(crate) struct Region {
    pub(crate) id: String,
    pub(crate) point: GeoPoint,
}

/// Thirty regions of large providers, by the cities that they are near.
const REGIONS: [(&str, f64, f64); 30] = [
    ("us-east-1", 38.95, -77.45),
    ("us-east-2", 40.1, -83.11),
    ("us-central-1", 41.26, -95.86),
    ("us-south-1", 32.78, -96.8),
    ("us-west-1", 37.35, -121.96),
    ("us-west-2", 45.84, -119.7),
    ("ca-central-1", 45.5, -73.57),
    ("ca-west-1", 51.05, -114.07),
    ("mx-central-1", 20.59, -100.39),
    ("sa-east-1", -23.55, -46.63),
    ("sa-west-1", -33.45, -70.67),
    ("eu-west-1", 53.35, -6.26),
    ("eu-west-2", 51.51, -0.13),
    ("eu-west-3", 48.86, 2.35),
    ("eu-central-1", 50.11, 8.68),
    ("eu-central-2", 47.38, 8.54),
    ("eu-north-1", 59.33, 18.06),
    ("eu-south-1", 45.46, 9.19),
    ("eu-south-2", 40.42, -3.7),
    ("eu-east-1", 52.23, 21.01),
    ("me-central-1", 25.2, 55.27),
    ("me-south-1", 26.07, 50.55),
    ("il-central-1", 32.09, 34.78),
    ("af-south-1", -33.92, 18.42),
    ("ap-south-1", 19.08, 72.88),
    ("ap-south-2", 17.39, 78.49),
    ("ap-southeast-1", 1.35, 103.82),
    ("ap-southeast-2", -33.87, 151.21),
    ("ap-northeast-1", 35.68, 139.69),
    ("ap-northeast-2", 37.57, 126.98),
];

/// Returns the thirty regions.
pub(crate) fn thirty() -> anyhow::Result<Vec<Region>> {
    let region = |(id, latitude, longitude): (&str, f64, f64)| {
        let point = GeoPoint::new(latitude, longitude).with_context(|| format!("region {id}"))?;
        Ok(Region { id: id.to_owned(), point })
    };
    REGIONS.into_iter().map(region).collect()
}

/// Returns so many regions, spread evenly over the Earth.
pub(crate) fn spread(count: u32) -> anyhow::Result<Vec<Region>> {
    let region = |number: u32| {
        // A spiral by the golden angle, from pole to pole.
        let height = (f64::from(number) + 0.5) / f64::from(count);
        let latitude = (1.0 - 2.0 * height).asin().to_degrees();
        let longitude = (f64::from(number) * 137.507_764).rem_euclid(360.0) - 180.0;
        let point = GeoPoint::new(latitude, longitude).with_context(|| format!("{number}"))?;
        Ok(Region { id: format!("region-{number}"), point })
    };
    (0..count).map(region).collect()
}

/// Declares regions, and a service that has them all.
pub(crate) fn declaration(regions: &[Region]) -> String {
    let mut text = String::from("[settings]\ndefault_service = \"api\"\n");
    let mut members = String::from("[services.api.members]\n");
    for Region { id, point } in regions {
        let (latitude, longitude) = (point.latitude(), point.longitude());
        // Writing to a string cannot fail.
        writeln!(
            text,
            "[regions.{id}]\nlatitude = {latitude:.4}\nlongitude = {longitude:.4}\n\
             endpoint = \"https://{id}.api.example.com\""
        )
        .ok();
        writeln!(members, "{id} = {{}}").ok();
    }
    text + &members
}

/// Returns the place in the list of the region that is nearest to a point.
pub(crate) fn nearest(regions: &[Region], point: GeoPoint) -> usize {
    by_distance(regions, point).first().copied().unwrap_or_default()
}

/// Returns the places in the list, the nearest region first.
pub(crate) fn by_distance(regions: &[Region], point: GeoPoint) -> Vec<usize> {
    let mut distances: Vec<(usize, f64)> =
        regions.iter().map(|region| region.point.distance_km(point)).enumerate().collect();
    distances.sort_by(|a, b| a.1.total_cmp(&b.1));
    distances.into_iter().map(|(place, _km)| place).collect()
}

/// Tells whether a region is as good for a client as the nearest, but for near-ties as a policy has
/// them by default.
pub(crate) fn is_near(regions: &[Region], answer: &Region, point: GeoPoint) -> bool {
    let rtt = |region: &Region| Rtt::over_distance(region.point.distance_km(point)).as_millis();
    let best = regions.iter().map(rtt).fold(f64::INFINITY, f64::min);
    rtt(answer) - best <= Band::default().as_millis()
}
