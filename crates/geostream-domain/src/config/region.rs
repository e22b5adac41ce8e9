//! Regions: the places that can serve clients.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::config::check::HealthCheck;
use crate::config::endpoint::Endpoint;
use crate::name::{LabelKey, LabelValue, Line, RegionId};
use crate::place::GeoPoint;

/// A place that can serve clients, as configured; what is observed of it is kept elsewhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Region {
    /// The id that answers carry.
    pub id: RegionId,
    /// What people call it, such as `Oregon`.
    pub name: Option<Line>,
    /// Where it is.
    pub point: GeoPoint,
    /// Where its clients are to go.
    pub endpoint: Option<Endpoint>,
    /// How much load it can take; one without a capacity is never full.
    pub capacity: Option<Capacity>,
    /// What serving from it costs; unknown ranks after every known cost.
    pub cost: Option<Cost>,
    /// Facts that geofences select regions by.
    pub labels: Labels,
    /// How it is asked whether it is well; without, only its clients' reports tell.
    pub check: Option<HealthCheck>,
}

impl Region {
    /// Returns a region of which nothing but its place is known.
    #[must_use]
    pub fn new(id: RegionId, point: GeoPoint) -> Self {
        Self {
            id,
            name: None,
            point,
            endpoint: None,
            capacity: None,
            cost: None,
            labels: Labels::default(),
            check: None,
        }
    }
}

/// How much load a region can take, in the unit in which its load is reported; 1 at the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Capacity(u32);

/// A capacity of nothing.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a capacity is at least 1; drain a region that is to serve nobody")]
pub struct CapacityError;

impl Capacity {
    /// Takes a number of units of load.
    ///
    /// # Errors
    ///
    /// Refuses 0.
    pub fn new(units: u32) -> Result<Self, CapacityError> {
        if units == 0 { Err(CapacityError) } else { Ok(Self(units)) }
    }

    /// Returns the number of units of load.
    #[must_use]
    pub fn units(self) -> u32 {
        self.0
    }
}

/// What a gigabyte served from a region costs, in millionths of a US dollar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cost {
    micro_usd_per_gb: u32,
}

/// A number that is no cost.
#[derive(Clone, Copy, Debug, Error, PartialEq)]
#[error("{0} is not a price in US dollars per gigabyte from 0 to 1000")]
pub struct CostError(f64);

impl Cost {
    /// Takes US dollars per gigabyte, from 0 to 1000, and keeps six decimals.
    ///
    /// # Errors
    ///
    /// Refuses what is negative, more, or not a number.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a thousand dollars are 1e9 millionths, which a u32 holds"
    )]
    pub fn from_usd_per_gb(usd: f64) -> Result<Self, CostError> {
        if (0.0..=1000.0).contains(&usd) {
            Ok(Self { micro_usd_per_gb: (usd * 1e6).round() as u32 })
        } else {
            Err(CostError(usd))
        }
    }

    /// Returns US dollars per gigabyte.
    #[must_use]
    pub fn usd_per_gb(self) -> f64 {
        f64::from(self.micro_usd_per_gb) / 1e6
    }

    pub(crate) fn micro_usd_per_gb(self) -> u32 {
        self.micro_usd_per_gb
    }
}

/// A region's labels: at most [`Labels::MAX`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(BTreeMap<LabelKey, LabelValue>);

/// There are more labels than a region may have.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a region has at most {max} labels, and {0} were given", max = Labels::MAX)]
pub struct TooManyLabels(usize);

impl Labels {
    /// The most labels that a region may have.
    pub const MAX: usize = 32;

    /// Takes labels by their keys.
    ///
    /// # Errors
    ///
    /// Refuses more than [`Labels::MAX`].
    pub fn new(labels: BTreeMap<LabelKey, LabelValue>) -> Result<Self, TooManyLabels> {
        if labels.len() > Self::MAX { Err(TooManyLabels(labels.len())) } else { Ok(Self(labels)) }
    }

    /// Returns the value of a key.
    #[must_use]
    pub fn get(&self, key: &LabelKey) -> Option<&LabelValue> {
        self.0.get(key)
    }

    /// Returns the labels in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&LabelKey, &LabelValue)> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_and_capacities_keep_their_ranges() {
        assert_eq!(Cost::from_usd_per_gb(0.1093).unwrap().usd_per_gb(), 0.1093);
        for usd in [-0.01, f64::NAN, 1000.1] {
            assert!(Cost::from_usd_per_gb(usd).is_err(), "{usd}");
        }
        assert_eq!(Capacity::new(0), Err(CapacityError));
    }
}
