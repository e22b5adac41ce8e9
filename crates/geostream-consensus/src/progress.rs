//! What a leader knows of a follower.

use crate::id::{Index, LogId};
use crate::time::Moment;

/// What a leader knows of a follower (Raft paper, figure 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The follower's log is the leader's up to here, durably. Within a term it only grows.
    pub matched: Index,
    /// The next entry to send; what lies between the two is on its way.
    pub next: Index,
    /// How it is being sent to.
    pub mode: Mode,
    /// The latest round of probes that it answered.
    pub answered: u64,
    /// When that probe was sent: the follower still followed after that.
    pub heard: Moment,
}

/// How a follower is being sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Where its log leaves the leader's is being looked for, one message at a time.
    Search,
    /// Entries are sent without waiting for answers (thesis, §10.2.1).
    Stream,
    /// It lacks entries that were purged, and gets a snapshot, piece by piece.
    Snapshot(Sending),
}

/// How far a snapshot has been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sending {
    /// The last entry that the snapshot contains.
    pub snapshot: LogId,
    /// The follower has it up to here.
    pub offset: u64,
    /// When the current piece is asked for again.
    pub retry_at: Moment,
    /// How often it was, without an answer.
    pub retries: u8,
}

impl Progress {
    pub(crate) fn unknown(next: Index, now: Moment) -> Self {
        Self { matched: 0, next, mode: Mode::Search, answered: 0, heard: now }
    }
}
