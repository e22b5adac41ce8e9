//! Starting from what is on disk.

use std::collections::BTreeMap;

use crate::clock::Clock;
use crate::config::Config;
use crate::effect::{HardState, Op};
use crate::entry::{Command, Entry, Payload, SnapshotMeta};
use crate::error::RestoreError;
use crate::id::{Index, LogId, NodeId, Term};
use crate::log::Log;
use crate::membership::Membership;
use crate::memberships::Memberships;
use crate::outbox::Outbox;
use crate::raft::Raft;
use crate::rng::Rng;
use crate::state::{Leadership, LocalReads, OwnSnapshot, State};
use crate::time::Moment;

/// What is on disk when a node starts.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored<C> {
    /// The last one written.
    pub hard_state: HardState,
    /// The last one in use; what stands for nothing, if there was none.
    pub snapshot: SnapshotMeta,
    /// All entries, in order. They may begin before the snapshot's end.
    pub entries: Vec<Entry<C>>,
    /// How far the state machine is. One that was lost with the process is first restored from the
    /// snapshot, and is at its end; so is one that kept less.
    pub applied: Index,
}

impl<C: Command> Stored<C> {
    /// Returns what a founder of a cluster starts with: a log whose first entry says who founds it.
    ///
    /// All founders start with the same; each writes it to its disk before its first start, once.
    #[must_use]
    pub fn founding(founders: impl IntoIterator<Item = NodeId>) -> Self {
        let payload = Payload::Membership(Membership::of(founders));
        let first = Entry { id: LogId::new(Term::ZERO, Index::FIRST), payload };
        Self { entries: vec![first], ..Self::joining() }
    }

    /// Returns what a node starts with that waits to be let into a cluster: nothing.
    #[must_use]
    pub fn joining() -> Self {
        Self {
            hard_state: HardState::default(),
            snapshot: SnapshotMeta::default(),
            entries: Vec::new(),
            applied: Index::ORIGIN,
        }
    }

    /// Tells what cannot have been written by a node, if anything.
    fn check(&self) -> Result<(), RestoreError> {
        let end = self.snapshot.last.index;
        let mut expected = self.entries.first().map_or(end, |first| first.id.index.min(end.next()));
        let mut term = Term::ZERO;
        for Entry { id, .. } in &self.entries {
            if id.index != expected {
                return Err(RestoreError::Gap { expected, found: *id });
            }
            if id.term < term || id.term > self.hard_state.term {
                return Err(RestoreError::Term(*id));
            }
            (expected, term) = (id.index.next(), id.term);
        }
        Ok(())
    }

    /// Returns the log, and whether it has to be put in order on disk.
    ///
    /// A crash may have come between a snapshot's being used and the log's being cut. Entries that do
    /// not lead to the snapshot's end are then of another history, or before it.
    fn log(entries: Vec<Entry<C>>, snapshot: &SnapshotMeta) -> (Log<C>, bool) {
        let end = snapshot.last;
        let next = end.index.next();
        let first = entries.first().map_or(next, |first| first.id.index);
        let mut entries = entries.into_iter().peekable();
        // What came before the first entry was purged with its term: the first one takes its place.
        let base = if first == next {
            end
        } else if first == Index::FIRST {
            LogId::ORIGIN
        } else {
            entries.next().map_or(end, |entry| entry.id)
        };
        let mut log = Log::starting_after(base);
        entries.for_each(|entry| log.push(entry));
        let leads = log.contains(end);
        (if leads { log } else { Log::starting_after(end) }, !leads)
    }
}

