//! What a node wants to be done.

use std::sync::Arc;

use crate::entry::{Entry, SnapshotMeta};
use crate::error::{HaltReason, Refusal};
use crate::id::{Index, LogId, NodeId, Term, Ticket, WriteId};
use crate::message::Message;

/// What a node wants to be done, in this order.
///
/// Nothing here needs to wait for anything else here: what must wait for the disk or for the state
/// machine is kept back by the node until it is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect<C> {
    /// Write this, after all that was to be written before, and confirm with
    /// [`Input::Written`](crate::Input::Written) when it is durable.
    Write(Write<C>),
    /// Send this. It may be lost.
    Send(Message<C>),
    /// Apply these entries to the state machine, and confirm with
    /// [`Input::Applied`](crate::Input::Applied). They are committed, and durable here. There is
    /// never more than one such page on its way.
    Apply(Vec<Committed<C>>),
    /// Replace the state machine's state by this snapshot, which is durable here, and confirm with
    /// [`Input::Applied`](crate::Input::Applied). If [`Op::UseStaged`] has put a later one in its place
    /// meanwhile, confirm what is applied as it is: that one's restoration follows. It replaces any that has
    /// not begun.
    Restore(SnapshotMeta),
    /// Take a snapshot of the state machine as it is now, having applied exactly up to
    /// [`SnapshotMeta::last`], make it durable, and say [`Input::SnapshotTaken`](crate::Input::SnapshotTaken).
    /// The snapshot before must stay until [`Op::UseTaken`] names this one. A snapshot of the same name
    /// may be on its way from another node; only [`Op::UseStaged`] means that one. If it cannot be made,
    /// say [`Input::DiskFailed`](crate::Input::DiskFailed): no other is asked for before this one is there.
    TakeSnapshot(SnapshotMeta),
    /// Read a piece of a snapshot for a follower, and hand it in as
    /// [`Input::ChunkRead`](crate::Input::ChunkRead). It replaces any for the same follower that has not
    /// begun.
    ReadChunk {
        /// Whom it is for.
        to: NodeId,
        /// The last entry that the snapshot contains.
        snapshot: LogId,
        /// Where to begin.
        offset: u64,
        /// How many bytes, at most.
        limit: u64,
    },
    /// A read may be answered from the state machine as it is now, or any later.
    ReadReady {
        /// Whom to answer.
        ticket: Ticket,
        /// The read sees all that was committed up to here.
        index: Index,
    },
    /// A request came to nothing.
    Refused {
        /// Whom to answer.
        ticket: Ticket,
        /// Why, and whether it may have happened all the same.
        why: Refusal,
    },
    /// The term has changed, or whom this node takes for the leader in it.
    Leads {
        /// The term.
        term: Term,
        /// The leader, if it is known.
        leader: Option<NodeId>,
    },
    /// This node stops for good; whatever comes now is ignored. The process should end. What became of
    /// those who still wait is not known.
    Halt(HaltReason),
}

/// An entry that will never change any more.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Committed<C> {
    /// The entry.
    pub entry: Entry<C>,
    /// Who waits for it at this node: to be answered with what the state machine says to it.
    pub ticket: Option<Ticket>,
}

/// Something to be written.
///
/// The operations of all writes are one stream. After a crash the disk must hold the outcome of a
/// prefix of that stream, which contains at least every write that was confirmed, and any write before
/// one that was.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Write<C> {
    /// Its number: one more than the one before.
    pub id: WriteId,
    /// What to do, in this order.
    pub ops: Vec<Op<C>>,
}

/// A change of what is on disk.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Op<C> {
    /// Remember this instead of what was remembered before.
    SetHardState(HardState),
    /// Remove all entries from here on.
    Truncate {
        /// The first one to go.
        from: Index,
    },
    /// Add these to the end of the log.
    Append(Vec<Entry<C>>),
    /// Keep this piece of a snapshot that is being received. At offset 0, forget what there was of
    /// another, or of the same.
    Stage {
        /// The last entry that the snapshot contains.
        snapshot: LogId,
        /// Where the piece begins: where the last one ended.
        offset: u64,
        /// The piece.
        data: Arc<[u8]>,
    },
    /// From now on the snapshot is the one that was taken, as [`Effect::TakeSnapshot`] asked. An older
    /// one may go.
    UseTaken(SnapshotMeta),
    /// From now on the snapshot is the one that was staged, all of it. An older one may go.
    UseStaged(SnapshotMeta),
    /// Remove all entries up to here.
    Purge {
        /// The last one to go.
        through: Index,
    },
}

/// What a node must not forget, besides its log (Raft paper, figure 2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct HardState {
    /// The latest term it has seen.
    pub term: Term,
    /// Whom it voted for in that term.
    pub vote: Option<NodeId>,
}
