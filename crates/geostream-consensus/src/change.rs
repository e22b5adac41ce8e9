//! Changing who belongs, by way of a joint membership (Raft paper, §6; thesis, §4.3).

use std::collections::BTreeSet;

use crate::entry::{Command, Payload};
use crate::error::{MembershipError, Refusal};
use crate::id::{NodeId, Ticket};
use crate::message::Word;
use crate::raft::Raft;

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
        self.expect(id, ticket);
        self.track_followers();
    }

    fn check_change(
        &self,
        voters: &BTreeSet<NodeId>,
        learners: &BTreeSet<NodeId>,
    ) -> Result<(), Refusal> {
        let leading = self.leading().ok_or_else(|| self.not_leader())?;
        if leading.handover.is_some() {
            return Err(Refusal::Transferring);
        }
        self.check_time(leading.first)?;
        let limit = self.config.limits.members;
        self.membership().check_next(voters, learners, limit)?;
        voters.iter().try_for_each(|voter| self.check_caught_up(*voter))?;
        Ok(())
    }

    /// One change at a time; and none before an entry of this leader's term is committed, since until
    /// then another change may be under way that it does not know of (M35).
    fn check_time(&self, first: u64) -> Result<(), MembershipError> {
        let at = self.memberships.current_at();
        if self.commit < first {
            Err(MembershipError::NewLeader)
        } else if self.membership().is_joint() || at > self.commit {
            Err(MembershipError::Pending(at))
        } else {
            Ok(())
        }
    }

    /// A new voter must not be what everybody waits for (thesis, §4.2.1).
    fn check_caught_up(&self, voter: NodeId) -> Result<(), MembershipError> {
        let Some(progress) = self.progress(voter) else { return Ok(()) };
        let behind = self.commit.saturating_sub(progress.matched);
        if !self.membership().is_voter(voter) && behind > self.config.limits.promotion_lag {
            return Err(MembershipError::Behind { node: voter, behind });
        }
        Ok(())
    }

    /// Goes on from a joint membership once it is committed, whoever proposed it.
    ///
    /// That it is joint is read from the log, where the entry that ends it makes it so no longer: it can
    /// be proposed neither twice nor never (M39).
    pub(crate) fn leave_joint(&mut self) {
        let at = self.memberships.current_at();
        let free = self.leading().is_some_and(|leading| leading.handover.is_none());
        if !free || at > self.commit || !self.membership().is_joint() {
            return;
        }
        let waiting = self.log.id_at(at).and_then(|id| self.tickets.remove(&(id.index, id.term)));
        let id = self.append(Payload::Membership(self.membership().settled()));
        if let Some(ticket) = waiting {
            self.expect(id, ticket);
        }
        self.track_followers();
    }

    /// Steps down once its own removal is committed, and not before: until then nobody else may have
    /// the entry (thesis, §4.2.2). Whoever has it all goes on at once (§3.10).
    pub(crate) fn retire(&mut self) {
        let Some(leading) = self.leading() else { return };
        let removed = !self.membership().is_voter(self.config.id);
        if !removed || self.memberships.current_at() > self.commit {
            return;
        }
        let last = self.log.last().index;
        let mut complete = leading.progress.iter().filter(|(_, progress)| progress.matched == last);
        let next = complete.find(|(id, _)| self.membership().is_voter(**id)).map(|(id, _)| *id);
        if let Some(next) = next {
            self.say(next, Word::TimeoutNow);
        }
        self.follow(self.hard.term, None);
    }
}
