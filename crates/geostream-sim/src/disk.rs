//! A node's disk: what was synced stays, what was not may be lost in part.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use geostream_consensus::{
    Entry, HardState, Index, LogId, NodeId, Op, SnapshotMeta, Stored, Term, Write, WriteId,
};

use crate::machine::{Machine, Wanted};
use crate::rng::Rng;

/// What would be there after losing power now.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Image {
    pub(crate) hard: HardState,
    pub(crate) snapshot: SnapshotMeta,
    entries: VecDeque<Entry<Wanted>>,
    /// Snapshots that are whole, by what they stand for.
    kept: BTreeMap<LogId, Arc<[u8]>>,
    /// One that is being received.
    staged: Option<(LogId, Vec<u8>)>,
}

/// A disk with the writes that it was given and has not synced.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Disk {
    pub(crate) image: Image,
    pending: VecDeque<Pending>,
    /// The next write fails; whatever the node does then, it is never written.
    pub(crate) breaks: bool,
    /// The next snapshot that the node takes cannot be kept.
    pub(crate) loses_snapshot: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Pending {
    id: WriteId,
    ops: Vec<Op<Wanted>>,
    is_synced: bool,
}

impl Disk {
    pub(crate) fn new(stored: Stored<Wanted>) -> Self {
        let image = Image {
            hard: stored.hard_state,
            snapshot: stored.snapshot,
            entries: stored.entries.into(),
            kept: BTreeMap::new(),
            staged: None,
        };
        Self { image, pending: VecDeque::new(), breaks: false, loses_snapshot: false }
    }

    pub(crate) fn submit(&mut self, write: Write<Wanted>) {
        self.pending.push_back(Pending { id: write.id, ops: write.ops, is_synced: false });
    }

    /// Syncs one write. It is safe from a crash when all before it are synced too: recovery reads the
    /// stream of writes up to the first one that is missing.
    pub(crate) fn sync(&mut self, id: WriteId) -> Result<(), String> {
        if let Some(pending) = self.pending.iter_mut().find(|pending| pending.id == id) {
            pending.is_synced = true;
        }
        while let Some(pending) = self.pending.pop_front_if(|pending| pending.is_synced) {
            for op in pending.ops {
                self.image.change(op)?;
            }
        }
        Ok(())
    }

    /// Loses power: of what was not synced, a part stays, torn anywhere.
    pub(crate) fn crash(&mut self, rng: &mut Rng) -> Result<(), String> {
        let ops = self.unsynced_ops();
        let stays = usize::try_from(rng.below(2 * ops as u64 + 1)).unwrap_or(0);
        self.lose_power(stays, |entries| usize::try_from(rng.below(entries as u64)).unwrap_or(0))
    }

    /// Returns how many operations a crash can take back.
    pub(crate) fn unsynced_ops(&self) -> usize {
        self.pending.iter().map(|pending| pending.ops.len()).sum()
    }

    /// Returns the first write that is not synced.
    pub(crate) fn first_unsynced(&self) -> Option<WriteId> {
        self.pending.iter().find(|pending| !pending.is_synced).map(|pending| pending.id)
    }

    /// Loses power: of what was not synced, so many operations stay, and of the entries that come next,
    /// as many as are left of them.
    pub(crate) fn lose_power(
        &mut self,
        stays: usize,
        left: impl FnOnce(usize) -> usize,
    ) -> Result<(), String> {
        let pending = std::mem::take(&mut self.pending);
        let mut ops = pending.into_iter().flat_map(|pending| pending.ops);
        for op in ops.by_ref().take(stays) {
            self.image.change(op)?;
        }
        if let Some(Op::Append(mut entries)) = ops.next() {
            entries.truncate(left(entries.len()));
            self.image.change(Op::Append(entries))?;
        }
        self.image.staged = None;
        let used = self.image.snapshot.last;
        self.image.kept.retain(|name, _| *name == used);
        Ok(())
    }

    /// Makes a snapshot that the node took durable.
    pub(crate) fn keep(&mut self, name: LogId, bytes: Arc<[u8]>) {
        self.image.kept.insert(name, bytes);
    }

    /// Reads what is there, as a node does when it starts, with the state machine of the snapshot.
    pub(crate) fn read(&self) -> Result<(Stored<Wanted>, Machine), String> {
        let machine = self.image.machine()?;
        let stored = Stored {
            hard_state: self.image.hard,
            snapshot: self.image.snapshot.clone(),
            entries: self.image.entries.iter().cloned().collect(),
            applied: machine.applied,
        };
        Ok((stored, machine))
    }
}

