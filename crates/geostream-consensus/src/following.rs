//! How a follower takes its leader's log (Raft paper, §5.3).

use crate::entry::{Command, Entry};
use crate::error::HaltReason;
use crate::id::{Index, LogId, NodeId};
use crate::message::{AppendEntries, Probe, Promise, Word};
use crate::raft::Raft;
use crate::state::State;

impl<C: Command> Raft<C> {
    /// Takes entries from the leader of this term.
    pub(crate) fn handle_append_entries(&mut self, from: NodeId, append: AppendEntries<C>) {
        if !self.heed(from) {
            return;
        }
        let AppendEntries { prev, entries, commit, probe } = append;
        let Some((prev, entries)) = self.pass_over_committed(prev, entries) else {
            return;
        };
        if !self.log.contains(prev) {
            let refusal = self.refusal_of(prev, probe);
            return self.say(from, refusal);
        }
        let (taken, is_full) = self.take_what_fits(entries);
        let matched = prev.index.plus(taken);
        // The rest of the log may be another leader's.
        self.commit = self.commit.max(commit.min(matched));
        self.forget_overtaken();
        self.promise(from, Promise::AppendAck { matched, is_full, probe });
    }

    /// Follows whoever sends entries in this term: it was elected. Tells whether that can be.
    pub(crate) fn heed(&mut self, from: NodeId) -> bool {
        let known = match self.state {
            State::Leader(_) => Some(self.config.id),
            State::Follower | State::PreCandidate(_) | State::Candidate(_) => self.leader,
        };
        if let Some(known) = known.filter(|known| *known != from) {
            self.halt(HaltReason::TwoLeaders(known, from, self.hard.term));
            return false;
        }
        self.follow(self.hard.term, Some(from));
        self.sticky_until = self.now() + self.config.timing.election_least;
        self.rearm();
        true
    }

    /// Passes over entries that are committed here. They are the same in every leader's log (Leader
    /// Completeness, §5.4.3), also where this node has purged them: so they are no conflict, and
    /// nothing committed is ever removed. `None` if the leader contradicts that.
    fn pass_over_committed(
        &mut self,
        prev: LogId,
        mut entries: Vec<Entry<C>>,
    ) -> Option<(LogId, Vec<Entry<C>>)> {
        let Some(committed) = self.log.id_at(self.commit).filter(|id| prev.index < id.index) else {
            return Some((prev, entries));
        };
        let known = entries.partition_point(|entry| entry.id.index <= committed.index);
        let mut passed = entries.drain(..known).map(|entry| entry.id).chain([prev]);
        let other = passed.find_map(|id| self.log.id_at(id.index).filter(|own| *own != id));
        drop(passed);
        if let Some(committed) = other {
            self.halt(HaltReason::Contradiction { term: self.hard.term, committed });
            return None;
        }
        Some((committed, entries))
    }

    /// Takes entries, and returns how many, and whether there is no room for more: while it is behind,
    /// its log does not grow.
    fn take_what_fits(&mut self, mut entries: Vec<Entry<C>>) -> (u64, bool) {
        let is_full = self.is_behind();
        if is_full {
            let last = self.log.last().index;
            entries.retain(|entry| entry.id.index <= last);
        }
        let count = entries.len() as u64;
        self.take(entries);
        (count, is_full)
    }

    /// Appends what it does not have. Only an entry that differs removes its place and what follows: a
    /// message that was delayed or repeated removes nothing.
    fn take(&mut self, entries: Vec<Entry<C>>) {
        for entry in entries {
            if self.log.contains(entry.id) {
                continue;
            }
            if entry.id.index <= self.log.last().index {
                self.truncate(entry.id.index);
            }
            self.push(entry);
        }
    }

    /// Removes entries that another leader left behind, and the memberships among them.
    fn truncate(&mut self, from: Index) {
        self.log.truncate(from);
        self.memberships.truncate(from);
        self.durable = self.durable.min(from.previous());
        self.outbox.write_truncation(from);
    }

    /// Says that it lacks an entry, and up to where it may agree.
    pub(crate) fn refusal_of(&self, prev: LogId, probe: Probe) -> Word<C> {
        Word::AppendRefused { prev, hint: self.log.last_not_after(prev), probe }
    }
}

#[cfg(test)]
mod tests {
    use crate::entry::{Entry, Payload};
    use crate::error::HaltReason;
    use crate::id::{Index, LogId, NodeId, Term};
    use crate::input::Input;
    use crate::message::{AppendEntries, Body, Message, Probe, Promise, Word};
    use crate::testing::{A, B, Bytes, C, Cluster, log_id};

    /// A follower whose log is `1.2 1.3 1.4`, of which all up to 3 is committed.
    fn follower() -> Cluster {
        let mut cluster = Cluster::of(3);
        let entries = [(1, 2), (1, 3), (1, 4)];
        cluster.step(B, append(A, 1, (0, 1), &entries, 3));
        cluster.wire.clear();
        cluster
    }

