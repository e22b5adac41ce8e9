//! The node: what it is made of, and where its inputs go.

use std::collections::BTreeMap;

use crate::clock::Clock;
use crate::config::Config;
use crate::effect::{Effect, HardState};
use crate::entry::{Command, Entry, Payload, SnapshotMeta};
use crate::error::{HaltReason, Refusal};
use crate::id::{Index, LogId, NodeId, Ticket};
use crate::input::Input;
use crate::log::Log;
use crate::membership::Membership;
use crate::memberships::Memberships;
use crate::message::{Body, Message, Probe, Promise, Word};
use crate::outbox::{Fact, Outbox};
use crate::rng::Rng;
use crate::state::{
    Expected, Leadership, Leading, LocalReads, LogPosition, OwnSnapshot, Receiving, State,
};
use crate::time::Moment;
use crate::view::{Role, View};

/// A node of a Raft cluster, as a machine: what happens goes in, what is to be done comes out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Raft<C> {
    pub(crate) config: Config,
    pub(crate) rng: Rng,
    pub(crate) clock: Clock,
    pub(crate) outbox: Outbox<C>,
    pub(crate) hard: HardState,
    pub(crate) state: State,
    pub(crate) leader: Option<NodeId>,
    /// The term and the leader that the driver was told of.
    pub(crate) announced: Leadership,
    /// Until then it grants no vote that would replace the leader it has heard.
    pub(crate) sticky_until: Moment,
    /// When it wants an election, unless it leads.
    pub(crate) election_at: Moment,
    pub(crate) log: Log<C>,
    pub(crate) memberships: Memberships,
    pub(crate) snapshot: SnapshotMeta,
    /// All entries up to here are on disk.
    pub(crate) durable: Index,
    pub(crate) commit: Index,
    /// The last entry that was handed out to the state machine.
    pub(crate) handed_out: Index,
    pub(crate) applied: Index,
    /// Who waits for which entry: the same index can be waited for in several terms.
    pub(crate) tickets: BTreeMap<LogPosition, Expected>,
    pub(crate) reads: LocalReads,
    pub(crate) own_snapshot: OwnSnapshot,
    pub(crate) receiving: Option<Receiving>,
    pub(crate) halted: Option<HaltReason>,
}

impl<C: Command> Raft<C> {
    /// Takes in what has happened, and adds what is to be done.
    ///
    /// The time is to be read after the input has come, for each input anew: with one that was read before a
    /// pause, a [`Lease`](crate::Lease) says nothing.
    pub fn step(&mut self, now: Moment, input: Input<C>, out: &mut Vec<Effect<C>>) {
        if self.halted.is_some() {
            refuse_all(input, out);
            return;
        }
        self.clock.advance(now);
        self.handle(input);
        if self.halted.is_none() {
            self.settle();
        }
        self.outbox.flush(out);
    }

