//! A leader never overwrites or deletes entries in its log; it only appends (Raft paper, figure 3).

use geostream_consensus::Role;

use super::{Checker, Seen};

/// Needs to remember nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct LeaderAppendOnly;

impl Checker for LeaderAppendOnly {
    fn name(&self) -> &'static str {
        "leader append-only"
    }

    fn judge(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        let led = seen.before.is_some_and(|before| {
            before.role == Role::Leader
                && before.term == seen.view.term
                && seen.view.role == Role::Leader
        });
        match seen.history.removed.first() {
            Some(removed) if led => Err(format!("{} leads and removes {removed}", seen.id())),
            Some(_) | None => Ok(()),
        }
    }
}
