//! The replicated state machine: a list that clients append to, each command once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use geostream_consensus::{
    Command, Index, Reply, Request, Session, SessionError, SessionId, SessionLimits, Sessions,
    Ticket,
};

use crate::rng::fold;

/// "Append me": what is appended is the client's number and that of its request.
///
/// Every attempt has its own ticket, so that it can be told which one of them was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Append {
    pub(crate) client: u16,
    /// Grows with each request of a client; stays the same when the request is tried again.
    pub(crate) request: u32,
    pub(crate) attempt: u16,
}

impl Append {
    pub(crate) fn ticket(self) -> Ticket {
        let (client, request) = (u64::from(self.client), u64::from(self.request));
        Ticket(client << 48 | request << 16 | u64::from(self.attempt))
    }

    /// Returns whose ticket this is; `None` if it is no client's.
    pub(crate) fn of(ticket: Ticket) -> Option<Self> {
        let client = u16::try_from(ticket.0 >> 48).ok().filter(|client| *client < u16::MAX)?;
        let request = u32::try_from(ticket.0 >> 16 & u64::from(u32::MAX)).ok()?;
        let attempt = u16::try_from(ticket.0 & u64::from(u16::MAX)).ok()?;
        Some(Self { client, request, attempt })
    }

    pub(crate) fn digest(self) -> u64 {
        fold(u64::from(self.client), u64::from(self.request))
    }
}

impl Command for Append {
    fn size(&self) -> usize {
        16
    }
}

/// What clients want, as it stands in the log.
pub(crate) type Wanted = Request<Append>;

/// The list as far as a node has applied it: how long it is, and a digest of what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Machine {
    pub(crate) applied: Index,
    pub(crate) length: u64,
    pub(crate) digest: u64,
    /// What each client was answered: where in the list its request is.
    sessions: Sessions<u64>,
}

/// Nobody falls silent for long here, and nobody has two requests under way.
const SESSIONS: SessionLimits =
    SessionLimits { sessions: 1_000, answers: 4, idle: Duration::from_secs(3_600) };

impl Default for Machine {
    fn default() -> Self {
        Self { applied: Index::ORIGIN, length: 0, digest: 0, sessions: Sessions::new(SESSIONS) }
    }
}

impl Machine {
    /// Applies what a client wants, if it was not applied before.
    pub(crate) fn apply(&mut self, at: Index, wanted: Wanted) -> Result<Reply<u64>, SessionError> {
        let (length, digest) = (&mut self.length, &mut self.digest);
        self.sessions.apply(at, wanted, |append| {
            *length += 1;
            *digest = fold(*digest, append.digest());
            *length
        })
    }

    /// Writes down everything, as a snapshot does.
    pub(crate) fn to_bytes(&self) -> Arc<[u8]> {
        let mut words =
            vec![self.applied.get(), self.length, self.digest, self.sessions.now_micros()];
        for (id, session) in self.sessions.sessions() {
            let Session { seen_micros, answered_below, answers } = session;
            words.extend([id.0.get(), *seen_micros, *answered_below, answers.len() as u64]);
            words.extend(answers.iter().flat_map(|(number, place)| [*number, *place]));
        }
        let check = words.iter().fold(0, |check, word| fold(check, *word));
        words.into_iter().chain([check]).flat_map(u64::to_le_bytes).collect()
    }

    /// Reads what was written down; `None` if it is not whole.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (words, rest) = bytes.as_chunks::<8>();
        let words: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
        let (check, words) = words.split_last()?;
        let whole =
            rest.is_empty() && *check == words.iter().fold(0, |check, word| fold(check, *word));
        let [applied, length, digest, now, rest @ ..] = words else { return None };
        let mut sessions = rest;
        let mut read = BTreeMap::new();
        while let [id, seen, answered_below, count, rest @ ..] = sessions {
            let (pairs, rest) = rest.split_at_checked(2 * usize::try_from(*count).ok()?)?;
            let answers = pairs.as_chunks::<2>().0.iter().map(|[number, place]| (*number, *place));
            let session = Session {
                seen_micros: *seen,
                answered_below: *answered_below,
                answers: answers.collect(),
            };
            read.insert(SessionId(Index::new(*id)), session);
            sessions = rest;
        }
        let sessions = Sessions::from_parts(SESSIONS, *now, read);
        let applied = Index::new(*applied);
        whole.then_some(Self { applied, length: *length, digest: *digest, sessions })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use geostream_consensus::Call;

    #[test]
    fn a_snapshot_is_read_back_whole_or_not_at_all() {
        let mut machine = Machine::default();
        let mut apply = |at, call| machine.apply(Index::new(at), Request { at_micros: at, call });
        let Ok(Reply::Opened(session)) = apply(1, Call::Open) else {
            panic!("a session is opened")
        };
        let command = Append { client: 3, request: 7, attempt: 0 };
        let once = Call::Once { session, number: 7, answered_below: 7, command };
        assert_eq!(apply(2, once), Ok(Reply::Done(1)));
        assert_eq!(apply(3, once), Ok(Reply::Done(1)));
        let bytes = machine.to_bytes();
        assert_eq!(Machine::from_bytes(&bytes), Some(machine));
        for end in 0..bytes.len() {
            assert_eq!(Machine::from_bytes(&bytes[..end]), None);
        }
    }
}