    /// Returns when the next [`Input::Tick`] is due; `None` once the node has stopped.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        if self.halted.is_some() {
            return None;
        }
        let by_role = match &self.state {
            State::Leader(leading) => self.leader_deadline(leading),
            State::Follower | State::PreCandidate(_) | State::Candidate(_) => self.election_at,
        };
        let deadline = self.reads.deadline().map_or(by_role, |reads| reads.min(by_role));
        Some(self.clock.by_driver(deadline))
    }

    /// Looks at the node.
    #[must_use]
    pub fn view(&self) -> View<'_, C> {
        let leading = self.leading();
        View {
            id: self.config.id,
            term: self.hard.term,
            vote: self.hard.vote,
            role: self.role(),
            leader: self.leader,
            log: &self.log,
            durable: self.durable,
            commit: self.commit,
            applied: self.applied,
            snapshot: &self.snapshot,
            membership: self.memberships.current(),
            membership_at: self.memberships.current_at(),
            progress: leading.map(|leading| &leading.progress),
            receiving: self.receiving.as_ref().map(Receiving::received),
            transferring_to: leading
                .and_then(|leading| leading.transfer)
                .map(|transfer| transfer.to),
            held: self.held(),
            halted: self.halted,
        }
    }

    fn role(&self) -> Role {
        match self.state {
            State::Follower => Role::Follower,
            State::PreCandidate(_) => Role::PreCandidate,
            State::Candidate(_) => Role::Candidate,
            State::Leader(_) => Role::Leader,
        }
    }

    fn handle(&mut self, input: Input<C>) {
        match input {
            Input::Tick => self.tick(),
            Input::Message(message) => self.receive(message),
            Input::Propose(proposals) => self.propose(proposals),
            Input::Read { ticket } => self.read(ticket),
            Input::ChangeMembership { ticket, voters, learners } => {
                self.change_membership(ticket, voters, learners);
            }
            Input::Transfer { to } => self.transfer(to),
            Input::Written(write) => {
                for fact in self.outbox.written(write) {
                    self.learn(fact);
                }
            }
            // A failed write is never tried again: the kernel may have dropped what it could not write
            // and call the next attempt a success (Rebello et al., ATC'20).
            Input::DiskFailed { write: _ } => self.halt(HaltReason::Disk),
            Input::Applied { through } => {
                self.applied = self.applied.max(through.min(self.handed_out));
            }
            Input::Compact => self.own_snapshot.wanted = true,
            Input::SnapshotTaken(snapshot) => self.use_own_snapshot(snapshot),
            Input::ChunkRead { to, snapshot, offset, piece } => {
                self.send_piece(to, snapshot, offset, piece);
            }
        }
    }

    fn tick(&mut self) {
        match self.state {
            State::Leader(_) => self.tick_leader(),
            State::Follower | State::PreCandidate(_) | State::Candidate(_) => {
                if self.now() >= self.election_at {
                    self.pre_campaign();
                }
            }
        }
        self.expire_reads();
    }

    /// Learns what has become durable.
    fn learn(&mut self, fact: Fact) {
        match fact {
            Fact::OwnVote(term) => self.count_own_vote(term),
            Fact::Log(end) => self.durable = self.durable.max(end),
            // One that a later one has replaced may be gone.
            Fact::Installed(meta) if meta.last == self.snapshot.last => {
                self.outbox.restore(meta);
            }
            Fact::Installed(_) => {}
        }
    }

    /// Takes a message: first the terms are compared (Raft paper, §5.1).
    fn receive(&mut self, message: Message<C>) {
        let Message { from, to, term, body } = message;
        if to != self.config.id || from == self.config.id || self.is_clogged() {
            return;
        }
        if term < self.hard.term {
            self.correct(from, &body);
        } else if term > self.hard.term && self.is_sticky() && asks_for_votes(&body) {
            self.refuse_vote(from, &body);
        } else {
            if term > self.hard.term {
                self.follow(term, None);
            }
            self.handle_body(from, body);
        }
    }

    fn handle_body(&mut self, from: NodeId, body: Body<C>) {
        match body {
            Body::Word(word) => self.handle_word(from, word),
            Body::Promise(promise) => self.handle_promise(from, promise),
        }
    }

    fn handle_word(&mut self, from: NodeId, word: Word<C>) {
        match word {
            Word::PreVote { round, last } => self.handle_pre_vote(from, round, last),
            Word::PreVoteReply { round, granted } => self.count_pre_vote(from, round, granted),
            Word::VoteRefused => {}
            Word::AppendEntries(append) => self.handle_append_entries(from, append),
            Word::AppendRefused { prev, hint, probe } => {
                self.handle_refusal(from, prev, hint, probe);
            }
            Word::SnapshotChunk(chunk) => self.handle_snapshot_chunk(from, chunk),
            Word::TimeoutNow => self.handle_timeout_now(from),
            Word::Read { id } => self.read_for(from, id),
            Word::ReadReply { id, index } => self.handle_read_reply(id, index),
        }
    }

    fn handle_promise(&mut self, from: NodeId, promise: Promise) {
        match promise {
            Promise::RequestVote { last, forced } => self.handle_request_vote(from, last, forced),
            Promise::Vote => self.count_vote(from),
            Promise::AppendAck { matched, is_full, probe } => {
                self.handle_append_ack(from, matched, is_full, probe);
            }
            Promise::Staged { snapshot, next } => self.handle_staged(from, snapshot, next),
        }
    }

    /// Answers somebody whose term is over, so that it learns the present one. An answer to what this
    /// node asked in a past term says nothing any more.
    ///
    /// A refusal carries no probe back: it leaves in the present term, in which the asker may lead again
    /// and would take a round of its past term for one that it has just begun.
    fn correct(&mut self, from: NodeId, body: &Body<C>) {
        let word = match body {
            Body::Word(Word::PreVote { round, .. }) => {
                Word::PreVoteReply { round: *round, granted: false }
            }
            Body::Word(Word::AppendEntries(append)) => {
                self.refusal_of(append.prev, Probe::default())
            }
            Body::Word(Word::SnapshotChunk(chunk)) => {
                self.refusal_of(chunk.meta.last, Probe::default())
            }
            Body::Word(Word::Read { id }) => Word::ReadReply { id: *id, index: None },
            Body::Promise(Promise::RequestVote { .. }) => Word::VoteRefused,
            Body::Word(
                Word::PreVoteReply { .. }
                | Word::VoteRefused
                | Word::AppendRefused { .. }
                | Word::TimeoutNow
                | Word::ReadReply { .. },
            )
            | Body::Promise(Promise::Vote | Promise::AppendAck { .. } | Promise::Staged { .. }) => {
                return;
            }
        };
        self.say(from, word);
    }

    /// Does what follows from all that is known now. Nothing is remembered to be done later: each
    /// consequence is found again from the state, so none is forgotten and none is done twice.
    fn settle(&mut self) {
        if matches!(self.state, State::Leader(_)) {
            self.advance_commit();
            self.leave_joint();
            self.urge_target();
            self.confirm_reads();
            self.feed_followers();
            self.retire();
        }
        // Before another page: a state machine that is always behind would never be asked for one.
        self.take_snapshot();
        self.apply();
        self.answer_reads();
        self.announce();
    }

    fn announce(&mut self) {
        let known = Leadership { term: self.hard.term, leader: self.leader };
        if self.announced != known {
            self.announced = known;
            self.outbox.announce(known.term, known.leader);
        }
    }

    /// Stops for good: after this nothing leaves the node.
    pub(crate) fn halt(&mut self, reason: HaltReason) {
        self.halted = Some(reason);
        self.outbox.halt(reason);
    }

    pub(crate) fn now(&self) -> Moment {
        self.clock.now()
    }

    pub(crate) fn membership(&self) -> &Membership {
        self.memberships.current()
    }

    pub(crate) fn leading(&self) -> Option<&Leading> {
        match &self.state {
            State::Leader(leading) => Some(leading),
            State::Follower | State::PreCandidate(_) | State::Candidate(_) => None,
        }
    }

    pub(crate) fn leading_mut(&mut self) -> Option<&mut Leading> {
        match &mut self.state {
            State::Leader(leading) => Some(leading),
            State::Follower | State::PreCandidate(_) | State::Candidate(_) => None,
        }
    }

    pub(crate) fn say(&mut self, to: NodeId, word: Word<C>) {
        self.outbox.say(to, self.hard.term, word);
    }

    pub(crate) fn promise(&mut self, to: NodeId, promise: Promise) {
        self.outbox.promise(to, self.hard.term, promise);
    }

    pub(crate) fn refuse(&mut self, ticket: Ticket, why: Refusal) {
        self.outbox.refuse(ticket, why);
    }

    pub(crate) fn not_leader(&self) -> Refusal {
        Refusal::NotLeader { leader: self.leader }
    }

    /// Adds an entry to the end of the log. A membership is in force from here on (§6).
    pub(crate) fn push(&mut self, entry: Entry<C>) {
        if let Payload::Membership(membership) = &entry.payload {
            self.memberships.push(entry.id.index, membership.clone());
        }
        self.log.push(entry.clone());
        self.outbox.write_entry(entry);
    }

    /// Adds an entry of this leader's term.
    pub(crate) fn append(&mut self, payload: Payload<C>) -> LogId {
        let id = LogId::new(self.hard.term, self.log.last().index.next());
        self.push(Entry { id, payload });
        id
    }
}