impl Image {
    /// Returns the end of the log.
    pub(crate) fn last(&self) -> LogId {
        self.entries.back().map_or(self.snapshot.last, |entry| entry.id.max(self.snapshot.last))
    }

    /// Tells whether it has this entry, as such or in the snapshot.
    pub(crate) fn has(&self, id: LogId) -> bool {
        match self.at(id.index) {
            Some(there) => there == id,
            None => id.index <= self.snapshot.last.index,
        }
    }

    /// Returns the entry at an index, if it is there as such.
    pub(crate) fn at(&self, index: Index) -> Option<LogId> {
        let offset = index.checked_since(self.entries.front()?.id.index)?;
        self.entries.get(usize::try_from(offset).ok()?).map(|entry| entry.id)
    }

    /// Returns how much of a snapshot it has of one that is being received.
    pub(crate) fn staged(&self, snapshot: LogId) -> u64 {
        let staged = self.staged.as_ref().filter(|(name, _)| *name == snapshot);
        staged.map_or(0, |(_, bytes)| bytes.len() as u64)
    }

    /// Returns which snapshot is being received.
    pub(crate) fn staged_name(&self) -> Option<LogId> {
        self.staged.as_ref().map(|(name, _)| *name)
    }

    pub(crate) fn bytes(&self, snapshot: LogId) -> Option<&Arc<[u8]>> {
        self.kept.get(&snapshot)
    }

    /// Returns the state machine of the snapshot in use.
    pub(crate) fn machine(&self) -> Result<Machine, String> {
        let last = self.snapshot.last;
        if last == LogId::ORIGIN {
            return Ok(Machine::default());
        }
        let bytes = self.kept.get(&last).ok_or_else(|| format!("snapshot {last} is not there"))?;
        Machine::from_bytes(bytes).ok_or_else(|| format!("snapshot {last} is not whole"))
    }

    fn change(&mut self, op: Op<Wanted>) -> Result<(), String> {
        match op {
            Op::SetHardState(hard) => self.hard = hard,
            Op::Truncate { from } => self.truncate(from),
            Op::Append(entries) => self.append(entries)?,
            Op::Stage { snapshot, offset, data } => self.stage(snapshot, offset, &data)?,
            Op::UseTaken(meta) => self.use_snapshot(meta)?,
            Op::UseStaged(meta) => {
                let staged = self.staged.take_if(|(name, _)| *name == meta.last);
                let (_, bytes) = staged.ok_or_else(|| format!("{} is not staged", meta.last))?;
                self.kept.insert(meta.last, bytes.into());
                self.use_snapshot(meta)?;
            }
            Op::Purge { through } => self.purge(through),
        }
        Ok(())
    }

    fn truncate(&mut self, from: Index) {
        while self.entries.pop_back_if(|entry| entry.id.index >= from).is_some() {}
    }

    fn append(&mut self, entries: Vec<Entry<Wanted>>) -> Result<(), String> {
        for entry in entries {
            let last = self.entries.back().map_or(self.snapshot.last.index, |last| last.id.index);
            if entry.id.index != last.next() {
                return Err(format!("{} is written after {last}", entry.id));
            }
            self.entries.push_back(entry);
        }
        Ok(())
    }

    fn stage(&mut self, snapshot: LogId, offset: u64, data: &[u8]) -> Result<(), String> {
        if offset == 0 {
            self.staged = Some((snapshot, Vec::new()));
        }
        let has = self.staged(snapshot);
        match &mut self.staged {
            Some((name, bytes)) if *name == snapshot && has == offset => {
                bytes.extend_from_slice(data);
                Ok(())
            }
            Some(_) | None => Err(format!("{snapshot} is staged at {offset}, after {has}")),
        }
    }

    fn use_snapshot(&mut self, meta: SnapshotMeta) -> Result<(), String> {
        self.snapshot = meta;
        self.machine()?;
        let used = self.snapshot.last;
        self.kept.retain(|name, _| *name >= used);
        Ok(())
    }

    fn purge(&mut self, through: Index) {
        while self.entries.pop_front_if(|entry| entry.id.index <= through).is_some() {}
    }
}

/// Tells whom a disk remembers having voted for in a term.
pub(crate) fn remembers_vote(hard: HardState, term: Term, vote: NodeId) -> bool {
    hard.term > term || (hard.term == term && hard.vote == Some(vote))
}
