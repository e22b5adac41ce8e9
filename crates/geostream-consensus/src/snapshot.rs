//! Snapshots: taken, sent piece by piece, and put in place of a log (Raft paper, §7).

use crate::effect::{Effect, Op};
use crate::entry::{Command, SnapshotMeta};
use crate::error::Refusal;
use crate::id::{LogId, NodeId};
use crate::input::Piece;
use crate::log::Log;
use crate::memberships::Memberships;
use crate::message::{Chunk, Promise, Word};
use crate::outbox::Fact;
use crate::progress::{Mode, Sending};
use crate::raft::Raft;

/// How often a piece is sent again before the follower is asked anew what it has.
const RETRIES: u8 = 5;

/// The snapshot that this node takes of its own state machine.
#[derive(Clone, Debug, Default)]
pub(crate) struct OwnSnapshot {
    /// Whether an operator wants one.
    pub(crate) wanted: bool,
    taking: Option<SnapshotMeta>,
}

/// A snapshot that is being received: one at a time, and the last one that was begun (M31).
#[derive(Clone, Debug)]
pub(crate) struct Receiving {
    snapshot: LogId,
    next: u64,
}

impl Receiving {
    pub(crate) fn state(&self) -> (LogId, u64) {
        (self.snapshot, self.next)
    }
}

impl<C: Command> Raft<C> {
    /// Wants a snapshot when the log has grown, or somebody asks for one.
    ///
    /// It is taken between two pages, so the state machine is exactly where the snapshot ends; what it
    /// says of the membership is what was in force there, and so is committed (M33).
    pub(crate) fn take_snapshot(&mut self) {
        let grown = self.applied - self.snapshot.last.index;
        let due = grown >= self.config.limits.snapshot_after_entries || self.own_snapshot.wanted;
        if !due || self.own_snapshot.taking.is_some() || self.given != self.applied {
            return;
        }
        self.own_snapshot.wanted = false;
        let Some(last) = self.log.id_at(self.applied).filter(|_| grown > 0) else { return };
        let membership = self.memberships.at(self.applied).clone();
        let meta = SnapshotMeta { last, membership };
        self.own_snapshot.taking = Some(meta.clone());
        self.outbox.effect(Effect::TakeSnapshot(meta));
    }

    /// Uses the snapshot that was taken, and purges what it stands for, except a little.
    pub(crate) fn use_own_snapshot(&mut self, snapshot: LogId) {
        let Some(meta) = self.own_snapshot.taking.take_if(|meta| meta.last == snapshot) else {
            return;
        };
        if snapshot.index <= self.snapshot.last.index {
            return;
        }
        self.outbox.write(Op::UseSnapshot(meta.clone()));
        self.memberships.forget_before(snapshot.index);
        self.snapshot = meta;
        let through = snapshot.index.saturating_sub(self.config.limits.keep_entries);
        if through > self.log.base().index {
            self.log.purge(through);
            self.outbox.write(Op::Purge { through });
        }
    }

    /// Begins to send the latest snapshot.
    pub(crate) fn start_snapshot(&mut self, to: NodeId) {
        let meta = self.snapshot.clone();
        let retry_at = self.now();
        let sending = Sending { meta, offset: 0, retry_at, retries: 0 };
        if let Some(progress) = self.progress_mut(to) {
            progress.mode = Mode::Snapshot(sending);
        }
        self.ask_for_piece(to);
    }

    /// Wants the next piece, and waits for it to be taken only so long.
    fn ask_for_piece(&mut self, to: NodeId) {
        let retry_at = self.now() + self.config.timing.chunk;
        let limit = self.config.limits.chunk_bytes;
        let Some(sending) = self.sending_mut(to) else { return };
        sending.retry_at = retry_at;
        let (snapshot, offset) = (sending.meta.last, sending.offset);
        self.outbox.effect(Effect::ReadChunk { to, snapshot, offset, limit });
    }

