//! Handing leadership over (thesis, §3.10).

use crate::entry::Command;
use crate::id::NodeId;
use crate::message::Word;
use crate::raft::{Raft, State};
use crate::time::Moment;

/// Leadership on its way to another node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handover {
    pub(crate) to: NodeId,
    /// When it is given up, and the leader goes on.
    pub(crate) deadline: Moment,
    /// Whether the other was told to start an election.
    urged: bool,
}

impl<C: Command> Raft<C> {
    /// Stops taking commands until the other has all entries and leads, or takes too long (M41).
    pub(crate) fn transfer(&mut self, to: NodeId) {
        let deadline = self.now() + self.config.timing.election_most;
        let votes = to != self.config.id && self.membership().is_voter(to);
        if let Some(leading) =
            self.leading_mut().filter(|leading| votes && leading.handover.is_none())
        {
            leading.handover = Some(Handover { to, deadline, urged: false });
        }
    }

    pub(crate) fn give_up_handover(&mut self) {
        let now = self.now();
        let Some(leading) = self.leading_mut() else { return };
        leading.handover = leading.handover.filter(|handover| now < handover.deadline);
    }

    /// Tells the other to start an election as soon as it has the whole log: before, it would lose.
    pub(crate) fn hand_over(&mut self) {
        let last = self.log.last().index;
        let Some(leading) = self.leading_mut() else { return };
        let Some(handover) = leading.handover.as_mut().filter(|handover| !handover.urged) else {
            return;
        };
        let to = handover.to;
        if leading.progress.get(&to).is_some_and(|progress| progress.matched == last) {
            handover.urged = true;
            leading.has_urged = true;
            self.say(to, Word::TimeoutNow);
        }
    }

    /// Tells it once more: the word may have been lost.
    pub(crate) fn urge_again(&mut self) {
        let Some(leading) = self.leading_mut() else { return };
        if let Some(handover) = &mut leading.handover {
            handover.urged = false;
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
