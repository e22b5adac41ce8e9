//! What is committed is in no log replaced or removed, except by a snapshot that contains it.
//!
//! A node that is still in an earlier term than the leader that committed an entry has not helped to,
//! and may lose the entry for a while to an earlier leader: those who did acknowledged it in that
//! leader's term (thesis, §3.6.2).

use super::{Checker, Seen};

/// Needs to remember nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct CommittedImmutable;

impl Checker for CommittedImmutable {
    fn name(&self) -> &'static str {
        "committed entries immutable"
    }

    fn judge(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        let history = seen.history;
        let log = &history.logs[seen.node];
        for removed in &history.removed {
            let committed = history.committed(removed.index) == Some(*removed);
            let by = history.committed_by(removed.index);
            let concerned = by <= Some(seen.view.term) || removed.index <= seen.view.commit;
            if committed && concerned && !log.has(*removed) {
                return Err(format!("{} removes {removed}, which is committed", seen.id()));
            }
        }
        Ok(())
    }
}
