//! What a log is made of.

use std::fmt::Debug;

use crate::id::LogId;
use crate::membership::Membership;

/// What the replicated state machine is told to do.
///
/// Commands are cloned for every follower, so they should be cheap to clone: an `Arc`, or little.
pub trait Command: Clone + Debug + PartialEq {
    /// Returns how many bytes this weighs, in memory and on the wire, roughly. It must always return
    /// the same for the same command: limits are counted in it.
    fn size(&self) -> usize;
}

impl Command for Vec<u8> {
    fn size(&self) -> usize {
        self.len()
    }
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry<C> {
    /// Its name.
    pub id: LogId,
    /// What it says.
    pub payload: Payload<C>,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Payload<C> {
    /// Nothing: a new leader's first entry, which commits what its predecessors left behind (Raft
    /// paper, §8).
    Blank,
    /// Something for the state machine.
    Command(C),
    /// Who belongs to the cluster from here on, committed or not (§6).
    Membership(Membership),
}

impl<C: Command> Entry<C> {
    /// What an entry weighs beside what it says.
    pub(crate) const HEAD: usize = 24;

    /// Returns roughly how many bytes the entry weighs.
    #[must_use]
    pub fn size(&self) -> usize {
        let payload = match &self.payload {
            Payload::Blank => 0,
            Payload::Command(command) => command.size(),
            Payload::Membership(membership) => membership.size(),
        };
        Self::HEAD + payload
    }
}

/// What a snapshot stands for: all entries up to one, and the membership as of that one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct SnapshotMeta {
    /// The last entry that is contained.
    pub last: LogId,
    /// The membership in force at that entry: both halves, if it was a joint one.
    pub membership: Membership,
}
