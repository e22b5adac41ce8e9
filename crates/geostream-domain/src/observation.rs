//! What was seen of the regions: health and load. Never part of a configuration.

use std::collections::BTreeMap;

use thiserror::Error;

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

    /// Forgets the regions that are not to be kept.
    pub fn retain(&mut self, keep: impl Fn(&RegionId) -> bool) {
        self.regions.retain(|region, _| keep(region));
    }
}

/// What was seen of a region, and when.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    /// Whether it was able to serve.
    pub health: Health,
    /// How much load it had.
    pub load: Option<Load>,
    /// When it was seen.
    pub at: Timestamp,
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

/// How much load a region has, in the unit of its capacity.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Load(f64);

/// A number that is no load.
#[derive(Clone, Copy, Debug, Error, PartialEq)]
#[error("{0} is not a load: a number from 0 up is expected")]
pub struct LoadError(f64);

impl Load {
    /// Takes a load, from 0 up.
    ///
    /// # Errors
    ///
    /// Refuses what is negative or not finite.
    pub fn new(units: f64) -> Result<Self, LoadError> {
        if units >= 0.0 && units.is_finite() { Ok(Self(units)) } else { Err(LoadError(units)) }
    }

    /// Returns the load in units of capacity.
    #[must_use]
    pub fn units(self) -> f64 {
        self.0
    }
}
