//! A round-trip time, and where it comes from.

use crate::latency::rtt::Rtt;

/// A round-trip time between a client and a region, and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    /// The round-trip time.
    pub rtt: Rtt,
    /// Where it comes from.
    pub source: LatencySource,
}

/// Where a round-trip time comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LatencySource {
    /// It is estimated from the great-circle distance: see [`Rtt::over_distance`].
    Distance,
}

impl Latency {
    /// Estimates the latency over a great-circle distance.
    #[must_use]
    pub fn over_distance(km: f64) -> Self {
        Self { rtt: Rtt::over_distance(km), source: LatencySource::Distance }
    }

    /// Estimates the latency between two points from the angle between them, in radians.
    pub(crate) fn over_angle(radians: f32) -> Self {
        Self { rtt: Rtt::over_angle(radians), source: LatencySource::Distance }
    }
}

impl LatencySource {
    /// Returns the source's name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Distance => "distance",
        }
    }
}
