//! How the regions were when they were last seen, kept for the next start.

use std::future::Future;

use geostream_domain::{Health, RegionId, Timestamp};

use crate::Unavailable;

/// Keeps the last change of each region's health.
pub trait HealthLog: Send + Sync + 'static {
    /// Keeps changes in place of earlier ones, in the order in which they were seen.
    fn append(
        &self,
        records: Vec<HealthRecord>,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// Returns the last change of each region, in the order of their ids.
    fn latest(&self) -> impl Future<Output = Result<Vec<HealthRecord>, Unavailable>> + Send;
}

/// A region's health has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthRecord {
    /// The region.
    pub region: RegionId,
    /// What its health is.
    pub health: Health,
    /// Why, in words.
    pub evidence: String,
    /// Since when.
    pub at: Timestamp,
}
