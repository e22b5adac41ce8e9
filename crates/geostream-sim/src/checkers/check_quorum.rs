//! A leader that hears from no quorum for long leads no more (thesis, §6.2).

use geostream_consensus::{Index, NodeId, Role};

use super::{Cause, Checker, Seen};
use crate::agenda::Micros;

/// When each node heard from each other in its present term.
#[derive(Debug, Default)]
pub(crate) struct CheckQuorum {
    nodes: Vec<Hearing>,
}

#[derive(Clone, Debug, Default)]
struct Hearing {
    /// It leads since then, or its time was odd then, or the quorum became another one.
    since: Micros,
    membership: Index,
    /// By the sender's place.
    heard: Vec<Micros>,
}

impl Checker for CheckQuorum {
    fn name(&self) -> &'static str {
        "check-quorum"
    }

    fn judge(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        self.nodes.resize(self.nodes.len().max(seen.node + 1), Hearing::default());
        if seen.view.role != Role::Leader {
            return Ok(());
        }
        let hearing = &mut self.nodes[seen.node];
        let was_leader = seen.before.is_some_and(|before| before.role == Role::Leader);
        let membership = seen.view.membership_at;
        if !was_leader || seen.is_odd || hearing.membership != membership {
            (hearing.since, hearing.membership) = (seen.now, membership);
        }
        if let Cause::Heard(message) = seen.cause {
            let from = usize::try_from(message.from.0).unwrap_or(0);
            hearing.heard.resize(hearing.heard.len().max(from + 1), 0);
            hearing.heard[from] = seen.now;
        }
        let longest = 3 * u64::try_from(seen.timing.election_most.as_micros()).unwrap_or(0);
        if seen.now - hearing.since <= longest {
            return Ok(());
        }
        let lately = |at: Micros| seen.now - at <= longest;
        let heard = |id: NodeId| {
            let at = usize::try_from(id.0).ok().and_then(|from| hearing.heard.get(from));
            id == seen.id() || at.copied().is_some_and(lately)
        };
        if seen.view.membership.is_quorum(heard) {
            return Ok(());
        }
        Err(format!("{} leads for {longest} us without a quorum", seen.id()))
    }
}
