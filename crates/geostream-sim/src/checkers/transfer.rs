//! Leadership is handed to a node that has the leader's whole log, and nothing is added to the log meanwhile
//! (thesis, §3.10).

use geostream_consensus::{Body, Word};

use super::{Cause, Checker, Seen};

/// Needs to remember nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Transfer;

impl Checker for Transfer {
    fn name(&self) -> &'static str {
        "leadership transfer"
    }

    fn judge(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        let (view, history) = (&seen.view, seen.history);
        let proposed = matches!(seen.cause, Cause::Propose) && !history.added.is_empty();
        if let Some(to) = view.transferring_to.filter(|_| proposed) {
            return Err(format!("{} takes commands on its way to {to}", view.id));
        }
        for message in seen.sent() {
            if !matches!(message.body, Body::Word(Word::TimeoutNow)) {
                continue;
            }
            let place = usize::try_from(message.to.0 - 1).unwrap_or(usize::MAX);
            // A receiver in a later term ignores this.
            let receiver = history.seen.get(place).copied().flatten();
            let is_late = receiver.is_some_and(|brief| brief.term > view.term);
            let last = history.logs[seen.node].last();
            if !is_late && history.logs.get(place).is_none_or(|log| !log.has(last)) {
                return Err(format!("{} urges {}, which lacks {last}", view.id, message.to));
            }
        }
        Ok(())
    }
}
