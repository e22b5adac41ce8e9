//! What became of every region in a decision, and by what.

use crate::latency::Latency;
use crate::routing::candidate::{Eligibility, PlacedCandidate};
use crate::routing::decision::{Client, Decision, NoRegion, Reason};
use crate::routing::index::RegionIndex;
use crate::routing::rank::Rank;
use crate::routing::service_table::ServiceTable;
use crate::routing::table::RoutingTable;

/// A decision with every region's fate and every term that ranked it.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// What was decided.
    pub outcome: Result<Decision, NoRegion>,
    /// Every region of the configuration: the ranked ones best first, then the others by id.
    pub regions: Vec<Explained>,
}

/// What became of a region, and by what.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Explained {
    /// The region.
    pub region: RegionIndex,
    /// What became of it.
    pub fate: Fate,
    /// The great-circle distance from the client by haversine; `None` without a location.
    pub distance_km: Option<f64>,
    /// The estimated latency; `None` without a location.
    pub latency: Option<Latency>,
    /// How it ranked, where it was a candidate.
    pub rank: Option<Rank>,
}

/// What became of a region in a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is the answer.
    Chosen,
    /// It could have served, and others ranked better.
    Outranked,
    /// It is not able to serve.
    Unhealthy,
    /// It answers its probes, and is held back for flapping: it serves when no eligible region has
    /// room.
    Held,
    /// It is unhealthy without proof, and the removal budget retains it: it serves when no eligible
    /// region has room.
    Retained,
    /// Its own clients are more than it takes, and this one is not among those it keeps.
    Full,
    /// It comes back slowly after a failure, and this client is not among those it has back.
    Recovering,
    /// It is full up with the clients of a region that cannot serve, and this one is not among them.
    Spilled,
    /// An operator has drained it.
    Drained,
    /// The geofence forbids it for this client.
    Fenced {
        /// The position of the first rule that forbids it, from 0.
        rule: usize,
    },
    /// It does not offer the service.
    NotMember,
}

impl Fate {
    /// Returns the fate's name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Chosen => "chosen",
            Self::Outranked => "outranked",
            Self::Unhealthy => "unhealthy",
            Self::Held => "held",
            Self::Retained => "retained",
            Self::Full => "full",
            Self::Recovering => "recovering",
            Self::Spilled => "spilled",
            Self::Drained => "drained",
            Self::Fenced { .. } => "fenced",
            Self::NotMember => "not_member",
        }
    }
}

impl RoutingTable {
    /// Decides as [`ServiceTable::route`] does, and tells every region's fate.
    #[must_use]
    pub fn explain(&self, service: &ServiceTable, client: &Client) -> Explanation {
        let outcome = service.route(client);
        let chosen = outcome.ok().map(|decision| decision.region);
        let mut placed = vec![None; self.regions().len()];
        for member in service.placed(client) {
            placed[member.candidate.region.get()] = Some(member);
        }
        let mut regions: Vec<Explained> = (0..)
            .map(RegionIndex::new)
            .zip(placed)
            .map(|(index, placed)| {
                let fate = self.fate(service, client, index, placed);
                let region = self.region(index);
                let point = client.location.point;
                let distance_km = point.map(|point| point.distance_km(region.point));
                Explained {
                    region: index,
                    fate: if chosen == Some(index) { Fate::Chosen } else { fate },
                    distance_km,
                    latency: distance_km.map(Latency::over_distance),
                    rank: placed.map(|c| c.rank(service.metric(), client.query())),
                }
            })
            .collect();
        regions.sort_by_key(|explained| (explained.rank.is_none(), explained.rank));
        // Whoever could have served this client better than the answer was spared it.
        let is_last_resort = outcome
            .is_ok_and(|decision| matches!(decision.reason, Reason::Held | Reason::Retained));
        let mut is_better = chosen.is_some();
        for other in &mut regions {
            is_better &= other.fate != Fate::Chosen;
            // A region that serves when no eligible one has room is chosen past all of them.
            if (is_better || is_last_resort) && other.fate == Fate::Outranked {
                other.fate = Fate::Spilled;
            }
        }
        Explanation { outcome, regions }
    }

    /// Returns what becomes of a region that is not the answer.
    fn fate(
        &self,
        service: &ServiceTable,
        client: &Client,
        index: RegionIndex,
        placed: Option<&PlacedCandidate>,
    ) -> Fate {
        let Some(PlacedCandidate { candidate, .. }) = placed else {
            let region = self.region(index);
            let service = service.service();
            return match service.geofence.forbids(client.location.origin(), &region.labels) {
                Some(rule) if service.members.contains_key(&region.id) => Fate::Fenced { rule },
                Some(_) | None => Fate::NotMember,
            };
        };
        match candidate.eligibility {
            Eligibility::Able => Fate::Outranked,
            Eligibility::Recovering => Fate::Recovering,
            Eligibility::Full => Fate::Full,
            Eligibility::Held => Fate::Held,
            Eligibility::Retained => Fate::Retained,
            Eligibility::Unhealthy => Fate::Unhealthy,
            Eligibility::Drained => Fate::Drained,
        }
    }
}
