//! Every command once: a table that belongs in the replicated state machine (thesis, §6.3).
//!
//! A client that got no answer asks again, and its command is in the log twice. The table knows which
//! commands of a client were applied, and what was answered. It depends on nothing but the log, so it is
//! the same on every node; it is part of the snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::entry::Command;
use crate::id::Index;
use crate::time::micros;

/// Names a client: the index of the entry that opened its session, so no two share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub Index);

/// What a client wants, as it stands in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Request<C> {
    /// The time at the leader that took it, in microseconds; all nodes count by it. It counts only where it
    /// is later than all before it in the log: so one that is far ahead ends every session at once, and
    /// until the clocks have come after none expires.
    pub at_micros: u64,
    /// What is wanted.
    pub call: Call<C>,
}

/// What a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call<C> {
    /// A session.
    Open,
    /// That a command is applied once, however often it is asked for.
    Once {
        /// The client's session.
        session: SessionId,
        /// The command's number: the same whenever it is asked for again.
        number: u64,
        /// The client has the answers to all numbers below this one, and will not ask for them again.
        answered_below: u64,
        /// The command.
        command: C,
    },
    /// An end to its session.
    Close {
        /// The client's session.
        session: SessionId,
    },
}

impl<C: Command> Command for Request<C> {
    fn size(&self) -> usize {
        const HEAD: usize = 32;
        HEAD + match &self.call {
            Call::Open | Call::Close { .. } => 0,
            Call::Once { command, .. } => command.size(),
        }
    }
}

/// What a client is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply<R> {
    /// Its session.
    Opened(SessionId),
    /// What the state machine said to its command, now or the first time.
    Done(R),
    /// Its session has ended.
    Closed,
}

/// Why a client is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The session was closed, or has expired, or never was. Whether its last command was applied cannot
    /// be told any more: a new session is no remedy for that, so none is opened by itself.
    #[error(
        "there is no such session; open another, and look whether the last command was applied"
    )]
    Unknown,
    /// The client said that it has this answer; it was forgotten.
    #[error("the answer to {number} was forgotten, as the client has all below {answered_below}")]
    Forgotten {
        /// The number asked for.
        number: u64,
        /// All answers below this were forgotten.
        answered_below: u64,
    },
    /// The client asks for more without saying what it has been answered.
    #[error("{limit} answers are kept; say which have arrived")]
    TooManyAnswers {
        /// How many are kept for a client.
        limit: usize,
    },
}

/// How much a table of sessions holds. It must be the same on all nodes, and always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// How many sessions there are. One more ends the one that was silent for longest.
    pub sessions: usize,
    /// How many answers are kept for a client that does not say which have arrived.
    pub answers: usize,
    /// How long a client may be silent.
    pub idle: Duration,
}

impl SessionLimits {
    /// Limits for thousands of clients that ask for little.
    pub const DEFAULT: Self =
        Self { sessions: 10_000, answers: 64, idle: Duration::from_secs(3_600) };
}

/// The sessions of all clients. `R` is what the state machine answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sessions<R> {
    limits: SessionLimits,
    sessions: BTreeMap<SessionId, Session<R>>,
    /// The same by when they were last seen, so that the most silent is found at once.
    by_silence: BTreeSet<(u64, SessionId)>,
    /// The latest time in the log: it does not run backwards when the leader changes.
    now_micros: u64,
}

/// What is known of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session<R> {
    /// When it last wanted something, by the log's time.
    pub seen_micros: u64,
    /// All answers below this number have arrived at the client.
    pub answered_below: u64,
    /// The other answers, by the number of the command.
    pub answers: BTreeMap<u64, R>,
}

impl<R: Clone> Sessions<R> {
    /// Returns a table without sessions.
    #[must_use]
    pub fn new(limits: SessionLimits) -> Self {
        Self::from_parts(limits, 0, BTreeMap::new())
    }

    /// Puts together what was taken apart for a snapshot.
    #[must_use]
    pub fn from_parts(
        limits: SessionLimits,
        now_micros: u64,
        sessions: BTreeMap<SessionId, Session<R>>,
    ) -> Self {
        let seen = |(id, session): (&SessionId, &Session<R>)| (session.seen_micros, *id);
        let by_silence = sessions.iter().map(seen).collect();
        Self { limits, sessions, by_silence, now_micros }
    }

