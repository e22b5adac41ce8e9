//! The state machine of a script: a text to which words are added.

use std::collections::BTreeMap;

use geostream_consensus::{
    Call, Index, Reply, Request, Session, SessionId, SessionLimits, Sessions,
};

/// A text, and what clients were answered who have sessions.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) text: String,
    /// An answer is the text as it was then.
    sessions: Sessions<String>,
}

impl State {
    pub(super) fn new(limits: SessionLimits) -> Self {
        Self { text: String::new(), sessions: Sessions::new(limits) }
    }

    /// Adds a word. The word `open` opens a session instead, and `3/0:x` adds `x` as the command 0 of session 3,
    /// unless that was added before: these two are answered. In `3/1<1:x@70`, the client also has all answers below 1,
    /// and the leader took it at 70 ms.
    pub(super) fn apply(&mut self, at: Index, word: &str) -> Option<String> {
        let Some(request) = request(word) else {
            self.text.push_str(word);
            return None;
        };
        let text = &mut self.text;
        let reply = self.sessions.apply(at, request, |word: &str| {
            text.push_str(word);
            text.clone()
        });
        Some(match reply {
            Ok(Reply::Opened(SessionId(id))) => format!("session {id}"),
            Ok(Reply::Done(text)) => format!("{text:?}"),
            Ok(Reply::Closed) => "an end".to_owned(),
            Err(error) => error.to_string(),
        })
    }

    /// Writes down everything, as a snapshot does: the text, the latest time if there is one, and a line for each session.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let sessions = self.sessions.sessions().iter().map(|(id, session)| {
            let Session { seen_micros, answered_below, answers } = session;
            let answers = answers.iter().map(|(number, text)| format!(" {number}:{text}"));
            format!("\n{}<{answered_below}@{seen_micros}{}", id.0, answers.collect::<String>())
        });
        let now = match self.sessions.now_micros() {
            0 => String::new(),
            now => format!("\n@{now}"),
        };
        (self.text.clone() + &now + &sessions.collect::<String>()).into_bytes()
    }

    /// Reads what was written down; nothing if it is not whole.
    pub(super) fn from_bytes(bytes: &[u8], limits: SessionLimits) -> Option<Self> {
        let mut lines = std::str::from_utf8(bytes).ok()?.lines().peekable();
        let text = lines.next().unwrap_or_default().to_owned();
        let now = lines.next_if(|line| line.starts_with('@')).unwrap_or("@0");
        let now_micros = now.strip_prefix('@')?.parse().ok()?;
        let sessions = lines.map(session).collect::<Option<BTreeMap<_, _>>>()?;
        Some(Self { text, sessions: Sessions::from_parts(limits, now_micros, sessions) })
    }
}

fn session(line: &str) -> Option<(SessionId, Session<String>)> {
    let (head, answers) = line.split_once(' ').unwrap_or((line, ""));
    let (id, head) = head.split_once('<')?;
    let (answered_below, seen_micros) = head.split_once('@')?;
    let (answered_below, seen_micros) = (answered_below.parse().ok()?, seen_micros.parse().ok()?);
    let answer = |answer: &str| {
        let (number, text) = answer.split_once(':')?;
        Some((number.parse().ok()?, text.to_owned()))
    };
    let answers = answers.split_whitespace().map(answer).collect::<Option<BTreeMap<_, _>>>()?;
    Some((
        SessionId(Index::new(id.parse().ok()?)),
        Session { seen_micros, answered_below, answers },
    ))
}

/// Reads a word that belongs to a session.
fn request(word: &str) -> Option<Request<&str>> {
    const MICROS_IN_MS: u64 = 1_000;
    let (word, ms) = word.split_once('@').unwrap_or((word, "0"));
    let at_micros = ms.parse::<u64>().ok()? * MICROS_IN_MS;
    Some(Request { at_micros, call: call(word)? })
}

fn call(word: &str) -> Option<Call<&str>> {
    if word == "open" {
        return Some(Call::Open);
    }
    let (session, rest) = word.split_once('/')?;
    let (number, command) = rest.split_once(':')?;
    let (number, answered_below) = number.split_once('<').unwrap_or((number, "0"));
    let session = SessionId(Index::new(session.parse().ok()?));
    let (number, answered_below) = (number.parse().ok()?, answered_below.parse().ok()?);
    Some(Call::Once { session, number, answered_below, command })
}
