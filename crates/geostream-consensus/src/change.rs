//! Changing who belongs, by way of a joint membership (Raft paper, §6; thesis, §4.3).

use std::collections::BTreeSet;

use crate::entry::{Command, Payload};
use crate::error::{MembershipError, Refusal};
use crate::id::{Index, NodeId, Ticket};
use crate::message::Word;
use crate::raft::Raft;
use crate::state::Expected;

impl<C: Command> Raft<C> {
    pub(crate) fn change_membership(
        &mut self,
        ticket: Ticket,
        voters: BTreeSet<NodeId>,
        learners: BTreeSet<NodeId>,
    ) {
        if let Err(why) = self.check_change(&voters, &learners) {
            return self.refuse(ticket, why);
        }
        let next = self.membership().towards(voters, learners);
        let id = self.append(Payload::Membership(next));
        self.expect(id, Expected { ticket, if_lost: Refusal::Lost });
        self.track_followers();
    }

    fn check_change(
        &self,
        voters: &BTreeSet<NodeId>,
        learners: &BTreeSet<NodeId>,
    ) -> Result<(), Refusal> {
        let leading = self.leading().ok_or_else(|| self.not_leader())?;
        if leading.transfer.is_some() {
            return Err(Refusal::Transferring);
        }
        if self.is_overloaded() {
            return Err(Refusal::Busy);
        }
        self.check_time(leading.first)?;
        let limit = self.config.limits.members;
        self.membership().check_next(voters, learners, limit)?;
        voters.iter().try_for_each(|voter| self.check_caught_up(*voter))?;
        Ok(())
    }

    /// One change at a time; and none before an entry of this leader's term is committed, since until
    /// then another change may be under way that it does not know of.
    fn check_time(&self, first: Index) -> Result<(), MembershipError> {
        let at = self.memberships.current_at();
        if self.commit < first {
            Err(MembershipError::NewLeader)
        } else if self.membership().is_joint() || at > self.commit {
            Err(MembershipError::Pending(at))
        } else {
            Ok(())
        }
    }

    /// A new voter must not be what everybody waits for (thesis, §4.2.1). It must at least know that it
    /// belongs: until then it has no vote.
    fn check_caught_up(&self, voter: NodeId) -> Result<(), MembershipError> {
        let Some(progress) = self.progress(voter) else { return Ok(()) };
        let behind = self.commit.since(progress.matched);
        let knows = progress.matched >= self.memberships.current_at();
        let caught_up = knows && behind <= self.config.limits.promotion_lag;
        if !self.membership().is_voter(voter) && !caught_up {
            return Err(MembershipError::Behind { node: voter, behind });
        }
        Ok(())
    }

    /// Goes on from a joint membership once it is committed, whoever proposed it.
    ///
    /// That it is joint is read from the log, where the entry that ends it makes it so no longer: it can
    /// be proposed neither twice nor never.
    pub(crate) fn leave_joint(&mut self) {
        let at = self.memberships.current_at();
        let free = self.leading().is_some_and(|leading| leading.transfer.is_none());
        if !free || at > self.commit || !self.membership().is_joint() {
            return;
        }
        let waiting = self.log.id_at(at).and_then(|id| self.tickets.remove(&id.into()));
        let id = self.append(Payload::Membership(self.membership().settled()));
        if let Some(Expected { ticket, .. }) = waiting {
            // The joint membership is committed: if not this leader, another ends it.
            self.expect(id, Expected { ticket, if_lost: Refusal::Unknown });
        }
        self.track_followers();
    }

    /// Steps down once its own removal is committed, and not before: until then nobody else may have
    /// the entry (thesis, §4.2.2). Whoever has it all goes on at once (§3.10).
    pub(crate) fn retire(&mut self) {
        let removed = !self.membership().is_voter(self.config.id);
        if self.leading().is_none() || !removed || self.memberships.current_at() > self.commit {
            return;
        }
        if let Some(next) = self.successor() {
            self.say(next, Word::TimeoutNow);
        }
        self.follow(self.hard.term, None);
    }
}

#[cfg(test)]
mod tests {
    use crate::error::{MembershipError, Refusal};
    use crate::id::{NodeId, Ticket};
    use crate::input::Input;
    use crate::membership::Membership;
    use crate::restart::Stored;
    use crate::testing::{A, Answer, B, C, Cluster};
    use crate::view::Role;

    const D: NodeId = NodeId(4);

