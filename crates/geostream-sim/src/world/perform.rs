//! Doing what a node wants.

use std::sync::Arc;

use geostream_consensus::{
    Call, Committed, Effect, Index, Input, LogId, Message, NodeId, Payload, Piece, Refusal, Reply,
    SnapshotMeta, Ticket, Write,
};

use super::{Event, Local, World};
use crate::agenda::Micros;
use crate::checkers::{Acknowledged, Linearizability, MembershipChanges, Violation};
use crate::machine::{Append, Machine, Wanted};

impl World {
    pub(super) fn perform(&mut self, node: usize, effect: Effect<Wanted>) -> Result<(), Violation> {
        match effect {
            Effect::Write(write) => self.write(node, write),
            Effect::Send(message) => self.send(node, message),
            Effect::Apply(page) => {
                self.nodes[node].page = page;
                self.by_machine(node, self.plan.weather.apply, Local::Applied);
            }
            Effect::Restore(meta) => {
                self.by_machine(node, self.plan.weather.apply, Local::Restored(meta));
            }
            Effect::TakeSnapshot(meta) => self.take_snapshot(node, &meta)?,
            Effect::ReadChunk { to, snapshot, offset, limit } => {
                let what = Local::Read { to, snapshot, offset, limit };
                self.later(node, (20, 200), what);
            }
            Effect::ReadReady { ticket, .. } => self.show_list(node, ticket),
            Effect::Refused { ticket, why } => self.refuse(ticket, why)?,
            Effect::Leads { .. } => {}
            Effect::Halt(reason) => {
                let what = format!("n{} stops: {reason}", node + 1);
                if !matches!(reason, geostream_consensus::HaltReason::Disk) {
                    return Err(self.violation("no contradiction", what));
                }
                self.crash(node)?;
                let at = self.now + 200_000;
                self.agenda.push(at, Event::Starts { node });
            }
        }
        Ok(())
    }

    /// Has something happen at a node's machine after a while.
    fn later(&mut self, node: usize, takes: (Micros, Micros), what: Local) {
        self.after(node, self.now, takes, what);
    }

    /// Lets the state machine do something, once it hangs no more.
    fn by_machine(&mut self, node: usize, takes: (Micros, Micros), what: Local) {
        self.after(node, self.nodes[node].machine_hangs_until, takes, what);
    }

    fn after(&mut self, node: usize, begin: Micros, (least, most): (Micros, Micros), what: Local) {
        let at = self.now.max(begin) + self.nodes[node].rng.between(least, most);
        let starts = self.nodes[node].starts;
        self.agenda.push(at, Event::Node { node, starts, what });
    }

    fn write(&mut self, place: usize, write: Write<Wanted>) {
        let (least, most) = self.plan.weather.sync;
        let slow = self.plan.weather.slow_syncs;
        let (node, disk) = (&mut self.nodes[place], &mut self.disks[place]);
        let takes = node.rng.between(least, most);
        let takes = if node.rng.hits(slow) { 10 * takes } else { takes };
        let at = self.now.max(node.disk_stalls_until) + takes;
        let (id, starts) = (write.id, node.starts);
        disk.submit(write);
        let what = if std::mem::take(&mut disk.breaks) {
            Local::Failed(Some(id))
        } else {
            Local::Synced(id)
        };
        self.agenda.push(at, Event::Node { node: place, starts, what });
    }

    fn send(&mut self, from: usize, message: Message<Wanted>) {
        let Some(to) = self.place(message.to) else { return };
        self.network.remember(&message);
        let [once, twice] = self.network.carry(from, to);
        if let Some(takes) = twice {
            self.agenda.push(self.now + takes, Event::Arrives(message.clone()));
        }
        if let Some(takes) = once {
            self.agenda.push(self.now + takes, Event::Arrives(message));
        }
    }

    pub(super) fn local(&mut self, place: usize, what: Local) -> Result<(), Violation> {
        match what {
            Local::Tick => {
                let node = &mut self.nodes[place];
                node.ticks_at = Micros::MAX;
                let now = node.clock.shows(self.now);
                let deadline =
                    node.raft.as_ref().and_then(geostream_consensus::Raft::next_deadline);
                if deadline.is_some_and(|deadline| deadline > now) {
                    self.arm(place);
                    return Ok(());
                }
                self.step(place, Input::Tick)
            }
            Local::Synced(id) => {
                let synced = self.disks[place].sync(id);
                synced.map_err(|what| self.violation("disk", what))?;
                self.step(place, Input::Written(id))
            }
            Local::Failed(write) => self.step(place, Input::DiskFailed { write }),
            Local::Applied => self.apply(place),
            Local::Restored(meta) => self.restore(place, &meta),
            Local::Kept(name, bytes) => {
                self.disks[place].keep(name, bytes);
                self.step(place, Input::SnapshotTaken(name))
            }
            Local::Read { to, snapshot, offset, limit } => {
                let piece = self.piece(place, snapshot, offset, limit);
                self.step(place, Input::ChunkRead { to, snapshot, offset, piece })
            }
        }
    }

    fn piece(&self, place: usize, name: LogId, offset: u64, limit: u64) -> Option<Piece> {
        let bytes = self.disks[place].image.bytes(name)?;
        let from = usize::try_from(offset).ok()?.min(bytes.len());
        let end = from.saturating_add(usize::try_from(limit).ok()?).min(bytes.len());
        let data: Arc<[u8]> = bytes[from..end].into();
        Some(Piece { data, is_last: end == bytes.len() })
    }

