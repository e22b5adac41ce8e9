//! What can happen to a node.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::id::{Index, LogId, NodeId, Ticket, WriteId};
use crate::message::Message;

/// Everything that can happen to a node.
#[derive(Clone, Debug, PartialEq)]
pub enum Input<C> {
    /// [`Raft::next_deadline`](crate::Raft::next_deadline) has come. Earlier or later does no harm.
    Tick,
    /// A message has arrived, not necessarily for this node, nor from somebody who belongs.
    Message(Message<C>),
    /// Clients want these commands in the log, in this order. Whatever has piled up goes in at once:
    /// it is written and sent as one.
    Propose(Vec<Proposal<C>>),
    /// A client wants to read what was committed before it asked. Any node can be asked; it answers once
    /// its state machine has come so far, however long that takes.
    Read {
        /// Whom to answer.
        ticket: Ticket,
    },
    /// An operator wants these members, and no others.
    ///
    /// The ticket comes back with the entry after which nobody else is needed any more.
    ///
    /// A node becomes a learner first and a voter when it has caught up. Its machine is started after
    /// the learner is committed, with a new disk and [`Stored::joining`](crate::Stored::joining).
    ChangeMembership {
        /// Whom to answer.
        ticket: Ticket,
        /// Who shall vote.
        voters: BTreeSet<NodeId>,
        /// Who shall get entries without voting.
        learners: BTreeSet<NodeId>,
    },
    /// An operator wants this node to lead. Answered by
    /// [`Effect::Leads`](crate::Effect::Leads), or not at all.
    Transfer {
        /// Who shall lead.
        to: NodeId,
    },
    /// This write is durable. Confirmations may come in any order.
    Written(WriteId),
    /// A write failed, or a snapshot could not be kept: nobody knows what the disk holds now.
    DiskFailed {
        /// The write that failed; `None` if it was a snapshot.
        write: Option<WriteId>,
    },
    /// The state machine has applied all it was given up to here, or was restored to here.
    Applied {
        /// The index of the last entry.
        through: Index,
    },
    /// An operator wants a snapshot now, without waiting for the log to grow.
    Compact,
    /// The snapshot that [`Effect::TakeSnapshot`](crate::Effect::TakeSnapshot) asked for is durable.
    SnapshotTaken(LogId),
    /// What [`Effect::ReadChunk`](crate::Effect::ReadChunk) asked for.
    ChunkRead {
        /// Whom it is for.
        to: NodeId,
        /// Which snapshot it is of.
        snapshot: LogId,
        /// Where it begins.
        offset: u64,
        /// The bytes; `None` if that snapshot is no longer there.
        piece: Option<Piece>,
    },
}

/// A command that a client wants in the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal<C> {
    /// Whom to answer.
    pub ticket: Ticket,
    /// The command.
    pub command: C,
}

/// Bytes of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The bytes.
    pub data: Arc<[u8]>,
    /// Whether the snapshot ends with them.
    pub is_last: bool,
}
