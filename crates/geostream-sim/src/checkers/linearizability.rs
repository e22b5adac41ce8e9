//! Each operation seems to take effect at one moment between its call and its answer (thesis, §6.3).
//!
//! The clients' model is a list that is appended to and read whole. Each answer tells its place in the one
//! order of all appends: that of the append itself, or how many of them a read saw. With the order known,
//! a history is linearizable exactly if no operation has a place before that of one which was answered
//! before it was called (Gibbons and Korach, "Testing Shared Memories", 1997, §4: given the write order),
//! and what is at each place is the same for everybody. Both take constant time per answer.

use std::collections::BTreeSet;

use geostream_consensus::Ticket;

use crate::machine::Append;

/// What all clients together have seen.
#[derive(Debug, Default)]
pub(crate) struct Linearizability {
    /// The last place that any answer has told.
    floor: u64,
    /// By place: a digest of the list up to there, once known.
    lists: Vec<Option<u64>>,
    applied: BTreeSet<Ticket>,
    refused: BTreeSet<Ticket>,
}

impl Linearizability {
    pub(crate) const NAME: &'static str = "linearizability";

    /// Returns before what place no operation can be that is called now.
    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    /// Judges the answer to an append.
    pub(crate) fn appended(&mut self, floor: u64, place: u64) -> Result<(), String> {
        if place <= floor {
            return Err(format!("an append comes to {place}, called after {floor} was answered"));
        }
        self.floor = self.floor.max(place);
        Ok(())
    }

    /// Judges the answer to a read.
    pub(crate) fn read(&mut self, floor: u64, length: u64, digest: u64) -> Result<(), String> {
        if length < floor {
            return Err(format!("a read sees {length}, called after {floor} was answered"));
        }
        self.floor = self.floor.max(length);
        self.is_list(length, digest)
    }

    /// Judges a list: whoever has one of this length has the same.
    pub(crate) fn is_list(&mut self, length: u64, digest: u64) -> Result<(), String> {
        let place = usize::try_from(length).unwrap_or(usize::MAX);
        self.lists.resize(self.lists.len().max(place + 1), None);
        if *self.lists[place].get_or_insert(digest) == digest {
            return Ok(());
        }
        Err(format!("there are two lists of length {length}"))
    }

    /// Judges that an attempt is applied: nobody was told that it never will be.
    pub(crate) fn applied(&mut self, append: Append) -> Result<(), String> {
        self.applied.insert(append.ticket());
        if self.refused.contains(&append.ticket()) {
            return Err(format!("{append:?} was refused, and is applied"));
        }
        Ok(())
    }

    /// Judges that a client is told that an attempt never takes effect.
    pub(crate) fn refused(&mut self, ticket: Ticket) -> Result<(), String> {
        self.refused.insert(ticket);
        if self.applied.contains(&ticket) {
            return Err(format!("{ticket:?} was applied, and is refused"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_that_misses_an_answered_append_is_seen() {
        let mut history = Linearizability::default();
        let (first, second) = (history.floor(), history.floor());
        history.appended(first, 1).unwrap();
        history.read(second, 0, 7).unwrap();
        let third = history.floor();
        assert!(history.read(third, 0, 7).is_err());
        assert!(history.appended(third, 1).is_err());
        history.read(third, 1, 8).unwrap();
        assert!(history.is_list(1, 9).is_err());
    }
}
