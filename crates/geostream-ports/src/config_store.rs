//! The versioned log of configurations.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use geostream_domain::{
    Change, ChangeError, Commit, Config, Line, RegionId, ReplayError, Revision, Snapshot, Timestamp,
};
use thiserror::Error;

use crate::{Attempt, Unavailable};

/// Keeps the log of committed changes; the configuration is what the log adds up to.
///
/// A new log is at revision 0, the empty configuration. Every commit adds one, in one order for
/// everybody, and what was acknowledged survives the end of the process at any moment.
pub trait ConfigStore: Send + Sync + 'static {
    /// Returns the latest configuration.
    fn load(&self) -> impl Future<Output = Result<Snapshot, Unavailable>> + Send;

    /// Returns the latest configuration as the log itself has it: what a change is thought out on.
    ///
    /// No copy that somebody else keeps stands in for it.
    fn base(&self) -> impl Future<Output = Result<Snapshot, Unavailable>> + Send;

    /// Commits changes together, as one revision, or none of them.
    fn propose(
        &self,
        proposal: Proposal,
    ) -> impl Future<Output = Result<Snapshot, ProposeError>> + Send;

    /// Returns the latest commits below a revision, or the latest of all, newest first.
    ///
    /// A store may forget old commits; it then answers what it still has.
    fn history(
        &self,
        below: Option<Revision>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Commit>, Unavailable>> + Send;

    /// Returns the earliest commits after a revision that are kept, oldest first.
    fn commits(
        &self,
        after: Revision,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Commit>, Unavailable>> + Send;

    /// Takes in a part of another log, which becomes this one as a whole or not at all.
    ///
    /// Nobody sees anything of it before its end, and the first commit of another kind forgets it.
    fn import(&self, import: Import) -> impl Future<Output = Result<(), ImportError>> + Send;

    /// Returns the configuration as it was at a revision; `None` for one that was never committed
    /// or that the store has forgotten.
    fn at(
        &self,
        revision: Revision,
    ) -> impl Future<Output = Result<Option<Arc<Config>>, Unavailable>> + Send;

    /// Waits until the latest revision is above this one, and returns it.
    fn changed(
        &self,
        since: Revision,
    ) -> impl Future<Output = Result<Revision, Unavailable>> + Send;

    /// Tells whether the store can be read and takes writes, without a change of what it keeps.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    fn look(&self, look: Look) -> impl Future<Output = Result<Writes, Unavailable>> + Send;
}

/// How closely a store is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// By reading only: a store that is read-only, or whose rights are missing, shows that.
    Read,
    /// By a write as well, whose effect is taken back: a full disk shows in nothing else. For use
    /// after a write has failed.
    TryWrite,
}

/// Whether a store that can be read takes writes.
#[derive(Debug)]
pub enum Writes {
    /// Nothing is known that would keep a write from being committed.
    Accepted,
    /// A write would fail.
    Refused(Unavailable),
}

/// Changes that are to be committed together.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    /// The revision that the changes were thought out on.
    pub expected: Revision,
    /// The changes, in order.
    pub changes: Vec<Change>,
    /// Who proposes them.
    pub author: Line,
    /// Why.
    pub reason: Line,
    /// When, by the clock of the node that proposes them. A store that several nodes share dates
    /// the proposal by its own clock.
    pub at: Timestamp,
    /// For how long the overrides among the changes hold that end so long after the commit. Other
    /// overrides end when they say.
    pub lasting: BTreeMap<RegionId, Duration>,
    /// Whose attempt it is, for the audit trail; `None` for nobody's.
    pub attempt: Option<Attempt>,
}

impl Proposal {
    /// Returns the proposal as if it was made at this moment: its overrides begin then, and end
    /// after the time that they are to last.
    #[must_use]
    pub fn dated(mut self, now: Timestamp) -> Self {
        self.at = now;
        for change in &mut self.changes {
            let Change::SetOverride(set) = change else { continue };
            set.since = now;
            if let Some(lasts) = self.lasting.get(&set.region) {
                set.expires = Some(now.after(*lasts));
            }
        }
        self
    }
}

/// Why changes were not committed.
#[derive(Debug, Error)]
pub enum ProposeError {
    /// Somebody else committed first: load, think again, and propose again.
    #[error("the configuration is at revision {current} by now")]
    Conflict {
        /// The latest revision.
        current: Revision,
    },
    /// The changes do not lead to a valid configuration: they cannot be committed.
    #[error("the changes do not lead to a valid configuration")]
    Invalid(#[source] ChangeError),
    /// The store cannot be reached or cannot write. The outcome may be unknown: load to see.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// A part of a log that is moved to a store whose own log is empty.
#[derive(Clone, Debug, PartialEq)]
pub struct Import {
    /// Which import it is a part of.
    pub id: ImportId,
    /// What comes next.
    pub part: ImportPart,
    /// Whose attempt it is. The trail tells of the beginning and the end.
    pub attempt: Option<Attempt>,
}

/// Tells imports apart, so that two at once do not become one log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImportId(pub u128);

/// What an import consists of, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum ImportPart {
    /// What the log goes on from. Whatever was taken in of another import is forgotten.
    Begin(Snapshot),
    /// The next commits.
    Commits(Vec<Commit>),
    /// The last revision: if everything up to it is there, it becomes the log.
    End(Revision),
}

/// Why a part of a log was not taken in.
#[derive(Debug, Error)]
pub enum ImportError {
    /// The store has a log of its own: import into another one.
    #[error("the log is not empty: it is at revision {current}")]
    NotEmpty {
        /// The latest revision.
        current: Revision,
    },
    /// Somebody else has begun an import, or committed: begin again.
    #[error("the import is no longer under way")]
    NotBegun,
    /// The commits are not what comes next.
    #[error(transparent)]
    Unfit(#[from] ReplayError),
    /// The store cannot be reached or cannot write. The outcome may be unknown: load to see.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}
