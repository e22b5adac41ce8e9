//! What nodes, entries, requests and writes are called.

use std::fmt;

/// The number of an election period; grows only (Raft paper, §5.1).
pub type Term = u64;

/// The place of an entry in the log; the first one is 1.
pub type Index = u64;

/// One machine with one disk.
///
/// An id is never given twice: a node that lost its disk comes back under a greater one, because
/// nobody can tell what the old one has promised. [`Membership`](crate::Membership) refuses others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

/// An entry's name: no two entries of a cluster share it, and all logs that have it are equal up to
/// there (the Log Matching property, Raft paper, §5.3).
///
/// Field order is the order in which logs are compared in an election: term, then index (§5.4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId {
    /// The term of the leader that made the entry.
    pub term: Term,
    /// Where it is.
    pub index: Index,
}

impl LogId {
    /// What lies before the first entry of any log.
    pub const ORIGIN: Self = Self { term: 0, index: 0 };

    /// Names the entry of this term at this index.
    #[must_use]
    pub const fn new(term: Term, index: Index) -> Self {
        Self { term, index }
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.term, self.index)
    }
}

/// What a driver calls a request, so that it finds whom to answer. The machine only hands it back; no two
/// requests that wait may have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// The number of a write to disk; the first one after a start is 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteId(pub u64);