impl<C: Command> Raft<C> {
    /// Continues from what is on disk.
    ///
    /// The seed determines all random numbers of the node: two nodes, and two starts, need two
    /// seeds.
    ///
    /// # Errors
    ///
    /// The configuration makes no sense, or no node can have written what is on disk.
    pub fn restore(
        config: Config,
        stored: Stored<C>,
        now: Moment,
        seed: u64,
    ) -> Result<Self, RestoreError> {
        config.check().map_err(RestoreError::Config)?;
        stored.check()?;
        let Stored { hard_state: hard, snapshot, entries, applied } = stored;
        let (log, disorder) = Stored::log(entries, &snapshot);
        let (least, most) = (snapshot.last.index, log.last().index);
        if applied < least || applied > most {
            return Err(RestoreError::Applied { applied, least, most });
        }
        let mut outbox = Outbox::new(config.id);
        if disorder {
            outbox.write(Op::Truncate { from: least.next() });
            outbox.write(Op::Purge { through: least });
        }
        let mut rng = Rng::new(seed);
        let reads = LocalReads::numbered_from(rng.next_u64());
        // A leader that this node followed before it stopped may hold a lease, which relies on
        // this node to grant no vote until then.
        let sticky_until = now + config.timing.election_least;
        let mut raft = Self {
            clock: Clock::new(now),
            rng,
            outbox,
            state: State::Follower,
            leader: None,
            announced: Leadership { term: hard.term, leader: None },
            sticky_until,
            election_at: sticky_until,
            memberships: memberships(&log, &snapshot),
            durable: most,
            commit: applied,
            handed_out: applied,
            applied,
            tickets: BTreeMap::new(),
            reads,
            own_snapshot: OwnSnapshot::default(),
            receiving: None,
            halted: None,
            config,
            hard,
            log,
            snapshot,
        };
        // A crash may have come between a snapshot's being used and that.
        raft.purge();
        raft.rearm();
        Ok(raft)
    }
}

/// Finds what is in force again: also what was not committed yet counts.
fn memberships<C: Command>(log: &Log<C>, snapshot: &SnapshotMeta) -> Memberships {
    let mut memberships = Memberships::starting_with(snapshot);
    for entry in log.iter_from(snapshot.last.index.next()) {
        if let Payload::Membership(membership) = &entry.payload {
            memberships.push(entry.id.index, membership.clone());
        }
    }
    memberships
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{A, log_id};

    #[test]
    fn a_log_that_does_not_lead_to_the_snapshot_is_of_another_history() {
        let entries = [(1, 1), (1, 2), (1, 3)];
        assert_eq!(restored(&entries, (2, 2), 2).log.last(), log_id(2, 2));
        assert_eq!(restored(&entries, (2, 9), 9).log.last(), log_id(2, 9));
        let kept = restored(&entries, (1, 2), 2);
        assert_eq!((kept.log.base(), kept.log.last()), (LogId::ORIGIN, log_id(1, 3)));
    }

    #[test]
    fn a_log_that_was_purged_goes_on_from_its_first_entry() {
        let raft = restored(&[(1, 4), (1, 5), (2, 6)], (1, 5), 5);
        assert_eq!((raft.log.base(), raft.log.last()), (log_id(1, 4), log_id(2, 6)));
        let raft = restored(&[(2, 6)], (1, 5), 6);
        assert_eq!((raft.log.base(), raft.commit), (log_id(1, 5), Index::new(6)));
    }

    #[test]
    fn what_no_node_can_have_written_is_refused() {
        let gap = RestoreError::Gap { expected: Index::new(2), found: log_id(1, 3) };
        assert_eq!(restore(&[(1, 1), (1, 3)], (0, 0), 0).unwrap_err(), gap);
        let gap = RestoreError::Gap { expected: Index::new(6), found: log_id(1, 7) };
        assert_eq!(restore(&[(1, 7)], (1, 5), 5).unwrap_err(), gap);
        let term = RestoreError::Term(log_id(1, 2));
        assert_eq!(restore(&[(2, 1), (1, 2)], (0, 0), 0).unwrap_err(), term);
        let term = RestoreError::Term(log_id(8, 1));
        assert_eq!(restore(&[(8, 1)], (0, 0), 0).unwrap_err(), term);
        let (applied, end) = (Index::new(3), Index::new(5));
        let applied = RestoreError::Applied { applied, least: end, most: end };
        assert_eq!(restore(&[], (1, 5), 3).unwrap_err(), applied);
    }

    fn restored(ids: &[(u64, u64)], snapshot: (u64, u64), applied: u64) -> Raft<Vec<u8>> {
        restore(ids, snapshot, applied).unwrap()
    }

    fn restore(
        ids: &[(u64, u64)],
        snapshot: (u64, u64),
        applied: u64,
    ) -> Result<Raft<Vec<u8>>, RestoreError> {
        let id = |(term, index): (u64, u64)| log_id(term, index);
        let entry = |ids: &(u64, u64)| Entry { id: id(*ids), payload: Payload::Blank };
        let stored = Stored {
            hard_state: HardState { term: Term::new(5), vote: None },
            snapshot: SnapshotMeta { last: id(snapshot), membership: Membership::of([A]) },
            entries: ids.iter().map(entry).collect(),
            applied: Index::new(applied),
        };
        Raft::restore(Config::new(A), stored, Moment::START, 1)
    }
}