    #[test]
    fn a_node_joins_learns_and_then_votes() {
        let mut cluster = Cluster::of(3);
        cluster.make_leader(A);
        cluster.propose(A, b"x");
        learns(&mut cluster, D);
        assert_eq!(cluster.state(D), b"x");
        let ticket = cluster.change(A, &[1, 2, 3, 4], &[]);
        cluster.pass(100);
        assert!(matches!(cluster.answer(ticket), Some(Answer::Applied(_))));
        for id in [A, B, C, D] {
            assert!(cluster.view(id).membership.voters().contains(&D));
            assert!(!cluster.view(id).membership.is_joint());
        }
    }

    #[test]
    fn neither_majority_decides_alone_on_the_way() {
        let mut cluster = Cluster::of(3);
        cluster.make_leader(A);
        learns(&mut cluster, D);
        cluster.isolate(B);
        cluster.isolate(C);
        let ticket = cluster.change(A, &[1, 4], &[]);
        cluster.pass(40);
        assert_eq!(cluster.answer(ticket), None, "A and D are no majority of A, B and C");
        cluster.heal();
        cluster.pass(1_000);
        assert!(matches!(cluster.answer(ticket), Some(Answer::Applied(_))));
    }

    #[test]
    fn a_removed_leader_leads_until_that_is_committed_and_hands_over() {
        let mut cluster = Cluster::of(3);
        cluster.make_leader(A);
        let ticket = cluster.change(A, &[2, 3], &[]);
        cluster.deliver();
        assert!(matches!(cluster.answer(ticket), Some(Answer::Applied(_))));
        assert_eq!(cluster.view(A).role, Role::Follower);
        let leader = cluster.leader().unwrap();
        assert_ne!(leader, A);
        cluster.pass(5_000);
        assert_eq!(cluster.leader(), Some(leader), "whoever was removed disturbs nobody");
    }

    #[test]
    fn who_is_removed_but_alone_has_the_entry_may_still_lead() {
        let mut cluster = Cluster::of(2);
        cluster.make_leader(A);
        cluster.change(A, &[2], &[]);
        cluster.until(|cluster| !cluster.view(A).membership.is_voter(A));
        cluster.wire.clear();
        cluster.restart(A);
        cluster.heal();
        cluster.pass(3_000);
        assert_eq!(cluster.leader(), Some(B));
        assert_eq!(cluster.view(B).membership.voters().len(), 1);
    }

    #[test]
    fn a_change_that_has_only_begun_is_not_called_done() {
        let mut cluster = Cluster::of(3);
        cluster.make_leader(A);
        let ticket = cluster.change(A, &[1], &[]);
        cluster.step(A, Input::Transfer { to: B });
        cluster.deliver();
        assert_eq!(cluster.answer(ticket), Some(&Answer::Refused(Refusal::Unknown)));
        cluster.pass(1_000);
        assert_eq!(cluster.leader(), Some(A));
        assert_eq!(cluster.view(A).membership, &settled(&[1]));
    }

    #[test]
    fn a_change_that_was_not_committed_is_taken_back() {
        let mut cluster = Cluster::of(3);
        cluster.make_leader(A);
        cluster.isolate(A);
        cluster.change(A, &[1, 2], &[]);
        assert!(cluster.view(A).membership.is_joint());
        cluster.pass(1_000);
        let leader = cluster.leader().unwrap();
        cluster.heal();
        cluster.pass(1_000);
        assert_eq!(cluster.view(A).membership, cluster.view(leader).membership);
        assert!(!cluster.view(A).membership.is_joint());
    }

    #[test]
    fn a_new_leader_ends_the_change_that_another_began() {
        let mut cluster = Cluster::of(3);
        cluster.make_leader(A);
        cluster.stall_disk(A);
        cluster.change(A, &[2, 3], &[]);
        cluster.deliver();
        cluster.isolate(A);
        cluster.pass(1_000);
        let leader = cluster.leader().unwrap();
        assert_eq!(cluster.view(leader).membership, &settled(&[2, 3]));
        cluster.resume_disk(A);
        cluster.heal();
        cluster.pass(1_000);
        assert_eq!(cluster.leader(), Some(leader));
    }

    #[test]
    fn who_waits_for_a_change_that_another_ends_is_not_told_that_it_is_lost() {
        let mut cluster = Cluster::of(5);
        cluster.make_leader(A);
        cluster.stall_disk(B);
        cluster.stall_disk(C);
        let ticket = cluster.change(A, &[1, 2, 3, 4], &[]);
        cluster.deliver();
        cluster.mute(A);
        cluster.resume_disk(B);
        cluster.resume_disk(C);
        cluster.deliver();
        assert!(!cluster.view(A).membership.is_joint(), "the joint one is committed");
        cluster.isolate(A);
        cluster.pass(1_000);
        assert!(cluster.leader().is_some_and(|leader| leader != A));
        cluster.heal();
        cluster.pass(1_000);
        assert_eq!(cluster.answer(ticket), Some(&Answer::Refused(Refusal::Unknown)));
    }

