//! The domain's values in the words and units of the API.

use std::time::Duration;

use geostream_api::Votes;
use geostream_domain::{BreakerState, Health, Rtt};

pub(crate) fn health(health: Health) -> &'static str {
    match health {
        Health::Unknown => "unknown",
        Health::Healthy => "healthy",
        Health::Unhealthy => "unhealthy",
    }
}

pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds with at most one decimal.
pub(crate) fn rounded_ms(rtt: Rtt) -> f64 {
    rounded(rtt.as_millis(), 10.0)
}

pub(crate) fn rounded(number: f64, per_unit: f64) -> f64 {
    (number * per_unit).round() / per_unit
}

pub(crate) fn votes(votes: geostream_domain::Votes) -> Votes {
    Votes { down: votes.down, nodes: votes.nodes }
}

pub(crate) fn breaker(state: BreakerState) -> &'static str {
    match state {
        BreakerState::Closed => "closed",
        BreakerState::Open => "open",
        BreakerState::HalfOpen => "half_open",
    }
}
