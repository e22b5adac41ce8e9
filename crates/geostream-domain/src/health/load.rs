//! What a region has to do.

use thiserror::Error;

/// How much load a region has, in the unit of its capacity.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Load(f64);

/// A number that is no load.
#[derive(Clone, Copy, Debug, Error, PartialEq)]
#[error("{0} is not a load: a number from 0 to 10^12 is expected")]
pub struct LoadError(f64);

impl Load {
    /// The most that is a load: sums of those of all regions are still exact enough.
    pub const MAX: f64 = 1e12;

    /// Takes a load, from 0 to [`Load::MAX`].
    ///
    /// # Errors
    ///
    /// Refuses what lies outside.
    pub fn new(units: f64) -> Result<Self, LoadError> {
        if (0.0..=Self::MAX).contains(&units) { Ok(Self(units)) } else { Err(LoadError(units)) }
    }

    /// Returns both together, or the most that is a load.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self((self.0 + other.0).min(Self::MAX))
    }

    /// Returns so many times as much, or the most that is a load.
    pub(crate) fn times(self, factor: f64) -> Self {
        Self((self.0 * factor).min(Self::MAX))
    }

    /// Returns the load in units of capacity.
    #[must_use]
    pub fn units(self) -> f64 {
        self.0
    }
}
