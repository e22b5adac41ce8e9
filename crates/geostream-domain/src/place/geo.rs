//! Points on the Earth and the distances between them.

use thiserror::Error;

/// Mean radius of the Earth in kilometres (R1 of the IUGG's 1980 reference system).
pub const EARTH_RADIUS_KM: f64 = 6371.0088;

/// A point on the Earth's surface, in degrees (WGS 84).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GeoPoint {
    latitude: f64,
    longitude: f64,
}

/// Why two numbers are not a point on the Earth.
#[derive(Clone, Copy, Debug, Error, PartialEq)]
pub enum GeoPointError {
    /// The latitude is not a number from -90 to 90.
    #[error("latitude {0} is not a number from -90 to 90")]
    Latitude(f64),
    /// The longitude is not a number from -180 to 180.
    #[error("longitude {0} is not a number from -180 to 180")]
    Longitude(f64),
}

impl GeoPoint {
    /// Takes a latitude from -90 to 90 and a longitude from -180 to 180, both in degrees.
    ///
    /// # Errors
    ///
    /// Names the coordinate that is out of range or not a number.
    pub fn new(latitude: f64, longitude: f64) -> Result<Self, GeoPointError> {
        if !(-90.0..=90.0).contains(&latitude) {
            return Err(GeoPointError::Latitude(latitude));
        }
        if !(-180.0..=180.0).contains(&longitude) {
            return Err(GeoPointError::Longitude(longitude));
        }
        Ok(Self { latitude, longitude })
    }

    /// Degrees north of the equator, -90 to 90.
    #[must_use]
    pub fn latitude(self) -> f64 {
        self.latitude
    }

    /// Degrees east of Greenwich, -180 to 180.
    #[must_use]
    pub fn longitude(self) -> f64 {
        self.longitude
    }

    /// Returns the great-circle distance in kilometres by the haversine formula.
    ///
    /// Source: R. W. Sinnott, "Virtues of the Haversine", Sky and Telescope 68(2), 1984.
    #[must_use]
    pub fn distance_km(self, other: Self) -> f64 {
        let (lat1, lat2) = (self.latitude.to_radians(), other.latitude.to_radians());
        let half_dlat = (lat2 - lat1) / 2.0;
        let half_dlon = (other.longitude - self.longitude).to_radians() / 2.0;
        let h = half_dlat.sin().powi(2) + lat1.cos() * lat2.cos() * half_dlon.sin().powi(2);
        2.0 * EARTH_RADIUS_KM * h.sqrt().min(1.0).asin()
    }
}

/// A direction from the Earth's centre, of length one: what the hot path reads of thousands of
/// regions.
///
/// The shorter the chord between two directions, the nearer the points: ranking needs no
/// trigonometry. Rounding moves a point by two metres at the most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Direction(pub(crate) [f32; 3]);

impl From<GeoPoint> for Direction {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "rounding to the nearest is what is wanted"
    )]
    fn from(point: GeoPoint) -> Self {
        let (sin_lat, cos_lat) = (point.latitude as f32).to_radians().sin_cos();
        let (sin_lon, cos_lon) = (point.longitude as f32).to_radians().sin_cos();
        Self([cos_lat * cos_lon, cos_lat * sin_lon, sin_lat])
    }
}

impl Direction {
    /// Returns the square of the straight line between two points on the unit sphere.
    ///
    /// For unit vectors it is twice what their dot product lacks of 1, without the digits that
    /// this difference would lose for near points.
    #[inline]
    pub(crate) fn chord_squared([x1, y1, z1]: [f32; 3], [x2, y2, z2]: [f32; 3]) -> f32 {
        let (dx, dy, dz) = (x1 - x2, y1 - y2, z1 - z2);
        dx * dx + dy * dy + dz * dz
    }

    /// Returns the angle between two points, in radians.
    pub(crate) fn angle(self, other: Self) -> f32 {
        angle(Self::chord_squared(self.0, other.0))
    }
}

/// The least box that holds some directions, with its sides along the axes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DirectionBox {
    low: [f32; 3],
    high: [f32; 3],
}

impl DirectionBox {
    /// A box that holds nothing.
    pub(crate) const EMPTY: Self = Self { low: [f32::INFINITY; 3], high: [f32::NEG_INFINITY; 3] };

    /// Makes the box as large as it takes to hold a direction too.
    pub(crate) fn include(&mut self, direction: Direction) {
        for (axis, at) in direction.0.into_iter().enumerate() {
            self.low[axis] = self.low[axis].min(at);
            self.high[axis] = self.high[axis].max(at);
        }
    }

    /// Returns the straight line from a direction to the nearest point of the box; 0 from within.
    #[inline]
    pub(crate) fn chord_from(&self, Direction(from): Direction) -> f32 {
        let mut chord_squared = 0.0;
        for (axis, at) in from.into_iter().enumerate() {
            let (below, above) = (self.low[axis] - at, at - self.high[axis]);
            let outside = if below > above { below } else { above };
            let outside = if outside > 0.0 { outside } else { 0.0 };
            chord_squared += outside * outside;
        }
        chord_squared.sqrt()
    }

