//! The members of a service as candidates: who they may have is limited by their health, the budget of
//! removals and their capacities.

use std::collections::BTreeSet;

use crate::entry::RegionEntry;
use crate::hash::stable_hash;
use crate::observation::Share;
use crate::pool::{Candidate, Contender, Standing};
use crate::service::{Member, Objective, RemovalBudget, Service};
use crate::spill::Room;
use crate::table::RegionIndex;

/// A member of a service, as a candidate for any client.
pub(crate) struct CompiledMember<'a> {
    pub(crate) entry: &'a RegionEntry,
    pub(crate) candidate: Candidate,
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
        let (standing, share) = entry.standing();
        let candidate = Candidate {
            contender: Contender {
                region: index,
                standing,
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
        Self { entry, candidate }
    }

    /// Has it keep as many of its own clients as it is to be filled with.
    pub(crate) fn limit_to_capacity(&mut self, stretch: f64) {
        let Some(capacity) = self.entry.capacity() else { return };
        // A region without any client would never be seen to have fewer of its own again.
        let share = Share::new(capacity * stretch / self.entry.demand()).max(Share::LEAST);
        let contender = &mut self.candidate.contender;
        if share < contender.share {
            (contender.standing, contender.share) = (Standing::Full, share);
        }
    }

    /// Returns what it can take of others' clients, and what others have to take of its own.
    pub(crate) fn room(&self, stretch: f64) -> Room {
        let contender = self.candidate.contender;
        let demand = self.entry.demand();
        Room {
            region: contender.region,
            displaced: demand * (1.0 - contender.share.fraction()),
            spare: if contender.takes_others() {
                self.entry.capacity().map(|capacity| (capacity * stretch - demand).max(0.0))
            } else {
                Some(0.0)
            },
        }
    }
}

/// How much of its capacity a region is filled to while others have room: loads are known a little
/// late and roughly, and clients are divided by chance.
const FILLED: f64 = 0.95;

/// Returns how many times its own capacity each region is filled to, by what all of them have to take.
pub(crate) fn stretch(members: &[CompiledMember<'_>]) -> f64 {
    let (mut capacity, mut demand) = (0.0, 0.0);
    for CompiledMember { entry, candidate: Candidate { contender, .. } } in members {
        demand += entry.demand();
        if contender.takes_others() {
            let Some(units) = entry.capacity() else { return FILLED };
            capacity += units;
        } else {
            let kept = entry.demand() * contender.share.fraction();
            demand -= entry.capacity().map_or(kept, |units| kept.min(units * FILLED));
        }
    }
    // Where nobody takes anything there is nothing to divide.
    if capacity > 0.0 { (demand / capacity).max(FILLED) } else { FILLED }
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

/// Takes members back that were to be removed for health, as far as the budget does not permit it.
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
        .filter(|(member, _)| member.entry.is_removed_for_health())
        .collect();
    failed.sort_by_key(|(member, _)| member.entry.observed.map(|observed| observed.since));
    let mut removed = 0;
    let mut retained = BTreeSet::new();
    for (member, size) in failed {
        if budget.permits(removed + size, all) {
            removed += size;
        } else {
            let contender = &mut member.candidate.contender;
            (contender.standing, contender.share) = (Standing::Retained, Share::ALL);
            retained.insert(contender.region);
        }
    }
    retained
}
