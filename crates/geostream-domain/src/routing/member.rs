//! The members of a service as candidates: who they may have is limited by their health, the budget of
//! removals and their capacities.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use crate::config::{Member, Objective, RemovalBudget, Service};
use crate::hash::stable_hash;
use crate::health::{Removal, Share};
use crate::routing::candidate::{Candidate, Eligibility, PlacedCandidate};
use crate::routing::entry::RegionEntry;
use crate::routing::index::RegionIndex;
use crate::routing::spill::Room;

/// A member of a service, as a candidate for any client.
pub(crate) struct CompiledMember<'a> {
    pub(crate) entry: &'a RegionEntry,
    pub(crate) placed: PlacedCandidate,
    /// The load that its own clients make; an assumption where it is unknown.
    demand: f64,
}

impl<'a> CompiledMember<'a> {
    pub(crate) fn new(
        service: &Service,
        member: &Member,
        index: RegionIndex,
        regions: &'a [RegionEntry],
    ) -> Self {
        let entry = &regions[index.get()];
        let id = &entry.region.id;
        let order = &service.policy.without_location;
        let place_in_order = order.iter().position(|listed| listed == id).unwrap_or(order.len());
        let (eligibility, share) = entry.eligibility();
        let placed = PlacedCandidate {
            candidate: Candidate {
                region: index,
                eligibility,
                share,
                weight: member.weight.get(),
                seed: stable_hash(id.as_str().as_bytes()),
            },
            direction: entry.region.point.into(),
            term: term(service.policy.objective, member, entry),
            bias_km: match service.policy.objective {
                Objective::Proximity { .. } => f64::from(member.bias.km()),
                Objective::Latency { .. }
                | Objective::Cost { .. }
                | Objective::Load { .. }
                | Objective::Priority { .. }
                | Objective::Weighted => 0.0,
            },
            place: match service.policy.objective {
                Objective::Weighted => 0,
                Objective::Latency { .. }
                | Objective::Proximity { .. }
                | Objective::Cost { .. }
                | Objective::Load { .. }
                | Objective::Priority { .. } => u32::try_from(place_in_order).unwrap_or(u32::MAX),
            },
        };
        Self { entry, placed, demand: entry.demand().unwrap_or_default() }
    }

    /// Has it keep as many of its own clients as it is to be filled with.
    pub(crate) fn limit_to_capacity(&mut self, fill: Fill) {
        let stretch = fill.of(self.placed.candidate.eligibility);
        let Some(capacity) = self.entry.capacity() else { return };
        // A region without any client would never be seen to have fewer of its own again.
        let share = Share::new(capacity * stretch / self.demand).max(Share::LEAST);
        let candidate = &mut self.placed.candidate;
        if share < candidate.share {
            (candidate.eligibility, candidate.share) = (Eligibility::Full, share);
        }
    }

    /// Returns what it can take of others' clients, and what others have to take of its own.
    pub(crate) fn room(&self, fill: Fill) -> Room {
        let candidate = self.placed.candidate;
        let eligibility = candidate.eligibility;
        let is_settled = self.entry.is_demand_settled();
        let kept = self.demand * candidate.share.fraction();
        Room {
            region: candidate.region,
            eligibility,
            displaced: match candidate.share {
                Share::ALL => 0.0,
                _ if !is_settled => f64::INFINITY,
                _ => self.demand - kept,
            },
            spare: if Eligibility::TAKING.contains(&eligibility) {
                let filled = self.entry.capacity().map(|capacity| capacity * fill.of(eligibility));
                filled.map(|filled| (filled - kept).max(0.0))
            } else {
                Some(0.0)
            },
            assumed: self.demand - kept,
            is_settled,
        }
    }
}

/// Assumes that each member whose demand is unknown uses as large a share of its capacity as those
/// whose demand is known.
pub(crate) fn assume_demands(members: &mut [CompiledMember<'_>]) {
    let known = members.iter().filter_map(|m| Some((m.entry.demand()?, m.entry.capacity()?)));
    let sums = known.fold((0.0, 0.0), |sums, known| (sums.0 + known.0, sums.1 + known.1));
    let (demand, capacity) = sums;
    if capacity <= 0.0 {
        return;
    }
    for member in members.iter_mut().filter(|member| member.entry.demand().is_none()) {
        member.demand = member.entry.capacity().unwrap_or_default() * demand / capacity;
    }
}

/// How much of its capacity a region is filled to while others have room: loads are known a little
/// late and roughly, and clients are divided by chance.
const FILLED: f64 = 0.95;

/// How many times its own capacity each region is filled to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fill {
    /// The eligibility whose regions take what is too much for all.
    stretched: Eligibility,
    stretch: f64,
}

