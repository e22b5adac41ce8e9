//! An operator, who grows and shrinks the cluster, one wish at a time.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use geostream_consensus::{Membership, NodeId, Role, View};

use crate::machine::Wanted;

/// How many voters an operator keeps a cluster at; one that was founded with fewer does not shrink.
const VOTERS: RangeInclusive<usize> = 3..=7;

/// What the operator wants; given up when it turns out that it cannot be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Errand {
    /// Who shall vote.
    pub(crate) joins: Option<NodeId>,
    /// Who shall be gone.
    pub(crate) leaves: Option<NodeId>,
    /// After how many more looks of the operator it is given up.
    pub(crate) timeout: u8,
}

/// What to do next for an errand.
#[derive(Debug)]
pub(crate) enum Next {
    /// Nothing: wait.
    Wait,
    /// Start the machine of the node that joins.
    Start(NodeId),
    /// Ask the leader for these voters and learners.
    Ask(BTreeSet<NodeId>, BTreeSet<NodeId>),
    /// It is as it should be.
    Done,
}

impl Errand {
    /// Looks at a leader, and decides.
    pub(crate) fn next(&self, leader: &View<'_, Wanted>, is_up: impl Fn(NodeId) -> bool) -> Next {
        let membership = leader.membership;
        let settled = leader.membership_at <= leader.commit && !membership.is_joint();
        if leader.role != Role::Leader || !settled {
            return Next::Wait;
        }
        let Some(wanted) = self.voters(membership) else { return Next::Done };
        let (voters, learners) = (membership.voters(), membership.learners());
        match self.joins {
            Some(joins) if learners.contains(&joins) && !is_up(joins) => return Next::Start(joins),
            Some(joins) if !membership.contains(joins) => {
                return Next::Ask(voters.clone(), learners | &BTreeSet::from([joins]));
            }
            Some(_) | None => {}
        }
        let joins = BTreeSet::from_iter(self.joins);
        let leaves = BTreeSet::from_iter(self.leaves);
        if wanted == *voters {
            return Next::Done;
        }
        Next::Ask(wanted, &(learners - &joins) - &leaves)
    }

    /// Returns who votes in the end; `None` if those are too few or too many.
    pub(crate) fn voters(&self, membership: &Membership) -> Option<BTreeSet<NodeId>> {
        let (joins, leaves) = (BTreeSet::from_iter(self.joins), BTreeSet::from_iter(self.leaves));
        let voters = &(membership.voters() | &joins) - &leaves;
        let grows = voters.len() >= membership.voters().len();
        let few = voters.len() < *VOTERS.start() && !grows;
        (!few && voters.len() <= *VOTERS.end()).then_some(voters)
    }
}

/// Returns the membership that most nodes could agree on: the one that the latest leader has.
pub(crate) fn latest<'a>(views: impl Iterator<Item = View<'a, Wanted>>) -> Option<&'a Membership> {
    let leaders = views.filter(|view| view.role == Role::Leader);
    leaders.max_by_key(|view| view.term).map(|view| view.membership)
}