    fn apply(&mut self, place: usize) -> Result<(), Violation> {
        let page = std::mem::take(&mut self.nodes[place].page);
        for Committed { entry, ticket } in page {
            let machine = &mut self.nodes[place].machine;
            machine.applied = entry.id.index;
            match entry.payload {
                Payload::Command(wanted) => {
                    self.apply_wanted(place, entry.id.index, wanted, ticket)?;
                }
                Payload::Membership(membership) => {
                    let history = &self.history;
                    let judged = self.changes.applied(entry.id, &membership, ticket, history);
                    judged.map_err(|what| self.violation(MembershipChanges::NAME, what))?;
                }
                Payload::Blank => {}
            }
        }
        let through = self.nodes[place].machine.applied;
        self.step(place, Input::Applied { through })
    }

    fn apply_wanted(
        &mut self,
        place: usize,
        at: Index,
        wanted: Wanted,
        ticket: Option<Ticket>,
    ) -> Result<(), Violation> {
        let machine = &mut self.nodes[place].machine;
        let before = machine.length;
        let reply = machine.apply(at, wanted);
        let (length, digest) = (machine.length, machine.digest);
        if let Call::Once { command, .. } = wanted.call {
            if length > before {
                self.judge_append(command, at, length, digest)?;
            }
            let applied = self.linearizability.applied(command);
            applied.map_err(|what| self.violation(Linearizability::NAME, what))?;
            if ticket.is_some_and(|ticket| ticket != command.ticket()) {
                let what = format!("n{} answers {ticket:?} with {command:?}", place + 1);
                return Err(self.violation(Linearizability::NAME, what));
            }
        }
        let Some(append) = ticket.and_then(Append::of) else { return Ok(()) };
        match reply {
            Ok(Reply::Done(at)) => {
                self.answer(place, Event::Told { append, place: Some(at), hint: None });
            }
            Ok(Reply::Opened(session)) => self.answer(place, Event::Welcomed { append, session }),
            // What comes so late is waited for by nobody.
            Ok(Reply::Closed) | Err(_) => {}
        }
        Ok(())
    }

    /// Judges that something new is at the end of a node's list.
    fn judge_append(
        &mut self,
        append: Append,
        at: Index,
        length: u64,
        digest: u64,
    ) -> Result<(), Violation> {
        let applied = self.acknowledged.applied(append, length, at);
        applied.map_err(|what| self.violation(Acknowledged::NAME, what))?;
        let same = self.linearizability.is_list(length, digest);
        same.map_err(|what| self.violation(Linearizability::NAME, what))
    }

    fn restore(&mut self, place: usize, meta: &SnapshotMeta) -> Result<(), Violation> {
        let Some(bytes) = self.disks[place].image.bytes(meta.last) else {
            // A later one has come since: that will be restored.
            let through = self.nodes[place].machine.applied;
            return self.step(place, Input::Applied { through });
        };
        let machine = Machine::from_bytes(bytes).filter(|read| read.applied == meta.last.index);
        let Some(machine) = machine else {
            let what = format!("n{} restores {}, which is not whole", place + 1, meta.last);
            return Err(self.violation("disk", what));
        };
        let same = self.linearizability.is_list(machine.length, machine.digest);
        same.map_err(|what| self.violation(Linearizability::NAME, what))?;
        self.nodes[place].page.clear();
        self.nodes[place].machine = machine;
        self.step(place, Input::Applied { through: meta.last.index })
    }

    fn take_snapshot(&mut self, place: usize, meta: &SnapshotMeta) -> Result<(), Violation> {
        let machine = &self.nodes[place].machine;
        if machine.applied != meta.last.index {
            let (at, applied) = (meta.last, machine.applied);
            let what = format!("n{} takes a snapshot of {at} at {applied}", place + 1);
            return Err(self.violation("snapshot", what));
        }
        let what = if std::mem::take(&mut self.disks[place].loses_snapshot) {
            Local::Failed(None)
        } else {
            Local::Kept(meta.last, machine.to_bytes())
        };
        self.by_machine(place, (200, 20_000), what);
        Ok(())
    }

    fn refuse(&mut self, ticket: Ticket, why: Refusal) -> Result<(), Violation> {
        let Some(append) = Append::of(ticket) else {
            let judged = self.changes.refused(ticket, why, &self.history);
            return judged.map_err(|what| self.violation(MembershipChanges::NAME, what));
        };
        let (definite, hint) = match why {
            Refusal::Unknown => (false, None),
            Refusal::NotLeader { leader } => (true, leader),
            Refusal::Busy
            | Refusal::TooLarge { .. }
            | Refusal::Transferring
            | Refusal::Lost
            | Refusal::Membership(_)
            | Refusal::Halted => (true, None),
        };
        if definite {
            let refused = self.linearizability.refused(ticket);
            refused.map_err(|what| self.violation(Linearizability::NAME, what))?;
        }
        self.answer(0, Event::Told { append, place: None, hint });
        Ok(())
    }

    fn show_list(&mut self, node: usize, ticket: Ticket) {
        let Some(append) = Append::of(ticket) else { return };
        let (length, digest) = (self.nodes[node].machine.length, self.nodes[node].machine.digest);
        self.answer(node, Event::Shown { append, length, digest });
    }

    /// Sends something to a client, which may not get it.
    fn answer(&mut self, node: usize, event: Event) {
        let lost = self.plan.weather.lost;
        if self.is_healed || !self.nodes[node].rng.hits(lost) {
            let at = self.now + self.nodes[node].rng.between(100, 400);
            self.agenda.push(at, event);
        }
    }

    pub(super) fn is_up(&self, id: NodeId) -> bool {
        self.place(id).is_some_and(|place| self.nodes[place].raft.is_some())
    }
}
