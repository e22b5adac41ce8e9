//! The attacker: a child process, so that its memory and processor time are its own.

mod flood;
mod heavy;
mod hoard;
mod http2;
mod unauthorized;
mod unread;

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::attacks::attacker::flood::Flood;
use crate::connection::socket_from;
use crate::process::{pause, permit_many_files};

/// What an attacker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Attack {
    /// Batches whose answers are never taken
    Streams,
    /// Explanations that are never taken
    Explanations,
    /// Connections that ask for little, again and again
    Connections,
    /// Connections that begin a preface
    Preface,
    /// Window updates of one byte
    WindowUpdates,
    /// Settings that move the initial window of many streams to and fro
    InitialWindows,
    /// Priorities of streams that do not exist
    Priorities,
    /// Pings
    Pings,
    /// Pieces of a body that are empty
    EmptyData,
    /// Control requests without a valid token
    Unauthorized,
    /// Metrics and explanations
    Heavy,
}

impl Attack {
    /// The floods of small HTTP/2 frames.
    pub(super) const FRAMES: [Self; 5] =
        [Self::WindowUpdates, Self::InitialWindows, Self::Priorities, Self::Pings, Self::EmptyData];
}

/// The longest that an attacker waits for a server that neither takes nor sends anything.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How long it waits before it replaces a connection that was lost.
const BACKOFF: Duration = Duration::from_millis(20);

/// A request that costs the server little, and shows it that a connection is alive.
const CHEAP: (&str, &str) = ("HEAD", "/nope");

/// A request for an explanation of all regions, which needs no token.
const EXPLAIN: &str = "/api/v1/route?client_ip=8.8.8.8&explain=true";

/// Attacks until standard input ends, and then prints what it counted.
pub(super) fn run(attack: Attack, target: SocketAddr, requests: Option<u64>) -> anyhow::Result<()> {
    permit_many_files()?;
    let attacker = Attacker { target, tally: Arc::default() };
    match attack {
        Attack::Streams => unread::begin(&attacker, &unread::batch()),
        Attack::Explanations => unread::begin(&attacker, &unread::explanation()),
        Attack::Connections => hoard::begin(attacker.clone(), hoard::ASKING)?,
        Attack::Preface => hoard::begin(attacker.clone(), hoard::BEGINNING)?,
        Attack::WindowUpdates => flood::begin(&attacker, Flood::window_updates),
        Attack::InitialWindows => flood::begin(&attacker, Flood::initial_windows),
        Attack::Priorities => flood::begin(&attacker, Flood::priorities),
        Attack::Pings => flood::begin(&attacker, Flood::pings),
        Attack::EmptyData => flood::begin(&attacker, Flood::empty_data),
        Attack::Unauthorized => match requests {
            Some(requests) => unauthorized::send(&attacker, requests),
            None => unauthorized::begin(&attacker),
        },
        Attack::Heavy => heavy::begin(&attacker),
    }
    writeln!(io::stdout(), "the attack is in full swing")?;
    io::copy(&mut io::stdin(), &mut io::sink())?;
    writeln!(io::stdout(), "{}", serde_json::to_string(&attacker.tally.counts())?)?;
    Ok(())
}

/// What all threads of an attacker share.
#[derive(Clone, Debug)]
struct Attacker {
    target: SocketAddr,
    tally: Arc<Tally>,
}

impl Attacker {
    /// Connects from one of the attacker's addresses.
    fn connect(&self, source: Ipv4Addr) -> io::Result<TcpStream> {
        let socket = socket_from(source)?;
        socket.connect_timeout(&self.target.into(), TIMEOUT)?;
        socket.set_read_timeout(Some(TIMEOUT))?;
        socket.set_write_timeout(Some(TIMEOUT))?;
        Ok(socket.into())
    }

    /// Attacks over one connection, until the attack ends or the server ends it.
    fn attempt(&self, source: Ipv4Addr, attack: impl FnOnce(TcpStream) -> io::Result<()>) {
        let connected = self.connect(source);
        if connected.is_ok() {
            Tally::add(&self.tally.opened, 1);
        }
        if connected.and_then(attack).is_err() {
            Tally::add(&self.tally.lost, 1);
            pause(BACKOFF);
        }
    }
}

/// Returns one of the addresses of an attacker's network.
fn source(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 1, 0, 1 + number % 250)
}

/// Takes whatever comes, so that the server never waits to send it, until the connection ends.
fn drain(stream: &TcpStream) -> io::Result<JoinHandle<()>> {
    let mut stream = stream.try_clone()?;
    // A server that has nothing to send is waited for.
    stream.set_read_timeout(None)?;
    Ok(thread::spawn(move || {
        let mut part = vec![0; 64 << 10];
        while stream.read(&mut part).is_ok_and(|read| read > 0) {}
    }))
}

#[derive(Debug, Default)]
struct Tally {
    opened: AtomicU64,
    lost: AtomicU64,
    sent: AtomicU64,
}

/// What an attacker counted.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Counts {
    /// Connections that were accepted, if only by the kernel.
    pub(super) opened: u64,
    /// Connections that the server refused, closed or did not serve in time.
    pub(super) lost: u64,
    /// Requests, or frames of a flood.
    pub(super) sent: u64,
}

impl Tally {
    fn add(counter: &AtomicU64, number: u64) {
        counter.fetch_add(number, Ordering::Relaxed);
    }

    fn counts(&self) -> Counts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts { opened: of(&self.opened), lost: of(&self.lost), sent: of(&self.sent) }
    }
}
