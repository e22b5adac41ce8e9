//! The memberships of a log.

use crate::entry::SnapshotMeta;
use crate::id::{Index, NodeId};
use crate::membership::Membership;

/// Every membership that is in the log, and the one before it.
///
/// What is in force is the last one, committed or not (Raft paper, §6). There is no other place where
/// a membership is kept, so truncation takes back what it brought, and a restart finds what was
/// not committed yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Memberships {
    /// Never empty.
    known: Vec<(Index, Membership)>,
}

impl Memberships {
    pub(crate) fn starting_with(snapshot: &SnapshotMeta) -> Self {
        Self { known: vec![(snapshot.last.index, snapshot.membership.clone())] }
    }

    pub(crate) fn push(&mut self, at: Index, membership: Membership) {
        self.known.push((at, membership));
    }

    pub(crate) fn truncate(&mut self, from: Index) {
        let kept = self.known.partition_point(|(at, _)| *at < from);
        self.known.truncate(kept.max(1));
    }

    /// Forgets what was superseded at this place.
    pub(crate) fn forget_before(&mut self, index: Index) {
        self.known.drain(..self.position(index));
    }

    /// Returns the membership that is in force.
    pub(crate) fn current(&self) -> &Membership {
        &self.known[self.known.len() - 1].1
    }

    /// Returns where the membership that is in force came from.
    pub(crate) fn current_at(&self) -> Index {
        self.known[self.known.len() - 1].0
    }

    /// Returns the membership that was in force at this place.
    pub(crate) fn at(&self, index: Index) -> &Membership {
        &self.known[self.position(index)].1
    }

    /// Tells whether a node votes in the last committed membership, or in any after it.
    ///
    /// A node that an uncommitted membership removes may still be needed to commit it: it may be the
    /// only one that has it (thesis, §4.2.2).
    pub(crate) fn may_campaign(&self, id: NodeId, commit: Index) -> bool {
        self.known[self.position(commit)..].iter().any(|(_, membership)| membership.is_voter(id))
    }

    fn position(&self, index: Index) -> usize {
        self.known.partition_point(|(at, _)| *at <= index).saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::log_id;

    fn of(ids: &[u64]) -> Membership {
        Membership::of(ids.iter().copied().map(NodeId))
    }

    fn history() -> Memberships {
        let meta = SnapshotMeta { last: log_id(1, 5), membership: of(&[1, 2, 3]) };
        let mut memberships = Memberships::starting_with(&meta);
        memberships.push(Index::new(8), of(&[1, 2, 3, 4]));
        memberships.push(Index::new(9), of(&[2, 3, 4]));
        memberships
    }

    #[test]
    fn what_is_in_force_is_the_last_one_in_the_log() {
        let mut memberships = history();
        assert_eq!(
            (memberships.current_at(), memberships.current()),
            (Index::new(9), &of(&[2, 3, 4]))
        );
        memberships.truncate(Index::new(9));
        assert_eq!(
            (memberships.current_at(), memberships.current()),
            (Index::new(8), &of(&[1, 2, 3, 4]))
        );
        memberships.truncate(Index::new(1));
        assert_eq!(
            (memberships.current_at(), memberships.current()),
            (Index::new(5), &of(&[1, 2, 3]))
        );
    }

    #[test]
    fn a_snapshot_gets_the_one_at_its_end() {
        let mut memberships = history();
        assert_eq!(memberships.at(Index::new(7)), &of(&[1, 2, 3]));
        memberships.forget_before(Index::new(8));
        assert_eq!(memberships.at(Index::new(8)), &of(&[1, 2, 3, 4]));
        assert_eq!(memberships.known.len(), 2);
    }

    #[test]
    fn who_is_removed_may_stand_until_that_is_committed() {
        let memberships = history();
        assert!(memberships.may_campaign(NodeId(1), Index::new(8)));
        assert!(!memberships.may_campaign(NodeId(1), Index::new(9)));
        assert!(memberships.may_campaign(NodeId(4), Index::new(5)));
    }
}
