//! What is committed is in no log replaced or removed, except by a snapshot that contains it.

use super::{Checker, Seen};

/// Needs to remember nothing.
#[derive(Debug, Default)]
pub(crate) struct CommittedImmutable;

impl Checker for CommittedImmutable {
    fn name(&self) -> &'static str {
        "committed entries immutable"
    }

    fn judge(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        let chronicle = seen.chronicle;
        let log = &chronicle.logs[seen.node];
        for removed in &chronicle.removed {
            let committed = chronicle.committed(removed.index) == Some(*removed);
            if committed && !log.has(*removed) {
                return Err(format!("{} removes {removed}, which is committed", seen.id()));
            }
        }
        Ok(())
    }
}
