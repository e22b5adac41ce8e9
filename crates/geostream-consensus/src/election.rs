//! Who leads: terms, votes, and the question before them.

use crate::effect::HardState;
use crate::entry::{Command, Payload};
use crate::id::{LogId, NodeId, Term};
use crate::message::{Body, Promise, Word};
use crate::outbox::Fact;
use crate::raft::Raft;
use crate::state::{Campaign, Leading, State};

impl<C: Command> Raft<C> {
    /// Follows, in this term or a later one.
    ///
    /// A vote is given once a term: who steps down within a term keeps it (Raft paper, §5.2).
    pub(crate) fn follow(&mut self, term: Term, leader: Option<NodeId>) {
        if term > self.hard.term {
            self.set_hard_state(HardState { term, vote: None });
        }
        let before = std::mem::replace(&mut self.state, State::Follower);
        self.set_leader(leader);
        if let State::Leader(leading) = before {
            self.abandon_reads(leading.reads);
            self.rearm();
        }
    }

    fn set_leader(&mut self, leader: Option<NodeId>) {
        if self.leader != leader {
            self.leader = leader;
            self.abandon_forwarded_reads();
        }
    }

    /// Remembers a term and a vote; what this step promises waits until they are durable.
    fn set_hard_state(&mut self, hard: HardState) {
        self.hard = hard;
        self.outbox.write_hard_state(hard);
    }

    /// Draws anew when to want an election, so that nodes that collided part (§5.2).
    pub(crate) fn rearm(&mut self) {
        let timing = self.config.timing;
        let timeout = self.rng.between(timing.election_least, timing.election_most);
        self.election_at = self.now() + timeout;
    }

    /// Tells whether this node grants no vote, as it leads or has just heard a leader (thesis,
    /// §4.2.3).
    ///
    /// A leader that hears from no quorum steps down by itself, so this does not look at its
    /// quorum.
    pub(crate) fn is_sticky(&self) -> bool {
        matches!(self.state, State::Leader(_)) || self.now() < self.sticky_until
    }

    /// Asks whether it would win an election, without disturbing the others (thesis, §9.6).
    ///
    /// A learner never does (§4.2.1).
    pub(crate) fn pre_campaign(&mut self) {
        self.rearm();
        if self.is_clogged() || !self.memberships.may_campaign(self.config.id, self.commit) {
            return;
        }
        // A voter that is still sticky refuses, so it is asked again soon: a pre-vote does no harm.
        let least = self.config.timing.election_least;
        self.election_at = self.now() + self.rng.between(least / 2, least);
        let round = self.rng.next_u64();
        self.follow(self.hard.term, None);
        self.state = State::PreCandidate(Campaign { round, ..Campaign::default() });
        let last = self.log.last();
        for voter in self.other_voters() {
            self.say(voter, Word::PreVote { round, last });
        }
        self.count_pre_vote(self.config.id, round, true);
    }

    /// Would vote for a node whose log is no worse, unless there is a leader.
    pub(crate) fn handle_pre_vote(&mut self, from: NodeId, round: u64, last: LogId) {
        let granted = !self.is_sticky() && self.would_vote(last);
        if granted {
            self.give_way(from);
        }
        self.say(from, Word::PreVoteReply { round, granted });
    }

    /// Lets who has the lower id go on, of two that ask at the same time: if both stood for election, each would vote
    /// for itself, and where only two are left neither would win.
    ///
    /// When it asks again is not put off, so that one who is heard but does not hear holds nobody up.
    fn give_way(&mut self, to: NodeId) {
        if matches!(self.state, State::PreCandidate(_)) && to < self.config.id {
            self.state = State::Follower;
        }
    }

    /// Counts who would vote, in this attempt and no other.
    pub(crate) fn count_pre_vote(&mut self, from: NodeId, round: u64, granted: bool) {
        let State::PreCandidate(campaign) = &mut self.state else { return };
        if !granted || campaign.round != round {
            return;
        }
        campaign.supporters.insert(from);
        if self.is_elected() {
            self.campaign(false);
        }
    }

    /// Stands for election (§5.2).
    pub(crate) fn campaign(&mut self, forced: bool) {
        let (id, term) = (self.config.id, self.hard.term.next());
        self.follow(term, None);
        self.set_hard_state(HardState { term, vote: Some(id) });
        self.state = State::Candidate(Campaign::default());
        self.rearm();
        let last = self.log.last();
        for voter in self.other_voters() {
            self.promise(voter, Promise::RequestVote { last, forced });
        }
        self.outbox.learn_later(Fact::OwnVote(term));
    }

    /// Tells whether a log that ends so has all that this one may have committed (§5.4.1).
    ///
    /// It votes even if it takes itself for a learner: its log may lack the membership that makes it a
    /// voter (thesis, §4.1). Only a node that knows of no membership has no vote: it may stand
    /// where another stood that has promised something.
    fn would_vote(&self, last: LogId) -> bool {
        !self.membership().is_empty() && last >= self.log.last()
    }

