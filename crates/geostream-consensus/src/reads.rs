//! Reads that see all that was committed before they were asked for (thesis, §6.4).

use std::time::Duration;

use crate::entry::Command;
use crate::error::Refusal;
use crate::id::{Index, NodeId, Ticket};
use crate::message::Word;
use crate::raft::Raft;
use crate::state::{Asker, Forwarded, LeaderReads};

impl<C: Command> Raft<C> {
    /// Reads for a client: at the leader, or by asking it (§6.4).
    pub(crate) fn read(&mut self, ticket: Ticket) {
        if self.read_count() >= self.config.limits.reads {
            self.refuse(ticket, Refusal::Busy);
        } else if self.leading().is_some() {
            self.ask(Asker::Client(ticket));
        } else if let Some(leader) = self.leader {
            self.forward(leader, ticket);
        } else {
            self.refuse(ticket, self.not_leader());
        }
    }

    fn forward(&mut self, leader: NodeId, ticket: Ticket) {
        let deadline = self.now() + self.config.timing.election_most;
        let id = self.reads.next;
        self.reads.next = id.wrapping_add(1);
        self.reads.forwarded.insert(id, Forwarded { ticket, deadline });
        self.say(leader, Word::Read { id });
    }

    /// Takes a read that another node asks for.
    pub(crate) fn read_for(&mut self, node: NodeId, id: u64) {
        if self.leading().is_none() || self.read_count() >= self.config.limits.reads {
            self.say(node, Word::ReadReply { id, index: None });
        } else {
            self.ask(Asker::Node { node, id });
        }
    }

    fn ask(&mut self, asker: Asker) {
        if let Some(index) = self.read_index().filter(|_| self.holds_lease()) {
            return self.confirm(asker, index);
        }
        if let Some(leading) = self.leading_mut() {
            leading.reads.fresh.push(asker);
        }
    }

    /// Returns from where on a state machine shows all that is committed, if this leader can know it: a
    /// new one only knows that it is before its own first entry, once that is committed.
    fn read_index(&self) -> Option<Index> {
        let leading = self.leading()?;
        (self.commit >= leading.first).then_some(self.commit)
    }

    /// Confirms reads once a quorum has answered a question that was asked after they came: so no
    /// other leader had committed anything by then (§6.4).
    pub(crate) fn confirm_reads(&mut self) {
        let Some(leading) = self.leading() else { return };
        if leading.reads.asked.is_empty() && !leading.reads.fresh.is_empty() {
            self.ask_all();
        }
        // The commit index at this moment is no less than it was when the reads came.
        let Some(index) = self.read_index() else { return };
        let own = self.leading().map_or(0, |leading| leading.round);
        let Some(answered) = self.answered_by_quorum(own, |progress| progress.answered) else {
            return;
        };
        while let Some(batch) = self
            .leading_mut()
            .and_then(|leading| leading.reads.asked.pop_front_if(|batch| batch.round <= answered))
        {
            for asker in batch.askers {
                self.confirm(asker, index);
            }
        }
    }

    fn confirm(&mut self, asker: Asker, index: Index) {
        match asker {
            Asker::Client(ticket) => {
                self.reads.ready.insert((index, ticket));
            }
            Asker::Node { node, id } => {
                self.say(node, Word::ReadReply { id, index: Some(index) });
            }
        }
    }

    /// Tells whether no other leader can have been elected, if clocks run as was promised: a quorum
    /// followed so lately that it still grants no vote (thesis, §6.4.1).
    ///
    /// Not after a `TimeoutNow` was sent: followers grant that election despite the lease, and it
    /// may arrive at any time in this term. Not either if the clock jumped back.
    fn holds_lease(&self) -> bool {
        let Some(lease) = self.config.lease else { return false };
        let urged = self.leading().is_none_or(|leading| leading.has_urged);
        let heard = self.heard_from_quorum();
        let sticky_for = self.config.timing.election_least;
        let sure = sticky_for.saturating_sub(drift(sticky_for, lease.drift_ppm));
        !urged && heard.and_then(|heard| self.clock.since(heard)).is_some_and(|age| age < sure)
    }

    /// Learns from where on it may read.
    pub(crate) fn handle_read_reply(&mut self, id: u64, index: Option<Index>) {
        let Some(Forwarded { ticket, .. }) = self.reads.forwarded.remove(&id) else { return };
        match index {
            Some(index) => {
                self.reads.ready.insert((index, ticket));
            }
            None => self.refuse(ticket, Refusal::Busy),
        }
    }

    /// Answers what the state machine is far enough for.
    pub(crate) fn answer_reads(&mut self) {
        while let Some((index, ticket)) = self.reads.ready.first().copied()
            && index <= self.applied
        {
            self.reads.ready.pop_first();
            self.outbox.read_ready(ticket, index);
        }
    }

