//! What leaves a node, and what must wait for the disk before it may.
//!
//! This is the only way out. A [`Word`] can be said; a [`Promise`] can only be made, and leaves once all
//! that was to be written before it is durable. Promises that a node makes to itself, its vote and its
//! part in a quorum, wait in the same line (Raft paper, §5; thesis, §10.2.1). All else has a method each, and
//! none takes a message.

use std::collections::{BTreeSet, VecDeque};

use crate::effect::{Committed, Effect, HardState, Op, Write};
use crate::entry::{Entry, SnapshotMeta};
use crate::error::{HaltReason, Refusal};
use crate::id::{Index, LogId, NodeId, Term, Ticket, WriteId};
use crate::message::{Body, Message, Promise, Word};

/// What a node promises itself: a fact it may count on once it is durable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fact {
    /// It has voted for itself in this term.
    OwnVote(Term),
    /// Its log is on disk up to here.
    Log(Index),
    /// It has a snapshot from another node.
    Installed(SnapshotMeta),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Waiting<C> {
    Send(Message<C>),
    Learn(Fact),
}

impl<C> Waiting<C> {
    fn says_the_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Send(one), Self::Send(other)) => {
                let kind = |message: &Message<C>| match &message.body {
                    Body::Promise(promise) => Some(std::mem::discriminant(promise)),
                    Body::Word(_) => None,
                };
                (one.to, one.term, kind(one)) == (other.to, other.term, kind(other))
            }
            (Self::Send(_) | Self::Learn(_), Self::Learn(_)) | (Self::Learn(_), Self::Send(_)) => {
                false
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Outbox<C> {
    id: NodeId,
    /// What this step wants written.
    ops: Vec<Op<C>>,
    /// The end of the log, if this step changes it.
    log_end: Option<Index>,
    /// What else this step wants.
    effects: Vec<Effect<C>>,
    /// What this step promises.
    promised: Vec<Waiting<C>>,
    /// What was promised, each with the last write it waits for.
    waiting: VecDeque<(WriteId, Waiting<C>)>,
    issued: WriteId,
    /// All writes up to this one are durable.
    durable: WriteId,
    /// Later writes that are.
    confirmed: BTreeSet<WriteId>,
}

impl<C> Outbox<C> {
    pub(crate) fn new(id: NodeId) -> Self {
        Self {
            id,
            ops: Vec::new(),
            log_end: None,
            effects: Vec::new(),
            promised: Vec::new(),
            waiting: VecDeque::new(),
            issued: WriteId(0),
            durable: WriteId(0),
            confirmed: BTreeSet::new(),
        }
    }

    /// Says something that needs no disk.
    pub(crate) fn say(&mut self, to: NodeId, term: Term, word: Word<C>) {
        let message = Message { from: self.id, to, term, body: Body::Word(word) };
        self.effects.push(Effect::Send(message));
    }

    /// Promises something, once all writes up to this step's are durable.
    pub(crate) fn promise(&mut self, to: NodeId, term: Term, promise: Promise) {
        let message = Message { from: self.id, to, term, body: Body::Promise(promise) };
        self.promised.push(Waiting::Send(message));
    }

    /// Promises itself something: it learns it when it is durable.
    pub(crate) fn learn_later(&mut self, fact: Fact) {
        self.promised.push(Waiting::Learn(fact));
    }

    pub(crate) fn apply(&mut self, page: Vec<Committed<C>>) {
        self.effects.push(Effect::Apply(page));
    }

    pub(crate) fn restore(&mut self, meta: SnapshotMeta) {
        self.effects.push(Effect::Restore(meta));
    }

    pub(crate) fn take_snapshot(&mut self, meta: SnapshotMeta) {
        self.effects.push(Effect::TakeSnapshot(meta));
    }

    pub(crate) fn read_chunk(&mut self, to: NodeId, snapshot: LogId, offset: u64, limit: u64) {
        self.effects.push(Effect::ReadChunk { to, snapshot, offset, limit });
    }

    pub(crate) fn read_ready(&mut self, ticket: Ticket, index: Index) {
        self.effects.push(Effect::ReadReady { ticket, index });
    }

    pub(crate) fn refuse(&mut self, ticket: Ticket, why: Refusal) {
        self.effects.push(Effect::Refused { ticket, why });
    }

    pub(crate) fn announce(&mut self, term: Term, leader: Option<NodeId>) {
        self.effects.push(Effect::Leads { term, leader });
    }

    pub(crate) fn write_hard_state(&mut self, hard_state: HardState) {
        if let Some(Op::SetHardState(last)) = self.ops.last_mut() {
            *last = hard_state;
        } else {
            self.ops.push(Op::SetHardState(hard_state));
        }
    }

    pub(crate) fn write_entry(&mut self, entry: Entry<C>) {
        self.log_end = Some(entry.id.index);
        if let Some(Op::Append(entries)) = self.ops.last_mut() {
            entries.push(entry);
        } else {
            self.ops.push(Op::Append(vec![entry]));
        }
    }

    /// Removes entries from here on; that they were once written is no longer of use.
    pub(crate) fn write_truncation(&mut self, from: Index) {
        self.ops.push(Op::Truncate { from });
        self.forget_log_after(from.previous());
    }

    /// Uses a snapshot instead of the log that there was, of which a part agreed with it.
    ///
    /// Entries behind the snapshot go first: after a crash in between, the one at its end still tells
    /// that they are not of its history.
    pub(crate) fn write_installation(&mut self, meta: &SnapshotMeta, agreed: Index) {
        let last = meta.last.index;
        self.ops.push(Op::UseStaged(meta.clone()));
        self.ops.push(Op::Truncate { from: last.next() });
        self.ops.push(Op::Purge { through: last });
        self.forget_log_after(agreed);
        self.log_end = Some(last);
    }

    pub(crate) fn write(&mut self, op: Op<C>) {
        self.ops.push(op);
    }

    fn forget_log_after(&mut self, kept: Index) {
        self.log_end = self.log_end.map(|end| end.min(kept));
        for (_, waiting) in &mut self.waiting {
            if let Waiting::Learn(Fact::Log(end)) = waiting {
                *end = kept.min(*end);
            }
        }
    }

    /// Notes that a write is durable. Returns what the node may now count on.
    ///
    /// A write counts when all before it do: what it holds may rest on them.
    pub(crate) fn written(&mut self, write: WriteId) -> Vec<Fact> {
        if write > self.durable && write <= self.issued {
            self.confirmed.insert(write);
        }
        while self.confirmed.remove(&WriteId(self.durable.0 + 1)) {
            self.durable.0 += 1;
        }
        self.release()
    }

    /// Hands over what this step wants: first the write, since promises wait for it.
    pub(crate) fn flush(&mut self, out: &mut Vec<Effect<C>>) {
        if !self.ops.is_empty() {
            self.issued.0 += 1;
            let ops = std::mem::take(&mut self.ops);
            out.push(Effect::Write(Write { id: self.issued, ops }));
        }
        if let Some(end) = self.log_end.take() {
            self.promised.push(Waiting::Learn(Fact::Log(end)));
        }
        for promised in std::mem::take(&mut self.promised) {
            self.line_up(promised);
        }
        let facts = self.release();
        debug_assert!(facts.is_empty(), "a fact always comes with its own write");
        out.append(&mut self.effects);
    }

    /// Lets a promise wait for all writes so far. Of promises that say the same to the same node and wait
    /// for the same write, the last one is enough: so a disk that hangs does not pile them up.
    fn line_up(&mut self, promised: Waiting<C>) {
        let issued = self.issued;
        let last = self.waiting.iter_mut().rev().take_while(|(write, _)| *write == issued);
        match last.map(|(_, waiting)| waiting).find(|waiting| waiting.says_the_same(&promised)) {
            Some(waiting) => *waiting = promised,
            None => self.waiting.push_back((issued, promised)),
        }
    }

    /// Drops all that this step and the ones before it wanted: the node stops.
    pub(crate) fn halt(&mut self, reason: HaltReason) {
        self.ops.clear();
        self.log_end = None;
        self.promised.clear();
        self.waiting.clear();
        self.effects = vec![Effect::Halt(reason)];
    }

    pub(crate) fn promises(&self) -> usize {
        self.waiting.len()
    }

    /// Returns how many writes are not durable yet.
    pub(crate) fn writes(&self) -> u64 {
        self.issued.0 - self.durable.0
    }

    fn release(&mut self) -> Vec<Fact> {
        let mut facts = Vec::new();
        while let Some((_, waiting)) =
            self.waiting.pop_front_if(|(write, _)| *write <= self.durable)
        {
            match waiting {
                Waiting::Send(message) => self.effects.push(Effect::Send(message)),
                Waiting::Learn(fact) => facts.push(fact),
            }
        }
        facts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Payload;
    use crate::message::Probe;
    use crate::testing::log_id;

    const PEER: NodeId = NodeId(2);

    fn entry(term: u64, index: u64) -> Entry<Vec<u8>> {
        Entry { id: log_id(term, index), payload: Payload::Blank }
    }

    fn flush(outbox: &mut Outbox<Vec<u8>>) -> Vec<Effect<Vec<u8>>> {
        let mut out = Vec::new();
        outbox.flush(&mut out);
        out
    }

    #[test]
    fn a_promise_waits_for_all_writes_before_it_and_a_word_for_none() {
        let mut outbox = Outbox::new(NodeId(1));
        outbox.write_entry(entry(1, 1));
        flush(&mut outbox);
        outbox.write_hard_state(HardState { term: Term::new(2), vote: Some(PEER) });
        outbox.promise(PEER, Term::new(2), Promise::Vote);
        outbox.say(PEER, Term::new(2), Word::VoteRefused);
        let out = flush(&mut outbox);
        assert!(matches!(
            out[..],
            [Effect::Write(_), Effect::Send(Message { body: Body::Word(_), .. })]
        ));

        assert!(outbox.written(WriteId(2)).is_empty(), "the first write may still be lost");
        assert_eq!(flush(&mut outbox), []);
        assert_eq!(outbox.written(WriteId(1)), [Fact::Log(Index::new(1))]);
        assert!(matches!(
            flush(&mut outbox)[..],
            [Effect::Send(Message { body: Body::Promise(Promise::Vote), .. })]
        ));
    }

    #[test]
    fn a_disk_that_hangs_does_not_pile_up_promises() {
        let mut outbox = Outbox::new(NodeId(1));
        outbox.write_entry(entry(1, 1));
        for round in 0..100 {
            let probe = Probe { round, ..Probe::default() };
            outbox.promise(
                PEER,
                Term::new(1),
                Promise::AppendAck { matched: Index::new(1), is_full: false, probe },
            );
            flush(&mut outbox);
        }
        assert_eq!(outbox.promises(), 2, "one to the leader, one to itself");
    }

    #[test]
    fn an_entry_written_before_a_truncation_does_not_make_its_successor_durable() {
        let mut outbox = Outbox::new(NodeId(1));
        outbox.write_entry(entry(1, 1));
        outbox.write_entry(entry(1, 2));
        flush(&mut outbox);
        outbox.write_truncation(Index::new(2));
        outbox.write_entry(entry(2, 2));
        flush(&mut outbox);
        assert_eq!(outbox.written(WriteId(1)), [Fact::Log(Index::new(1))]);
        assert_eq!(outbox.written(WriteId(2)), [Fact::Log(Index::new(2))]);
    }
}
