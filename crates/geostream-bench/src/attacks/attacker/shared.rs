//! What all threads of an attacker share: how they connect, and what they count.

use std::io::{self, Read as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::connection::socket_from;
use crate::process::pause;

/// The longest that an attacker waits for a server that neither takes nor sends anything.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

/// How long it waits before it replaces a connection that was lost.
pub(super) const BACKOFF: Duration = Duration::from_millis(20);

/// A request that costs the server little, and shows it that a connection is alive.
pub(super) const CHEAP: (&str, &str) = ("HEAD", "/nope");

/// A request for an explanation of all regions, which needs no token.
pub(super) const EXPLAIN: &str = "/api/v1/route?client_ip=8.8.8.8&explain=true";

/// What all threads of an attacker share.
#[derive(Clone, Debug)]
pub(super) struct Attacker {
    pub(super) target: SocketAddr,
    pub(super) tally: Arc<Tally>,
}

impl Attacker {
    /// Connects from one of the attacker's addresses.
    pub(super) fn connect(&self, source: Ipv4Addr) -> io::Result<TcpStream> {
        let socket = socket_from(source)?;
        socket.connect_timeout(&self.target.into(), TIMEOUT)?;
        socket.set_read_timeout(Some(TIMEOUT))?;
        socket.set_write_timeout(Some(TIMEOUT))?;
        Ok(socket.into())
    }

    /// Attacks over one connection, until the attack ends or the server ends it.
    pub(super) fn attempt(
        &self,
        source: Ipv4Addr,
        attack: impl FnOnce(TcpStream) -> io::Result<()>,
    ) {
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
pub(super) fn source(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 1, 0, 1 + number % 250)
}

/// Takes whatever comes, so that the server never waits to send it, until the connection ends.
pub(super) fn drain(stream: &TcpStream) -> io::Result<JoinHandle<()>> {
    let mut stream = stream.try_clone()?;
    // A server that has nothing to send is waited for.
    stream.set_read_timeout(None)?;
    Ok(thread::spawn(move || {
        let mut part = vec![0; 64 << 10];
        while stream.read(&mut part).is_ok_and(|read| read > 0) {}
    }))
}

#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) opened: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) sent: AtomicU64,
}

/// What an attacker counted.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// Connections that were accepted, if only by the kernel.
    pub(crate) opened: u64,
    /// Connections that the server refused, closed or did not serve in time.
    pub(crate) lost: u64,
    /// Requests, or frames of a flood.
    pub(crate) sent: u64,
}

impl Tally {
    pub(super) fn add(counter: &AtomicU64, number: u64) {
        counter.fetch_add(number, Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> Counts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts { opened: of(&self.opened), lost: of(&self.lost), sent: of(&self.sent) }
    }
}