impl Fill {
    /// Tells whether regions are filled above their capacity.
    pub(crate) fn is_over_capacity(self) -> bool {
        self.stretch > 1.0
    }

    fn of(self, eligibility: Eligibility) -> f64 {
        // What an eligible region keeps of its own clients is stretched with what the others take.
        let is_stretched = eligibility == self.stretched
            || (self.stretched == Eligibility::Able && eligibility.is_eligible());
        if is_stretched { self.stretch } else { FILLED }
    }
}

/// Returns how many times its own capacity each region is filled to, by what all of them have to take.
///
/// Only the best regions are filled beyond [`FILLED`], and only by what those behind them have no
/// room for.
pub(crate) fn stretch(members: &[CompiledMember<'_>]) -> Fill {
    let is_any_able = members.iter().any(|member| member.placed.candidate.takes_others());
    let stretched = if is_any_able { Eligibility::Able } else { Eligibility::Held };
    let unstretched = Fill { stretched, stretch: FILLED };
    let (mut capacity, mut demand) = (0.0, 0.0);
    for CompiledMember { entry, placed: PlacedCandidate { candidate, .. }, demand: own } in members
    {
        demand += own;
        if candidate.eligibility == stretched {
            let Some(units) = entry.capacity() else { return unstretched };
            capacity += units;
        } else if matches!(
            candidate.eligibility,
            Eligibility::Recovering | Eligibility::Held | Eligibility::Retained
        ) {
            let Some(units) = entry.capacity() else { return unstretched };
            demand -= units * FILLED;
        } else {
            let kept = own * candidate.share.fraction();
            demand -= entry.capacity().map_or(kept, |units| kept.min(units * FILLED));
        }
    }
    // Without a region to stretch there is nothing to divide.
    let stretch = if capacity > 0.0 { (demand / capacity).max(FILLED) } else { FILLED };
    Fill { stretched, stretch }
}

/// Returns what the objective looks at before it looks at the client.
fn term(objective: Objective, member: &Member, entry: &RegionEntry) -> u32 {
    match objective {
        Objective::Latency { .. } | Objective::Proximity { .. } | Objective::Weighted => 0,
        Objective::Cost { .. } => {
            entry.region.cost.map_or(u32::MAX, |cost| cost.micro_usd_per_gb())
        }
        Objective::Load { .. } => entry.used_share().map_or(u32::MAX, load_step),
        Objective::Priority { .. } => u32::from(member.priority),
    }
}

/// Rounds a used share of capacity down to steps of 10 %, so that small changes move nobody.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "float casts saturate, and a share is never negative"
)]
fn load_step(share: f64) -> u32 {
    (share * 10.0) as u32
}

/// Retains members whose removal is not proven, as far as the budget does not permit it: they rank
/// behind every eligible region with room.
///
/// Proven deaths are never retained, and use up the budget: it says how much of a service may be
/// missing by the word of its checks alone. Regions that are held back use up nothing of it.
pub(crate) fn retain_over_budget(
    budget: RemovalBudget,
    members: &mut [CompiledMember<'_>],
) -> BTreeSet<RegionIndex> {
    let sizes: Option<Vec<u64>> =
        members.iter().map(|m| Some(m.entry.region.capacity?.units().into())).collect();
    let sizes = sizes.unwrap_or_else(|| vec![1; members.len()]);
    let all = sizes.iter().sum();
    let mut failed: Vec<_> = members
        .iter_mut()
        .zip(sizes)
        .filter_map(|(member, size)| Some((member.entry.removal()?, member, size)))
        .filter(|(removal, ..)| *removal != Removal::Held)
        .collect();
    failed.sort_by_key(|(removal, member, _)| {
        let since = member.entry.observed.map(|observed| observed.since);
        (Reverse(*removal), since)
    });
    let mut removed = 0;
    let mut retained = BTreeSet::new();
    for (removal, member, size) in failed {
        if removal == Removal::Proven || budget.permits(removed + size, all) {
            removed += size;
        } else {
            member.placed.candidate.eligibility = Eligibility::Retained;
            retained.insert(member.placed.candidate.region);
        }
    }
    retained
}
