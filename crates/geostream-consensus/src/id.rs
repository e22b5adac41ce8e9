//! What nodes, entries, requests and writes are called.

use std::fmt;

/// The number of an election period; grows only (Raft paper, §5.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(u64);

impl Term {
    /// The term before the first election; founders write their first entry in it.
    pub const ZERO: Self = Self(0);

    /// Makes the term of this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Returns its number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Returns the term after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The place of an entry in the log.
///
/// Its arithmetic saturates, since the index in a message may be any number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Index(u64);

impl Index {
    /// The place before the first entry.
    pub const ORIGIN: Self = Self(0);

    /// The place of the first entry.
    pub const FIRST: Self = Self(1);

    /// Makes the index of this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Returns its number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Returns the index after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        self.plus(1)
    }

    /// Returns the index before this one; before the origin, the origin.
    #[must_use]
    pub const fn previous(self) -> Self {
        self.minus(1)
    }

    /// Returns the index so many entries later.
    #[must_use]
    pub const fn plus(self, entries: u64) -> Self {
        Self(self.0.saturating_add(entries))
    }

    /// Returns the index so many entries earlier; the origin, if there are fewer.
    #[must_use]
    pub const fn minus(self, entries: u64) -> Self {
        Self(self.0.saturating_sub(entries))
    }

    /// Returns this index and all after it, up to `last`.
    pub fn up_to(self, last: Self) -> impl Iterator<Item = Self> {
        (self.0..=last.0).map(Self)
    }

    /// Returns how many entries come after `earlier`, up to this one; 0 if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Returns how many entries come after `earlier`, up to this one; `None` if `earlier` is later.
    #[must_use]
    pub const fn checked_since(self, earlier: Self) -> Option<u64> {
        self.0.checked_sub(earlier.0)
    }
}

impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

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
    pub const ORIGIN: Self = Self { term: Term::ZERO, index: Index::ORIGIN };

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arithmetic_of_indices_saturates_at_both_ends() {
        let (first, most) = (Index::FIRST, Index::new(u64::MAX));
        assert_eq!((first.previous(), Index::ORIGIN.previous()), (Index::ORIGIN, Index::ORIGIN));
        assert_eq!((first.plus(2).minus(1), most.next()), (Index::new(2), most));
        assert_eq!((first.since(most), first.checked_since(most)), (0, None));
        assert_eq!(most.since(first), u64::MAX - 1);
        assert_eq!(first.up_to(Index::new(3)).map(Index::get).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(first.up_to(Index::ORIGIN).count(), 0);
    }
}
