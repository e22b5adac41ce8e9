//! What can go wrong.

use std::time::Duration;

use crate::id::{Index, LogId, NodeId, Term};

/// Why a request came to nothing.
///
/// Only [`Refusal::Unknown`] leaves open whether a command takes effect; after all others it does not,
/// and a client may send it again without fear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// Ask the leader.
    #[error("this node does not lead")]
    NotLeader {
        /// Who does, if it is known.
        leader: Option<NodeId>,
    },
    /// As much is under way as may be, or the leader did not answer; try again. [`Held`](crate::Held) tells what
    /// there is too much of.
    #[error("too much is under way, or the leader does not answer; try again")]
    Busy,
    /// The command weighs more than [`Limits::command_bytes`](crate::Limits::command_bytes).
    #[error("the command has {size} bytes; {limit} are allowed")]
    TooLarge {
        /// What it weighs.
        size: usize,
        /// What it may weigh.
        limit: usize,
    },
    /// Leadership is being handed over; try again at the next leader.
    #[error("leadership is being handed over; try again")]
    Transferring,
    /// Another entry was committed in the command's place.
    #[error("the entry was not committed, and never will be")]
    Lost,
    /// A snapshot passed over the command's place, or the change of members has begun and somebody else
    /// ends it: it may have taken effect, or not.
    #[error("the entry may have been committed")]
    Unknown,
    /// The membership that is asked for is not one, or cannot be taken now.
    #[error(transparent)]
    Membership(#[from] MembershipError),
    /// The node has stopped.
    #[error("this node has stopped")]
    Halted,
}

/// Why a membership cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum MembershipError {
    /// A cluster without voters decides nothing.
    #[error("a membership needs a voter")]
    NoVoters,
    /// Somebody is to vote and not to vote.
    #[error("{0} is voter and learner")]
    Both(NodeId),
    /// More than [`Limits::members`](crate::Limits::members).
    #[error("{count} members; {limit} are allowed")]
    TooMany {
        /// How many were asked for.
        count: usize,
        /// How many may be.
        limit: usize,
    },
    /// The id was given before, or could have been.
    #[error("{0} may have been a member before; take an id above {1}")]
    UsedId(NodeId, NodeId),
    /// A node is to vote that is not a learner yet.
    #[error("{0} must be a learner first")]
    NotLearner(NodeId),
    /// A learner is to vote that is too far behind.
    #[error("{node} is {behind} entries behind; wait until it has caught up")]
    Behind {
        /// The learner.
        node: NodeId,
        /// How many entries it lacks.
        behind: u64,
    },
    /// The last change is not committed yet.
    #[error("the change at {0} is still under way; wait for it")]
    Pending(Index),
    /// The leader has not committed an entry of its own term yet.
    #[error("the leader is too new; try again")]
    NewLeader,
}

/// Why a node has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum HaltReason {
    /// A write failed. What the disk holds is not known until it is read anew, by another process.
    #[error("the disk failed")]
    Disk,
    /// A leader wants another entry where one is committed: a disk lost what it had confirmed, or an id
    /// was used twice.
    #[error("the leader of term {term} contradicts the committed entry {committed}")]
    Contradiction {
        /// The leader's term.
        term: Term,
        /// What is committed here.
        committed: LogId,
    },
    /// Two nodes lead in one term: a vote was forgotten, or an id used twice.
    #[error("{0} and {1} both lead in term {2}")]
    TwoLeaders(NodeId, NodeId, Term),
}

/// Why what was on disk makes no node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// The configuration makes no sense.
    #[error("the configuration is not usable")]
    Config(#[source] ConfigError),
    /// Entries are missing.
    #[error("the log continues with {found} where {expected} is expected")]
    Gap {
        /// The index that should have been there.
        expected: Index,
        /// What was there.
        found: LogId,
    },
    /// Terms fall within the log, or exceed the node's own.
    #[error("the term of {0} is out of order")]
    Term(LogId),
    /// The state machine holds less than the snapshot, or more than the log.
    #[error("the state machine is at {applied}; between {least} and {most} can be continued")]
    Applied {
        /// Where it is.
        applied: Index,
        /// Where it may be at least.
        least: Index,
        /// Where it may be at most.
        most: Index,
    },
}

/// Why a configuration makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A follower must miss more than one heartbeat before it doubts its leader.
    #[error(
        "`timing.heartbeat` is {heartbeat:?}: take at most half of `timing.election_least`, {election:?}"
    )]
    Heartbeat {
        /// The heartbeat.
        heartbeat: Duration,
        /// The least election timeout.
        election: Duration,
    },
    /// Without a span, nodes start elections at the same time, again and again.
    #[error(
        "`timing.election_most` is {most:?}: take more than `timing.election_least`, {least:?}"
    )]
    Election {
        /// The least election timeout.
        least: Duration,
        /// The greatest one.
        most: Duration,
    },
    /// All would stand still before a snapshot is due.
    #[error(
        "`limits.backlog_{of}` is {backlog}: take more than `limits.snapshot_after_{of}`, {snapshot_after}"
    )]
    Backlog {
        /// What is counted.
        of: &'static str,
        /// How many may have gathered.
        backlog: u64,
        /// How many call for a snapshot.
        snapshot_after: u64,
    },
    /// Something that must be more than nothing is not.
    #[error("`{0}` is zero")]
    Zero(&'static str),
}
