//! If a server has applied a log entry at a given index to its state machine, no other server will ever
//! apply a different log entry for the same index (Raft paper, figure 3).

use geostream_consensus::{Committed, Effect, Index, LogId, SnapshotMeta};

use super::{Cause, Checker, Seen};
use crate::machine::Wanted;

/// How far each node's state machine was told to go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct StateMachineSafety {
    told: Vec<Index>,
}

impl Checker for StateMachineSafety {
    fn name(&self) -> &'static str {
        "state machine safety"
    }

    fn judge(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        self.told.resize(self.told.len().max(seen.node + 1), Index::ORIGIN);
        if matches!(seen.cause, Cause::Start) {
            self.told[seen.node] = seen.view.applied;
        }
        for effect in seen.effects {
            match effect {
                Effect::Apply(page) => self.apply(seen, page)?,
                Effect::Restore(meta) => self.restore(seen, meta)?,
                Effect::Write(_)
                | Effect::Send(_)
                | Effect::TakeSnapshot(_)
                | Effect::ReadChunk { .. }
                | Effect::ReadReady { .. }
                | Effect::Refused { .. }
                | Effect::Leads { .. }
                | Effect::Halt(_) => {}
            }
        }
        agree(seen)
    }
}

impl StateMachineSafety {
    fn apply(&mut self, seen: &Seen<'_>, page: &[Committed<Wanted>]) -> Result<(), String> {
        for committed in page {
            let (id, told) = (committed.entry.id, &mut self.told[seen.node]);
            if id.index != told.next() {
                return Err(format!("{} applies {id} after {told}", seen.id()));
            }
            is_the_one(seen, id)?;
            *told = id.index;
        }
        Ok(())
    }

    fn restore(&mut self, seen: &Seen<'_>, meta: &SnapshotMeta) -> Result<(), String> {
        let told = &mut self.told[seen.node];
        if meta.last.index <= *told {
            return Err(format!("{} goes back from {told} to {}", seen.id(), meta.last));
        }
        *told = meta.last.index;
        is_the_one(seen, meta.last)
    }
}

/// What a node newly takes for committed is what the others do.
fn agree(seen: &Seen<'_>) -> Result<(), String> {
    let known = seen.before.map_or(seen.view.snapshot.last.index, |before| before.commit);
    let commit = seen.view.commit.min(seen.history.last_committed());
    for index in known.next().up_to(commit) {
        if let Some(id) = seen.history.logs[seen.node].at(index) {
            is_the_one(seen, id)?;
        }
    }
    Ok(())
}

fn is_the_one(seen: &Seen<'_>, id: LogId) -> Result<(), String> {
    match seen.history.committed(id.index) {
        Some(committed) if committed != id => {
            Err(format!("{} has {id} where {committed} is committed", seen.id()))
        }
        None if seen.view.commit < id.index => {
            Err(format!("{} applies {id}, which is not committed", seen.id()))
        }
        Some(_) | None => Ok(()),
    }
}
