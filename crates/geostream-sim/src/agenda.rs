//! What will happen, in the order in which it will.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Microseconds since the world began.
pub(crate) type Micros = u64;

/// Events by their time; of the same time, in the order in which they were put in.
///
/// The heap moves only three words per event; the events stay where they are.
#[derive(Debug)]
pub(crate) struct Agenda<E> {
    heap: BinaryHeap<Reverse<(Micros, u64, usize)>>,
    events: Vec<Option<E>>,
    free: Vec<usize>,
    count: u64,
}

impl<E> Agenda<E> {
    pub(crate) fn new() -> Self {
        Self { heap: BinaryHeap::new(), events: Vec::new(), free: Vec::new(), count: 0 }
    }

    pub(crate) fn push(&mut self, at: Micros, event: E) {
        let place = self.free.pop().unwrap_or(self.events.len());
        if place == self.events.len() {
            self.events.push(None);
        }
        self.events[place] = Some(event);
        self.count += 1;
        self.heap.push(Reverse((at, self.count, place)));
    }

    /// Takes what happens next, if it happens before the end.
    pub(crate) fn pop(&mut self, end: Micros) -> Option<(Micros, E)> {
        let Reverse((at, _, place)) = *self.heap.peek()?;
        if at >= end {
            return None;
        }
        self.heap.pop();
        self.free.push(place);
        self.events[place].take().map(|event| (at, event))
    }
}
