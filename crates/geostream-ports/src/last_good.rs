//! What the last routing table was made of, kept for a start without the store.

use std::future::Future;

use geostream_domain::{LostCommits, RecentCommits, Snapshot, Timestamp};

use crate::Unavailable;

/// Keeps what the last routing table was made of where the next start finds it, and what a store
/// has lost where an operator finds it.
pub trait LastGood: Send + Sync + 'static {
    /// Keeps this in place of what was kept before; a crash leaves the one or the other.
    fn save(&self, table: &SavedTable) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// Returns what was kept; `None` if nothing was, or if it is damaged.
    fn load(&self) -> impl Future<Output = Result<Option<SavedTable>, Unavailable>> + Send;

    /// Keeps lost commits until an operator removes them, and returns the name that they have there.
    ///
    /// The same commits are kept once. The number of records is limited: the oldest goes.
    fn keep_lost(
        &self,
        lost: &LostCommits,
    ) -> impl Future<Output = Result<String, Unavailable>> + Send;

    /// Returns the names of the records of lost commits that are still there.
    fn lost(&self) -> impl Future<Output = Result<Vec<String>, Unavailable>> + Send;

    /// Removes a record of lost commits: the store has them again.
    fn forget_lost(&self, name: &str) -> impl Future<Output = Result<(), Unavailable>> + Send;
}

/// What a routing table was made of, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedTable {
    /// The configuration.
    pub snapshot: Snapshot,
    /// The latest commits that led to it, as far as they are known.
    pub recent: RecentCommits,
    /// When it was saved.
    pub at: Timestamp,
}