    /// Votes for the first candidate of a term whose log is no worse than its own (§5.2, §5.4.1).
    pub(crate) fn handle_request_vote(&mut self, from: NodeId, last: LogId, forced: bool) {
        let free = self.hard.vote.is_none_or(|vote| vote == from);
        let sticky = self.is_sticky() && !forced;
        if free && !sticky && self.would_vote(last) {
            let hard = HardState { vote: Some(from), ..self.hard };
            if hard != self.hard {
                self.set_hard_state(hard);
            }
            self.rearm();
            self.promise(from, Promise::Vote);
        } else {
            self.say(from, Word::VoteRefused);
        }
    }

    /// Refuses a vote in a term that it does not even enter: so a node that was away, or removed, does
    /// not depose a leader that others follow (thesis, §4.2.3).
    pub(crate) fn refuse_vote(&mut self, from: NodeId, body: &Body<C>) {
        match body {
            Body::Word(Word::PreVote { round, .. }) => {
                self.say(from, Word::PreVoteReply { round: *round, granted: false });
            }
            Body::Word(_) | Body::Promise(_) => self.say(from, Word::VoteRefused),
        }
    }

    pub(crate) fn count_own_vote(&mut self, term: Term) {
        if term == self.hard.term {
            self.count_vote(self.config.id);
        }
    }

    /// Counts a vote of this term: only those of voters, and each once.
    pub(crate) fn count_vote(&mut self, from: NodeId) {
        let State::Candidate(campaign) = &mut self.state else { return };
        campaign.supporters.insert(from);
        if self.is_elected() {
            self.lead();
        }
    }

    /// Tells whether a quorum supports it. In a joint membership that is a majority of both (§6).
    fn is_elected(&self) -> bool {
        let (State::PreCandidate(campaign) | State::Candidate(campaign)) = &self.state else {
            return false;
        };
        self.membership().is_quorum(|id| campaign.supporters.contains(&id))
    }

    /// Leads, and begins with an entry of its own term: only that can commit the ones before (§8).
    fn lead(&mut self) {
        let first = LogId::new(self.hard.term, self.log.last().index.next());
        self.state = State::Leader(Box::new(Leading::new(first.index, self.now())));
        self.set_leader(Some(self.config.id));
        self.append(Payload::Blank);
        self.track_followers();
    }

