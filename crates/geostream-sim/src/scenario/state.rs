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

impl Default for State {
    fn default() -> Self {
        Self { text: String::new(), sessions: Sessions::new(SessionLimits::DEFAULT) }
    }
}

impl State {
    /// Adds a word. The word `open` opens a session instead, and `3/0:x` adds `x` as the command 0 of session 3,
    /// unless that was added before: these two are answered.
    pub(super) fn apply(&mut self, at: Index, word: &str) -> Option<String> {
        let Some(call) = call(word) else {
            self.text.push_str(word);
            return None;
        };
        let text = &mut self.text;
        let reply = self.sessions.apply(at, Request { at_micros: 0, call }, |word: &str| {
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

    /// Writes down everything, as a snapshot does: the text, and a line for each session.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let sessions = self.sessions.sessions().iter().map(|(id, session)| {
            let answers = session.answers.iter().map(|(number, text)| format!(" {number}:{text}"));
            format!("\n{}{}", id.0, answers.collect::<String>())
        });
        (self.text.clone() + &sessions.collect::<String>()).into_bytes()
    }

    /// Reads what was written down; nothing if it is not whole.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut lines = std::str::from_utf8(bytes).ok()?.lines();
        let text = lines.next().unwrap_or_default().to_owned();
        let sessions = lines.map(session).collect::<Option<BTreeMap<_, _>>>()?;
        Some(Self { text, sessions: Sessions::from_parts(SessionLimits::DEFAULT, 0, sessions) })
    }
}

fn session(line: &str) -> Option<(SessionId, Session<String>)> {
    let (id, answers) = line.split_once(' ').unwrap_or((line, ""));
    let answer = |answer: &str| {
        let (number, text) = answer.split_once(':')?;
        Some((number.parse().ok()?, text.to_owned()))
    };
    let answers = answers.split_whitespace().map(answer).collect::<Option<BTreeMap<_, _>>>()?;
    Some((SessionId(id.parse().ok()?), Session { seen_micros: 0, answered_below: 0, answers }))
}

/// Reads a word that belongs to a session.
fn call(word: &str) -> Option<Call<&str>> {
    if word == "open" {
        return Some(Call::Open);
    }
    let (session, rest) = word.split_once('/')?;
    let (number, command) = rest.split_once(':')?;
    let session = SessionId(session.parse().ok()?);
    Some(Call::Once { session, number: number.parse().ok()?, answered_below: 0, command })
}
