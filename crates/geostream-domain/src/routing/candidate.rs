//! A member of a service as a decision meets it, and the client that the decision is for.

use crate::hash::{ClientKey, draw};
use crate::health::Share;
use crate::place::Direction;
use crate::routing::index::RegionIndex;
use crate::routing::metric::Metric;
use crate::routing::rank::{Rank, Terms, exact};

/// A region that may serve, with all that ranks it but the client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlacedCandidate {
    pub(crate) candidate: Candidate,
    pub(crate) direction: Direction,
    pub(crate) term: u32,
    pub(crate) bias_km: f64,
    /// The place in the order for clients without a location.
    pub(crate) place: u32,
}

impl PlacedCandidate {
    /// Returns the candidate's rank for a client.
    pub(crate) fn rank(&self, metric: &Metric, query: Query) -> Rank {
        let term = exact::term(self.term);
        let terms = match query.direction {
            Some(client) => {
                metric.terms(f64::from(self.direction.angle(client)), self.bias_km, term)
            }
            None => exact::without_location(term, self.place),
        };
        Rank {
            terms: Terms::from_exact(terms),
            draw: self.candidate.draw(query.key),
            region: self.candidate.region,
        }
    }
}

/// What is read of a candidate that may be among the best.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    pub(crate) region: RegionIndex,
    pub(crate) eligibility: Eligibility,
    /// The share of its own clients that it is to have.
    pub(crate) share: Share,
    pub(crate) weight: u32,
    /// The stable hash of the region's id.
    pub(crate) seed: u64,
}

impl Candidate {
    /// Returns what settles near-ties between candidates: the least draw wins.
    pub(crate) fn draw(&self, client: ClientKey) -> u64 {
        draw(client, self.seed, self.weight)
    }

    /// Tells whether it would have a client if that were its own.
    pub(crate) fn keeps(&self, client: ClientKey) -> bool {
        self.share == Share::ALL || self.share.admits(client.lot(self.seed))
    }

    /// Tells whether it takes the clients of regions that cannot have them.
    pub(crate) fn takes_others(&self) -> bool {
        self.eligibility == Eligibility::Able
    }
}

/// Whose clients a candidate can have.
///
/// The order is the order of preference: displaced clients go to the first eligibility that has room,
/// and when no region [serves](Eligibility::serves), the service's rule for that decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Eligibility {
    /// All of its own, and others'.
    Able,
    /// A share of its own, since it comes back slowly.
    Recovering,
    /// A share of its own, since they are more than it takes.
    Full,
    /// Displaced ones that no eligible region has room for: its probes succeed, and it is held back
    /// for flapping.
    Held,
    /// Displaced ones that no region before has room for: its removal is not proven, and the
    /// removal budget does not permit it.
    Retained,
    /// None: it is removed for health, or forced down.
    Unhealthy,
    /// Nobody's, as an operator wishes.
    Drained,
}

impl Eligibility {
    /// The eligibilities that take displaced clients, best first.
    pub(crate) const TAKING: [Self; 4] = [Self::Able, Self::Recovering, Self::Held, Self::Retained];

    /// Tells whether neither its health nor an operator keeps clients from it.
    pub(crate) fn is_eligible(self) -> bool {
        self < Self::Held
    }

    /// Tells whether it keeps the service from being all down.
    pub(crate) fn serves(self) -> bool {
        self <= Self::Held
    }
}

/// A client, as the search sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Query {
    pub(crate) direction: Option<Direction>,
    pub(crate) key: ClientKey,
}
