//! How a leader gets its log to its followers (Raft paper, §5.3).

use crate::entry::{Command, Payload};
use crate::error::Refusal;
use crate::id::{Index, LogId, NodeId, Ticket};
use crate::input::Proposal;
use crate::message::{Append, Probe, Word};
use crate::progress::{Mode, Progress};
use crate::raft::Raft;

impl<C: Command> Raft<C> {
    /// Appends what clients propose: what comes in one step is written and sent as one.
    pub(crate) fn propose(&mut self, proposals: Vec<Proposal<C>>) {
        for Proposal { ticket, command } in proposals {
            match self.obstacle(&command) {
                Some(why) => self.refuse(ticket, why),
                None => {
                    let id = self.append(Payload::Command(command));
                    self.expect(id, ticket);
                }
            }
        }
    }

    /// Returns why a command cannot be appended.
    ///
    /// How much waits to be committed follows from the log; nothing counts it (M25).
    fn obstacle(&self, command: &C) -> Option<Refusal> {
        let Some(leading) = self.leading() else { return Some(self.not_leader()) };
        let limits = &self.config.limits;
        let (size, limit) = (command.size(), limits.command_bytes);
        let last = self.log.last().index;
        let uncommitted = last - self.commit;
        let full = uncommitted >= limits.uncommitted_entries
            || self.tickets.len() as u64 >= limits.uncommitted_entries
            || uncommitted > 0
                && self.log.weight_between(self.commit, last) + size as u64
                    > limits.uncommitted_bytes;
        if leading.handover.is_some() {
            Some(Refusal::Transferring)
        } else if size > limit {
            Some(Refusal::TooLarge { size, limit })
        } else {
            full.then_some(Refusal::Busy)
        }
    }

    pub(crate) fn expect(&mut self, id: LogId, ticket: Ticket) {
        self.tickets.insert((id.index, id.term), ticket);
    }

    /// Asks everybody whether they still follow: a heartbeat (§5.2), and what reads wait for.
    pub(crate) fn ask_all(&mut self) {
        let heartbeat = self.config.timing.heartbeat;
        let now = self.now();
        let index = self.read_index();
        let Some(leading) = self.leading_mut() else { return };
        leading.heartbeat_at = now + heartbeat;
        leading.round += 1;
        leading.reads.ask(leading.round, index);
        let followers: Vec<NodeId> = leading.progress.keys().copied().collect();
        for to in followers {
            self.send_heartbeat(to);
        }
        self.urge_again();
    }

    /// Sends no entries, after the one before the next: a follower that lacks it says so.
    fn send_heartbeat(&mut self, to: NodeId) {
        let Some(progress) = self.progress(to) else { return };
        let prev = match progress.mode {
            Mode::Search { .. } | Mode::Stream => self.log.id_at(progress.next - 1),
            Mode::Snapshot(_) => Some(LogId::ORIGIN),
        };
        match prev {
            Some(prev) => {
                self.send_append(to, prev, 0);
            }
            None => self.start_snapshot(to),
        }
    }

    /// Sends what may be sent.
    pub(crate) fn feed_followers(&mut self) {
        let Some(leading) = self.leading() else { return };
        let followers: Vec<NodeId> = leading.progress.keys().copied().collect();
        for to in followers {
            self.feed(to);
        }
    }

    fn feed(&mut self, to: NodeId) {
        let Some(progress) = self.progress(to) else { return };
        match progress.mode {
            Mode::Search { asked: false } => self.search(to),
            Mode::Search { asked: true } | Mode::Snapshot(_) => {}
            Mode::Stream => self.stream(to),
        }
    }

    /// Looks for where the logs part, with one message at a time; below the purged entries, a snapshot
    /// is the only way (M24).
    fn search(&mut self, to: NodeId) {
        let Some(progress) = self.progress_mut(to) else { return };
        progress.mode = Mode::Search { asked: true };
        let before = progress.next - 1;
        match self.log.id_at(before) {
            Some(prev) => {
                let room = self.config.limits.message_entries;
                self.send_append(to, prev, room);
            }
            None => self.start_snapshot(to),
        }
    }

