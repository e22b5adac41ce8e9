//! What a client was told has happened stays so, on every member.

use std::collections::BTreeSet;

use geostream_consensus::{Index, NodeId};

use crate::machine::Append;

/// What is at each place of the list; clients are told of nothing else.
#[derive(Debug, Default)]
pub(crate) struct Acknowledged {
    /// By place, from 1: whose it is and by which entry, as the first node that got there applied it.
    list: Vec<(Owner, Index)>,
    owners: BTreeSet<Owner>,
}

/// A client, and the number of its request.
type Owner = (u16, u32);

impl Acknowledged {
    pub(crate) const NAME: &'static str = "acknowledged writes survive";

    /// Takes note that a node has appended something new at a place, by the entry at this index.
    pub(crate) fn applied(&mut self, append: Append, place: u64, at: Index) -> Result<(), String> {
        let owner = (append.client, append.request);
        if place == self.list.len() as u64 + 1 {
            if !self.owners.insert(owner) {
                return Err(format!("{owner:?} is applied a second time"));
            }
            self.list.push((owner, at));
        }
        self.is_at(place, owner)
    }

    /// Takes note that a client was told where its append is.
    pub(crate) fn answered(&self, append: Append, place: u64) -> Result<(), String> {
        self.is_at(place, (append.client, append.request))
    }

    /// Judges the list of a member: it has all that the entries have appended which it has applied.
    pub(crate) fn survives(&self, id: NodeId, applied: Index, length: u64) -> Result<(), String> {
        let due = self.list.partition_point(|(_, at)| *at <= applied) as u64;
        if length != due {
            return Err(format!("{id} has {length} of {due} appends through {applied}"));
        }
        Ok(())
    }

    fn is_at(&self, place: u64, owner: Owner) -> Result<(), String> {
        let at = usize::try_from(place).ok().and_then(|place| place.checked_sub(1));
        match at.and_then(|at| self.list.get(at)) {
            Some((there, _)) if *there == owner => Ok(()),
            there => Err(format!("{owner:?} is said to be at {place}, where {there:?} is")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_lost_what_it_had_applied_is_seen() {
        let mut acknowledged = Acknowledged::default();
        for request in 1..=3 {
            let append = Append { client: 0, request, attempt: 0 };
            let place = u64::from(request);
            assert_eq!(acknowledged.applied(append, place, Index::new(10 * place)), Ok(()));
        }
        assert_eq!(acknowledged.survives(NodeId(1), Index::new(29), 2), Ok(()));
        assert!(acknowledged.survives(NodeId(1), Index::new(30), 2).is_err());
    }
}