    /// Returns the sessions, for a snapshot.
    #[must_use]
    pub fn sessions(&self) -> &BTreeMap<SessionId, Session<R>> {
        &self.sessions
    }

    /// Returns the latest time in the log, for a snapshot.
    #[must_use]
    pub fn now_micros(&self) -> u64 {
        self.now_micros
    }

    /// Applies what a client wants, which stands at this place in the log. A command that was applied
    /// before is not applied again: the client gets the first answer.
    ///
    /// # Errors
    ///
    /// Says whether the command was not applied, or cannot be known to have been.
    pub fn apply<C>(
        &mut self,
        at: Index,
        request: Request<C>,
        execute: impl FnOnce(C) -> R,
    ) -> Result<Reply<R>, SessionError> {
        self.now_micros = self.now_micros.max(request.at_micros);
        self.expire();
        match request.call {
            Call::Open => Ok(Reply::Opened(self.open(SessionId(at)))),
            Call::Close { session } => {
                self.end(session).map(|_| Reply::Closed).ok_or(SessionError::Unknown)
            }
            Call::Once { session, number, answered_below, command } => {
                let answer = self.find(session, number, answered_below)?;
                let answer = answer.unwrap_or_else(|| execute(command));
                if let Some(session) = self.sessions.get_mut(&session) {
                    session.answers.insert(number, answer.clone());
                }
                Ok(Reply::Done(answer))
            }
        }
    }

    fn open(&mut self, id: SessionId) -> SessionId {
        if self.sessions.len() >= self.limits.sessions
            && let Some((_, silent)) = self.by_silence.first().copied()
        {
            self.end(silent);
        }
        let seen_micros = self.now_micros;
        self.by_silence.insert((seen_micros, id));
        let session = Session { seen_micros, answered_below: 0, answers: BTreeMap::new() };
        self.sessions.insert(id, session);
        id
    }

    /// Returns what was answered before; `None` if the command is to be applied now.
    fn find(
        &mut self,
        session: SessionId,
        number: u64,
        answered_below: u64,
    ) -> Result<Option<R>, SessionError> {
        let limit = self.limits.answers;
        let session = self.see(session).ok_or(SessionError::Unknown)?;
        session.answered_below = session.answered_below.max(answered_below);
        session.answers = session.answers.split_off(&session.answered_below);
        if number < session.answered_below {
            let answered_below = session.answered_below;
            return Err(SessionError::Forgotten { number, answered_below });
        }
        let answer = session.answers.get(&number).cloned();
        if answer.is_none() && session.answers.len() >= limit {
            return Err(SessionError::TooManyAnswers { limit });
        }
        Ok(answer)
    }

    /// Notes that a client has just wanted something.
    fn see(&mut self, id: SessionId) -> Option<&mut Session<R>> {
        let session = self.sessions.get_mut(&id)?;
        self.by_silence.remove(&(session.seen_micros, id));
        session.seen_micros = self.now_micros;
        self.by_silence.insert((session.seen_micros, id));
        Some(session)
    }

    fn end(&mut self, id: SessionId) -> Option<Session<R>> {
        let session = self.sessions.remove(&id)?;
        self.by_silence.remove(&(session.seen_micros, id));
        Some(session)
    }