    #[test]
    fn an_append_is_acknowledged_up_to_its_own_end() {
        let mut cluster = follower();
        cluster.step(B, append(A, 1, (1, 2), &[(1, 3)], 9));
        assert_eq!(appended(&cluster), [3]);
        assert_eq!(
            cluster.view(B).commit,
            Index::new(3),
            "what lies beyond may be another leader's"
        );
    }

    #[test]
    fn a_delayed_append_removes_nothing() {
        let mut cluster = follower();
        cluster.step(B, append(A, 1, (0, 1), &[(1, 2)], 0));
        assert_eq!(cluster.view(B).log.last(), log_id(1, 4));
    }

    #[test]
    fn an_entry_that_differs_removes_what_follows_it() {
        let mut cluster = follower();
        cluster.step(B, append(C, 2, (1, 3), &[(2, 4), (2, 5)], 3));
        cluster.step(B, append(A, 3, (1, 3), &[(3, 4)], 3));
        assert_eq!(cluster.view(B).log.last(), log_id(3, 4));
        assert_eq!(cluster.stored(B).entries.last().unwrap().id, log_id(3, 4));
        assert_eq!(appended(&cluster), [5, 4]);
    }

    #[test]
    fn nothing_is_acknowledged_before_it_is_on_disk() {
        let mut cluster = follower();
        cluster.stall_disk(B);
        cluster.step(B, append(A, 1, (1, 4), &[(1, 5)], 3));
        cluster.step(B, append(A, 1, (1, 4), &[(1, 5)], 3));
        assert_eq!(appended(&cluster), [], "nor is a repetition of what is still being written");
        cluster.resume_disk(B);
        assert_eq!(appended(&cluster), [5]);
    }

    #[test]
    fn a_gap_is_refused_with_the_last_entry_that_may_agree() {
        let mut cluster = follower();
        cluster.step(B, append(A, 2, (2, 9), &[(2, 10)], 3));
        cluster.step(B, append(A, 2, (1, 7), &[], 3));
        assert_eq!(hints(&cluster), [log_id(1, 4), log_id(1, 4)]);
    }

    #[test]
    fn what_is_committed_is_passed_over_wherever_the_append_begins() {
        let mut cluster = follower();
        cluster.step(B, append(A, 2, (0, 1), &[(1, 2), (1, 3), (2, 4)], 4));
        cluster.step(B, append(A, 2, (0, 0), &[], 4));
        assert_eq!(appended(&cluster), [4, 4]);
        assert_eq!(cluster.view(B).log.last(), log_id(2, 4));
    }

    #[test]
    fn a_leader_that_contradicts_what_is_committed_stops_the_node() {
        let mut cluster = follower();
        cluster.step(B, append(C, 2, (0, 1), &[(2, 2)], 2));
        let committed = log_id(1, 2);
        assert_eq!(
            cluster.view(B).halted,
            Some(HaltReason::Contradiction { term: Term::new(2), committed })
        );
        assert!(cluster.wire.is_empty());
    }

    #[test]
    fn two_leaders_in_one_term_stop_the_node() {
        let mut cluster = follower();
        cluster.step(B, append(C, 1, (1, 4), &[], 3));
        assert_eq!(cluster.view(B).halted, Some(HaltReason::TwoLeaders(A, C, Term::new(1))));
    }

    fn append(
        from: NodeId,
        term: u64,
        (prev_term, prev_index): (u64, u64),
        ids: &[(u64, u64)],
        commit: u64,
    ) -> Input<Bytes> {
        let entry = |(term, index): &(u64, u64)| Entry {
            id: log_id(*term, *index),
            payload: Payload::Blank,
        };
        let append = AppendEntries {
            prev: log_id(prev_term, prev_index),
            entries: ids.iter().map(entry).collect(),
            commit: Index::new(commit),
            probe: Probe::default(),
        };
        let term = Term::new(term);
        Input::Message(Message { from, to: B, term, body: Body::Word(Word::AppendEntries(append)) })
    }

    fn appended(cluster: &Cluster) -> Vec<u64> {
        let matched = |message: &Message<Bytes>| match message.body {
            Body::Promise(Promise::AppendAck { matched, .. }) => Some(matched.get()),
            Body::Promise(_) | Body::Word(_) => None,
        };
        cluster.wire.iter().filter_map(matched).collect()
    }

    fn hints(cluster: &Cluster) -> Vec<LogId> {
        let hint = |message: &Message<Bytes>| match message.body {
            Body::Word(Word::AppendRefused { hint, .. }) => Some(hint),
            Body::Promise(_) | Body::Word(_) => None,
        };
        cluster.wire.iter().filter_map(hint).collect()
    }
}
