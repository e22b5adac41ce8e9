//! What is known of the tokens, kept for a start without the store.

use std::collections::BTreeMap;
use std::future::Future;

use geostream_domain::Timestamp;

use crate::{TokenId, TokenRecord, Unavailable};

/// Keeps what is known of the tokens where the next start finds it.
pub trait KnownTokens: Send + Sync + 'static {
    /// Keeps this in place of what was kept before, where only this node reads it.
    fn save(&self, tokens: &SavedTokens) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// Keeps nothing any more.
    fn forget(&self) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// Returns what was kept; `None` if nothing was.
    fn load(&self) -> impl Future<Output = Result<Option<SavedTokens>, Unavailable>> + Send;
}

/// What a store has said of its tokens, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedTokens {
    /// The records, in the order of their ids.
    pub records: Vec<TokenRecord>,
    /// When they were read from the store.
    pub at: Timestamp,
    /// When each was last used at this node, to the minute.
    pub used: BTreeMap<TokenId, Timestamp>,
}
