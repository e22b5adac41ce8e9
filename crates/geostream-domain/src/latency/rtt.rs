//! Round-trip times, and how one is estimated from a distance.

use std::fmt;

use thiserror::Error;

use crate::place::EARTH_RADIUS_KM;

/// A round-trip time, kept in whole microseconds, up to an hour.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rtt {
    micros: u32,
}

/// A number that is no round-trip time.
#[derive(Clone, Copy, Debug, Error, PartialEq)]
#[error("{0} is not a number of milliseconds from 0 to 3600000")]
pub struct RttError(f64);

impl Rtt {
    /// The longest round-trip time that can be said: one hour.
    pub const MAX: Self = Self { micros: 3_600_000_000 };

    /// Takes milliseconds, from 0 to an hour.
    ///
    /// # Errors
    ///
    /// Refuses what is negative, longer, or not a number.
    pub fn from_millis(millis: f64) -> Result<Self, RttError> {
        if (0.0..=Self::MAX.as_millis()).contains(&millis) {
            Ok(Self::rounded(millis))
        } else {
            Err(RttError(millis))
        }
    }

    /// Estimates the round-trip time over a great-circle distance.
    ///
    /// Light in fibre covers 200 km/ms, so 100 km take 1 ms there and back; cables are longer than
    /// great circles by [`ROUTE_STRETCH`], and [`FLOOR_MS`] is spent whatever the distance. The
    /// two constants are the least-absolute-deviations fit to the 420 round trips between 21 AWS
    /// regions that CloudPing published in November 2024 (under the Unlicense); the mean error there
    /// is 30.2 ms, the median 16.2 ms. The example `fit_latency` repeats the fit on such a file.
    #[must_use]
    pub fn over_distance(km: f64) -> Self {
        Self::rounded(FLOOR_MS + km * MS_PER_KM)
    }

    /// Estimates the round-trip time between two points from the angle between them, in radians.
    pub(crate) fn over_angle(radians: f32) -> Self {
        Self::rounded(FLOOR_MS + f64::from(radians) * MS_PER_RADIAN)
    }

    /// Returns the time in microseconds.
    #[must_use]
    pub fn as_micros(self) -> u32 {
        self.micros
    }

    /// Returns the time in milliseconds.
    #[must_use]
    pub fn as_millis(self) -> f64 {
        f64::from(self.micros) / 1000.0
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "float casts cut off and saturate, and callers stay within an hour"
    )]
    fn rounded(millis: f64) -> Self {
        Self { micros: (millis * 1000.0 + 0.5) as u32 }
    }
}

impl fmt::Display for Rtt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} ms", self.as_millis())
    }
}

impl fmt::Debug for Rtt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// How much longer than the great circle a packet's way is, fitted: see [`Rtt::over_distance`].
pub const ROUTE_STRETCH: f64 = 1.58;

/// Milliseconds that a round trip takes at no distance, fitted: see [`Rtt::over_distance`].
pub const FLOOR_MS: f64 = 10.5;

/// Kilometres of fibre that a round trip covers in one millisecond: 200 km/ms, both ways.
pub const FIBRE_KM_PER_MS: f64 = 100.0;

const MS_PER_KM: f64 = ROUTE_STRETCH / FIBRE_KM_PER_MS;

/// The estimate's slope over the angle between two points.
pub(crate) const MS_PER_RADIAN: f64 = KM_PER_RADIAN * MS_PER_KM;

/// The great-circle distance over the angle between two points.
pub(crate) const KM_PER_RADIAN: f64 = EARTH_RADIUS_KM;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_grows_from_the_floor() {
        assert_eq!(Rtt::over_distance(0.0).as_millis(), FLOOR_MS);
        assert_eq!(Rtt::over_distance(1000.0).as_millis(), 26.3);
    }

    #[test]
    fn times_that_are_none_are_refused() {
        for millis in [-0.1, f64::NAN, f64::INFINITY, 3_600_001.0] {
            assert!(Rtt::from_millis(millis).is_err(), "{millis}");
        }
    }
}
