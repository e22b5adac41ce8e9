//! Handing leadership over (thesis, §3.10).

use crate::entry::Command;
use crate::id::NodeId;
use crate::message::Word;
use crate::raft::Raft;
use crate::state::{LeadershipTransfer, Reached, State};

/// After how many election timeouts a leader that makes no progress hands leadership over.
const STUCK_TIMEOUTS: u32 = 10;

impl<C: Command> Raft<C> {
    /// Stops taking commands until the other has all entries and leads, or takes too long.
    pub(crate) fn transfer(&mut self, to: NodeId) {
        let deadline = self.now() + self.config.timing.election_most;
        let votes = to != self.config.id && self.membership().is_voter(to);
        if let Some(leading) =
            self.leading_mut().filter(|leading| votes && leading.transfer.is_none())
        {
            leading.transfer = Some(LeadershipTransfer { to, deadline, urged: false });
        }
    }

    /// Hands over when clients have waited long for this leader, which does not get on, and a quorum has room
    /// for more: then it is this leader's own state machine, disk or snapshot that they wait for.
    ///
    /// Without that room the next leader could not even commit its first entry, and so answer no read.
    pub(crate) fn relieve(&mut self) {
        let now = self.now();
        let timeout = self.config.timing.election_most * STUCK_TIMEOUTS;
        let overloaded = self.is_overloaded();
        let room = self.answered_by_quorum(!self.is_behind(), |progress| !progress.is_full);
        let reached = Reached { applied: self.applied, snapshot: self.snapshot.last.index };
        let Some(leading) = self.leading_mut() else { return };
        let is_stuck = overloaded && reached == leading.reached;
        if !is_stuck {
            leading.reached = reached;
            leading.reached_at = now;
        } else if now - leading.reached_at >= timeout && room == Some(true) {
            leading.reached_at = now;
            if let Some(next) = self.successor() {
                self.transfer(next);
            }
        }
    }

    /// Returns a voter that has the whole log, and room for more: any, as one may be down that another is
    /// asked after.
    pub(crate) fn successor(&mut self) -> Option<NodeId> {
        let (last, membership) = (self.log.last().index, self.membership());
        let complete = self.leading()?.progress.iter().filter(|(id, progress)| {
            progress.matched == last && !progress.is_full && membership.is_voter(**id)
        });
        let complete: Vec<NodeId> = complete.map(|(id, _)| *id).collect();
        self.rng.one_of(&complete).copied()
    }

    pub(crate) fn give_up_transfer(&mut self) {
        let now = self.now();
        let Some(leading) = self.leading_mut() else { return };
        leading.transfer = leading.transfer.filter(|transfer| now < transfer.deadline);
    }

    /// Tells the other to start an election as soon as it has the whole log: before, it would lose.
    pub(crate) fn urge_target(&mut self) {
        let last = self.log.last().index;
        let Some(leading) = self.leading_mut() else { return };
        let Some(transfer) = leading.transfer.as_mut().filter(|transfer| !transfer.urged) else {
            return;
        };
        let to = transfer.to;
        if leading.progress.get(&to).is_some_and(|progress| progress.matched == last) {
            transfer.urged = true;
            leading.has_urged = true;
            self.say(to, Word::TimeoutNow);
        }
    }

    /// Tells it once more: the word may have been lost.
    pub(crate) fn urge_again(&mut self) {
        let Some(leading) = self.leading_mut() else { return };
        if let Some(transfer) = &mut leading.transfer {
            transfer.urged = false;
        }
    }

    /// Stands for election because the leader wants it. Voters need not protect that leader.
    pub(crate) fn handle_timeout_now(&mut self, from: NodeId) {
        let follows = matches!(self.state, State::Follower) && self.leader == Some(from);
        if follows && self.memberships.may_campaign(self.config.id, self.commit) {
            self.campaign(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::error::Refusal;
    use crate::input::Input;
    use crate::testing::{A, Answer, B, C, Cluster};
    use crate::view::Role;

    #[test]
    fn leadership_goes_over_at_once() {
        let mut cluster = Cluster::of(3);
        cluster.make_leader(A);
        let term = cluster.view(A).term;
        cluster.step(A, Input::Transfer { to: B });
        cluster.deliver();
        assert_eq!((cluster.leader(), cluster.view(B).term), (Some(B), term.next()));
    }

    #[test]
    fn the_other_gets_all_entries_first_and_no_new_ones_are_taken() {
        let mut cluster = Cluster::of(3);
        cluster.make_leader(A);
        let kept = cluster.propose(A, b"x");
        cluster.step(A, Input::Transfer { to: C });
        let refused = cluster.propose(A, b"y");
        assert_eq!(cluster.answer(refused), Some(&Answer::Refused(Refusal::Transferring)));
        cluster.deliver();
        assert_eq!(cluster.leader(), Some(C));
        cluster.pass(100);
        assert!(matches!(cluster.answer(kept), Some(Answer::Applied(_))));
        assert_eq!(cluster.state(C), b"x");
    }

    #[test]
    fn a_handover_that_takes_too_long_is_given_up() {
        let mut cluster = Cluster::of(3);
        cluster.make_leader(A);
        cluster.isolate(C);
        cluster.propose(A, b"x");
        cluster.step(A, Input::Transfer { to: C });
        cluster.pass(300);
        assert_eq!((cluster.view(A).role, cluster.view(A).transferring_to), (Role::Leader, None));
        let ticket = cluster.propose(A, b"y");
        cluster.pass(100);
        assert!(matches!(cluster.answer(ticket), Some(Answer::Applied(_))));
    }

    #[test]
    fn a_lost_word_is_said_again() {
        let mut cluster = Cluster::of(3);
        cluster.make_leader(A);
        cluster.step(A, Input::Transfer { to: B });
        cluster.wire.clear();
        cluster.pass(60);
        assert_eq!(cluster.leader(), Some(B));
    }
}
