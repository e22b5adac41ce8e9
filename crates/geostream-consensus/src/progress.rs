//! What a leader knows of a follower.

use crate::entry::SnapshotMeta;
use crate::id::Index;
use crate::message::Probe;
use crate::time::Moment;

/// What a leader knows of a follower (Raft paper, figure 2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Progress {
    /// The follower's log is the leader's up to here, durably. Within a term it only grows.
    pub matched: Index,
    /// The next entry to send; what lies between the two is on its way.
    pub next: Index,
    /// How it is being sent to.
    pub mode: Mode,
    /// It takes no entries now; its answer to the next heartbeat may be another.
    pub is_full: bool,
    /// Up to where it was told that entries are committed.
    pub told: Index,
    /// The latest round of probes that it answered.
    pub answered: u64,
    /// When that probe was sent: the follower still followed after that.
    pub heard: Moment,
}

/// How a follower is being sent to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Where its log leaves the leader's is being looked for, one message at a time.
    Search {
        /// Whether an answer is being waited for; heartbeats ask again.
        asked: bool,
    },
    /// Entries are sent without waiting for answers (thesis, §10.2.2).
    Stream,
    /// It lacks entries that were purged, and gets a snapshot, piece by piece.
    Snapshot(Sending),
}

/// How far a snapshot has been sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sending {
    /// What the snapshot stands for. It stays the same while newer ones are taken.
    pub meta: SnapshotMeta,
    /// The follower has it up to here.
    pub offset: u64,
    /// When the current piece is sent again.
    pub retry_at: Moment,
    /// How often it was, without an answer.
    pub retries: u8,
}

impl Progress {
    pub(crate) fn unknown(next: Index, now: Moment) -> Self {
        let mode = Mode::Search { asked: false };
        let (matched, told) = (Index::ORIGIN, Index::ORIGIN);
        Self { matched, next, mode, is_full: false, told, answered: 0, heard: now }
    }

    /// Notes that the follower answered. A late answer counts for the time of its question, not of its
    /// arrival.
    pub(crate) fn hear(&mut self, probe: Probe) {
        self.answered = self.answered.max(probe.round);
        self.heard = self.heard.max(probe.sent);
    }
}
