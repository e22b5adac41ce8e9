//! What this node cannot tell by its probes.

use std::time::{Duration, Instant};

use geostream_domain::{Answering, RegionId};

/// What this node cannot tell by its probes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Doubts {
    /// Whether anything answers the probes.
    pub answering: Answering,
    /// The regions that this node would take for dead if anything corroborated it, in the order of
    /// their ids, each with the moment since when that is so.
    pub abstaining: Vec<(RegionId, Instant)>,
}

impl Doubts {
    /// How long a doubt lasts before operators are told of it.
    pub const TOLD_AFTER: Duration = Duration::from_secs(10);

    /// Returns since when nothing answers, if that is so for long.
    #[must_use]
    pub fn unanswered(&self, now: Instant) -> Option<Instant> {
        lost_since(self.answering, now)
    }

    /// Returns the regions that this node has abstained from for long.
    pub fn abstained(&self, now: Instant) -> impl Iterator<Item = &RegionId> {
        let old = self.abstaining.iter().filter(move |(_, since)| is_old(*since, now));
        old.map(|(region, _)| region)
    }
}

pub(crate) fn lost_since(answering: Answering, now: Instant) -> Option<Instant> {
    match answering {
        Answering::Unprobed | Answering::Answered => None,
        Answering::Unanswered(since) => Some(since).filter(|since| is_old(*since, now)),
    }
}

fn is_old(since: Instant, now: Instant) -> bool {
    now.saturating_duration_since(since) >= Doubts::TOLD_AFTER
}