    /// Ends what was silent for too long, by the log's time: on every node at the same entry.
    fn expire(&mut self) {
        let (now, idle) = (self.now_micros, micros(self.limits.idle));
        while let Some((seen, silent)) = self.by_silence.first().copied()
            && now.saturating_sub(seen) > idle
        {
            self.end(silent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: SessionLimits =
        SessionLimits { sessions: 2, answers: 3, idle: Duration::from_micros(100) };

    /// A counter, and the sessions before it.
    struct Machine {
        sessions: Sessions<u64>,
        sum: u64,
        at: Index,
    }

    impl Machine {
        fn new() -> Self {
            Self { sessions: Sessions::new(LIMITS), sum: 0, at: Index::ORIGIN }
        }

        fn apply(&mut self, at_micros: u64, call: Call<u64>) -> Result<Reply<u64>, SessionError> {
            self.at = self.at.next();
            let sum = &mut self.sum;
            self.sessions.apply(self.at, Request { at_micros, call }, |add| {
                *sum += add;
                *sum
            })
        }

        fn open(&mut self, at_micros: u64) -> SessionId {
            let Ok(Reply::Opened(id)) = self.apply(at_micros, Call::Open) else {
                panic!("a session is opened")
            };
            id
        }

        fn add(
            &mut self,
            session: SessionId,
            number: u64,
            below: u64,
        ) -> Result<u64, SessionError> {
            let at = self.sessions.now_micros();
            let call = Call::Once { session, number, answered_below: below, command: 1 };
            let Reply::Done(sum) = self.apply(at, call)? else { panic!("a command is done") };
            Ok(sum)
        }
    }

    #[test]
    fn a_command_that_comes_twice_is_applied_once_and_answered_alike() {
        let mut machine = Machine::new();
        let session = machine.open(1);
        assert_eq!(machine.add(session, 0, 0), Ok(1));
        assert_eq!(machine.add(session, 1, 0), Ok(2));
        assert_eq!(machine.add(session, 0, 0), Ok(1));
        assert_eq!(machine.sum, 2);
    }

    #[test]
    fn what_the_client_has_is_forgotten() {
        let mut machine = Machine::new();
        let session = machine.open(1);
        for number in 0..3 {
            machine.add(session, number, 0).unwrap();
        }
        let full = SessionError::TooManyAnswers { limit: 3 };
        assert_eq!(machine.add(session, 3, 0), Err(full));
        assert_eq!(machine.add(session, 3, 2), Ok(4));
        let forgotten = SessionError::Forgotten { number: 1, answered_below: 2 };
        assert_eq!(machine.add(session, 1, 0), Err(forgotten));
        assert_eq!(machine.sessions.sessions()[&session].answers.len(), 2);
    }

    #[test]
    fn a_silent_session_expires_by_the_time_in_the_log() {
        let mut machine = Machine::new();
        let silent = machine.open(1_000);
        machine.open(1_100);
        assert_eq!(machine.add(silent, 0, 0), Ok(1), "exactly at the limit it is still there");
        machine.open(500);
        assert_eq!(machine.sessions.now_micros(), 1_100, "a slow leader takes no time back");
        machine.open(1_201);
        assert_eq!(machine.add(silent, 1, 0), Err(SessionError::Unknown));
        assert_eq!(machine.sum, 1);
    }

    #[test]
    fn one_session_too_many_ends_the_most_silent() {
        let mut machine = Machine::new();
        let (first, second) = (machine.open(1), machine.open(2));
        machine
            .apply(3, Call::Once { session: first, number: 0, answered_below: 0, command: 1 })
            .unwrap();
        let third = machine.open(4);
        assert_eq!(machine.add(second, 0, 0), Err(SessionError::Unknown));
        assert_eq!((machine.add(first, 1, 0), machine.add(third, 0, 0)), (Ok(2), Ok(3)));
    }

    #[test]
    fn a_closed_session_is_gone() {
        let mut machine = Machine::new();
        let session = machine.open(1);
        assert_eq!(machine.apply(2, Call::Close { session }), Ok(Reply::Closed));
        assert_eq!(machine.apply(2, Call::Close { session }), Err(SessionError::Unknown));
        assert_eq!(machine.add(session, 0, 0), Err(SessionError::Unknown));
    }

    #[test]
    fn a_snapshot_holds_all_that_is_needed_to_go_on() {
        let mut machine = Machine::new();
        let session = machine.open(1);
        machine.add(session, 0, 0).unwrap();
        let Sessions { sessions, now_micros, .. } = machine.sessions.clone();
        let mut restored =
            Machine { sessions: Sessions::from_parts(LIMITS, now_micros, sessions), ..machine };
        assert_eq!((restored.add(session, 0, 0), restored.sum), (Ok(1), 1));
    }
}