    /// Refuses what a leader can no longer confirm.
    pub(crate) fn abandon_reads(&mut self, reads: LeaderReads) {
        for asker in reads.into_askers() {
            match asker {
                Asker::Client(ticket) => self.refuse(ticket, self.not_leader()),
                Asker::Node { node, id } => self.say(node, Word::ReadReply { id, index: None }),
            }
        }
    }

    /// Refuses what was asked of a leader that is no longer one.
    pub(crate) fn abandon_forwarded_reads(&mut self) {
        for (_, forwarded) in std::mem::take(&mut self.reads.forwarded) {
            self.refuse(forwarded.ticket, self.not_leader());
        }
    }

    /// Refuses what the leader does not answer.
    pub(crate) fn expire_reads(&mut self) {
        let now = self.now();
        let expired = self.reads.forwarded.extract_if(.., |_, forwarded| now >= forwarded.deadline);
        let expired: Vec<Ticket> = expired.map(|(_, forwarded)| forwarded.ticket).collect();
        for ticket in expired {
            self.refuse(ticket, Refusal::Busy);
        }
    }

    pub(crate) fn read_count(&self) -> usize {
        let asked = self.leading().map_or(0, |leading| leading.reads.len());
        asked + self.reads.ready.len() + self.reads.forwarded.len()
    }
}

/// Returns by how much two clocks part in this time whose speeds differ by so much.
fn drift(time: Duration, ppm: u32) -> Duration {
    time.saturating_mul(ppm) / 1_000_000
}

#[cfg(test)]
mod tests {
    use crate::config::Lease;
    use crate::error::Refusal;
    use crate::id::{Index, NodeId, Ticket};
    use crate::input::Input;
    use crate::message::{Body, Message, Probe, Promise, SnapshotChunk, Word};
    use crate::testing::{A, Answer, B, Bytes, C, Cluster};
    use crate::view::Role;

    #[test]
    fn every_node_reads_what_was_committed_before() {
        let mut cluster = Cluster::of(3);
        cluster.make_leader(A);
        cluster.propose(A, b"x");
        cluster.deliver();
        let commit = cluster.view(A).commit;
        for id in [A, B, C] {
            let ticket = cluster.read(id);
            assert_eq!(cluster.answer(ticket), None, "it must ask first");
            cluster.deliver();
            assert_eq!(cluster.answer(ticket), Some(&Answer::Read(commit)));
            assert_eq!(cluster.state(id), b"x");
        }
    }

    #[test]
    fn a_leader_that_is_cut_off_confirms_no_read() {
        let mut cluster = Cluster::of(3);
        cluster.make_leader(A);
        cluster.isolate(A);
        let ticket = cluster.read(A);
        cluster.pass(1_000);
        assert_eq!(refusal(&cluster, ticket), Some(Refusal::NotLeader { leader: None }));
    }

    #[test]
    fn an_answer_to_an_earlier_question_confirms_nothing() {
        let mut cluster = Cluster::of(3);
        cluster.make_leader(A);
        let matched = cluster.view(A).commit;
        let before = cluster.view(A).progress.unwrap()[&B].answered;
        let ticket = cluster.read(A);
        let late = Probe { round: before, sent: cluster.now };
        let body = Body::Promise(Promise::AppendAck { matched, is_full: false, probe: late });
        let term = cluster.view(A).term;
        let message = Message { from: B, to: A, term, body };
        cluster.step(A, Input::Message(message));
        assert_eq!(cluster.answer(ticket), None);
        cluster.deliver();
        assert!(matches!(cluster.answer(ticket), Some(Answer::Read(_))));
    }

    #[test]
    fn a_question_of_a_past_leadership_confirms_nothing_in_the_present_one() {
        for snapshot in [false, true] {
            let mut cluster = Cluster::of(3);
            cluster.make_leader(A);
            cluster.pass(2_000);
            let late = question_of(&mut cluster, A, snapshot);
            cluster.make_leader(B);
            cluster.make_leader(A);
            assert!(cluster.view(A).term > late.term);
            cluster.step(B, Input::Message(late));
            cluster.deliver();
            cluster.isolate(A);
            let ticket = cluster.read(A);
            cluster.deliver();
            assert_eq!(cluster.answer(ticket), None, "nobody has heard of it");
        }
    }