    fn other_voters(&self) -> Vec<NodeId> {
        let membership = self.membership();
        let others = membership.members().filter(|id| *id != self.config.id);
        others.filter(|id| membership.is_voter(*id)).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::id::{Index, LogId, NodeId, Term};
    use crate::input::Input;
    use crate::message::{Body, Message, Promise, Word};
    use crate::restart::Stored;
    use crate::testing::{A, B, C, Cluster};
    use crate::view::Role;

    #[test]
    fn one_of_three_is_elected_and_the_others_follow_it() {
        let mut cluster = Cluster::of(3);
        let leader = cluster.elect();
        for id in [A, B, C] {
            assert_eq!(cluster.view(id).leader, Some(leader));
            assert_eq!(cluster.view(id).term, Term::new(1));
        }
    }

    #[test]
    fn of_two_that_ask_at_the_same_time_one_gives_way() {
        let mut cluster = Cluster::of(3);
        cluster.isolate(C);
        cluster.skip(150);
        for id in [B, A] {
            cluster.step(id, Input::Tick);
        }
        cluster.deliver();
        assert_eq!((cluster.view(A).role, cluster.view(A).term), (Role::Leader, Term::new(1)));
    }

    #[test]
    fn a_node_alone_leads_itself() {
        assert_eq!(Cluster::of(1).elect(), A);
    }

    #[test]
    fn nobody_votes_before_the_vote_is_on_disk() {
        let mut cluster = Cluster::of(3);
        cluster.skip(75);
        cluster.stall_disk(B);
        cluster.step(B, request_vote(A, B, 1));
        assert!(cluster.wire.is_empty());
        cluster.resume_disk(B);
        assert_eq!(promises(&cluster), [Promise::Vote]);
        assert_eq!(cluster.stored(B).hard_state.vote, Some(A));
    }

    #[test]
    fn a_vote_is_given_once_a_term_also_after_a_restart() {
        let mut cluster = Cluster::of(3);
        cluster.skip(75);
        cluster.step(C, request_vote(A, C, 7));
        cluster.restart(C);
        cluster.skip(75);
        cluster.wire.clear();
        cluster.step(C, request_vote(B, C, 7));
        assert_eq!(promises(&cluster), []);
        cluster.step(C, request_vote(A, C, 7));
        assert_eq!(promises(&cluster), [Promise::Vote]);
    }

    #[test]
    fn a_candidate_asks_for_votes_only_when_its_own_is_on_disk() {
        let mut cluster = Cluster::of(0);
        cluster.start(A, Stored::founding([A, B]));
        cluster.stall_disk(A);
        cluster.skip(150);
        cluster.step(A, Input::Tick);
        let Body::Word(Word::PreVote { round, .. }) = cluster.wire.pop_front().unwrap().body else {
            panic!("a pre-vote comes first");
        };
        let granted = Body::Word(Word::PreVoteReply { round, granted: true });
        cluster
            .step(A, Input::Message(Message { from: B, to: A, term: Term::ZERO, body: granted }));
        assert_eq!(cluster.view(A).role, Role::Candidate);
        assert!(cluster.wire.is_empty());
        cluster.resume_disk(A);
        assert!(matches!(promises(&cluster)[..], [Promise::RequestVote { .. }]));
    }

    #[test]
    fn a_node_alone_leads_only_when_its_vote_is_on_disk() {
        let mut cluster = Cluster::of(1);
        cluster.stall_disk(A);
        cluster.skip(150);
        cluster.step(A, Input::Tick);
        assert_eq!(cluster.view(A).role, Role::Candidate);
        cluster.resume_disk(A);
        assert_eq!(cluster.view(A).role, Role::Leader);
    }

    #[test]
    fn whoever_hears_a_leader_helps_nobody_to_replace_it() {
        let mut cluster = Cluster::of(3);
        cluster.make_leader(A);
        let term = cluster.view(A).term;
        cluster.step(B, request_vote(C, B, term.get() + 5));
        cluster.step(A, request_vote(C, A, term.get() + 5));
        assert_eq!(cluster.view(A).role, Role::Leader);
        assert_eq!(cluster.view(B).term, term);
    }

    #[test]
    fn a_node_that_was_cut_off_comes_back_in_the_term_in_which_it_left() {
        let mut cluster = Cluster::of(3);
        cluster.make_leader(A);
        let term = cluster.view(A).term;
        cluster.isolate(C);
        cluster.pass(5_000);
        assert_eq!(cluster.view(C).term, term);
        cluster.heal();
        cluster.pass(500);
        assert_eq!((cluster.view(A).role, cluster.view(A).term), (Role::Leader, term));
        assert_eq!(cluster.view(C).leader, Some(A));
    }

    #[test]
    fn a_leader_that_is_cut_off_steps_down() {
        let mut cluster = Cluster::of(3);
        cluster.make_leader(A);
        cluster.isolate(A);
        cluster.pass(1_000);
        assert_ne!(cluster.view(A).role, Role::Leader);
        assert_ne!(cluster.leader(), None);
    }

    #[test]
    fn a_node_in_a_later_term_is_not_kept_out() {
        let mut cluster = Cluster::of(3);
        cluster.make_leader(A);
        cluster.isolate(C);
        let term = Term::new(cluster.view(C).term.get() + 9);
        cluster.pass(500);
        cluster.step(C, request_vote(B, C, term.get()));
        cluster.heal();
        cluster.pass(1_000);
        assert!(cluster.view(A).term > term);
        let leader = cluster.elect();
        assert_eq!(cluster.view(C).leader, Some(leader));
    }

    #[test]
    fn the_shorter_log_loses() {
        let mut cluster = Cluster::of(3);
        cluster.make_leader(A);
        cluster.isolate(C);
        cluster.propose(A, b"x");
        cluster.pass(100);
        cluster.heal();
        cluster.isolate(A);
        cluster.pass(1_000);
        assert_eq!(cluster.leader(), Some(B));
        assert_eq!(cluster.state(C), b"x");
    }

    #[test]
    fn a_node_that_knows_of_no_cluster_has_no_vote() {
        let mut cluster = Cluster::of(1);
        cluster.start(NodeId(9), Stored::joining());
        cluster.pass(500);
        cluster.wire.clear();
        cluster.step(NodeId(9), request_vote(A, NodeId(9), 50));
        assert_eq!(promises(&cluster), []);
        assert_eq!(cluster.view(NodeId(9)).role, Role::Follower);
    }

    #[test]
    fn an_answer_to_an_earlier_attempt_is_not_counted() {
        let mut cluster = Cluster::of(3);
        cluster.isolate(A);
        cluster.pass(400);
        assert_eq!(cluster.view(A).role, Role::PreCandidate);
        let term = cluster.view(A).term;
        let reply = |from| Message {
            from,
            to: A,
            term,
            body: Body::Word(Word::PreVoteReply { round: 1, granted: true }),
        };
        cluster.step(A, Input::Message(reply(B)));
        assert_eq!(cluster.view(A).role, Role::PreCandidate);
    }

    fn request_vote(from: NodeId, to: NodeId, term: u64) -> Input<Vec<u8>> {
        let term = Term::new(term);
        let last = LogId::new(term, Index::new(1_000));
        let body = Body::Promise(Promise::RequestVote { last, forced: false });
        Input::Message(Message { from, to, term, body })
    }

    fn promises(cluster: &Cluster) -> Vec<Promise> {
        let promise = |message: &Message<_>| match message.body {
            Body::Promise(promise) => Some(promise),
            Body::Word(_) => None,
        };
        cluster.wire.iter().filter_map(promise).collect()
    }
}
