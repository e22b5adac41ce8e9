//! How the regions' health has changed, for the next start and for people.

use std::future::Future;
use std::time::Duration;

use geostream_domain::{Health, NodeId, RegionId, Timestamp};

use crate::Unavailable;

/// Keeps how the health of regions has changed.
///
/// The last change of a region is kept until the next one. Of those before, the newest
/// [`CHANGES_PER_REGION`] are kept of each region, and the newest [`CHANGES_IN_ALL`] of all.
pub trait HealthLog: Send + Sync + 'static {
    /// Keeps changes, in the order in which they were seen: all of them or none.
    fn append(
        &self,
        records: Vec<HealthRecord>,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// Returns the last change of each region, in the order of their ids; not the node that saw it.
    fn latest(&self) -> impl Future<Output = Result<Vec<HealthRecord>, Unavailable>> + Send;

    /// Returns the changes of a region, or of all of them, newest first.
    fn changes(
        &self,
        region: Option<RegionId>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<HealthRecord>, Unavailable>> + Send;
}

/// The changes that are kept of each region.
pub const CHANGES_PER_REGION: usize = 100;

/// The changes that are kept of all regions, those that are configured no more included.
pub const CHANGES_IN_ALL: usize = 50_000;

/// A region's health has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthRecord {
    /// The region.
    pub region: RegionId,
    /// The node that saw it; `None` where earlier versions have not kept it.
    pub node: Option<NodeId>,
    /// What its health is.
    pub health: Health,
    /// Why, in words.
    pub evidence: String,
    /// Since when; also when it was last seen, by then.
    pub at: Timestamp,
    /// How long its last good probe took; `None` if there was none.
    pub response_time: Option<Duration>,
    /// The failures that speak against it: probes in a row, or reports within a second.
    pub errors: u32,
}