    #[test]
    fn a_new_leader_reads_only_behind_its_first_entry() {
        let mut cluster = Cluster::of(3);
        cluster.make_leader(A);
        cluster.isolate(A);
        let mut leader = None;
        while leader.is_none() {
            cluster.pass(1);
            leader = [B, C].into_iter().find(|id| cluster.view(*id).role == Role::Leader);
        }
        let leader = leader.unwrap();
        let ticket = cluster.read(leader);
        cluster.pass(100);
        let view = cluster.view(leader);
        let first =
            view.log.iter_from(Index::FIRST).find(|entry| entry.id.term == view.term).unwrap();
        let Some(Answer::Read(index)) = cluster.answer(ticket) else { panic!("not answered") };
        assert!(*index >= first.id.index);
    }

    #[test]
    fn reads_that_come_while_others_wait_share_one_question() {
        let mut cluster = Cluster::of(3);
        cluster.make_leader(A);
        let tickets: Vec<Ticket> = (0..10).map(|_| cluster.read(A)).collect();
        assert_eq!(cluster.wire.len(), 2);
        cluster.deliver();
        assert!(tickets.iter().all(|ticket| cluster.answer(*ticket).is_some()));
    }

    #[test]
    fn a_read_that_the_leader_does_not_answer_is_given_up() {
        let mut cluster = Cluster::of(3);
        cluster.make_leader(A);
        let ticket = cluster.read(B);
        cluster.wire.clear();
        cluster.pass(200);
        assert_eq!(refusal(&cluster, ticket), Some(Refusal::Busy));
    }

    #[test]
    fn a_follower_without_a_leader_says_so() {
        let mut cluster = Cluster::of(3);
        let ticket = cluster.read(B);
        assert_eq!(refusal(&cluster, ticket), Some(Refusal::NotLeader { leader: None }));
    }

    #[test]
    fn more_reads_than_allowed_are_refused() {
        let mut config = Cluster::of(0).config;
        config.limits.reads = 2;
        let mut cluster = Cluster::with(3, config);
        cluster.make_leader(A);
        let tickets: Vec<Ticket> = (0..3).map(|_| cluster.read(A)).collect();
        assert_eq!(refusal(&cluster, tickets[2]), Some(Refusal::Busy));
    }

    #[test]
    fn a_lease_answers_at_once_until_leadership_is_handed_over() {
        let mut cluster = leased();
        let ticket = cluster.read(A);
        assert!(matches!(cluster.answer(ticket), Some(Answer::Read(_))));
        cluster.step(A, Input::Transfer { to: B });
        cluster.isolate(B);
        cluster.pass(300);
        assert_eq!((cluster.view(A).role, cluster.view(A).transferring_to), (Role::Leader, None));
        let ticket = cluster.read(A);
        assert_eq!(cluster.answer(ticket), None, "B was told to stand, and may at any time");
        cluster.deliver();
        assert!(matches!(cluster.answer(ticket), Some(Answer::Read(_))));
    }

    #[test]
    fn a_lease_ends_before_the_others_stop_being_sticky() {
        let mut cluster = leased();
        cluster.isolate(A);
        cluster.skip(74);
        let ticket = cluster.read(A);
        assert_eq!(cluster.answer(ticket), None);
    }

    #[test]
    fn a_lease_does_not_outlive_a_clock_that_jumps_back() {
        let mut cluster = leased();
        cluster.now = crate::time::Moment::START;
        let ticket = cluster.read(A);
        assert_eq!(cluster.answer(ticket), None);
    }

    /// What a leader asks of B at this moment, with entries or with a piece of a snapshot.
    fn question_of(cluster: &mut Cluster, leader: NodeId, snapshot: bool) -> Message<Bytes> {
        cluster.wire.clear();
        cluster.read(leader);
        let mut question = cluster.wire.pop_front().unwrap();
        let Body::Word(Word::AppendEntries(append)) = &question.body else {
            panic!("it asks by appending")
        };
        let (probe, view) = (append.probe, cluster.view(leader));
        if snapshot {
            let meta = view.snapshot.clone();
            let chunk = SnapshotChunk { meta, offset: 0, data: [].into(), is_last: true, probe };
            question.body = Body::Word(Word::SnapshotChunk(chunk));
        }
        question.to = B;
        question
    }

    fn leased() -> Cluster {
        let mut config = Cluster::of(0).config;
        config.lease = Some(Lease { drift_ppm: 20_000 });
        let mut cluster = Cluster::with(3, config);
        while cluster.leader() != Some(A) {
            cluster = Cluster::with(3, cluster.config);
            cluster.isolate(B);
            cluster.isolate(C);
            cluster.skip(150);
            cluster.step(A, Input::Tick);
            cluster.heal();
            cluster.pass(100);
        }
        cluster
    }

    fn refusal(cluster: &Cluster, ticket: Ticket) -> Option<Refusal> {
        match cluster.answer(ticket)? {
            Answer::Refused(why) => Some(*why),
            Answer::Applied(_) | Answer::Read(_) => None,
        }
    }
}
