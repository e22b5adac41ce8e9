//! At most one leader can be elected in a given term, and a quorum has voted for it then (Raft paper,
//! figure 3 and §5.2).

use std::collections::{BTreeMap, BTreeSet};

use geostream_consensus::{Body, NodeId, Promise, Role, Term};

use super::{Checker, Seen};

/// Who led in each term, and who voted for whom.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct ElectionSafety {
    votes: BTreeSet<(Term, NodeId, NodeId)>,
    leaders: BTreeMap<Term, NodeId>,
}

impl Checker for ElectionSafety {
    fn name(&self) -> &'static str {
        "election safety"
    }

    fn judge(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        for message in seen.sent() {
            if matches!(message.body, Body::Promise(Promise::Vote)) {
                self.votes.insert((message.term, message.to, message.from));
            }
        }
        let (view, before) = (&seen.view, seen.before);
        if view.role != Role::Leader
            || before.is_some_and(|before| before.role == Role::Leader && before.term == view.term)
        {
            return Ok(());
        }
        let leader = *self.leaders.entry(view.term).or_insert(view.id);
        let (term, own) = (view.term, view.id);
        let votes = |id| id == own || self.votes.contains(&(term, own, id));
        // Its first entry can already be a step of a change of the membership.
        let log = &seen.history.logs[seen.node];
        let elected = log.memberships().iter().rev().any(|(_, there)| there.is_quorum(votes));
        if !elected {
            return Err(format!("{own} leads in term {term}, and no quorum has voted for it"));
        }
        if leader == own {
            return Ok(());
        }
        Err(format!("{} and {leader} both lead in term {}", view.id, view.term))
    }
}
