//! If a log entry is committed in a given term, then that entry will be present in the logs of the leaders
//! for all higher-numbered terms (Raft paper, figure 3).

use geostream_consensus::Role;

use super::{Checker, Seen};

/// Needs to remember nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct LeaderCompleteness;

impl Checker for LeaderCompleteness {
    fn name(&self) -> &'static str {
        "leader completeness"
    }

    fn judge(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        let was_leader = seen.before.is_some_and(|before| before.role == Role::Leader);
        let history = seen.history;
        if seen.view.role == Role::Leader && !was_leader {
            let committed = history.committed(history.last_committed());
            let log = &history.logs[seen.node];
            return match committed {
                Some(id) if id.term < seen.view.term && !log.has(id) => {
                    let (id_, term) = (seen.id(), seen.view.term);
                    Err(format!("{id_} leads in term {term} without {id}, which is committed"))
                }
                Some(_) | None => Ok(()),
            };
        }
        if seen.view.commit > history.last_committed() { later_leaders(seen) } else { Ok(()) }
    }
}

/// Whoever leads in a later term already must have what is committed only now.
fn later_leaders(seen: &Seen<'_>) -> Result<(), String> {
    let history = seen.history;
    let Some(id) = history.logs[seen.node].at(seen.view.commit) else { return Ok(()) };
    for (node, brief) in history.seen.iter().enumerate() {
        let Some(brief) = brief else { continue };
        let leads = brief.role == Role::Leader && brief.term > seen.view.term;
        if leads && !history.logs[node].has(id) {
            let (who, term) = (seen.id(), brief.term);
            return Err(format!("{who} commits {id}, which the leader of term {term} lacks"));
        }
    }
    Ok(())
}
