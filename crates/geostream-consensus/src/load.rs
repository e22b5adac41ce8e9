//! What a node holds, and when it takes in no more.
//!
//! The log is what is kept before the last snapshot, what was committed since, and what is not
//! committed yet. The first and the last have limits of their own, beside the first entry of every leader;
//! the middle grows as long as the state machine, the disk or the next snapshot keeps the node waiting.
//!
//! What is committed counts as far as the node knows. After a restart it knows of no more than its snapshot,
//! until a leader has committed something in its own term; so its log, and that of whoever follows it,
//! may be longer by another backlog.

use crate::entry::Command;
use crate::raft::Raft;
use crate::view::Held;

impl<C: Command> Raft<C> {
    pub(crate) fn held(&self) -> Held {
        let (base, last) = (self.log.base().index, self.log.last().index);
        Held {
            log_entries: last.since(base),
            log_bytes: self.log.weight_between(base, last),
            uncommitted_entries: last.since(self.commit),
            uncommitted_bytes: self.log.weight_between(self.commit, last),
            tickets: self.tickets.len(),
            reads: self.read_count(),
            promises: self.outbox.promises(),
            writes: self.outbox.writes(),
        }
    }

    /// Tells whether clients must wait for what this node itself is late with. They alone do not clog it:
    /// their part of the writes ends at half.
    pub(crate) fn is_overloaded(&self) -> bool {
        self.is_behind()
            || self.outbox.writes() * 2 >= self.config.limits.writes
            || self.tickets.len() as u64 >= self.config.limits.uncommitted_entries
    }

    /// Tells whether so much is committed that no snapshot contains that the log may not grow on.
    ///
    /// A snapshot is due before it comes to that (`Limits::check`), so it ends once the state machine,
    /// the disk and the snapshot have done what they were asked for.
    pub(crate) fn is_behind(&self) -> bool {
        let (limits, end) = (&self.config.limits, self.snapshot.last.index);
        self.commit.since(end) >= limits.backlog_entries
            || self.log.weight_between(end, self.commit) >= limits.backlog_bytes
    }

