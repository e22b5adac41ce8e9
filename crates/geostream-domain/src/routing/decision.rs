//! What a decision says, and why there may be none.

use std::net::IpAddr;
use std::ops::Deref;
use std::time::Duration;

use thiserror::Error;

use crate::config::AlternativeCount;
use crate::hash::ClientKey;
use crate::latency::Latency;
use crate::place::{GeoPoint, Location};
use crate::routing::index::RegionIndex;

/// A client, as a decision sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Client {
    /// Where it is.
    pub location: Location,
    /// What near-ties are settled by.
    pub key: ClientKey,
}

impl Client {
    /// Returns the client of an address, wherever that is.
    #[must_use]
    pub fn new(address: IpAddr, location: Location) -> Self {
        Self { location, key: ClientKey::of_address(address) }
    }

    /// Returns a client of whom nothing but its place is known: near-ties are settled by it.
    #[must_use]
    pub fn at(point: GeoPoint) -> Self {
        let degrees = [point.latitude().to_le_bytes(), point.longitude().to_le_bytes()];
        Self { location: Location::at(point), key: ClientKey::of_bytes(degrees.as_flattened()) }
    }
}

/// The region that should serve a client now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decision {
    /// The region.
    pub region: RegionIndex,
    /// The estimated latency; `None` for a client without a location.
    pub latency: Option<Latency>,
    /// Why this region.
    pub reason: Reason,
    /// The region whose client it is, where that cannot have it now.
    pub displaced_from: Option<RegionIndex>,
    /// The next best regions, best first.
    pub alternatives: Alternatives,
    /// How long the decision may be kept: see [`ServiceTable::ttl`](crate::ServiceTable::ttl).
    pub ttl: Duration,
}

/// The answer and the most alternatives.
pub(crate) const SLOTS: usize = AlternativeCount::MAX + 1;

/// A region that would have been chosen without those before it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Alternative {
    /// The region.
    pub region: RegionIndex,
    /// The estimated latency; `None` for a client without a location.
    pub latency: Option<Latency>,
}

/// Alternatives, best first: as many as the setting asks for and the service has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Alternatives {
    slots: [Alternative; AlternativeCount::MAX],
    length: u8,
}

impl Alternatives {
    pub(crate) const NONE: Self = Self {
        slots: [Alternative { region: RegionIndex::FIRST, latency: None }; AlternativeCount::MAX],
        length: 0,
    };

    /// Adds an alternative behind the others, unless there are [`AlternativeCount::MAX`] already.
    pub(crate) fn push(&mut self, alternative: Alternative) {
        if let Some(slot) = self.slots.get_mut(usize::from(self.length)) {
            *slot = alternative;
            self.length += 1;
        }
    }
}

impl Deref for Alternatives {
    type Target = [Alternative];

    fn deref(&self) -> &[Alternative] {
        &self.slots[..usize::from(self.length)]
    }
}

/// Why a region was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// It has the least estimated round-trip time.
    LowestLatency,
    /// It is the nearest, bias included.
    Nearest,
    /// It is the cheapest within the allowance.
    LowestCost,
    /// It uses the least share of its capacity within the allowance.
    LeastLoad,
    /// It is in the first tier that can serve, or first in the order for clients without a
    /// location.
    Priority,
    /// The client's draw fell to it, by weight.
    Weighted,
    /// The best-ranked region is unhealthy, and this is the next with room.
    Failover,
    /// The best-ranked region has more clients than it takes, or is full up with the clients of a
    /// drained one, and this is the next with room.
    Overflow,
    /// No eligible region has room, and this one is held back for flapping and answers its probes.
    Held,
    /// No eligible region has room, and this one is unhealthy without proof: the removal budget
    /// retains it.
    Retained,
    /// No region can serve, and the service ranks them as if all were healthy.
    FailOpen,
    /// No region can serve, and this is the best of those that could last.
    LastGood,
    /// No region can serve, and the service answers this one then.
    Static,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 13] = [
        Self::LowestLatency,
        Self::Nearest,
        Self::LowestCost,
        Self::LeastLoad,
        Self::Priority,
        Self::Weighted,
        Self::Failover,
        Self::Overflow,
        Self::Held,
        Self::Retained,
        Self::FailOpen,
        Self::LastGood,
        Self::Static,
    ];

    /// Returns the reason's name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LowestLatency => "lowest_latency",
            Self::Nearest => "nearest",
            Self::LowestCost => "lowest_cost",
            Self::LeastLoad => "least_load",
            Self::Priority => "priority",
            Self::Weighted => "weighted",
            Self::Failover => "failover",
            Self::Overflow => "overflow",
            Self::Held => "held",
            Self::Retained => "retained",
            Self::FailOpen => "fail_open",
            Self::LastGood => "last_good",
            Self::Static => "static",
        }
    }
}

/// Why there is no region for a client.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum NoRegion {
    /// The geofence forbids every member for this client.
    #[error("the geofence permits no region of this service to clients from there")]
    Fenced,
    /// Every member that may serve the client is drained.
    #[error("every region that may serve this client is drained")]
    Drained,
    /// No member is able to serve, and the service's rule is to refuse.
    #[error("no region is able to serve, and the service is configured to refuse then")]
    Closed,
}
