//! What was seen of the regions: health and load. Never part of a configuration.

use std::collections::BTreeMap;

use crate::health::load::Load;
use crate::health::votes::{Removal, Votes};
use crate::name::RegionId;
use crate::time::Timestamp;

/// What was last seen of each region; a region that nobody has looked at is missing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observations {
    regions: BTreeMap<RegionId, Observation>,
}

impl Observations {
    /// Returns what was last seen of a region.
    #[must_use]
    pub fn of(&self, region: &RegionId) -> Option<&Observation> {
        self.regions.get(region)
    }

    /// Notes what was seen of a region, in place of what was seen before.
    pub fn note(&mut self, region: RegionId, observation: Observation) {
        self.regions.insert(region, observation);
    }
}

/// What was seen of a region.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    /// Whether it was able to serve.
    pub health: Health,
    /// The share of its clients that it is to have while it comes back.
    pub share: Share,
    /// How sure its removal is, where its health is [`Health::Unhealthy`].
    pub removal: Removal,
    /// Since when its health is what it is.
    pub since: Timestamp,
    /// How much load it had; for a region that is unhealthy or kept from clients, before it was.
    pub load: Option<Load>,
    /// The load that its own clients make, who would all be sent there if it could have them, and
    /// nobody else's: what of it goes elsewhere now is included.
    pub demand: Option<Load>,
    /// Whether the demand may be more than what was seen so far: it has just begun to be counted,
    /// or has just become much more.
    pub is_rising: bool,
    /// How many nodes see it down; `None` if this node is the only one that is heard.
    pub votes: Option<Votes>,
    /// Whether its probes from this node fail while nothing corroborates that it is dead, and no
    /// other node votes on it: it serves all the same.
    pub is_unconfirmed: bool,
}

impl Observation {
    /// Returns what is seen of a region whose health has been this since then, and whose load
    /// nobody knows.
    #[must_use]
    pub fn of(health: Health, since: Timestamp) -> Self {
        Self {
            health,
            removal: Removal::default(),
            share: Share::ALL,
            since,
            load: None,
            demand: None,
            is_rising: false,
            votes: None,
            is_unconfirmed: false,
        }
    }
}

/// Whether a region is able to serve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Nobody has looked: it may be chosen, and the answer's explanation says that it is unchecked.
    #[default]
    Unknown,
    /// It is able to serve.
    Healthy,
    /// It is not.
    Unhealthy,
}

/// A share of clients, from none to all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u8);

impl Share {
    /// All of them.
    pub const ALL: Self = Self(u8::MAX);

    /// None of them.
    pub(crate) const NONE: Self = Self(0);

    /// The least that is not none.
    pub(crate) const LEAST: Self = Self(1);

    /// Takes a fraction from 0 to 1, and the nearest of these for any other number; kept in steps
    /// of 1/255.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "float casts saturate, and what is no number becomes 0"
    )]
    pub fn new(fraction: f64) -> Self {
        Self((fraction * 255.0).round() as u8)
    }

    /// Returns the fraction.
    #[must_use]
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / 255.0
    }

    /// Tells whether a client of this lot is among them; lots are spread evenly.
    pub(crate) fn admits(self, lot: u64) -> bool {
        // A lot's byte is below 255 in all cases but one, which everybody admits.
        self == Self::ALL || lot % 255 < u64::from(self.0)
    }
}

impl Default for Share {
    fn default() -> Self {
        Self::ALL
    }
}