    /// Tells whether so many writes wait for the disk that there may be no more.
    ///
    /// Such a node hears nobody and does not stand for election. If it leads, it steps down when it has
    /// heard from no quorum for too long.
    pub(crate) fn is_clogged(&self) -> bool {
        self.outbox.writes() >= self.config.limits.writes
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Limits;
    use crate::error::Refusal;
    use crate::id::Index;
    use crate::input::Input;
    use crate::testing::{A, Answer, B, C, Cluster};
    use crate::view::Role;

    /// Three nodes that make a snapshot of every four entries, and hold twelve at most without one.
    fn small() -> Cluster {
        let mut config = Cluster::of(0).config;
        config.limits = Limits {
            snapshot_after_entries: 4,
            keep_entries: 2,
            backlog_entries: 12,
            uncommitted_entries: 6,
            writes: 8,
            ..config.limits
        };
        Cluster::with(3, config)
    }

    /// Proposes so many commands to A, and lets so many milliseconds pass after each.
    fn press(cluster: &mut Cluster, commands: u8, ms: u64) {
        for command in 0..commands {
            cluster.propose(A, &[command]);
            cluster.pass(ms);
        }
    }

    #[test]
    fn a_leader_whose_state_machine_hangs_takes_no_more_and_hands_over() {
        let mut cluster = small();
        cluster.make_leader(A);
        cluster.hang_machine(A);
        let tickets: Vec<_> = (0..14)
            .map(|command| {
                cluster.pass(10);
                cluster.propose(A, &[command])
            })
            .collect();
        assert_eq!(cluster.answer(tickets[13]), Some(&Answer::Refused(Refusal::Busy)));
        assert!(cluster.view(A).held.log_entries <= 2 + 12 + 6);
        cluster.pass(3_000);
        let leader = cluster.leader().unwrap();
        assert_ne!(leader, A);
        let ticket = cluster.propose(leader, b"x");
        cluster.pass(100);
        assert!(matches!(cluster.answer(ticket), Some(Answer::Applied(_))));
        cluster.free_machine(A);
        cluster.pass(1_000);
        assert_eq!(cluster.state(A), cluster.state(leader));
    }

    #[test]
    fn whom_it_hands_over_to_may_be_down() {
        let mut cluster = small();
        cluster.make_leader(A);
        cluster.hang_machine(A);
        press(&mut cluster, 14, 10);
        cluster.isolate(B);
        cluster.pass(30_000);
        assert_eq!(cluster.leader(), Some(C));
    }

    #[test]
    fn nobody_takes_over_whom_no_quorum_could_follow() {
        let mut config = small().config;
        config.limits.uncommitted_entries = 100;
        let mut cluster = Cluster::with(3, config);
        cluster.make_leader(A);
        for id in [A, C] {
            cluster.hang_machine(id);
        }
        press(&mut cluster, 100, 10);
        cluster.pass(10_000);
        assert_eq!(
            cluster.leader(),
            Some(A),
            "it can still answer reads, once its state machine does"
        );
    }

    #[test]
    fn all_whose_state_machines_hang_take_no_more_until_they_do_not() {
        let mut cluster = small();
        cluster.make_leader(A);
        for id in [A, B, C] {
            cluster.hang_machine(id);
        }
        press(&mut cluster, 100, 10);
        assert!(cluster.view(A).held.log_entries <= 2 + 12 + 6);
        for id in [A, B, C] {
            cluster.free_machine(id);
        }
        cluster.pass(1_000);
        let leader = cluster.leader().unwrap();
        let ticket = cluster.propose(leader, b"x");
        cluster.pass(100);
        assert!(matches!(cluster.answer(ticket), Some(Answer::Applied(_))));
    }

    #[test]
    fn a_follower_whose_state_machine_hangs_takes_no_more_and_catches_up() {
        let mut cluster = small();
        cluster.make_leader(A);
        cluster.hang_machine(C);
        press(&mut cluster, 100, 10);
        assert_eq!(cluster.state(A).len(), 100);
        assert!(cluster.view(C).held.log_entries <= 2 + 12 + 6);
        cluster.free_machine(C);
        cluster.pass(1_000);
        assert_eq!(cluster.state(C), cluster.state(A));
    }

    #[test]
    fn little_is_sent_to_a_follower_that_takes_no_more() {
        let mut cluster = small();
        cluster.make_leader(A);
        cluster.hang_machine(C);
        press(&mut cluster, 30, 10);
        for _ in 0..500 {
            if !cluster.deliver_one() {
                cluster.tick_next();
            }
            let under_way = cluster.entries_under_way(C);
            assert_eq!(under_way, 0, "a heartbeat asks whether there is room again");
        }
    }

    #[test]
    fn a_follower_that_is_full_gets_no_snapshot_either() {
        let mut cluster = small();
        cluster.make_leader(A);
        cluster.hang_machine(C);
        press(&mut cluster, 60, 30);
        assert!(cluster.view(A).log.base().index > cluster.view(C).log.last().index);
        assert_eq!(cluster.view(C).receiving, None);
        assert_eq!(cluster.view(C).snapshot.last.index, Index::ORIGIN);
        cluster.free_machine(C);
        cluster.pass(1_000);
        assert_eq!(cluster.state(C), cluster.state(A));
    }

    #[test]
    fn a_node_whose_disk_hangs_does_not_pile_up_writes() {
        let mut cluster = small();
        cluster.make_leader(A);
        cluster.stall_disk(A);
        press(&mut cluster, 100, 10);
        assert!(cluster.view(A).held.writes <= 8);
        cluster.resume_disk(A);
        cluster.pass(1_000);
        assert_eq!(cluster.state(A), cluster.state(B));
    }

    #[test]
    fn a_node_alone_whose_disk_hangs_does_not_stand_again_and_again() {
        let mut config = small().config;
        config.limits.writes = 3;
        let mut cluster = Cluster::with(1, config);
        cluster.stall_disk(A);
        cluster.pass(10_000);
        assert!(cluster.view(A).held.writes <= 3);
        cluster.resume_disk(A);
        cluster.step(A, Input::Tick);
        cluster.pass(1_000);
        assert_eq!(cluster.view(A).role, Role::Leader);
    }
}
