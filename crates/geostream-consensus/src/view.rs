//! Looking at a node without touching it.

use std::collections::BTreeMap;

use crate::entry::SnapshotMeta;
use crate::error::HaltReason;
use crate::id::{Index, LogId, NodeId, Term};
use crate::log::Log;
use crate::membership::Membership;
use crate::progress::Progress;

/// What a node is and has at this moment.
#[derive(Clone, Copy, Debug)]
pub struct View<'a, C> {
    /// Who it is.
    pub id: NodeId,
    /// The term it is in.
    pub term: Term,
    /// Whom it voted for in that term.
    pub vote: Option<NodeId>,
    /// What part it plays.
    pub role: Role,
    /// Whom it takes for the leader.
    pub leader: Option<NodeId>,
    /// Its log, in memory; [`View::durable`] tells how much of it is on disk.
    pub log: &'a Log<C>,
    /// All up to here is on disk.
    pub durable: Index,
    /// All up to here is committed, as far as it knows.
    pub commit: Index,
    /// The state machine has applied all up to here. A stale read is answered from it as it is, with
    /// this index, so that a client can tell how old the answer may be. It is less than the snapshot's
    /// end only until it is restored from a snapshot that was received.
    pub applied: Index,
    /// What the latest snapshot stands for.
    pub snapshot: &'a SnapshotMeta,
    /// The membership in force: the last one in the log, committed or not.
    pub membership: &'a Membership,
    /// The entry that brought it; the snapshot's last, if it came with that.
    pub membership_at: Index,
    /// What it knows of its followers, if it leads. A snapshot that is being sent must be kept.
    pub progress: Option<&'a BTreeMap<NodeId, Progress>>,
    /// The part that it has of a snapshot that it is receiving.
    pub receiving: Option<Received>,
    /// To whom it is handing leadership.
    pub transferring_to: Option<NodeId>,
    /// How much of what is bounded it holds.
    pub held: Held,
    /// Why it has stopped, if it has.
    pub halted: Option<HaltReason>,
}

impl<C> View<'_, C> {
    /// Tells whether the node leads, as far as it knows.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.role == Role::Leader
    }
}

/// What part a node plays (Raft paper, figure 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// It follows, or waits for a leader. Learners always do.
    Follower,
    /// It asks whether it would win an election.
    PreCandidate,
    /// It stands for election.
    Candidate,
    /// It leads.
    Leader,
}

/// A part of a snapshot that a node has received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Received {
    /// The last entry that the snapshot contains.
    pub snapshot: LogId,
    /// How many of its bytes are here.
    pub bytes: u64,
}

/// How much of what is bounded a node holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Entries in memory.
    pub log_entries: u64,
    /// What they weigh.
    pub log_bytes: u64,
    /// Entries that wait to be committed.
    pub uncommitted_entries: u64,
    /// What they weigh.
    pub uncommitted_bytes: u64,
    /// Clients that wait for an entry.
    pub tickets: usize,
    /// Reads that wait, of this node's clients and, at a leader, of other nodes.
    pub reads: usize,
    /// What is promised, to others or to itself, and waits for the disk.
    pub promises: usize,
    /// Writes that are not confirmed, or confirmed before an earlier one was.
    pub writes: u64,
}
