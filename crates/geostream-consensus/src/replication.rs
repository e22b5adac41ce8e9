//! How a leader gets its log to its followers (Raft paper, §5.3).

use crate::entry::{Command, Entry, Payload};
use crate::error::Refusal;
use crate::id::{Index, LogId, NodeId};
use crate::input::Proposal;
use crate::message::{AppendEntries, Probe, Word};
use crate::progress::{Mode, Progress};
use crate::raft::Raft;
use crate::state::Expected;

impl<C: Command> Raft<C> {
    /// Appends what clients propose: what comes in one step is written and sent as one.
    pub(crate) fn propose(&mut self, proposals: Vec<Proposal<C>>) {
        for Proposal { ticket, command } in proposals {
            match self.obstacle(&command) {
                Some(why) => self.refuse(ticket, why),
                None => {
                    let id = self.append(Payload::Command(command));
                    self.expect(id, Expected { ticket, if_lost: Refusal::Lost });
                }
            }
        }
    }

    /// Returns why a command cannot be appended.
    ///
    /// How much waits to be committed follows from the log; nothing counts it.
    fn obstacle(&self, command: &C) -> Option<Refusal> {
        let Some(leading) = self.leading() else { return Some(self.not_leader()) };
        let limits = &self.config.limits;
        let (size, limit) = (command.size(), limits.command_bytes);
        let last = self.log.last().index;
        let uncommitted = last.since(self.commit);
        let full = uncommitted >= limits.uncommitted_entries
            || self.is_overloaded()
            || uncommitted > 0
                && self.log.weight_between(self.commit, last) + (Entry::<C>::HEAD + size) as u64
                    > limits.uncommitted_bytes;
        if leading.transfer.is_some() {
            Some(Refusal::Transferring)
        } else if size > limit {
            Some(Refusal::TooLarge { size, limit })
        } else {
            full.then_some(Refusal::Busy)
        }
    }

    pub(crate) fn expect(&mut self, id: LogId, expected: Expected) {
        self.tickets.insert(id.into(), expected);
    }

    /// Asks everybody whether they still follow: a heartbeat (§5.2), and what reads wait for.
    pub(crate) fn ask_all(&mut self) {
        let heartbeat = self.config.timing.heartbeat;
        let now = self.now();
        let Some(leading) = self.leading_mut() else { return };
        leading.heartbeat_at = now + heartbeat;
        leading.round += 1;
        leading.reads.ask(leading.round);
        let followers: Vec<NodeId> = leading.progress.keys().copied().collect();
        for to in followers {
            self.send_heartbeat(to);
        }
        self.urge_again();
    }

