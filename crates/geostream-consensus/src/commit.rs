//! What is committed, and how it reaches the state machine.

use crate::effect::Committed;
use crate::entry::{Command, Entry, Payload};
use crate::error::Refusal;
use crate::id::{Index, Term, Ticket};
use crate::raft::Raft;
use crate::state::{Expected, LogPosition};

impl<C: Command> Raft<C> {
    /// Commits what a quorum has on disk, this node counting no more than the others.
    ///
    /// Only an entry of this term is committed by counting; those before it are committed with it
    /// (Raft paper, §5.4.2 and figure 8).
    pub(crate) fn advance_commit(&mut self) {
        let reached = self.answered_by_quorum(self.durable, |progress| progress.matched);
        let Some(reached) = reached else { return };
        let of_this_term = self.log.term_at(reached) == Some(self.hard.term);
        if reached > self.commit && of_this_term {
            self.commit = reached;
        }
    }

    /// Gives the state machine the next page of entries that are committed, and on this disk: else a
    /// crash could leave the state machine ahead of its log.
    pub(crate) fn apply(&mut self) {
        let through = self.commit.min(self.durable);
        if self.handed_out != self.applied || through <= self.applied {
            return;
        }
        let bytes = self.config.limits.apply_bytes;
        let page = self.log.run(self.applied.next(), through, u64::MAX, bytes);
        self.handed_out = self.applied.plus(page.len() as u64);
        let page = page.into_iter().map(|entry| self.committed(entry)).collect();
        self.outbox.apply(page);
    }

    fn committed(&mut self, entry: Entry<C>) -> Committed<C> {
        let ticket = self.take_ticket(&entry);
        Committed { entry, ticket }
    }

    /// Returns who waits for this entry, unless it only begins a change of members: somebody else may end
    /// that, or leadership is being handed over before it is ended.
    ///
    /// Whoever waits for another at its place waits in vain: only now is that known. That an entry was
    /// truncated proves nothing, for a log that still has it may win the next election (figure 8).
    fn take_ticket(&mut self, entry: &Entry<C>) -> Option<Ticket> {
        let mut found = None;
        for (term, Expected { ticket, if_lost }) in self.take_tickets_through(entry.id.index) {
            match &entry.payload {
                _ if term != entry.id.term => self.refuse(ticket, if_lost),
                Payload::Membership(membership) if membership.is_joint() => {
                    self.refuse(ticket, Refusal::Unknown);
                }
                Payload::Membership(_) | Payload::Command(_) | Payload::Blank => {
                    found = Some(ticket);
                }
            }
        }
        found
    }

    pub(crate) fn take_tickets_through(&mut self, index: Index) -> Vec<(Term, Expected)> {
        let later = self.tickets.split_off(&LogPosition::before(index.next()));
        let taken = std::mem::replace(&mut self.tickets, later);
        taken.into_iter().map(|(position, expected)| (position.term, expected)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::LogId;
    use crate::testing::{A, Answer, B, C, Cluster};

    #[test]
    fn what_a_majority_has_is_applied_everywhere() {
        let mut cluster = Cluster::of(3);
        cluster.make_leader(A);
        cluster.isolate(C);
        let ticket = cluster.propose(A, b"x");
        cluster.deliver();
        assert!(matches!(cluster.answer(ticket), Some(Answer::Applied(_))));
        cluster.heal();
        cluster.pass(100);
        assert_eq!((cluster.state(B), cluster.state(C)), (&b"x"[..], &b"x"[..]));
    }

    #[test]
    fn a_leader_does_not_count_what_is_not_on_its_disk() {
        let mut cluster = Cluster::of(3);
        cluster.make_leader(A);
        cluster.isolate(C);
        cluster.stall_disk(A);
        let ticket = cluster.propose(A, b"x");
        cluster.deliver();
        assert_eq!(cluster.answer(ticket), None);
        cluster.resume_disk(A);
        assert!(matches!(cluster.answer(ticket), Some(Answer::Applied(_))));
    }

    #[test]
    fn two_followers_commit_what_the_leader_is_still_writing() {
        let mut cluster = Cluster::of(3);
        cluster.make_leader(A);
        cluster.stall_disk(A);
        let ticket = cluster.propose(A, b"x");
        cluster.pass(30);
        assert_eq!(cluster.state(B), b"x");
        assert_eq!(cluster.answer(ticket), None, "a crash could leave it ahead of its own log");
        cluster.resume_disk(A);
        assert!(matches!(cluster.answer(ticket), Some(Answer::Applied(_))));
    }

    #[test]
    fn a_node_alone_answers_when_it_is_on_disk() {
        let mut cluster = Cluster::of(1);
        cluster.elect();
        cluster.stall_disk(A);
        let ticket = cluster.propose(A, b"x");
        assert_eq!((cluster.answer(ticket), cluster.state(A)), (None, &b""[..]));
        cluster.resume_disk(A);
        assert_eq!(cluster.state(A), b"x");
    }

    #[test]
    fn a_command_is_lost_only_when_another_is_committed_in_its_place() {
        let mut cluster = Cluster::of(3);
        cluster.make_leader(A);
        cluster.isolate(A);
        let ticket = cluster.propose(A, b"lost");
        cluster.pass(1_000);
        let leader = cluster.leader().unwrap();
        cluster.propose(leader, b"kept");
        cluster.pass(100);
        assert_eq!(cluster.answer(ticket), None, "it may yet be committed");
        cluster.heal();
        cluster.pass(1_000);
        assert_eq!(cluster.answer(ticket), Some(&Answer::Refused(Refusal::Lost)));
        assert_eq!(cluster.state(A), b"kept");
    }

    #[test]
    fn the_deposed_leader_learns_that_its_command_was_committed() {
        let mut cluster = Cluster::of(3);
        cluster.make_leader(A);
        cluster.stall_disk(A);
        let ticket = cluster.propose(A, b"x");
        let id = cluster.view(A).log.last();
        cluster.deliver();
        cluster.isolate(A);
        cluster.pass(1_000);
        cluster.resume_disk(A);
        cluster.heal();
        cluster.pass(1_000);
        assert_eq!(cluster.answer(ticket), Some(&Answer::Applied(id)));
    }

    #[test]
    fn pages_follow_each_other_without_a_gap() {
        let mut config = Cluster::of(0).config;
        config.limits.apply_bytes = 60;
        let mut cluster = Cluster::with(3, config);
        cluster.make_leader(A);
        cluster.stall_disk(A);
        for command in b'a'..=b'z' {
            cluster.propose(A, &[command; 20]);
        }
        cluster.resume_disk(A);
        cluster.pass(100);
        let all: Vec<u8> = (b'a'..=b'z').flat_map(|command| [command; 20]).collect();
        assert_eq!((cluster.state(A), cluster.state(C)), (&all[..], &all[..]));
        assert_eq!(cluster.view(A).commit, cluster.view(A).log.last().index);
        assert_ne!(cluster.view(A).log.last(), LogId::ORIGIN);
    }
}
