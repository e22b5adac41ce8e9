//! Services: what clients ask for, and by which policy a region is chosen.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::config::geofence::Geofence;
use crate::latency::Rtt;
use crate::name::{RegionId, ServiceId};

/// What a client asks for: the regions that offer it and how one of them is chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// The id that requests carry.
    pub id: ServiceId,
    /// The regions that offer the service; at least one.
    pub members: BTreeMap<RegionId, Member>,
    /// How members are ranked.
    pub policy: Policy,
    /// Which members may serve which clients.
    pub geofence: Geofence,
    /// What happens when no permitted member can serve.
    pub all_down: AllDown,
    /// How much of the service may be removed for health, if operators say nothing.
    pub removal_budget: RemovalBudget,
}

impl Service {
    /// Returns a service over these regions with equal members, ranked by latency.
    pub fn new(id: ServiceId, members: impl IntoIterator<Item = RegionId>) -> Self {
        Self {
            id,
            members: members.into_iter().map(|region| (region, Member::default())).collect(),
            policy: Policy::default(),
            geofence: Geofence::default(),
            all_down: AllDown::default(),
            removal_budget: RemovalBudget::default(),
        }
    }

    /// Returns the members whose share of the service's clients the policy states, with that share.
    ///
    /// By weight, that is each member's part of all weights; by priority, nothing for members behind
    /// the first tier, and all for the one that has the first tier to itself. Everything else is up
    /// to where clients are and to loads. Health, overrides and the geofence are not asked: they are
    /// what keeps a region from having its share.
    pub fn configured_shares(&self) -> impl Iterator<Item = (&RegionId, f64)> {
        let weights = self.members.values().map(|member| f64::from(member.weight.get()));
        let all_weights: f64 = weights.sum();
        let first = self.members.values().map(|member| member.priority).min().unwrap_or_default();
        let tier = self.members.values().filter(|member| member.priority == first).count();
        self.members.iter().filter_map(move |(region, member)| {
            let share = match self.policy.objective {
                Objective::Weighted if all_weights > 0.0 => {
                    f64::from(member.weight.get()) / all_weights
                }
                Objective::Priority { .. } if member.priority > first => 0.0,
                Objective::Priority { .. } if tier == 1 => 1.0,
                Objective::Weighted
                | Objective::Priority { .. }
                | Objective::Latency { .. }
                | Objective::Proximity { .. }
                | Objective::Cost { .. }
                | Objective::Load { .. } => return None,
            };
            Some((region, share))
        })
    }
}

/// How much of a service's capacity may be removed for health, in percent: 50 by default.
///
/// Members count by their capacities, or all the same if any has none. The member that failed first
/// is removed first, as long as what is removed stays within the budget; one that does not fit goes
/// on being answered. So by default the only member of a service is never removed, one of two, one
/// of three, and two of four. What operators drain or force down is not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RemovalBudget(u8);

/// A number that is no budget.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{0} is not a budget from 0 to 100 percent")]
pub struct RemovalBudgetError(u8);

impl RemovalBudget {
    /// Takes a percentage.
    ///
    /// # Errors
    ///
    /// Refuses more than 100.
    pub fn from_percent(percent: u8) -> Result<Self, RemovalBudgetError> {
        if percent > 100 { Err(RemovalBudgetError(percent)) } else { Ok(Self(percent)) }
    }

    /// Returns the percentage.
    #[must_use]
    pub fn percent(self) -> u8 {
        self.0
    }

    /// Tells whether so much of so much may be removed.
    pub(crate) fn permits(self, removed: u64, all: u64) -> bool {
        removed * 100 <= all * u64::from(self.0)
    }
}

impl Default for RemovalBudget {
    fn default() -> Self {
        Self(50)
    }
}

/// What a service says of one of its regions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The region's share among equals, and among all under [`Objective::Weighted`].
    pub weight: Weight,
    /// The region's tier under [`Objective::Priority`]; 0 is tried first.
    pub priority: u16,
    /// Kilometres added to the region's distance under [`Objective::Proximity`]; a negative bias
    /// attracts clients.
    pub bias: Bias,
}

impl Default for Member {
    fn default() -> Self {
        Self { weight: Weight::ONE, priority: 0, bias: Bias::NONE }
    }
}

/// A share relative to the other members', 0 to 1,000,000.
///
/// A member of weight 0 is chosen only when no other member of its band can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Weight(u32);

/// A number that is no weight.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{0} is not a weight from 0 to 1000000")]
pub struct WeightError(u32);

impl Weight {
    /// The weight of a member whose service says nothing of it.
    pub const ONE: Self = Self(1);

    /// Takes a weight from 0 to 1,000,000.
    ///
    /// # Errors
    ///
    /// Refuses more.
    pub fn new(weight: u32) -> Result<Self, WeightError> {
        if weight > 1_000_000 { Err(WeightError(weight)) } else { Ok(Self(weight)) }
    }

    /// Returns the weight as a number.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }
}

/// Kilometres added to a distance, -20,000 to 20,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bias(i32);

/// A number that is no bias.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{0} is not a bias in kilometres from -20000 to 20000")]
pub struct BiasError(i32);

impl Bias {
    /// No bias: the distance as it is.
    pub const NONE: Self = Self(0);

    /// The largest bias either way, in kilometres: half around the Earth.
    pub const MAX_KM: i32 = 20_000;

    /// Takes kilometres from -20,000 to 20,000.
    ///
    /// # Errors
    ///
    /// Refuses what lies outside.
    pub fn from_km(km: i32) -> Result<Self, BiasError> {
        if (-Self::MAX_KM..=Self::MAX_KM).contains(&km) { Ok(Self(km)) } else { Err(BiasError(km)) }
    }

    /// Returns the bias in kilometres.
    #[must_use]
    pub fn km(self) -> i32 {
        self.0
    }
}

