//! A region with all that is known of it.

use std::sync::Arc;
use std::time::Duration;

use crate::config::{Config, Override, OverrideAction, Region};
use crate::health::{Health, Load, Observation, Observations, Removal, Share};
use crate::name::RegionId;
use crate::routing::candidate::Eligibility;
use crate::routing::index::RegionIndex;
use crate::time::Timestamp;

/// The longest time for which a decision may be kept: that of one that no probe can change.
pub const LONGEST_TTL: Duration = Duration::from_secs(60);

/// A region with all that is known of it.
#[derive(Clone, Debug)]
pub struct RegionEntry {
    /// The region as configured.
    pub region: Arc<Region>,
    /// What was last seen of it.
    pub observed: Option<Observation>,
    /// What an operator has said of it, if that still held when the table was compiled.
    pub overridden: Option<Override>,
    /// Whether clients are sent there although its probes fail, as nothing corroborates that it is
    /// dead; false for a region that an operator forced up.
    pub is_unconfirmed: bool,
}

impl RegionEntry {
    /// Puts together what is known of a region.
    pub(crate) fn new(
        region: &Arc<Region>,
        config: &Config,
        observed: &Observations,
        now: Timestamp,
    ) -> Self {
        let overridden = config.overrides().get(&region.id).filter(|wish| wish.holds_at(now));
        let observed = observed.of(&region.id).copied();
        let is_forced_up = overridden.is_some_and(|wish| wish.action == OverrideAction::Up);
        Self {
            region: Arc::clone(region),
            observed,
            overridden: overridden.cloned(),
            is_unconfirmed: observed.is_some_and(|seen| seen.is_unconfirmed) && !is_forced_up,
        }
    }

    /// Tells whether clients may be sent to it, however much load it has.
    pub(crate) fn can_serve(&self) -> bool {
        !self.is_drained() && self.health() != Health::Unhealthy
    }

    /// Returns how long a decision that depends on the region may be kept: see
    /// [`ServiceTable::ttl`](crate::ServiceTable::ttl).
    pub(crate) fn ttl(&self, now: Timestamp) -> Duration {
        let ends = self.overridden.as_ref().and_then(|override_| override_.expires);
        let until_end = ends.map_or(LONGEST_TTL, |ends| ends.since(now));
        // What an operator says holds whatever probes find.
        let timing = self.region.check.as_ref().map(|check| check.timing);
        let probed = timing.filter(|_| self.overridden.is_none()).map_or(LONGEST_TTL, |timing| {
            let probes = if self.is_settled() { u32::from(timing.fall()) } else { 1 };
            timing.interval() * probes
        });
        LONGEST_TTL.min(until_end).min(probed)
    }

    /// Tells whether nothing suggests that the region's health or share is about to change.
    fn is_settled(&self) -> bool {
        self.health() == Health::Healthy && self.share() == Share::ALL && !self.is_unconfirmed
    }

    pub(crate) fn load(&self) -> Option<Load> {
        self.observed?.load
    }

    /// Returns how much more load it can take; `None` if nothing limits it.
    pub(crate) fn spare(&self) -> Option<f64> {
        Some((self.capacity()? - self.load().map_or(0.0, Load::units)).max(0.0))
    }

    pub(crate) fn is_drained(&self) -> bool {
        self.action() == Some(OverrideAction::Drain)
    }

    fn action(&self) -> Option<OverrideAction> {
        self.overridden.as_ref().map(|wish| wish.action)
    }

    /// Combines what an operator says with what was seen: the operator's word goes first.
    #[must_use]
    pub fn health(&self) -> Health {
        match self.action() {
            Some(OverrideAction::Up) => Health::Healthy,
            Some(OverrideAction::Down) => Health::Unhealthy,
            Some(OverrideAction::Drain) | None => {
                self.observed.map_or(Health::Unknown, |observed| observed.health)
            }
        }
    }

    /// Returns how sure its removal is, if it is unhealthy by what was seen and not by an override.
    pub(crate) fn removal(&self) -> Option<Removal> {
        let observed = self.observed.filter(|seen| seen.health == Health::Unhealthy)?;
        self.action().is_none().then_some(observed.removal)
    }

    /// Returns the share of its capacity that the region uses; `None` where either is unknown.
    #[must_use]
    pub fn used_share(&self) -> Option<f64> {
        Some(self.load()?.units() / self.capacity()?)
    }

    /// Returns the share of its clients that it is to have: the operator's word goes first.
    fn share(&self) -> Share {
        match self.action() {
            Some(OverrideAction::Up) => Share::ALL,
            Some(OverrideAction::Down | OverrideAction::Drain) | None => {
                self.observed.map_or(Share::ALL, |observed| observed.share)
            }
        }
    }

    /// Returns whose clients it can have, and what share of its own, as far as that does not depend
    /// on others.
    pub(crate) fn eligibility(&self) -> (Eligibility, Share) {
        if self.is_drained() {
            return (Eligibility::Drained, Share::NONE);
        }
        match self.health() {
            Health::Unhealthy => match self.removal() {
                Some(Removal::Held) => (Eligibility::Held, Share::NONE),
                Some(Removal::Unproven | Removal::Proven) | None => {
                    (Eligibility::Unhealthy, Share::NONE)
                }
            },
            Health::Healthy | Health::Unknown => match self.share() {
                Share::ALL => (Eligibility::Able, Share::ALL),
                share => (Eligibility::Recovering, share),
            },
        }
    }

    pub(crate) fn capacity(&self) -> Option<f64> {
        self.region.capacity.map(|capacity| f64::from(capacity.units()))
    }

    /// Returns the load that its own clients make, wherever they are; `None` if it is unknown.
    pub(crate) fn demand(&self) -> Option<f64> {
        let seen = self.observed.and_then(|observed| observed.demand.or(observed.load));
        seen.map(Load::units)
    }

    /// Tells whether its demand is known, and is not just the beginning of more.
    pub(crate) fn is_demand_settled(&self) -> bool {
        let is_rising = self.observed.is_some_and(|observed| observed.is_rising);
        self.demand().is_some() && !is_rising
    }
}

/// Finds a region among others that are in the order of their ids.
pub(crate) fn index_among(regions: &[RegionEntry], id: &RegionId) -> Option<RegionIndex> {
    regions.binary_search_by(|entry| entry.region.id.cmp(id)).ok().map(RegionIndex::new)
}
