//! A read sees all that was committed when it was asked for (thesis, §6.4).

use std::collections::BTreeMap;

use geostream_consensus::{Effect, Index, Ticket};

use super::{Cause, Checker, Seen};

/// What was committed when each read was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct ReadIndex {
    asked: BTreeMap<(usize, Ticket), Index>,
}

impl Checker for ReadIndex {
    fn name(&self) -> &'static str {
        "read index"
    }

    fn judge(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        if let Cause::Read(ticket) = seen.cause {
            self.asked.insert((seen.node, ticket), seen.history.last_committed());
        }
        for effect in seen.effects {
            match effect {
                Effect::ReadReady { ticket, index } => self.ready(seen, *ticket, *index)?,
                Effect::Refused { ticket, .. } => {
                    self.asked.remove(&(seen.node, *ticket));
                }
                Effect::Write(_)
                | Effect::Send(_)
                | Effect::Apply(_)
                | Effect::Restore(_)
                | Effect::TakeSnapshot(_)
                | Effect::ReadChunk { .. }
                | Effect::Leads { .. }
                | Effect::Halt(_) => {}
            }
        }
        Ok(())
    }
}

impl ReadIndex {
    fn ready(&mut self, seen: &Seen<'_>, ticket: Ticket, index: Index) -> Result<(), String> {
        let Some(asked) = self.asked.remove(&(seen.node, ticket)) else {
            return Err(format!("{} answers {ticket:?}, which nobody asked", seen.id()));
        };
        if index < asked {
            return Err(format!("{} reads at {index} what was at {asked}", seen.id()));
        }
        if seen.view.applied < index {
            let applied = seen.view.applied;
            return Err(format!("{} reads at {index}, and has applied {applied}", seen.id()));
        }
        Ok(())
    }
}