    /// Sends a piece that was read; begins anew if that snapshot is gone.
    pub(crate) fn send_piece(
        &mut self,
        to: NodeId,
        snapshot: LogId,
        offset: u64,
        piece: Option<Piece>,
    ) {
        let now = self.now();
        let Some(probe) = self.leading().map(|leading| leading.probe(now)) else { return };
        let Some(sending) = self.sending_mut(to) else { return };
        if sending.meta.last != snapshot || sending.offset != offset {
            return;
        }
        let Some(Piece { data, is_last }) = piece else { return self.search_anew(to) };
        let chunk = Chunk { meta: sending.meta.clone(), offset, data, is_last, probe };
        self.say(to, Word::Chunk(chunk));
    }

    /// Goes on where the follower is: after a restart, it begins again.
    pub(crate) fn handle_staged(&mut self, from: NodeId, snapshot: LogId, next: u64) {
        let Some(sending) = self.sending_mut(from) else { return };
        if sending.meta.last == snapshot && sending.offset != next {
            sending.offset = next;
            sending.retries = 0;
            self.ask_for_piece(from);
        }
    }

    /// Sends again what was not answered, and after a while asks the follower anew what it has.
    pub(crate) fn retry_chunks(&mut self) {
        let now = self.now();
        let Some(leading) = self.leading() else { return };
        let late = leading.progress.iter().filter_map(|(id, progress)| match &progress.mode {
            Mode::Snapshot(sending) => (now >= sending.retry_at).then_some(*id),
            Mode::Search { .. } | Mode::Stream => None,
        });
        for to in late.collect::<Vec<_>>() {
            let Some(sending) = self.sending_mut(to) else { continue };
            sending.retries += 1;
            if sending.retries > RETRIES {
                self.search_anew(to);
            } else {
                self.ask_for_piece(to);
            }
        }
    }

    fn search_anew(&mut self, to: NodeId) {
        let last = self.log.last().index;
        if let Some(progress) = self.progress_mut(to) {
            progress.next = last + 1;
            progress.mode = Mode::Search { asked: false };
        }
    }

    fn sending_mut(&mut self, to: NodeId) -> Option<&mut Sending> {
        match &mut self.progress_mut(to)?.mode {
            Mode::Snapshot(sending) => Some(sending),
            Mode::Search { .. } | Mode::Stream => None,
        }
    }

    /// Takes a piece of the leader's snapshot, unless it has all that the snapshot stands for.
    pub(crate) fn handle_chunk(&mut self, from: NodeId, chunk: Chunk) {
        if !self.heed(from) {
            return;
        }
        let (snapshot, probe) = (chunk.meta.last, chunk.probe);
        // What is committed here is never replaced, whatever the snapshot says (M28).
        if snapshot.index <= self.commit || self.log.contains(snapshot) {
            self.commit = self.commit.max(snapshot.index);
            self.receiving = None;
            return self.promise(from, Promise::Appended { matched: self.commit, probe });
        }
        let receiving = self.receiving.take().filter(|receiving| receiving.snapshot == snapshot);
        let mut next = receiving.map_or(0, |receiving| receiving.next);
        let fits = chunk.offset == next;
        if fits {
            next += chunk.data.len() as u64;
            self.outbox.write(Op::Stage { snapshot, offset: chunk.offset, data: chunk.data });
        }
        if fits && chunk.is_last {
            self.install(chunk.meta);
            self.promise(from, Promise::Appended { matched: snapshot.index, probe });
        } else {
            self.receiving = Some(Receiving { snapshot, next });
            self.promise(from, Promise::Staged { snapshot, next });
        }
    }

    /// Puts a snapshot in place of the whole log: what there was does not contain the snapshot's end, so
    /// it ends before it or is of another history (M29). The membership is the snapshot's (M27, M34).
    fn install(&mut self, meta: SnapshotMeta) {
        let last = meta.last.index;
        let agreed = self.commit;
        self.outbox.write_installation(&meta, agreed);
        self.outbox.learn_later(Fact::Installed(meta.clone()));
        self.log = Log::starting_after(meta.last);
        self.memberships = Memberships::starting_with(&meta);
        self.durable = self.durable.min(agreed);
        self.commit = last;
        self.given = last;
        self.snapshot = meta;
        for (_, _, ticket) in self.take_tickets_through(last) {
            self.refuse(ticket, Refusal::Unknown);
        }
    }
}
