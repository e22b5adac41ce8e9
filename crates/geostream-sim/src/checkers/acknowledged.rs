//! What a client was told has happened stays so.

use std::collections::BTreeSet;

use crate::machine::Append;

/// What is at each place of the list, and what clients were told of it.
#[derive(Debug, Default)]
pub(crate) struct Acknowledged {
    /// By place, from 1: whose it is, as the first node that got there applied it.
    list: Vec<(u16, u32)>,
    owners: BTreeSet<(u16, u32)>,
    last: u64,
}

impl Acknowledged {
    pub(crate) const NAME: &'static str = "acknowledged writes survive";

    /// Takes note that a node has appended something new at a place.
    pub(crate) fn applied(&mut self, append: Append, place: u64) -> Result<(), String> {
        let owner = (append.client, append.request);
        if place == self.list.len() as u64 + 1 {
            if !self.owners.insert(owner) {
                return Err(format!("{owner:?} is applied a second time"));
            }
            self.list.push(owner);
        }
        self.is_at(place, owner)
    }

    /// Takes note that a client was told where its append is.
    pub(crate) fn answered(&mut self, append: Append, place: u64) -> Result<(), String> {
        self.last = self.last.max(place);
        self.is_at(place, (append.client, append.request))
    }

    /// Judges the list of a node that has caught up.
    pub(crate) fn survives(&self, length: u64) -> Result<(), String> {
        if length < self.last {
            return Err(format!("{length} are left of {} acknowledged ones", self.last));
        }
        Ok(())
    }

    fn is_at(&self, place: u64, owner: (u16, u32)) -> Result<(), String> {
        let at = usize::try_from(place).ok().and_then(|place| place.checked_sub(1));
        match at.and_then(|at| self.list.get(at)) {
            Some(there) if *there == owner => Ok(()),
            there => Err(format!("{owner:?} is said to be at {place}, where {there:?} is")),
        }
    }
}
