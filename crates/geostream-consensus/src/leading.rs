//! What a leader is busy with.

use crate::entry::Command;
use crate::id::NodeId;
use crate::progress::Progress;
use crate::raft::Raft;
use crate::state::Leading;
use crate::time::Moment;

impl<C: Command> Raft<C> {
    /// Knows of every other member, and of nobody else.
    pub(crate) fn track_followers(&mut self) {
        let members: Vec<NodeId> =
            self.membership().members().filter(|id| *id != self.config.id).collect();
        let (now, next) = (self.now(), self.log.last().index);
        let Some(leading) = self.leading_mut() else { return };
        leading.progress.retain(|id, _| members.contains(id));
        for id in members {
            leading.progress.entry(id).or_insert_with(|| Progress::unknown(next, now));
        }
    }

    /// Does what is due at a leader.
    pub(crate) fn tick_leader(&mut self) {
        let now = self.now();
        if self.quorum_deadline().is_some_and(|deadline| now >= deadline) {
            // Cut off from its voters, it may be leader only in its own eyes (thesis, §6.2).
            self.follow(self.hard.term, None);
            return;
        }
        self.give_up_transfer();
        self.retry_chunks();
        if self.leading().is_some_and(|leading| now >= leading.heartbeat_at) {
            self.relieve();
            self.ask_all();
        }
    }

    pub(crate) fn leader_deadline(&self, leading: &Leading) -> Moment {
        let deadlines = [
            self.quorum_deadline(),
            leading.transfer.map(|transfer| transfer.deadline),
            leading.chunk_deadline(),
        ];
        deadlines.into_iter().flatten().fold(leading.heartbeat_at, Moment::min)
    }

    /// Returns when it has not heard from a quorum for so long that it no longer leads.
    fn quorum_deadline(&self) -> Option<Moment> {
        let heard = self.heard_from_quorum()?;
        Some(heard + self.config.timing.election_most)
    }

    /// Returns the latest moment after which a quorum still followed.
    pub(crate) fn heard_from_quorum(&self) -> Option<Moment> {
        self.answered_by_quorum(self.now(), |progress| progress.heard)
    }

    /// Returns what a quorum has reached, of something that the leader itself has at its best.
    pub(crate) fn answered_by_quorum<T: Ord + Copy + Default>(
        &self,
        own: T,
        of: impl Fn(&Progress) -> T,
    ) -> Option<T> {
        let leading = self.leading()?;
        self.membership().reached_by_quorum(|id| {
            let other = || leading.progress.get(&id).map(&of).unwrap_or_default();
            if id == self.config.id { own } else { other() }
        })
    }
}