fn asks_for_votes<C>(body: &Body<C>) -> bool {
    matches!(
        body,
        Body::Word(Word::PreVote { .. })
            | Body::Promise(Promise::RequestVote { forced: false, .. })
    )
}

fn refuse_all<C>(input: Input<C>, out: &mut Vec<Effect<C>>) {
    let why = Refusal::Halted;
    match input {
        Input::Propose(proposals) => {
            let refused = |ticket| Effect::Refused { ticket, why };
            out.extend(proposals.into_iter().map(|proposal| refused(proposal.ticket)));
        }
        Input::Read { ticket } | Input::ChangeMembership { ticket, .. } => {
            out.push(Effect::Refused { ticket, why });
        }
        Input::Tick
        | Input::Message(_)
        | Input::Transfer { .. }
        | Input::Written(_)
        | Input::DiskFailed { .. }
        | Input::Applied { .. }
        | Input::Compact
        | Input::SnapshotTaken(_)
        | Input::ChunkRead { .. } => {}
    }
}

#[cfg(test)]
mod tests {
    use crate::error::{HaltReason, Refusal};
    use crate::input::Input;
    use crate::testing::{A, Answer, Cluster};

    #[test]
    fn a_node_whose_disk_failed_does_nothing_any_more() {
        let mut cluster = Cluster::of(3);
        cluster.make_leader(A);
        cluster.stall_disk(A);
        cluster.propose(A, b"x");
        cluster.wire.clear();
        cluster.step(A, Input::DiskFailed { write: None });
        assert_eq!(cluster.view(A).halted, Some(HaltReason::Disk));
        let tickets = [cluster.propose(A, b"y"), cluster.read(A), cluster.change(A, &[1], &[])];
        for ticket in tickets {
            assert_eq!(cluster.answer(ticket), Some(&Answer::Refused(Refusal::Halted)));
        }
        cluster.resume_disk(A);
        assert!(cluster.wire.is_empty());
        cluster.pass(1_000);
        assert!(cluster.leader().is_some_and(|leader| leader != A));
    }
}
