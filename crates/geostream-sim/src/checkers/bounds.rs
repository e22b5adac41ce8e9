//! What a node holds stays within its limits.

use geostream_consensus::{Limits, Mode, Payload, Role};

use super::{Cause, Checker, Seen};

/// How many kinds of promises there are: of each, one to a node waits for a write.
const PROMISES: u64 = 4;

/// Needs to remember nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Bounds;

impl Checker for Bounds {
    fn name(&self) -> &'static str {
        "bounds"
    }

    fn judge(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        let broken = [
            ("uncommitted", takes_too_much(seen)),
            ("reads", seen.view.held.reads > seen.limits.reads),
            ("tickets", seen.view.held.tickets as u64 > seen.limits.uncommitted_entries),
            ("writes", holds_too_many_writes(seen)),
            ("promises", holds_too_many_promises(seen)),
            ("log", holds_too_much_log(seen)),
            ("in flight", has_too_much_in_flight(seen)),
        ];
        match broken.into_iter().find(|(_, is_broken)| *is_broken) {
            Some((what, _)) => Err(format!("{} {what}: {:?}", seen.id(), seen.view.held)),
            None => Ok(()),
        }
    }
}

/// A leader takes in what clients propose only as long as little waits to be committed.
fn takes_too_much(seen: &Seen<'_>) -> bool {
    let (held, limits) = (seen.view.held, &seen.limits);
    let proposed = matches!(seen.cause, Cause::Propose) && !seen.history.added.is_empty();
    let led = seen.view.role == Role::Leader;
    let one = held.uncommitted_entries == 1;
    proposed
        && led
        && (held.uncommitted_entries > limits.uncommitted_entries
            || held.uncommitted_bytes > limits.uncommitted_bytes && !one)
}

/// A snapshot that was taken is put to use even where the disk is late with all that it may be late with.
fn holds_too_many_writes(seen: &Seen<'_>) -> bool {
    seen.view.held.writes > seen.limits.writes + 1
}

fn holds_too_many_promises(seen: &Seen<'_>) -> bool {
    let (held, members) = (seen.view.held, seen.limits.members as u64);
    held.promises as u64 > (held.writes + 1) * PROMISES * members
}

/// What is kept before the snapshot, what was committed since, what is not committed yet, and the message
/// by which it came to that. What leaders add by themselves is not counted.
///
/// Who starts anew does not know what was committed after its snapshot, nor does who hears of it from such a
/// leader: each may have a backlog before that of the one it hears.
fn holds_too_much_log(seen: &Seen<'_>) -> bool {
    let (held, limits) = (seen.view.held, &seen.limits);
    let Limits { keep_entries, backlog_entries, uncommitted_entries, message_entries, .. } = limits;
    let members = seen.view.membership.members().count() as u64;
    let entries = keep_entries + members * backlog_entries + uncommitted_entries + message_entries;
    let Limits { keep_bytes, backlog_bytes, uncommitted_bytes, message_bytes, .. } = limits;
    let bytes = keep_bytes + members * backlog_bytes + uncommitted_bytes + message_bytes;
    if held.log_entries <= entries && held.log_bytes <= bytes {
        return false;
    }
    let log = seen.view.log;
    let all = || log.iter_from(log.base().index.next());
    let own = || all().filter(|entry| !matches!(entry.payload, Payload::Command(_)));
    let own_bytes: usize = own().map(|entry| entry.size()).sum();
    let largest = all().map(|entry| entry.size()).max().unwrap_or_default();
    // Of the committed, of the uncommitted, and of the message, one may be over the limit.
    held.log_entries > entries + own().count() as u64
        || held.log_bytes > bytes + own_bytes as u64 + 3 * largest as u64
}

fn has_too_much_in_flight(seen: &Seen<'_>) -> bool {
    let limit = seen.limits.inflight_entries;
    let mut progress = seen.view.progress.into_iter().flat_map(|followers| followers.values());
    progress.any(|progress| {
        let sent = progress.next.previous();
        progress.mode == Mode::Stream && sent.since(progress.matched) > limit
    })
}
