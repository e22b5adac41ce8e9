//! The latest configuration, where nodes find it without asking their store.

use std::error::Error;
use std::future::Future;

use geostream_domain::{Revision, Snapshot};
use thiserror::Error;

use crate::{ConfigStore, Unavailable};

/// A commit: its number, and a mark that no other commit has.
///
/// Commits of different logs may have the same number, and so may those of one log that a failover
/// or a restored copy has taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The revision that the commit led to.
    pub revision: Revision,
    /// What tells it from any other commit.
    pub mark: String,
}

/// A configuration, and the mark of the commit that led to it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Marked {
    /// What tells the commit from any other; empty before any was read.
    pub mark: String,
    /// The configuration.
    pub snapshot: Snapshot,
}

impl Marked {
    /// Tells whether this is what a commit led to.
    #[must_use]
    pub fn is_at(&self, head: &Head) -> bool {
        self.mark == head.mark && self.snapshot.revision == head.revision
    }
}

/// A [`ConfigStore`] that tells its commits from those of any other log.
pub trait MarkedStore: ConfigStore {
    /// Returns the latest commit.
    fn head(&self) -> impl Future<Output = Result<Head, Unavailable>> + Send;

    /// Returns the latest configuration that was read or written here, without asking the store.
    fn known(&self) -> Marked;
}

/// Keeps the latest configuration for all nodes of one store.
///
/// It may be away, and may lose what it keeps. What it keeps was committed, but may be behind, or of
/// another log: whoever takes it looks at the mark.
pub trait Cache: Send + Sync + 'static {
    /// Looks for what a commit led to.
    fn look(&self, head: &Head) -> impl Future<Output = Result<Kept, CacheError>> + Send;

    /// Keeps a configuration, unless that of a later revision is kept, and tells all nodes.
    fn put(&self, found: &Marked) -> impl Future<Output = Result<(), CacheError>> + Send;

    /// Forgets what a commit led to, if that is kept.
    fn forget(&self, head: &Head) -> impl Future<Output = Result<(), CacheError>> + Send;

    /// Asks to be the one node that reads what a commit led to; the others wait for it.
    ///
    /// What is granted ends by itself after some seconds.
    fn claim(&self, head: &Head) -> impl Future<Output = Result<bool, CacheError>> + Send;

    /// Waits until a node has put something since this was called, or may have.
    fn news(&self) -> impl Future<Output = ()> + Send;
}

/// What a [`Cache`] keeps.
#[derive(Clone, Debug, PartialEq)]
pub enum Kept {
    /// Nothing.
    Nothing,
    /// What another commit led to.
    Other(Head),
    /// What was looked for.
    This(Snapshot),
}

/// Why a [`Cache`] is of no use.
#[derive(Debug, Error)]
pub enum CacheError {
    /// It cannot be reached, or does not do its work: ask the store.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// What it kept made no sense, and is gone: ask the store, and put it there.
    #[error("what was kept makes no sense")]
    Nonsense(#[source] Box<dyn Error + Send + Sync>),
}