    /// Returns the axis along which the box is widest: 0, 1 or 2.
    pub(crate) fn widest_axis(&self) -> usize {
        let width = |axis: &usize| self.high[*axis] - self.low[*axis];
        (0..3).max_by(|a, b| width(a).total_cmp(&width(b))).unwrap_or_default()
    }
}

/// Returns the angle, in radians, whose chord's square is given.
///
/// Within 3 m on the ground for most pairs of points, and within 10 km for antipodes. Without
/// branches or calls, so that a loop over many of them is vectorised. Source: Abramowitz and
/// Stegun, "Handbook of Mathematical Functions", 4.4.46, for the arc cosine of 1 - chord^2 / 2.
#[inline]
pub(crate) fn angle(chord_squared: f32) -> f32 {
    const A: [f32; 8] = [
        std::f32::consts::FRAC_PI_2,
        -0.214_598_8,
        0.088_978_99,
        -0.050_174_305,
        0.030_891_88,
        -0.017_088_126,
        0.006_670_09,
        -0.001_262_491_1,
    ];
    let half = chord_squared * 0.5;
    // Beyond a right angle, the angle to the antipode is computed.
    let less = if half < 1.0 { half } else { 2.0 - half };
    let x = 1.0 - less;
    let low = A[0] + x * (A[1] + x * (A[2] + x * A[3]));
    let high = A[4] + x * (A[5] + x * (A[6] + x * A[7]));
    let squared = x * x;
    // Rounding may leave the chord of antipodes a little above 2.
    let arc = less.abs().sqrt() * (low + squared * squared * high);
    if half < 1.0 { arc } else { std::f32::consts::PI - arc }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn chord_order_is_haversine_order(a in point(), b in point(), client in point()) {
            agree(a, b, client)?;
            // The antipode is where a chord tells distances apart worst.
            let lon = if client.longitude > 0.0 { -180.0 } else { 180.0 } + client.longitude;
            agree(a, GeoPoint::new(-client.latitude, lon).unwrap(), client)?;
        }
    }

    fn point() -> impl Strategy<Value = GeoPoint> {
        (-90.0..=90.0, -180.0..=180.0).prop_map(|(lat, lon)| GeoPoint::new(lat, lon).unwrap())
    }

    /// Holds the order of two regions by angle against the one by haversine, for distances that
    /// differ by more than rounding.
    fn agree(a: GeoPoint, b: GeoPoint, client: GeoPoint) -> Result<(), TestCaseError> {
        let angle = |region: GeoPoint| Direction::from(region).angle(client.into());
        let (angle_a, angle_b) = (angle(a), angle(b));
        let (km_a, km_b) = (a.distance_km(client), b.distance_km(client));
        let rounding_km = if km_a.max(km_b) < 19_000.0 { 0.04 } else { 20.0 };
        if (km_a - km_b).abs() > rounding_km {
            prop_assert_eq!(km_a < km_b, angle_a < angle_b, "{:?} {:?} from {:?}", a, b, client);
        }
        Ok(())
    }

    #[test]
    fn distances_match_published_ones() {
        // Great Circle Mapper and the haversine article of Wikipedia, to the nearest kilometre.
        for (from, to, km) in [
            ((36.12, -86.67), (33.94, -118.40), 2886.0),
            ((51.4775, -0.4614), (40.6398, -73.7789), 5540.0),
            ((0.0, 0.0), (0.0, 180.0), std::f64::consts::PI * EARTH_RADIUS_KM),
            ((90.0, 0.0), (-90.0, 0.0), std::f64::consts::PI * EARTH_RADIUS_KM),
            ((0.0, 179.5), (0.0, -179.5), 111.2),
        ] {
            let from = GeoPoint::new(from.0, from.1).unwrap();
            let to = GeoPoint::new(to.0, to.1).unwrap();
            assert!((from.distance_km(to) - km).abs() < 2.0, "{from:?} to {to:?}");
        }
    }

    #[test]
    fn coordinates_off_the_earth_are_refused() {
        assert_eq!(GeoPoint::new(90.1, 0.0), Err(GeoPointError::Latitude(90.1)));
        assert_eq!(GeoPoint::new(0.0, -180.5), Err(GeoPointError::Longitude(-180.5)));
        assert!(GeoPoint::new(f64::NAN, 0.0).is_err());
        assert!(GeoPoint::new(0.0, f64::INFINITY).is_err());
    }

    #[test]
    fn the_fast_angle_is_within_its_bound() {
        let from = GeoPoint::new(12.5, -71.25).unwrap();
        for step in 0..=36_000_i32 {
            let latitude = f64::from(step % 181 - 90);
            let longitude = f64::from(step) / 100.0 - 180.0;
            let to = GeoPoint::new(latitude, longitude).unwrap();
            let exact_km = from.distance_km(to);
            let angle = Direction::from(from).angle(to.into());
            let off_km = (f64::from(angle) * EARTH_RADIUS_KM - exact_km).abs();
            let bound_km = if exact_km < 19_000.0 { 0.02 } else { 10.0 };
            assert!(off_km < bound_km, "{to:?}: {off_km} km off {exact_km} km");
        }
    }
}