    #[test]
    fn a_restart_does_not_forget_a_change_that_is_under_way() {
        let mut cluster = Cluster::of(3);
        cluster.make_leader(A);
        cluster.isolate(A);
        cluster.change(A, &[1, 2], &[]);
        cluster.restart(A);
        assert!(cluster.view(A).membership.is_joint());
    }

    #[test]
    fn what_is_no_membership_is_refused() {
        let mut cluster = Cluster::of(3);
        cluster.make_leader(A);
        let mut check = |voters: &[u64], learners: &[u64], why| {
            let ticket = cluster.change(A, voters, learners);
            assert_eq!(refusal(&cluster, ticket), Some(why), "{voters:?} {learners:?}");
        };
        check(&[], &[1], MembershipError::NoVoters);
        check(&[1, 2, 3], &[3], MembershipError::Both(C));
        check(&[1, 2, 3, 4], &[], MembershipError::NotLearner(D));
        check(&[1, 2, 3], &[0], MembershipError::UsedId(NodeId(0), C));
    }

    #[test]
    fn an_id_is_never_given_twice() {
        let mut cluster = Cluster::of(3);
        cluster.make_leader(A);
        for learners in [&[9][..], &[]] {
            cluster.change(A, &[1, 2, 3], learners);
            cluster.deliver();
        }
        let again = cluster.change(A, &[1, 2, 3], &[9]);
        let used = MembershipError::UsedId(NodeId(9), NodeId(9));
        assert_eq!(refusal(&cluster, again), Some(used));
    }

    #[test]
    fn one_change_waits_for_the_other_and_a_voter_for_its_log() {
        let mut config = Cluster::of(0).config;
        config.limits.promotion_lag = 2;
        let mut cluster = Cluster::with(3, config);
        cluster.make_leader(A);
        let first = cluster.change(A, &[1, 2, 3], &[4]);
        let second = cluster.change(A, &[1, 2, 3], &[]);
        assert!(matches!(refusal(&cluster, second), Some(MembershipError::Pending(_))));
        cluster.deliver();
        assert!(matches!(cluster.answer(first), Some(Answer::Applied(_))));
        let third = cluster.change(A, &[1, 2, 3, 4], &[]);
        assert!(matches!(refusal(&cluster, third), Some(MembershipError::Behind { node: D, .. })));
    }

    #[test]
    fn who_does_not_know_yet_that_it_belongs_cannot_become_a_voter() {
        let mut cluster = Cluster::of(3);
        cluster.make_leader(A);
        cluster.change(A, &[1, 2, 3], &[4]);
        cluster.deliver();
        let early = cluster.change(A, &[1, 2, 3, 4], &[]);
        assert!(matches!(refusal(&cluster, early), Some(MembershipError::Behind { node: D, .. })));
    }

    #[test]
    fn a_learner_neither_counts_nor_stands() {
        let mut cluster = Cluster::of(3);
        cluster.make_leader(A);
        learns(&mut cluster, D);
        cluster.isolate(B);
        cluster.isolate(C);
        let ticket = cluster.propose(A, b"x");
        cluster.pass(2_000);
        assert_eq!(cluster.answer(ticket), None);
        assert_eq!(cluster.view(D).role, Role::Follower);
    }

    fn learns(cluster: &mut Cluster, id: NodeId) {
        let ticket = cluster.change(A, &[1, 2, 3], &[id.0]);
        cluster.deliver();
        assert!(matches!(cluster.answer(ticket), Some(Answer::Applied(_))));
        cluster.start(id, Stored::joining());
        cluster.pass(100);
    }

    fn settled(voters: &[u64]) -> Membership {
        let voters = voters.iter().copied().map(NodeId).collect();
        Membership::from_parts(voters, [].into(), [].into(), Some(C))
    }

    fn refusal(cluster: &Cluster, ticket: Ticket) -> Option<MembershipError> {
        match cluster.answer(ticket)? {
            Answer::Refused(Refusal::Membership(why)) => Some(*why),
            Answer::Refused(_) | Answer::Applied(_) | Answer::Read(_) => None,
        }
    }
}
