//! What an observer who sees everything knows: what is in each log, and what was committed.

use std::collections::VecDeque;

use geostream_consensus::{
    Call, Effect, Entry, Index, LogId, Membership, NodeId, Op, Payload, Request, Role, Term, View,
};

use crate::machine::Wanted;
use crate::rng::fold;

/// What an observer knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct History {
    /// What is committed; the entry at index 1 comes first.
    committed: Vec<Commitment>,
    pub(crate) logs: Vec<Logged>,
    /// What each node was when it was last seen; `None` while it is down.
    pub(crate) seen: Vec<Option<Brief>>,
    /// What the last step removed from its node's log.
    pub(crate) removed: Vec<LogId>,
    /// What the last step added to its node's log.
    pub(crate) added: Vec<Added>,
}

/// That an entry is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Commitment {
    /// The entry's term.
    term: Term,
    /// The term of the leader that committed it, which may be later.
    by: Term,
}

/// A node's log, as it is on disk once all writes are done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Logged {
    base: LogId,
    terms: VecDeque<Term>,
    memberships: Vec<(Index, Membership)>,
}

/// An entry that was added to a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Added {
    pub(crate) before: LogId,
    pub(crate) id: LogId,
    /// Of what it says.
    pub(crate) digest: u64,
    pub(crate) is_membership: bool,
}

/// What a node was after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Brief {
    pub(crate) term: Term,
    pub(crate) vote: Option<NodeId>,
    pub(crate) role: Role,
    pub(crate) leader: Option<NodeId>,
    pub(crate) commit: Index,
    pub(crate) applied: Index,
    pub(crate) snapshot: Index,
    pub(crate) last: LogId,
}

impl Brief {
    pub(crate) fn of(view: &View<'_, Wanted>) -> Self {
        Self {
            term: view.term,
            vote: view.vote,
            role: view.role,
            leader: view.leader,
            commit: view.commit,
            applied: view.applied,
            snapshot: view.snapshot.last.index,
            last: view.log.last(),
        }
    }
}

impl History {
    /// Returns the index of the last committed entry.
    pub(crate) fn last_committed(&self) -> Index {
        Index::new(self.committed.len() as u64)
    }

    /// Returns what is committed at an index.
    pub(crate) fn committed(&self, index: Index) -> Option<LogId> {
        self.commitment(index).map(|commitment| LogId::new(commitment.term, index))
    }

    /// Returns the term in which an index was committed.
    pub(crate) fn committed_by(&self, index: Index) -> Option<Term> {
        self.commitment(index).map(|commitment| commitment.by)
    }

    fn commitment(&self, index: Index) -> Option<Commitment> {
        let at = usize::try_from(index.checked_since(Index::FIRST)?).ok()?;
        self.committed.get(at).copied()
    }

    /// Begins with what a node makes of its disk.
    pub(crate) fn start(&mut self, node: usize, view: &View<'_, Wanted>) {
        self.logs.resize_with(self.logs.len().max(node + 1), Logged::default);
        self.seen.resize(self.logs.len(), None);
        let (base, snapshot) = (view.log.base(), view.snapshot);
        let mut log = Logged {
            base,
            terms: VecDeque::new(),
            memberships: vec![(snapshot.last.index, snapshot.membership.clone())],
        };
        for entry in view.log.iter_from(base.index.next()) {
            log.push(entry);
        }
        log.memberships.retain(|(at, _)| *at >= snapshot.last.index);
        self.logs[node] = log;
    }

    /// Takes note of what a step does to a log, before anybody judges it.
    pub(crate) fn absorb(&mut self, node: usize, effects: &[Effect<Wanted>]) {
        for effect in effects {
            let Effect::Write(write) = effect else { continue };
            write.ops.iter().for_each(|op| self.absorb_op(node, op));
        }
    }

