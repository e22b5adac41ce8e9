//! The parts of a node's state: data, and what can be read from it alone.
//!
//! The rules that change them are in the files named after what they do: `election`, `replication`,
//! `reads`, `snapshot`, `transfer`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::entry::SnapshotMeta;
use crate::error::Refusal;
use crate::id::{Index, LogId, NodeId, Term, Ticket};
use crate::message::Probe;
use crate::progress::{Mode, Progress};
use crate::time::Moment;
use crate::view::Received;

/// What part a node plays, with what it needs only for that (Raft paper, figure 4).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum State {
    Follower,
    PreCandidate(Campaign),
    Candidate(Campaign),
    Leader(Box<Leading>),
}

/// An election in which this node asks for votes or pre-votes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Campaign {
    /// The attempt that answers must name.
    pub(crate) round: u64,
    /// The nodes that have granted theirs, this one among them.
    pub(crate) supporters: BTreeSet<NodeId>,
}

/// What a leader knows and does in its term; gone when it steps down.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Leading {
    /// The first entry of its term.
    pub(crate) first: Index,
    /// The progress of every other member.
    pub(crate) progress: BTreeMap<NodeId, Progress>,
    /// The last round of heartbeats; each asks all members whether they still follow.
    pub(crate) round: u64,
    pub(crate) heartbeat_at: Moment,
    pub(crate) reads: LeaderReads,
    pub(crate) transfer: Option<LeadershipTransfer>,
    /// What this node had reached when it last made progress.
    pub(crate) reached: Reached,
    /// When that was.
    pub(crate) reached_at: Moment,
    /// Whether a `TimeoutNow` was sent in this term; it may arrive at any time until the term ends.
    pub(crate) has_urged: bool,
}

impl Leading {
    pub(crate) fn new(first: Index, now: Moment) -> Self {
        Self {
            first,
            progress: BTreeMap::new(),
            round: 0,
            heartbeat_at: now,
            reads: LeaderReads::default(),
            transfer: None,
            reached: Reached::default(),
            reached_at: now,
            has_urged: false,
        }
    }

    pub(crate) fn probe(&self, now: Moment) -> Probe {
        Probe { round: self.round, sent: now }
    }

    pub(crate) fn chunk_deadline(&self) -> Option<Moment> {
        let retries = self.progress.values().filter_map(|progress| match &progress.mode {
            Mode::Snapshot(sending) => Some(sending.retry_at),
            Mode::Search { .. } | Mode::Stream => None,
        });
        retries.min()
    }
}

/// How far the state machine and the snapshots of a leader are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Reached {
    pub(crate) applied: Index,
    /// The end of the last snapshot.
    pub(crate) snapshot: Index,
}

/// Leadership on its way to another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LeadershipTransfer {
    pub(crate) to: NodeId,
    /// When it is given up, and the leader goes on.
    pub(crate) deadline: Moment,
    /// Whether `TimeoutNow` was sent to it since the last heartbeat.
    pub(crate) urged: bool,
}

/// The origin of a read at the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Asker {
    Client(Ticket),
    /// Another node, for a client of its own.
    Node {
        node: NodeId,
        id: u64,
    },
}

/// Reads that a leader may not answer yet: it does not know whether it still leads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct LeaderReads {
    /// Not asked about yet.
    pub(crate) fresh: Vec<Asker>,
    pub(crate) asked: VecDeque<Batch>,
}

/// Reads that wait for the same round of heartbeats.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Batch {
    /// The round of probes that was started after all of these came. Answers to earlier ones say
    /// nothing about them, however late they arrive.
    pub(crate) round: u64,
    pub(crate) askers: Vec<Asker>,
}

impl LeaderReads {
    /// Lets a new round speak for all that wait for one.
    pub(crate) fn ask(&mut self, round: u64) {
        if !self.fresh.is_empty() {
            let askers = std::mem::take(&mut self.fresh);
            self.asked.push_back(Batch { round, askers });
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.fresh.len() + self.asked.iter().map(|batch| batch.askers.len()).sum::<usize>()
    }

    pub(crate) fn into_askers(self) -> impl Iterator<Item = Asker> {
        self.asked.into_iter().flat_map(|batch| batch.askers).chain(self.fresh)
    }
}

/// Reads of this node's clients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct LocalReads {
    /// Confirmed; they wait for the state machine to come so far.
    pub(crate) ready: BTreeSet<(Index, Ticket)>,
    /// Asked of the leader.
    pub(crate) forwarded: BTreeMap<u64, Forwarded>,
    /// The number of the next question; it begins at random, so that no answer to a question from
    /// before a restart fits.
    pub(crate) next: u64,
}

/// A read that was forwarded to the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Forwarded {
    pub(crate) ticket: Ticket,
    pub(crate) deadline: Moment,
}

impl LocalReads {
    pub(crate) fn numbered_from(next: u64) -> Self {
        Self { next, ..Self::default() }
    }

    pub(crate) fn deadline(&self) -> Option<Moment> {
        self.forwarded.values().next().map(|forwarded| forwarded.deadline)
    }
}

/// A term, and its leader if this node knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Leadership {
    pub(crate) term: Term,
    pub(crate) leader: Option<NodeId>,
}

/// An entry for which a client waits. The order is that of the log, so that all entries up to an
/// index are found at once; clients may wait for entries of several terms at the same index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LogPosition {
    pub(crate) index: Index,
    pub(crate) term: Term,
}

impl LogPosition {
    /// Returns what comes before all entries at this index or a later one.
    pub(crate) fn before(index: Index) -> Self {
        Self { index, term: Term::ZERO }
    }
}

impl From<LogId> for LogPosition {
    fn from(LogId { term, index }: LogId) -> Self {
        Self { index, term }
    }
}

/// A client that waits for an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Expected {
    pub(crate) ticket: Ticket,
    /// The answer if another entry is committed in its place.
    pub(crate) if_lost: Refusal,
}

/// The snapshot that this node takes of its own state machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct OwnSnapshot {
    /// Whether an operator wants one.
    pub(crate) wanted: bool,
    /// The one that the driver is taking.
    pub(crate) taking: Option<SnapshotMeta>,
}

/// A snapshot that is being received: one at a time, and the last one that was begun.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Receiving {
    pub(crate) of: SnapshotOffer,
    /// The offset of the next piece.
    pub(crate) next: u64,
}

impl Receiving {
    pub(crate) fn received(&self) -> Received {
        Received { snapshot: self.of.last, bytes: self.next }
    }
}

/// A snapshot as one leader sends it.
///
/// In its term a leader begins only newer snapshots, so a piece of an older one is late. The
/// snapshot of another leader begins anew, since its bytes may differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SnapshotOffer {
    /// The term of the leader.
    pub(crate) term: Term,
    /// The last entry that the snapshot contains.
    pub(crate) last: LogId,
}