    /// Sends entries without waiting for answers, as far as the window is open (thesis, §10.2.1).
    fn stream(&mut self, to: NodeId) {
        while let Some(room) = self.window(to) {
            let Some(progress) = self.progress(to) else { return };
            let Some(prev) = self.log.id_at(progress.next - 1) else {
                return self.start_snapshot(to);
            };
            let sent = self.send_append(to, prev, room);
            if let Some(progress) = self.progress_mut(to) {
                progress.next += sent;
            }
        }
        // A follower that needs no entries learns at once what is committed.
        let Some(progress) = self.progress(to) else { return };
        let news = self.commit.min(progress.next - 1) > progress.told;
        if news && let Some(prev) = self.log.id_at(progress.next - 1) {
            self.send_append(to, prev, 0);
        }
    }

    /// Returns how many entries may be sent now; `None` if there are none, or too many are on their way
    /// already. What is on its way lies between `matched` and `next`; nothing counts it (M25).
    fn window(&self, to: NodeId) -> Option<u64> {
        let limits = &self.config.limits;
        let progress = self.progress(to)?;
        let sent = progress.next - 1;
        let inflight = sent.saturating_sub(progress.matched);
        let open = sent < self.log.last().index
            && inflight < limits.inflight_entries
            && self.log.weight_between(progress.matched, sent) < limits.inflight_bytes;
        open.then(|| limits.message_entries.min(limits.inflight_entries - inflight))
    }

    /// Sends up to so many entries, and returns how many.
    fn send_append(&mut self, to: NodeId, prev: LogId, room: u64) -> u64 {
        let (now, commit) = (self.now(), self.commit);
        let Some(leading) = self.leading() else { return 0 };
        let probe = leading.probe(now);
        let bytes = self.config.limits.message_bytes;
        let entries = match room {
            0 => Vec::new(),
            room => self.log.run(prev.index + 1, self.log.last().index, room, bytes),
        };
        let sent = entries.len() as u64;
        if let Some(progress) = self.progress_mut(to) {
            progress.told = progress.told.max(commit.min(prev.index + sent));
        }
        self.say(to, Word::Append(Append { prev, entries, commit, probe }));
        sent
    }

    /// Learns up to where a follower has the leader's log.
    pub(crate) fn handle_appended(&mut self, from: NodeId, matched: Index, probe: Probe) {
        let last = self.log.last().index;
        let Some(progress) = self.progress_mut(from) else { return };
        progress.hear(probe);
        if matched > last {
            return;
        }
        progress.matched = progress.matched.max(matched);
        let found = match &progress.mode {
            Mode::Search { .. } => matched + 1 >= progress.next,
            Mode::Stream => false,
            Mode::Snapshot(sending) => matched >= sending.meta.last.index,
        };
        progress.next = progress.next.max(progress.matched + 1);
        if found {
            progress.mode = Mode::Stream;
        }
    }

    /// Goes back to where a follower's log can agree, passing over a term at a time (end of §5.3; M26).
    ///
    /// A refusal of something that was since accepted, or is no longer asked, is late; what a follower
    /// has durably it does not lose (M18).
    pub(crate) fn handle_refusal(&mut self, from: NodeId, prev: LogId, hint: LogId, probe: Probe) {
        let common = self.log.last_not_after(hint).index;
        let Some(progress) = self.progress_mut(from) else { return };
        progress.hear(probe);
        let late = match progress.mode {
            Mode::Search { .. } => prev.index + 1 != progress.next,
            Mode::Stream => prev.index >= progress.next,
            Mode::Snapshot(_) => true,
        };
        if late || prev.index <= progress.matched {
            return;
        }
        progress.next = common.min(prev.index - 1).max(progress.matched) + 1;
        progress.mode = Mode::Search { asked: false };
    }

    pub(crate) fn progress(&self, of: NodeId) -> Option<&Progress> {
        self.leading()?.progress.get(&of)
    }

    pub(crate) fn progress_mut(&mut self, of: NodeId) -> Option<&mut Progress> {
        self.leading_mut()?.progress.get_mut(&of)
    }
}
