//! Decisions while PostgreSQL is away, in every way.

use std::time::Duration;

use anyhow::Context as _;
use geostream_testbed::Postgres;

use crate::bench::connection::Connection;
use crate::bench::process::{now, pause};
use crate::bench::stores::nodes::{Node, database, declaration, question};
use crate::bench::{Figure, Spread};
use crate::shell::say;

/// What can befall a database.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Stopped,
    Killed,
    Frozen,
    ReadOnly,
    OutOfConnections,
    SchemaAhead,
    DiskFull,
}

const FAULTS: &[Fault] = &[
    Fault::Stopped,
    Fault::Killed,
    Fault::Frozen,
    Fault::ReadOnly,
    Fault::OutOfConnections,
    Fault::SchemaAhead,
];

/// How long decisions are measured with the fault and without.
const WINDOW: Duration = Duration::from_secs(1);

/// From one decision to the next.
const GAP: Duration = Duration::from_millis(1);

/// The room on the disk that is filled up, in megabytes.
const ROOM: u32 = 100;

pub(crate) fn run(rounds: usize) -> anyhow::Result<Vec<Figure>> {
    say(&format!("decisions, a thousand a second, in {rounds} rounds with each fault and without"));
    let mut figures = measure(&mut Postgres::start(&[]), FAULTS, rounds)?;
    figures.extend(measure(&mut Postgres::with_room(ROOM), &[Fault::DiskFull], rounds)?);
    Ok(figures)
}

fn measure(server: &mut Postgres, faults: &[Fault], rounds: usize) -> anyhow::Result<Vec<Figure>> {
    let store = database(server)?;
    let admin = store.replace("node@", "geostream@");
    let node = Node::start(&store, &[])?;
    let mut writer = node.connect()?;
    writer.write("/api/v1/config", &node.token()?, 0, &declaration(100, 1))?;
    let mut connection = node.connect()?;
    decide_for(&mut connection, WINDOW)?;
    let mut figures = Vec::new();
    for fault in faults {
        let mut ratios = Vec::new();
        let mut with = Vec::new();
        for _ in 0..rounds {
            let before = decide_for(&mut connection, WINDOW)?.p99();
            fault.begin(server, &admin);
            let during = decide_for(&mut connection, WINDOW);
            fault.end(server, &admin);
            let during = during.with_context(|| format!("deciding while it is {fault:?}"))?.p99();
            ratios.push(during / before);
            with.push(during);
        }
        let (ratio, with) = (Spread::new(ratios.into_iter()), Spread::new(with.into_iter()));
        let what = |of: &str| format!("PostgreSQL {}: {of}", fault.name());
        figures.push(Figure::shown(what("p99 of a decision"), with.median(), "us"));
        let ratio = Figure::shown(what("against that before"), ratio.median(), "times");
        figures.push(ratio.at_most(1.2));
    }
    Ok(figures)
}

/// Decides at a steady pace, and returns the microseconds that decisions take.
///
/// A decision that comes late because the one before took long counts from when it was due.
fn decide_for(connection: &mut Connection, duration: Duration) -> anyhow::Result<Spread> {
    let question = question();
    let (mut due, mut took) = (now(), Vec::new());
    let end = due + duration;
    while due < end {
        pause(due.saturating_duration_since(now()));
        connection.ask_where(&question)?;
        took.push((now() - due).as_secs_f64() * 1e6);
        due += GAP;
    }
    Ok(Spread::new(took.into_iter()))
}

impl Fault {
    fn name(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Killed => "killed",
            Self::Frozen => "hanging",
            Self::ReadOnly => "read-only",
            Self::OutOfConnections => "out of connections",
            Self::SchemaAhead => "with a later schema",
            Self::DiskFull => "with a full disk",
        }
    }

    fn begin(self, server: &mut Postgres, url: &str) {
        match self {
            Self::Stopped => server.stop(),
            Self::Killed => server.kill(),
            Self::Frozen => server.freeze(),
            Self::ReadOnly => {
                renew(server, url, "ALTER ROLE node SET default_transaction_read_only = on");
            }
            Self::OutOfConnections => renew(server, url, "ALTER ROLE node CONNECTION LIMIT 0"),
            Self::SchemaAhead => renew(
                server,
                url,
                "INSERT INTO geostream_migrations (number, name, checksum, oldest)
                 VALUES (99, 'later', 'x', 99)",
            ),
            Self::DiskFull => server.fill_disk(),
        }
    }

    fn end(self, server: &mut Postgres, url: &str) {
        match self {
            Self::Stopped | Self::Killed => server.start_again(),
            Self::Frozen => server.thaw(),
            Self::ReadOnly => {
                renew(server, url, "ALTER ROLE node RESET default_transaction_read_only");
            }
            Self::OutOfConnections => renew(server, url, "ALTER ROLE node CONNECTION LIMIT -1"),
            Self::SchemaAhead => {
                renew(server, url, "DELETE FROM geostream_migrations WHERE number = 99");
            }
            Self::DiskFull => server.clear_disk(),
        }
    }
}

/// Does something, and ends the connections that do not know of it.
fn renew(server: &Postgres, url: &str, statement: &str) {
    let begin_anew =
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'node'";
    server.sql(url, &format!("{statement}; {begin_anew}"));
}
