//! What a leader takes for committed is of its own term and on the disks of a quorum (Raft paper, §5.4.2;
//! thesis, §10.2.1).

use geostream_consensus::{NodeId, Role};

use super::{Cause, Checker, Seen};

/// Needs to remember nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct DurableQuorum;

impl Checker for DurableQuorum {
    fn name(&self) -> &'static str {
        "durable quorum"
    }

    fn judge(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        let view = &seen.view;
        is_on_disk(seen)?;
        if view.commit <= seen.history.last_committed() {
            return Ok(());
        }
        let Some(id) = view.log.id_at(view.commit) else {
            return Err(format!("{} commits {}, which it does not have", view.id, view.commit));
        };
        let led = seen.before.is_some_and(|before| before.role == Role::Leader);
        if view.role != Role::Leader && !led {
            return Err(format!("{} takes {id} for committed before its leader does", view.id));
        }
        if id.term != view.term {
            return Err(format!("{} commits {id} in term {}", view.id, view.term));
        }
        let has = |node: NodeId| {
            let place = usize::try_from(node.0 - 1).unwrap_or(usize::MAX);
            seen.disks.get(place).is_some_and(|disk| disk.image.has(id))
        };
        if view.membership.is_quorum(has) {
            return Ok(());
        }
        let holders: Vec<_> = view.membership.members().filter(|node| has(*node)).collect();
        Err(format!("{} commits {id}, which is on the disks of {holders:?} only", view.id))
    }
}

/// What a leader knows a follower to have is on that follower's disk, unless that is in a later term.
fn is_on_disk(seen: &Seen<'_>) -> Result<(), String> {
    let (Cause::Heard(heard), Some(progress)) = (seen.cause, seen.view.progress) else {
        return Ok(());
    };
    let place = usize::try_from(heard.from.0 - 1).unwrap_or(usize::MAX);
    let (Some(progress), Some(disk)) = (progress.get(&heard.from), seen.disks.get(place)) else {
        return Ok(());
    };
    let Some(id) = seen.view.log.id_at(progress.matched) else { return Ok(()) };
    if disk.image.hard.term > seen.view.term || disk.image.has(id) {
        return Ok(());
    }
    Err(format!("{} counts on {id} at {}, which has it not on disk", seen.id(), heard.from))
}