    /// Sends no entries, after the one before the next: a follower that lacks it says so. One that is full
    /// and lacks what was purged gets no snapshot either: it could not put it to use.
    fn send_heartbeat(&mut self, to: NodeId) {
        let Some(progress) = self.progress(to) else { return };
        let prev = match progress.mode {
            Mode::Search { .. } | Mode::Stream => self
                .log
                .id_at(progress.next.previous())
                .or_else(|| progress.is_full.then_some(LogId::ORIGIN)),
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
    /// is the only way.
    fn search(&mut self, to: NodeId) {
        let Some(progress) = self.progress_mut(to) else { return };
        progress.mode = Mode::Search { asked: true };
        let (before, is_full) = (progress.next.previous(), progress.is_full);
        match self.log.id_at(before) {
            Some(prev) => {
                let room = if is_full { 0 } else { self.config.limits.message_entries };
                self.send_append(to, prev, room);
            }
            None if is_full => {}
            None => self.start_snapshot(to),
        }
    }

    /// Sends entries without waiting for answers, as far as the window is open (thesis, §10.2.2).
    fn stream(&mut self, to: NodeId) {
        while let Some(room) = self.window(to) {
            let Some(progress) = self.progress(to) else { return };
            let Some(prev) = self.log.id_at(progress.next.previous()) else {
                return self.start_snapshot(to);
            };
            let sent = self.send_append(to, prev, room);
            if let Some(progress) = self.progress_mut(to) {
                progress.next = progress.next.plus(sent);
            }
        }
        // A follower that needs no entries learns at once what is committed.
        let Some(progress) = self.progress(to) else { return };
        let news = self.commit.min(progress.next.previous()) > progress.told;
        if news && let Some(prev) = self.log.id_at(progress.next.previous()) {
            self.send_append(to, prev, 0);
        }
    }

    /// Returns how many entries may be sent now; `None` if there are none, or too many are on their way
    /// already. What is on its way lies between `matched` and `next`; nothing counts it.
    fn window(&self, to: NodeId) -> Option<u64> {
        let limits = &self.config.limits;
        let progress = self.progress(to)?;
        let sent = progress.next.previous();
        let inflight = sent.since(progress.matched);
        let open = !progress.is_full
            && sent < self.log.last().index
            && inflight < limits.inflight_entries
            && (inflight == 0
                || self.log.weight_between(progress.matched, sent) < limits.inflight_bytes);
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
            room => self.log.run(prev.index.next(), self.log.last().index, room, bytes),
        };
        let sent = entries.len() as u64;
        if let Some(progress) = self.progress_mut(to) {
            progress.told = progress.told.max(commit.min(prev.index.plus(sent)));
        }
        self.say(to, Word::AppendEntries(AppendEntries { prev, entries, commit, probe }));
        sent
    }

    /// Learns up to where a follower has the leader's log.
    ///
    /// What one that is full did not take is no longer on its way.
    pub(crate) fn handle_append_ack(
        &mut self,
        from: NodeId,
        matched: Index,
        is_full: bool,
        probe: Probe,
    ) {
        let last = self.log.last().index;
        let Some(progress) = self.progress_mut(from) else { return };
        progress.hear(probe);
        if matched > last {
            return;
        }
        progress.matched = progress.matched.max(matched);
        let found = match &progress.mode {
            Mode::Search { .. } => matched.next() >= progress.next,
            Mode::Stream => false,
            Mode::Snapshot(sending) => matched >= sending.meta.last.index,
        };
        progress.is_full = is_full;
        let sent = if is_full { Index::FIRST } else { progress.next };
        progress.next = sent.max(progress.matched.next());
        if found {
            progress.mode = Mode::Stream;
        }
    }

    /// Goes back to where a follower's log can agree, passing over a term at a time (end of §5.3).
    ///
    /// A refusal of something that was since accepted, or is no longer asked, is late; what a follower
    /// has durably it does not lose.
    pub(crate) fn handle_refusal(&mut self, from: NodeId, prev: LogId, hint: LogId, probe: Probe) {
        let common = self.log.last_not_after(hint).index;
        let Some(progress) = self.progress_mut(from) else { return };
        progress.hear(probe);
        let late = match progress.mode {
            Mode::Search { .. } => prev.index.next() != progress.next,
            Mode::Stream => prev.index >= progress.next,
            Mode::Snapshot(_) => true,
        };
        if late || prev.index <= progress.matched {
            return;
        }
        progress.next = common.min(prev.index.previous()).max(progress.matched).next();
        progress.mode = Mode::Search { asked: false };
    }

    pub(crate) fn progress(&self, of: NodeId) -> Option<&Progress> {
        self.leading()?.progress.get(&of)
    }

    pub(crate) fn progress_mut(&mut self, of: NodeId) -> Option<&mut Progress> {
        self.leading_mut()?.progress.get_mut(&of)
    }
}

#[cfg(test)]
mod tests {
    use crate::error::Refusal;
    use crate::id::{LogId, Term, Ticket};
    use crate::input::{Input, Proposal};
    use crate::message::{Body, Message, Probe, Promise, Word};
    use crate::progress::Mode;
    use crate::testing::{A, Answer, B, Bytes, C, Cluster};

    #[test]
    fn what_is_proposed_at_once_is_written_and_sent_as_one() {
        let mut cluster = Cluster::of(3);
        cluster.make_leader(A);
        let proposal = |ticket| Proposal { ticket: Ticket(ticket), command: b"x".to_vec() };
        cluster.step(A, Input::Propose((100..110).map(proposal).collect()));
        let lengths: Vec<usize> = appends(&cluster).map(|(_, length)| length).collect();
        assert_eq!(lengths, [10, 10]);
    }

    #[test]
    fn entries_are_streamed_until_the_window_is_full() {
        let mut config = Cluster::of(0).config;
        config.limits.inflight_entries = 4;
        let mut cluster = Cluster::with(3, config);
        cluster.make_leader(A);
        cluster.isolate(B);
        for command in 0..10 {
            cluster.propose(A, &[command]);
        }
        assert_eq!(appends(&cluster).filter(|(to, _)| *to == B).count(), 4);
        let progress = &cluster.view(A).progress.unwrap()[&B];
        assert_eq!(progress.next.previous().since(progress.matched), 4);
    }

