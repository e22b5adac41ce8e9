//! A node of a script, with a perfect disk and a state machine that remembers all it was told.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use geostream_consensus::{
    Command, Committed, Input, LogId, Moment, Op, Payload, Piece, Raft, SessionLimits, Stored,
    Ticket, Write, WriteId,
};

use super::state::State;
use crate::show::{self, Shown};

/// A command: a word.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Text(pub(super) String);

impl Command for Text {
    fn size(&self) -> usize {
        self.0.len()
    }
}

impl Shown for Text {
    fn shown(&self) -> String {
        self.0.clone()
    }
}

/// A node, and what it has on disk.
#[derive(Debug)]
pub(super) struct Member {
    /// Nothing while it is down.
    pub(super) raft: Option<Raft<Text>>,
    pub(super) disk: Stored<Text>,
    pub(super) state: State,
    /// How far its clock has jumped back.
    pub(super) behind: Duration,
    sessions: SessionLimits,
    snapshots: BTreeMap<LogId, Arc<[u8]>>,
    staged: Vec<u8>,
    /// Writes that the disk holds back, if it does.
    stalled: Option<VecDeque<(WriteId, VecDeque<Op<Text>>)>>,
}

impl Member {
    pub(super) fn new(disk: Stored<Text>, sessions: SessionLimits) -> Self {
        Self {
            raft: None,
            disk,
            state: State::new(sessions),
            behind: Duration::ZERO,
            sessions,
            snapshots: BTreeMap::new(),
            staged: Vec::new(),
            stalled: None,
        }
    }

    /// Returns what the node finds when it starts: its state machine is restored from the snapshot.
    pub(super) fn read(&mut self) -> Stored<Text> {
        let last = self.disk.snapshot.last;
        self.state = self.snapshot(last);
        Stored { applied: last.index, ..self.disk.clone() }
    }

    /// Returns what its clock shows at this moment.
    pub(super) fn time(&self, now: Moment) -> Moment {
        Moment::START + (now - (Moment::START + self.behind))
    }

    pub(super) fn crash(&mut self) {
        self.raft = None;
        self.stalled = None;
    }

    pub(super) fn stall(&mut self) {
        self.stalled.get_or_insert_default();
    }

    /// Writes, or holds back what is to be written.
    pub(super) fn write(&mut self, write: Write<Text>) -> anyhow::Result<Option<Input<Text>>> {
        if let Some(stalled) = &mut self.stalled {
            stalled.push_back((write.id, write.ops.into()));
            return Ok(None);
        }
        write.ops.into_iter().try_for_each(|op| self.change(op))?;
        Ok(Some(Input::Written(write.id)))
    }

    /// Writes the next thing that was held back. Returns what it was, and which write ends with it.
    pub(super) fn flush_one(&mut self) -> anyhow::Result<Option<(String, Option<WriteId>)>> {
        let Some(stalled) = &mut self.stalled else { return Ok(None) };
        let Some((id, ops)) = stalled.front_mut() else { return Ok(None) };
        let (id, op, is_last) = (*id, ops.pop_front(), ops.is_empty());
        if is_last {
            stalled.pop_front();
        }
        let Some(op) = op else { return Ok(None) };
        let shown = show::op(&op);
        self.change(op)?;
        Ok(Some((shown, is_last.then_some(id))))
    }

    /// Stops holding writes back.
    pub(super) fn resume(&mut self) {
        self.stalled = None;
    }

    fn change(&mut self, op: Op<Text>) -> anyhow::Result<()> {
        let entries = &mut self.disk.entries;
        match op {
            Op::SetHardState(hard_state) => self.disk.hard_state = hard_state,
            Op::Truncate { from } => entries.retain(|entry| entry.id.index < from),
            Op::Append(more) => {
                let last = entries.last().map_or(self.disk.snapshot.last, |last| last.id);
                let next = last.index.next();
                let first = more.first().map_or(next, |first| first.id.index);
                ensure!(first == next, "{first} is written after {last}");
                entries.extend(more);
            }
            Op::Stage { offset, data, .. } => {
                self.staged.truncate(usize::try_from(offset)?);
                self.staged.extend(data.iter());
            }
            Op::UseTaken(meta) => self.disk.snapshot = meta,
            Op::UseStaged(meta) => {
                self.snapshots.insert(meta.last, std::mem::take(&mut self.staged).into());
                self.disk.snapshot = meta;
            }
            Op::Purge { through } => entries.retain(|entry| entry.id.index > through),
        }
        Ok(())
    }

    /// Applies what is committed. Returns who is to be answered, and what the state machine says to it.
    pub(super) fn apply(&mut self, page: &[Committed<Text>]) -> Vec<(Ticket, Option<String>)> {
        let mut answers = Vec::new();
        for Committed { entry, ticket } in page {
            let answer = match &entry.payload {
                Payload::Command(Text(word)) => self.state.apply(entry.id.index, word),
                Payload::Blank | Payload::Membership(_) => None,
            };
            answers.extend(ticket.map(|ticket| (ticket, answer)));
        }
        answers
    }

    pub(super) fn restore(&mut self, last: LogId) {
        self.state = self.snapshot(last);
    }

    pub(super) fn take_snapshot(&mut self, last: LogId) {
        self.snapshots.insert(last, self.state.to_bytes().into());
    }

    fn snapshot(&self, last: LogId) -> State {
        let bytes = self.snapshots.get(&last);
        let state = bytes.and_then(|bytes| State::from_bytes(bytes, self.sessions));
        state.unwrap_or_else(|| State::new(self.sessions))
    }

    /// Reads a piece of a snapshot.
    pub(super) fn piece(&self, of: LogId, offset: u64, limit: u64) -> Option<Piece> {
        let bytes = self.snapshots.get(&of)?;
        let begin = usize::try_from(offset).ok()?.min(bytes.len());
        let end = begin.saturating_add(usize::try_from(limit).ok()?).min(bytes.len());
        Some(Piece { data: bytes[begin..end].into(), is_last: end == bytes.len() })
    }
}
