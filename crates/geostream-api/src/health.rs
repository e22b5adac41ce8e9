//! How regions are, and what is reported of them.

use serde::{Deserialize, Serialize};

use crate::config::Override;
use crate::time::Time;

/// How every region is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HealthReport {
    /// The regions in the order of their ids.
    pub regions: Vec<RegionHealth>,
    /// Services whose removal budget is spent: some of their unhealthy regions are retained.
    pub budget_spent: Vec<BudgetSpent>,
}

/// A service whose removal budget is spent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetSpent {
    /// The service.
    pub service: String,
    /// The unhealthy regions that serve where no eligible one has room.
    pub retained: Vec<String>,
}

/// A region that answers its probes and is held back for flapping.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldRegion {
    /// The region.
    pub region: String,
    /// Until when the node that answers holds it back; null while it is being tried, and where only
    /// other nodes do.
    pub held_until: Option<Time>,
}

/// How a region is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RegionHealth {
    /// The region.
    pub region: String,
    /// `healthy`, `unhealthy`, or `unknown` as long as nobody has looked: the verdict of all nodes
    /// that are heard.
    pub health: String,
    /// How sure it is that it cannot serve: `proven` where connections to it fail while another
    /// endpoint or a reachability target answers, `unproven`, or `held` where it answers its probes
    /// and is held back for flapping; null unless it is unhealthy.
    #[serde(default)]
    pub removal: Option<String>,
    /// Until when the node that answers holds it back for flapping; null for all others, and while
    /// it is being tried.
    #[serde(default)]
    pub held_until: Option<Time>,
    /// How the node that answers sees it by itself.
    #[serde(default)]
    pub seen_here: String,
    /// How many nodes see it down; null if the node that answers hears no other.
    pub votes: Option<Votes>,
    /// What the breaker of its probes says: `closed`, `open` or `half_open`; null for a region that
    /// is not probed.
    pub breaker: Option<String>,
    /// How many probes in a row have failed, while that is not yet believed.
    pub failures: u8,
    /// The share of its clients that it is to have, 0 to 1: it grows while the region comes back.
    pub share: f64,
    /// Whether it would be taken for dead, if this node saw anybody else well.
    pub abstains: bool,
    /// Whether the node that answers may not probe its address, so that it is `unknown` there.
    #[serde(default)]
    pub probe_forbidden: bool,
    /// Its load in the unit of its capacity.
    pub load: Option<f64>,
    /// Since when its health is what it is.
    pub since: Option<Time>,
    /// When it was seen last: what came of a probe, or a report; null for one that never was.
    pub seen: Option<Time>,
    /// Why its health is what it is; empty as long as nothing has changed.
    pub evidence: String,
    /// What an operator has said of it: `drain`, `up` or `down`.
    #[serde(rename = "override")]
    pub overridden: Option<String>,
}

/// How many nodes see a region down: it is unhealthy if that is more than half of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Votes {
    /// So many do.
    pub down: u8,
    /// Of so many that see anything.
    pub nodes: u8,
}

/// How the health of regions has changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HealthHistory {
    /// The changes, newest first.
    pub changes: Vec<HealthChange>,
}

/// A region's health has changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HealthChange {
    /// The region.
    pub region: String,
    /// The node that saw it; null where an earlier version did. Each node keeps the change that it
    /// sees, so one event can have an entry of each.
    #[serde(default)]
    pub node: Option<String>,
    /// What its health was from then on: `healthy`, `unhealthy` or `unknown`.
    pub health: String,
    /// When.
    pub at: Time,
    /// Why.
    pub evidence: String,
    /// The failures that spoke against it: probes in a row, or reports within a second.
    pub errors: u32,
    /// How long its last good probe took, in milliseconds; null if there was none.
    pub response_time_ms: Option<f64>,
}

/// A region's health has changed: the event `health`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthEvent {
    /// The region.
    pub region: String,
    /// What its health was.
    pub from: String,
    /// What it is.
    pub to: String,
    /// Why.
    pub evidence: String,
    /// When.
    pub at: Time,
}

/// An override has ended by itself: the event `override_ended`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverrideEnded {
    /// The region.
    pub region: String,
    /// What has ended.
    #[serde(rename = "override")]
    pub ended: Override,
}

/// Up to 1,000 outcomes at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutcomesRequest {
    /// The outcomes.
    pub outcomes: Vec<OutcomeReport>,
}

/// What came of using a region.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutcomeReport {
    /// The region.
    pub region: String,
    /// Whether it served, or how it failed; without, only its load is reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<OutcomeKind>,
    /// The address of the client that used the region: failures then count only if clients of at
    /// least three networks have them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ip: Option<String>,
    /// The round-trip time in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<f64>,
    /// The region's load in the unit of its capacity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<f64>,
}

/// Whether a region served, or how it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeKind {
    /// It served.
    Ok,
    /// Nothing came in time.
    Timeout,
    /// It could not be connected to.
    Connect,
    /// The connection was cut.
    Reset,
    /// TLS failed.
    Tls,
    /// It answered that it cannot serve, as by a status from 500 up.
    ServerError,
}

/// What became of reported outcomes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomesAnswer {
    /// How many were taken in.
    pub accepted: usize,
    /// The regions of the others: there are none of these ids.
    pub unknown: Vec<String>,
}
