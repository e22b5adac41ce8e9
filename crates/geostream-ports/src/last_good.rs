//! What the last routing table was made of, kept for a start without the store.

use std::future::Future;

use geostream_domain::{Snapshot, Timestamp};

use crate::Unavailable;

/// Keeps what the last routing table was made of where the next start finds it.
pub trait LastGood: Send + Sync + 'static {
    /// Keeps this in place of what was kept before; a crash leaves the one or the other.
    fn save(&self, table: &SavedTable) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// Returns what was kept; `None` if nothing was, or if it is damaged.
    fn load(&self) -> impl Future<Output = Result<Option<SavedTable>, Unavailable>> + Send;
}

/// What a routing table was made of, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedTable {
    /// The configuration.
    pub snapshot: Snapshot,
    /// When it was saved.
    pub at: Timestamp,
}