/// How a service's members are ranked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy {
    /// What makes one region better than another.
    pub objective: Objective,
    /// The order for clients whose location is unknown, best first; members that are not listed
    /// share the place behind the last.
    pub without_location: Vec<RegionId>,
}

/// What makes one region better than another.
///
/// Near-ties share a band, and within a band a stable hash of the client chooses by weight. Bands
/// are fixed, each centred on a multiple of its width, and not laid around the best candidate: so a
/// region that comes or goes moves no client but its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Objective {
    /// The least estimated round-trip time.
    Latency {
        /// How wide a band of near-ties is.
        band: Band,
    },
    /// The least great-circle distance, bias included.
    Proximity {
        /// How wide a band of near-ties is, in kilometres.
        band: BandKm,
    },
    /// The cheapest of the regions within the allowance; outside it, the least latency.
    Cost {
        /// The estimated round-trip time that is good enough.
        allowance: Rtt,
        /// How wide a band of near-ties in latency is, among equally cheap regions.
        band: Band,
    },
    /// The least used share of capacity, in steps of 10 %, within the allowance; outside it, the
    /// least latency.
    Load {
        /// The estimated round-trip time that is good enough.
        allowance: Rtt,
        /// How wide a band of near-ties in latency is, among equally loaded regions.
        band: Band,
    },
    /// The first tier in which a region can serve; within a tier, the least latency.
    Priority {
        /// How wide a band of near-ties in latency is, within a tier.
        band: Band,
    },
    /// A share of the clients proportional to each member's weight.
    Weighted,
}

impl Default for Objective {
    fn default() -> Self {
        Self::Latency { band: Band::default() }
    }
}

/// The width of a band of near-ties in estimated round-trip time: 0.1 ms to 10 s, 5 ms by default.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Band(f64);

/// A number that is no band of round-trip times.
#[derive(Clone, Copy, Debug, Error, PartialEq)]
#[error("{0} is not a width in milliseconds from 0.1 to 10000")]
pub struct BandError(f64);

impl Band {
    /// Takes a width in milliseconds, from 0.1 to 10,000.
    ///
    /// # Errors
    ///
    /// Refuses what lies outside or is not a number.
    pub fn from_millis(millis: f64) -> Result<Self, BandError> {
        if (0.1..=10_000.0).contains(&millis) { Ok(Self(millis)) } else { Err(BandError(millis)) }
    }

    /// Returns the width in milliseconds.
    #[must_use]
    pub fn as_millis(self) -> f64 {
        self.0
    }
}

impl Default for Band {
    fn default() -> Self {
        Self(5.0)
    }
}

/// The width of a band of near-ties in distance: 1 to 20,000 km, 250 km by default.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BandKm(f64);

/// A number that is no band of distances.
#[derive(Clone, Copy, Debug, Error, PartialEq)]
#[error("{0} is not a width in kilometres from 1 to 20000")]
pub struct BandKmError(f64);

impl BandKm {
    /// Takes a width in kilometres, from 1 to 20,000.
    ///
    /// # Errors
    ///
    /// Refuses what lies outside or is not a number.
    pub fn from_km(km: f64) -> Result<Self, BandKmError> {
        if (1.0..=20_000.0).contains(&km) { Ok(Self(km)) } else { Err(BandKmError(km)) }
    }

    /// Returns the width in kilometres.
    #[must_use]
    pub fn as_km(self) -> f64 {
        self.0
    }
}

impl Default for BandKm {
    fn default() -> Self {
        Self(250.0)
    }
}

/// What happens when no member that may serve the client is able to.
///
/// No rule ever answers a drained or fenced region.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AllDown {
    /// Rank as if all were healthy: health checks that fail everywhere at once are more often
    /// wrong than right.
    #[default]
    FailOpen,
    /// Refuse, with an error that says so.
    Closed,
    /// Rank those that were able last; where nobody knows of any, fail open.
    LastGood,
    /// Answer one region, such as the one with the page that says sorry.
    Static(RegionId),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a weight and a priority for each member, in the order of their names.
    #[track_caller]
    fn check_shares(objective: Objective, members: &[(u32, u16)], expected: &[(&str, f64)]) {
        let names = ["a", "b", "c"].map(|name| name.parse().unwrap());
        let mut service =
            Service::new("api".parse().unwrap(), names.into_iter().take(members.len()));
        for (member, (weight, priority)) in service.members.values_mut().zip(members) {
            (member.weight, member.priority) = (Weight::new(*weight).unwrap(), *priority);
        }
        service.policy.objective = objective;
        let shares = service.configured_shares().map(|(region, share)| (region.as_str(), share));
        assert_eq!(shares.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_share_is_stated_by_weights_and_by_tiers() {
        let priority = Objective::Priority { band: Band::default() };
        check_shares(Objective::Weighted, &[(1, 0), (3, 0)], &[("a", 0.25), ("b", 0.75)]);
        check_shares(Objective::Weighted, &[(0, 0), (0, 0)], &[]);
        check_shares(priority, &[(1, 2), (1, 1)], &[("a", 0.0), ("b", 1.0)]);
        check_shares(priority, &[(1, 1), (1, 1), (1, 2)], &[("c", 0.0)]);
        check_shares(Objective::default(), &[(1, 0), (3, 1)], &[]);
    }

    #[test]
    fn numbers_keep_their_ranges() {
        assert_eq!(Weight::new(1_000_001), Err(WeightError(1_000_001)));
        assert_eq!(Bias::from_km(-20_001), Err(BiasError(-20_001)));
        assert!(Band::from_millis(0.0).is_err());
        assert!(Band::from_millis(f64::NAN).is_err());
        assert!(BandKm::from_km(20_001.0).is_err());
    }
}
