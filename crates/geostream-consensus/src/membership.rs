//! Who belongs to the cluster, and what a quorum of it is.

use std::collections::BTreeSet;

use crate::error::MembershipError;
use crate::id::NodeId;

/// Who belongs to the cluster: a simple membership, or a joint one on the way between two (Raft
/// paper, §6).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Membership {
    voters: BTreeSet<NodeId>,
    /// The voters before; empty unless joint.
    outgoing: BTreeSet<NodeId>,
    learners: BTreeSet<NodeId>,
    /// The greatest id that ever belonged.
    newest: Option<NodeId>,
}

impl Membership {
    /// Makes the first membership of a cluster.
    #[must_use]
    pub fn of(voters: impl IntoIterator<Item = NodeId>) -> Self {
        let voters: BTreeSet<_> = voters.into_iter().collect();
        let newest = voters.last().copied();
        Self { voters, newest, ..Self::default() }
    }

    /// Puts together what was taken apart to be stored or sent.
    #[must_use]
    pub fn from_parts(
        voters: BTreeSet<NodeId>,
        outgoing: BTreeSet<NodeId>,
        learners: BTreeSet<NodeId>,
        newest: Option<NodeId>,
    ) -> Self {
        Self { voters, outgoing, learners, newest }
    }

    /// Returns who votes; in a joint membership, who will.
    #[must_use]
    pub fn voters(&self) -> &BTreeSet<NodeId> {
        &self.voters
    }

    /// Returns who voted before the change that is under way; empty if none is.
    #[must_use]
    pub fn outgoing(&self) -> &BTreeSet<NodeId> {
        &self.outgoing
    }

    /// Returns who gets entries, and does not vote.
    #[must_use]
    pub fn learners(&self) -> &BTreeSet<NodeId> {
        &self.learners
    }

    /// Returns the greatest id that ever belonged; one that joins has a greater one.
    #[must_use]
    pub fn newest(&self) -> Option<NodeId> {
        self.newest
    }

    /// Tells whether a change is under way, so that both majorities are needed.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Tells whether nobody is known to belong: so it is on a node that waits to be let in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.voters.is_empty()
    }

    /// Tells whether this node votes, in either half.
    #[must_use]
    pub fn is_voter(&self, id: NodeId) -> bool {
        self.voters.contains(&id) || self.outgoing.contains(&id)
    }

    /// Tells whether this node gets entries.
    #[must_use]
    pub fn contains(&self, id: NodeId) -> bool {
        self.is_voter(id) || self.learners.contains(&id)
    }

    /// Returns everybody, each once, in order.
    pub fn members(&self) -> impl Iterator<Item = NodeId> {
        let voters = self.voters.union(&self.outgoing).copied().collect::<BTreeSet<_>>();
        voters.union(&self.learners).copied().collect::<BTreeSet<_>>().into_iter()
    }

    /// Tells whether those who satisfy the condition are a quorum: a majority, or in a joint
    /// membership a majority of both halves, since neither may decide without the other.
    #[must_use]
    pub fn is_quorum(&self, agrees: impl Fn(NodeId) -> bool) -> bool {
        self.reached_by_quorum(agrees).unwrap_or(false)
    }

    /// Returns the greatest value that a quorum has reached; `None` if nobody votes.
    pub fn reached_by_quorum<T: Ord>(&self, value: impl Fn(NodeId) -> T) -> Option<T> {
        let new = reached_by_majority(&self.voters, &value);
        let old = reached_by_majority(&self.outgoing, &value);
        match (new, old) {
            (Some(new), Some(old)) => Some(new.min(old)),
            (new, None) => new,
            (None, Some(_)) => None,
        }
    }

    /// Tells what stands against these members as the next ones.
    ///
    /// Who joins has an id above all that ever belonged, so that no two disks have answered under one
    /// id; and it learns before it votes.
    pub(crate) fn check_next(
        &self,
        voters: &BTreeSet<NodeId>,
        learners: &BTreeSet<NodeId>,
        limit: usize,
    ) -> Result<(), MembershipError> {
        let count = voters.len() + learners.len();
        if voters.is_empty() {
            return Err(MembershipError::NoVoters);
        }
        if count > limit {
            return Err(MembershipError::TooMany { count, limit });
        }
        if let Some(both) = voters.intersection(learners).next() {
            return Err(MembershipError::Both(*both));
        }
        let mut joining = voters.union(learners).filter(|id| !self.contains(**id));
        let used = joining
            .find_map(|id| self.newest.filter(|newest| id <= newest).map(|newest| (*id, newest)));
        if let Some((id, newest)) = used {
            return Err(MembershipError::UsedId(id, newest));
        }
        let untried = voters.iter().find(|id| !self.contains(**id));
        untried.map_or(Ok(()), |id| Err(MembershipError::NotLearner(*id)))
    }

    /// Returns the first step towards these members: joint, unless the voters stay the same.
    pub(crate) fn towards(&self, voters: BTreeSet<NodeId>, learners: BTreeSet<NodeId>) -> Self {
        let newest = voters.iter().chain(&learners).copied().chain(self.newest).max();
        let same = voters == self.voters;
        let outgoing = if same { BTreeSet::new() } else { self.voters.clone() };
        Self { voters, outgoing, learners, newest }
    }

    /// Returns the second step: the members that were wanted.
    pub(crate) fn settled(&self) -> Self {
        Self { outgoing: BTreeSet::new(), ..self.clone() }
    }

    pub(crate) fn size(&self) -> usize {
        8 * (self.voters.len() + self.outgoing.len() + self.learners.len() + 1)
    }
}

/// Of 2n and of 2n+1 voters, n+1 are a majority: so at least that many have reached the value with
/// n+1 - 1 values above it.
fn reached_by_majority<T: Ord>(
    voters: &BTreeSet<NodeId>,
    value: impl Fn(NodeId) -> T,
) -> Option<T> {
    let mut values: Vec<T> = voters.iter().map(|id| value(*id)).collect();
    values.sort_unstable_by(|a, b| b.cmp(a));
    values.into_iter().nth(voters.len() / 2)
}