    fn absorb_op(&mut self, node: usize, op: &Op<Wanted>) {
        let log = &mut self.logs[node];
        match op {
            Op::SetHardState(_) | Op::Stage { .. } => {}
            Op::Truncate { from } => self.removed.extend(log.truncate(*from)),
            Op::Append(entries) => {
                for entry in entries {
                    let before = log.last();
                    log.push(entry);
                    let is_membership = matches!(entry.payload, Payload::Membership(_));
                    let digest = digest(entry);
                    self.added.push(Added { before, id: entry.id, digest, is_membership });
                }
            }
            Op::UseTaken(_) => {}
            Op::UseStaged(meta) => {
                self.removed.extend(log.truncate(Index::FIRST));
                log.base = meta.last;
                log.memberships = vec![(meta.last.index, meta.membership.clone())];
            }
            Op::Purge { through } => log.purge(*through),
        }
    }

    /// Takes note of what is committed, after everybody has judged it.
    pub(crate) fn note(&mut self, node: usize, view: &View<'_, Wanted>) {
        for index in self.last_committed().next().up_to(view.commit) {
            let Some(id) = view.log.id_at(index) else { break };
            self.committed.push(Commitment { term: id.term, by: view.term });
        }
        self.seen[node] = Some(Brief::of(view));
        self.removed.clear();
        self.added.clear();
    }
}

impl Logged {
    pub(crate) fn last(&self) -> LogId {
        let index = self.base.index.plus(self.terms.len() as u64);
        self.terms.back().map_or(self.base, |term| LogId::new(*term, index))
    }

    /// Returns what is at an index; `None` if nothing is, or nobody knows.
    pub(crate) fn at(&self, index: Index) -> Option<LogId> {
        if index == self.base.index {
            return Some(self.base);
        }
        let at = usize::try_from(index.checked_since(self.base.index.next())?).ok()?;
        self.terms.get(at).map(|term| LogId::new(*term, index))
    }

    /// Tells whether it has an entry, as such or in a snapshot.
    pub(crate) fn has(&self, id: LogId) -> bool {
        id.index < self.base.index || self.at(id.index) == Some(id)
    }

    /// Returns the last membership and where it came from, and the one before.
    pub(crate) fn memberships(&self) -> &[(Index, Membership)] {
        &self.memberships
    }

    fn push(&mut self, entry: &Entry<Wanted>) {
        if let Payload::Membership(membership) = &entry.payload {
            self.memberships.push((entry.id.index, membership.clone()));
        }
        self.terms.push_back(entry.id.term);
    }

    fn truncate(&mut self, from: Index) -> Vec<LogId> {
        let last = self.last().index;
        let from = from.max(self.base.index.next());
        let removed: Vec<_> = from.up_to(last).filter_map(|index| self.at(index)).collect();
        self.terms.truncate(self.terms.len() - removed.len());
        let kept = self.memberships.partition_point(|(at, _)| *at < from);
        self.memberships.truncate(kept.max(1));
        removed
    }

    fn purge(&mut self, through: Index) {
        let Some(base) = self.at(through) else { return };
        let gone = usize::try_from(through.since(self.base.index)).unwrap_or(0);
        self.terms.drain(..gone);
        self.base = base;
        let superseded = self.memberships.partition_point(|(at, _)| *at <= through);
        self.memberships.drain(..superseded.saturating_sub(1));
    }
}

/// Returns a number that differs for entries that say different things.
fn digest(entry: &Entry<Wanted>) -> u64 {
    match &entry.payload {
        Payload::Blank => 1,
        Payload::Command(Request { at_micros, call }) => match call {
            Call::Open => fold(*at_micros, 4),
            Call::Close { session } => fold(session.0.get(), 5),
            Call::Once { session, command, .. } => {
                fold(fold(session.0.get(), 2), command.ticket().0)
            }
        },
        Payload::Membership(membership) => {
            let parts = [membership.voters(), membership.outgoing(), membership.learners()];
            let ids = parts.into_iter().flat_map(|ids| ids.iter().map(|id| id.0).chain([0]));
            ids.fold(3, fold)
        }
    }
}
