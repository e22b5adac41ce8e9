//! Legitimate clients: what they ask while a server is attacked, and what becomes of it.

use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::Duration;

use crate::clients;
use crate::connection::Connection;
use crate::figure::Spread;
use crate::process::{now, pause};

/// Clients that ask for decisions on kept connections: enough for each worker to have some.
const KEPT: u8 = 8;

/// Clients that open a connection for each decision.
const NEW: u8 = 4;

/// Load balancers that ask for `/health`, each time on a new connection.
const HEALTH: u8 = 2;

/// From one request of a client to its next.
pub(super) const GAP: Duration = Duration::from_millis(100);

/// How long a client waits for a connection, and again for its answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What legitimate clients have seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) kept: Requests,
    pub(super) new: Requests,
    pub(super) health: Requests,
}

/// Requests, and what became of them.
#[derive(Debug, Default)]
pub(super) struct Requests {
    pub(super) failed: usize,
    /// Why the first of them failed.
    failure: Option<String>,
    /// How long each took, whether it failed or not.
    took_ms: Vec<f64>,
}

/// Has all clients ask the server.
pub(super) fn watch(server: SocketAddr, during: Duration) -> Seen {
    let decision = clients::ask_for(clients::ONE);
    let health = b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n";
    thread::scope(|scope| {
        let start = |number: u8, request, is_kept| {
            let mut client = Client::new(number, server, is_kept);
            // Clients of one kind do not ask all at once.
            pause(GAP / u32::from(KEPT + NEW + HEALTH));
            scope.spawn(move || {
                repeat(during, || {
                    client.converse(|connection| {
                        connection.send(request)?;
                        connection.receive().map(|_body| ())
                    })
                })
            })
        };
        let kept: Vec<_> = (0..KEPT).map(|client| start(client, &decision[..], true)).collect();
        let new: Vec<_> = (0..NEW).map(|client| start(100 + client, &decision, false)).collect();
        let health: Vec<_> = (0..HEALTH).map(|client| start(200 + client, health, false)).collect();
        let all = |clients: Vec<thread::ScopedJoinHandle<'_, Requests>>| {
            let mut all = Requests::default();
            for client in clients {
                all.add(client.join().unwrap_or_else(|_| Requests::panicked()));
            }
            all
        };
        Seen { kept: all(kept), new: all(new), health: all(health) }
    })
}

/// Asks at a steady pace until the time is over.
///
/// A request that comes late because the one before took long counts from when it was due.
pub(super) fn repeat(during: Duration, mut ask: impl FnMut() -> anyhow::Result<()>) -> Requests {
    let mut due = now();
    let end = due + during;
    let mut requests = Requests::default();
    while now() < end {
        let early = due.saturating_duration_since(now());
        pause(early);
        let from = if early.is_zero() { due } else { now() };
        let asked = ask();
        requests.took_ms.push((now() - from).as_secs_f64() * 1e3);
        if let Err(error) = asked {
            requests.failed += 1;
            requests.failure.get_or_insert_with(|| format!("{error:#}"));
        }
        due += GAP;
    }
    requests
}

impl Seen {
    pub(super) fn add(&mut self, other: Self) {
        self.kept.add(other.kept);
        self.new.add(other.new);
        self.health.add(other.health);
    }

    pub(super) fn failed(&self) -> usize {
        let Self { kept, new, health } = self;
        [kept, new, health].iter().map(|requests| requests.failed).sum()
    }

    /// Returns why a request failed.
    pub(super) fn failure(&self) -> Option<&str> {
        let Self { kept, new, health } = self;
        [kept, new, health].into_iter().find_map(|requests| requests.failure.as_deref())
    }
}

impl Requests {
    pub(super) fn took_ms(&self) -> Spread {
        Spread::new(self.took_ms.iter().copied())
    }

    fn panicked() -> Self {
        Self { failed: 1, failure: Some("a client has panicked".to_owned()), ..Self::default() }
    }

    fn add(&mut self, other: Self) {
        self.failed += other.failed;
        self.took_ms.extend(other.took_ms);
        self.failure = self.failure.take().or(other.failure);
    }
}

/// A legitimate client.
#[derive(Debug)]
pub(super) struct Client {
    source: Ipv4Addr,
    server: SocketAddr,
    is_kept: bool,
    connection: Option<Connection>,
}

impl Client {
    /// A client with an address of its own.
    pub(super) fn new(number: u8, server: SocketAddr, is_kept: bool) -> Self {
        let source = Ipv4Addr::new(127, 2, 0, number + 1);
        Self { source, server, is_kept, connection: None }
    }

    /// Converses over a connection, which is closed after a failure.
    pub(super) fn converse<T>(
        &mut self,
        conversation: impl FnOnce(&mut Connection) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let mut connection = self.connect()?;
        let outcome = conversation(&mut connection)?;
        self.connection = Some(connection).filter(|_| self.is_kept);
        Ok(outcome)
    }

    /// Returns the kept connection, or else a new one.
    fn connect(&mut self) -> anyhow::Result<Connection> {
        match self.connection.take() {
            Some(connection) => Ok(connection),
            None => Connection::open_from(self.source, self.server, TIMEOUT),
        }
    }
}
