//! The log, as the node has it in memory.

use std::collections::VecDeque;

use crate::entry::{Command, Entry};
use crate::id::{Index, LogId, Term};

/// The entries after the purged ones, without a gap.
///
/// What it weighs between two places is the difference of two running sums, so that no limit rests on
/// a counter that could be left behind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Log<C> {
    /// The entry before the first one that is here.
    base: LogId,
    slots: VecDeque<Slot<C>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Slot<C> {
    entry: Entry<C>,
    /// What all entries of this process's log up to this one weigh.
    weight: u64,
}

impl<C: Command> Log<C> {
    pub(crate) fn starting_after(base: LogId) -> Self {
        Self { base, slots: VecDeque::new() }
    }

    /// Returns the last entry that was purged: a snapshot contains it.
    #[must_use]
    pub fn base(&self) -> LogId {
        self.base
    }

    /// Returns the end of the log.
    #[must_use]
    pub fn last(&self) -> LogId {
        self.slots.back().map_or(self.base, |slot| slot.entry.id)
    }

    /// Returns the entry at this place, if it is here.
    #[must_use]
    pub fn get(&self, index: Index) -> Option<&Entry<C>> {
        self.slot(index).map(|slot| &slot.entry)
    }

    /// Returns the name of what is at this place, if it is known: also that of the last one purged.
    #[must_use]
    pub fn id_at(&self, index: Index) -> Option<LogId> {
        if index == self.base.index {
            return Some(self.base);
        }
        self.get(index).map(|entry| entry.id)
    }

    /// Returns the entries from one place on, in order.
    pub fn iter_from(&self, from: Index) -> impl Iterator<Item = &Entry<C>> {
        self.slots.range(self.offset(from)..).map(|slot| &slot.entry)
    }

    /// Returns the term at this place, if it is known.
    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        self.id_at(index).map(|id| id.term)
    }

    /// Tells whether the log has this entry, and so all before it.
    pub(crate) fn contains(&self, id: LogId) -> bool {
        self.id_at(id.index) == Some(id)
    }

    /// Returns the last entry that is not after the given one, neither by index nor by term.
    ///
    /// Two logs cannot agree beyond it; so each step of the search for the last common entry passes
    /// over a whole term (Raft paper, end of §5.3).
    pub(crate) fn last_not_after(&self, id: LogId) -> LogId {
        let kept = self.offset(id.index.next());
        let below = self.slots.range(..kept).rev().find(|slot| slot.entry.id.term <= id.term);
        below.map_or(self.base, |slot| slot.entry.id)
    }

    /// Returns what the entries after one place up to another weigh.
    pub(crate) fn weight_between(&self, after: Index, through: Index) -> u64 {
        self.weight_through(through).saturating_sub(self.weight_through(after))
    }

    /// Returns a run of entries: so many, weighing so much, but one at least, up to a place.
    pub(crate) fn run(
        &self,
        from: Index,
        through: Index,
        count: u64,
        weight: u64,
    ) -> Vec<Entry<C>> {
        let before = self.weight_through(from.previous());
        let fits = |slot: &&Slot<C>| slot.weight - before <= weight || slot.entry.id.index == from;
        let last = through.min(from.plus(count.max(1) - 1));
        let slots =
            self.slots.range(self.offset(from)..self.offset(last.next()).max(self.offset(from)));
        slots.take_while(fits).map(|slot| slot.entry.clone()).collect()
    }

    /// Returns how many of the entries up to a place are so many at most, and weigh so much at most.
    pub(crate) fn tail(&self, through: Index, count: u64, weight: u64) -> u64 {
        let end = self.weight_through(through);
        let slots = self.slots.range(..self.offset(through.next())).rev();
        let before = |slot: &Slot<C>| slot.weight - slot.entry.size() as u64;
        let few = slots.take(usize::try_from(count).unwrap_or(usize::MAX));
        few.take_while(|slot| end - before(slot) <= weight).count() as u64
    }

    pub(crate) fn push(&mut self, entry: Entry<C>) {
        debug_assert_eq!(entry.id.index, self.last().index.next(), "a log has no gaps");
        let weight = self.weight_through(self.last().index) + entry.size() as u64;
        self.slots.push_back(Slot { entry, weight });
    }

    /// Removes all entries from here on.
    pub(crate) fn truncate(&mut self, from: Index) {
        self.slots.truncate(self.offset(from));
    }

    /// Forgets the entries up to here.
    pub(crate) fn purge(&mut self, through: Index) {
        let Some(id) = self.id_at(through) else { return };
        self.slots.drain(..self.offset(through.next()));
        self.base = id;
    }

    fn slot(&self, index: Index) -> Option<&Slot<C>> {
        let offset = index.checked_since(self.base.index.next())?;
        self.slots.get(usize::try_from(offset).ok()?)
    }

    /// Returns where a place is among the slots: at their ends, if it is beyond.
    fn offset(&self, index: Index) -> usize {
        let offset = index.since(self.base.index.next());
        usize::try_from(offset).map_or(self.slots.len(), |offset| offset.min(self.slots.len()))
    }

    /// Returns the running sum at a place; before the first entry, what came before it.
    fn weight_through(&self, index: Index) -> u64 {
        let before = || self.slots.front().map_or(0, |slot| slot.weight - slot.entry.size() as u64);
        match self.slot(index) {
            Some(slot) => slot.weight,
            None if index > self.base.index => self.slots.back().map_or(0, |slot| slot.weight),
            None => before(),
        }
    }
}
