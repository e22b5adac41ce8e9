//! Why each region was answered, or was not.

use serde::{Deserialize, Serialize};

use crate::health::Votes;
use crate::time::Time;

/// Every region's fate in one decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The objective that the regions were ranked by.
    pub objective: String,
    /// When the routing table was made.
    pub table_compiled: Time,
    /// Whether it says who forced a region and why, and what was observed of it: that is for tokens
    /// of scope viewer or above.
    #[serde(default = "yes")]
    pub complete: bool,
    /// The regions: the ranked ones best first, then the others by id.
    pub regions: Vec<Explained>,
}

/// Servers that did not say so told everything.
fn yes() -> bool {
    true
}

/// What became of a region, and by what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explained {
    /// The region.
    pub region: String,
    /// `chosen`, `outranked`, `unhealthy`, `full`, `drained`, `fenced` or `not_member`.
    pub fate: String,
    /// More about the fate, for people; who forced a region and why, and how full it is, only in a
    /// complete explanation.
    pub detail: Option<String>,
    /// Great-circle kilometres from the client.
    pub distance_km: Option<f64>,
    /// The estimated round-trip time in milliseconds.
    pub latency_ms: Option<f64>,
    /// What it was ranked by, in the order of comparison; null for one that was no candidate.
    pub terms: Option<Terms>,
    /// What was last seen of it; null for one that was never looked at, and where the explanation
    /// is not complete.
    pub observed: Option<Observed>,
}

/// What a region was ranked by, in the order of comparison; less is better.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Terms {
    /// Whether it lies within the objective's allowance.
    pub within_allowance: bool,
    /// Its cost in millionths of a dollar, its load in steps of 10 %, or its tier; null where that
    /// is unknown.
    pub term: Option<u32>,
    /// Its band of near-ties in latency or distance.
    pub band: u32,
    /// The client's draw for it, which settles near-ties: from 0 up, smaller for more weight.
    pub draw: f64,
}

/// What was last seen of a region.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    /// `healthy`, `unhealthy` or `unknown`.
    pub health: String,
    /// Its load in units of capacity; for a region that others stand in for, the one that they have
    /// to take.
    pub load: Option<f64>,
    /// How many milliseconds before the answer it was seen: what came of a probe, or a report.
    pub age_ms: u64,
    /// How many nodes see it down; null if the node that answers hears no other.
    pub votes: Option<Votes>,
    /// Whether its probes fail at the node that answers, while nothing corroborates that it is dead.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unconfirmed: bool,
}
