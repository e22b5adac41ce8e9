//! What nodes say to each other.
//!
//! A body is either a [`Word`] or a [`Promise`]. A word stays harmless whatever happens to its sender;
//! a promise would be broken if its sender crashed and forgot. So the machine lets a promise go only
//! when all that was to be written before it is durable, and has no other way to send one.

use std::sync::Arc;

use crate::entry::{Entry, SnapshotMeta};
use crate::id::{Index, LogId, NodeId, Term};
use crate::time::Moment;

/// One message. The network may lose, repeat, delay and reorder them, and must not invent any.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Message<C> {
    /// Who says it.
    pub from: NodeId,
    /// To whom.
    pub to: NodeId,
    /// The term the sender was in: always its own, never one it only wishes for.
    pub term: Term,
    /// What it says.
    pub body: Body<C>,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Body<C> {
    /// Something that a crash of the sender does not make untrue.
    Word(Word<C>),
    /// Something that the sender must remember.
    Promise(Promise),
}

/// What may be said at once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Word<C> {
    /// "Would you vote for me in the next term?" (thesis, §9.6)
    PreVote {
        /// Which attempt this is, so that answers to an earlier one are not counted.
        round: u64,
        /// The end of the asker's log.
        last: LogId,
    },
    /// Whether it would.
    PreVoteReply {
        /// The attempt this answers.
        round: u64,
        /// Yes or no.
        granted: bool,
    },
    /// "I do not vote for you": of use for its term.
    VoteRefused,
    /// Entries, or none: then it is a heartbeat (Raft paper, §5.3).
    AppendEntries(AppendEntries<C>),
    /// "I do not have `prev`", or "your term is over".
    AppendRefused {
        /// The `prev` that was refused, so that a late refusal is known for what it is.
        prev: LogId,
        /// The last entry that both may have, by the follower's terms.
        hint: LogId,
        /// The probe that came with the entries; that of no question, if they were of a past term.
        probe: Probe,
    },
    /// A piece of a snapshot (§7).
    SnapshotChunk(SnapshotChunk),
    /// "Start an election now", to whom leadership is handed (thesis, §3.10).
    TimeoutNow,
    /// "Up to where must I have applied to answer a read that came now?" (thesis, §6.4)
    Read {
        /// The asker's number for it.
        id: u64,
    },
    /// The answer.
    ReadReply {
        /// The asker's number for it.
        id: u64,
        /// The index; `None` if whoever was asked does not lead, or has too much to do.
        index: Option<Index>,
    },
}

/// What may be said only when it is durable, together with all that was to be written before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Promise {
    /// "Vote for me": I am in this term, voted for myself, and my log ends so (Raft paper, §5.2).
    ///
    /// It waits for the disk because a candidate that forgot its term could ask twice in it, the second
    /// time with a shorter log, and would be given the first one's votes.
    RequestVote {
        /// The end of the candidate's log.
        last: LogId,
        /// Whether the leader wants this election, so that voters do not protect it.
        forced: bool,
    },
    /// "You have my vote in this term."
    Vote,
    /// "I have all of your log up to here."
    AppendAck {
        /// The index of the last entry that is known to be the leader's.
        matched: Index,
        /// Whether it takes no more entries until it has made a snapshot; the answer to a later heartbeat
        /// tells that it does.
        is_full: bool,
        /// The probe that came with the entries.
        probe: Probe,
    },
    /// "I have all of this snapshot up to here."
    ///
    /// A node that restarts begins it again and says so. It waits for the disk so that the leader does
    /// not send more than the disk takes.
    Staged {
        /// The last entry that the snapshot contains.
        snapshot: LogId,
        /// The offset of what is wanted next.
        next: u64,
    },
}

/// Entries for a follower.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AppendEntries<C> {
    /// The entry before the first of these.
    pub prev: LogId,
    /// The entries, without a gap; none in a heartbeat.
    pub entries: Vec<Entry<C>>,
    /// Up to where the leader knows entries to be committed.
    pub commit: Index,
    /// To be given back in the answer.
    pub probe: Probe,
}

/// What the leader wants to be given back, so that an answer tells when its question was asked.
///
/// Only the leader that made it reads it, and only in the term in which it did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Probe {
    /// Which round of asking everybody this belongs to.
    pub round: u64,
    /// When it was sent, by the leader's clock.
    pub sent: Moment,
}

/// A piece of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SnapshotChunk {
    /// What the snapshot stands for.
    pub meta: SnapshotMeta,
    /// Where the piece begins.
    pub offset: u64,
    /// The piece.
    pub data: Arc<[u8]>,
    /// Whether it is the last one.
    pub is_last: bool,
    /// To be given back in the answer that says it has all of the snapshot.
    pub probe: Probe,
}
