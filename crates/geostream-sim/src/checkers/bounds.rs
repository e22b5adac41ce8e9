//! What a node holds stays within its limits.

use geostream_consensus::Role;

use super::{Cause, Checker, Seen};

/// Needs to remember nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Bounds;

impl Checker for Bounds {
    fn name(&self) -> &'static str {
        "bounds"
    }

    fn judge(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        let (held, limits) = (seen.view.held, &seen.limits);
        let proposed = matches!(seen.cause, Cause::Propose) && !seen.chronicle.added.is_empty();
        let led = seen.view.role == Role::Leader;
        if proposed && led && held.uncommitted_entries > limits.uncommitted_entries {
            return Err(format!("{} takes in more: {held:?}", seen.id()));
        }
        if held.reads > limits.reads {
            return Err(format!("{} holds too many reads: {held:?}", seen.id()));
        }
        Ok(())
    }
}
