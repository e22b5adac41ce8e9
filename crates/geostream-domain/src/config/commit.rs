//! What a log of configurations consists of.

use std::sync::Arc;

use thiserror::Error;

use crate::config::document::{Change, ConfigError, Revision, Snapshot};
use crate::name::Line;
use crate::time::Timestamp;

/// Changes that were committed together.
#[derive(Clone, Debug, PartialEq)]
pub struct Commit {
    /// The revision that they led to.
    pub revision: Revision,
    /// The changes, in order.
    pub changes: Vec<Change>,
    /// Who proposed them.
    pub author: Line,
    /// Why.
    pub reason: Line,
    /// When they were proposed.
    pub at: Timestamp,
}

/// Why a commit cannot come next in a log.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ReplayError {
    /// Another commit belongs in between, or it was there already.
    #[error("commit {found} stands where commit {expected} belongs")]
    Gap {
        /// The commit that comes next.
        expected: Revision,
        /// The commit that is there instead.
        found: Revision,
    },
    /// It does not lead to a valid configuration.
    #[error("commit {revision} does not lead to a valid configuration")]
    Invalid {
        /// The commit.
        revision: Revision,
        /// The rule that is broken.
        #[source]
        source: ConfigError,
    },
}

impl Snapshot {
    /// Returns what the next commit of the log leads to.
    ///
    /// # Errors
    ///
    /// If it is not the next one, or does not fit.
    pub fn followed_by(&self, commit: &Commit) -> Result<Self, ReplayError> {
        let (expected, found) = (self.revision.next(), commit.revision);
        if found != expected {
            return Err(ReplayError::Gap { expected, found });
        }
        let config = self.config.after(commit.changes.iter().cloned());
        let config = config
            .map_err(|error| ReplayError::Invalid { revision: found, source: error.source })?;
        Ok(Self { revision: found, config: Arc::new(config) })
    }
}
