//! Nobody stands for election whom a quorum would not have voted for just now, except whom the leader asks
//! to (thesis, §9.6 and §3.10).

use std::collections::BTreeSet;

use geostream_consensus::{Body, NodeId, Promise, Role, Term, Word};

use super::{Cause, Checker, Seen};

/// What each node has heard since it last asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct PreVote {
    nodes: Vec<Asking>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Asking {
    round: Option<(u64, Term)>,
    granted: BTreeSet<NodeId>,
    urged: Option<Term>,
}

impl Checker for PreVote {
    fn name(&self) -> &'static str {
        "pre-vote"
    }

    fn judge(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        self.nodes.resize(self.nodes.len().max(seen.node + 1), Asking::default());
        let asking = &mut self.nodes[seen.node];
        if matches!(seen.cause, Cause::Start) {
            *asking = Asking::default();
        }
        if let Cause::Heard(heard) = seen.cause {
            if heard.granted.is_some() && heard.granted == asking.round.map(|(round, _)| round) {
                asking.granted.insert(heard.from);
            }
            if heard.urges {
                asking.urged = Some(heard.term);
            }
        }
        asking.stands(seen)?;
        asking.asks(seen);
        Ok(())
    }
}

impl Asking {
    fn stands(&self, seen: &Seen<'_>) -> Result<(), String> {
        let (view, before) = (&seen.view, seen.before);
        let stands = matches!(view.role, Role::Candidate | Role::Leader)
            && before.is_none_or(|before| before.term < view.term);
        if !stands || self.urged.is_some_and(|term| term.next() == view.term) {
            return Ok(());
        }
        let in_time = self.round.is_none_or(|(_, term)| term.next() == view.term);
        let supports = |id| id == view.id || self.granted.contains(&id);
        if in_time && view.membership.is_quorum(supports) {
            return Ok(());
        }
        let granted = &self.granted;
        Err(format!("{} stands in term {}, asked for by {granted:?} only", view.id, view.term))
    }

    fn asks(&mut self, seen: &Seen<'_>) {
        let term = seen.view.term;
        let asked = seen.sent().find_map(|message| match &message.body {
            Body::Word(Word::PreVote { round, .. }) => Some((*round, term)),
            Body::Promise(Promise::RequestVote { .. }) | Body::Word(_) | Body::Promise(_) => None,
        });
        let has_leader = seen.view.role == Role::Follower && seen.view.leader.is_some();
        if asked.is_some() || has_leader {
            self.round = asked;
            self.granted.clear();
        }
    }
}