    #[test]
    fn lost_entries_are_sent_again() {
        let mut cluster = Cluster::of(3);
        cluster.make_leader(A);
        cluster.propose(A, b"x");
        cluster.propose(A, b"y");
        cluster.wire.clear();
        cluster.pass(200);
        assert_eq!((cluster.state(B), cluster.state(C)), (&b"xy"[..], &b"xy"[..]));
    }

    #[test]
    fn too_much_is_refused_until_it_is_committed() {
        let mut config = Cluster::of(0).config;
        config.limits.uncommitted_entries = 3;
        config.limits.command_bytes = 8;
        let mut cluster = Cluster::with(3, config);
        cluster.make_leader(A);
        let tickets: Vec<Ticket> = (0..5).map(|command| cluster.propose(A, &[command])).collect();
        assert_eq!(cluster.answer(tickets[3]), Some(&Answer::Refused(Refusal::Busy)));
        let big = cluster.propose(A, &[0; 9]);
        let too_large = Refusal::TooLarge { size: 9, limit: 8 };
        assert_eq!(cluster.answer(big), Some(&Answer::Refused(too_large)));
        cluster.pass(10);
        let ticket = cluster.propose(A, b"x");
        cluster.pass(10);
        assert!(matches!(cluster.answer(ticket), Some(Answer::Applied(_))));
    }

    #[test]
    fn a_follower_names_its_leader() {
        let mut cluster = Cluster::of(3);
        cluster.make_leader(A);
        let ticket = cluster.propose(B, b"x");
        let refused = Answer::Refused(Refusal::NotLeader { leader: Some(A) });
        assert_eq!(cluster.answer(ticket), Some(&refused));
    }

    #[test]
    fn a_late_refusal_takes_nothing_back() {
        let mut cluster = Cluster::of(3);
        cluster.make_leader(A);
        for command in 0..5 {
            cluster.propose(A, &[command]);
        }
        cluster.deliver();
        let before = cluster.view(A).progress.unwrap()[&B].clone();
        let late = LogId::new(cluster.view(A).term, before.matched.previous());
        let refused =
            Word::AppendRefused { prev: late, hint: LogId::ORIGIN, probe: Probe::default() };
        from_b(&mut cluster, 0, Body::Word(refused));
        assert_eq!(cluster.view(A).progress.unwrap()[&B], before);
    }

    #[test]
    fn an_acknowledgement_of_a_past_term_is_not_counted() {
        let mut cluster = Cluster::of(3);
        cluster.make_leader(A);
        cluster.isolate(A);
        cluster.propose(A, b"x");
        let last = cluster.view(A).log.last().index;
        let appended =
            Promise::AppendAck { matched: last, is_full: false, probe: Probe::default() };
        from_b(&mut cluster, 1, Body::Promise(appended));
        assert!(cluster.view(A).commit < last);
        from_b(&mut cluster, 0, Body::Promise(appended));
        assert_eq!(cluster.view(A).commit, last);
    }

    #[test]
    fn a_long_disagreement_is_passed_over_a_term_at_a_time() {
        let mut cluster = Cluster::of(3);
        cluster.make_leader(A);
        cluster.isolate(A);
        for command in 0..200 {
            cluster.propose(A, &[command]);
        }
        cluster.pass(1_000);
        let leader = cluster.leader().unwrap();
        for command in 0..200 {
            cluster.propose(leader, &[command]);
            cluster.deliver();
        }
        cluster.heal();
        cluster.pass(200);
        assert_eq!(cluster.view(A).log.last(), cluster.view(leader).log.last());
        let searched = &cluster.view(leader).progress.unwrap()[&A];
        assert_eq!(searched.mode, Mode::Stream);
    }

    /// Messages with entries, each with whom it is for and how many it carries.
    fn appends(cluster: &Cluster) -> impl Iterator<Item = (crate::id::NodeId, usize)> {
        let append = |message: &Message<Bytes>| match &message.body {
            Body::Word(Word::AppendEntries(append)) => Some((message.to, append.entries.len())),
            Body::Word(_) | Body::Promise(_) => None,
        };
        let all: Vec<_> = cluster.wire.iter().filter_map(append).collect();
        all.into_iter().filter(|(_, length)| *length > 0)
    }

    /// Lets B say something to A, so many terms ago.
    fn from_b(cluster: &mut Cluster, ago: u64, body: Body<Bytes>) {
        let term = Term::new(cluster.view(A).term.get() - ago);
        cluster.step(A, Input::Message(Message { from: B, to: A, term, body }));
    }
}
