//! Decisions while PostgreSQL or Redis is away, in every way.

use std::time::Duration;

use anyhow::Context as _;
use geostream_testbed::{Postgres, Redis};

use crate::connection::Connection;
use crate::figure::{Figure, Spread};
use crate::process::{now, pause};
use crate::stores::nodes::{Node, database, declaration, question};
use xtask::shell::say;

/// What can befall a database, or the Redis beside it.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Stopped,
    Killed,
    Frozen,
    ReadOnly,
    OutOfConnections,
    SchemaAhead,
    DiskFull,
    RedisStopped,
    RedisFrozen,
    RedisFull,
}

const FAULTS: &[Fault] = &[
    Fault::Stopped,
    Fault::Killed,
    Fault::Frozen,
    Fault::ReadOnly,
    Fault::OutOfConnections,
    Fault::SchemaAhead,
    Fault::RedisStopped,
    Fault::RedisFrozen,
    Fault::RedisFull,
];

/// What a node is over.
#[derive(Debug)]
struct Stores {
    postgres: Postgres,
    /// Its URL for a role that may do anything.
    admin: String,
    redis: Redis,
}

/// How long decisions are measured with the fault and without.
const WINDOW: Duration = Duration::from_secs(1);

/// From one decision to the next.
const GAP: Duration = Duration::from_millis(1);

/// The room on the disk that is filled up, in megabytes.
const ROOM: u32 = 100;

pub(crate) fn run(rounds: usize) -> anyhow::Result<Vec<Figure>> {
    say(&format!("decisions, a thousand a second, in {rounds} rounds with each fault and without"));
    let mut figures = measure(Postgres::start(&[]), FAULTS, rounds)?;
    figures.extend(measure(Postgres::with_room(ROOM), &[Fault::DiskFull], rounds)?);
    Ok(figures)
}

fn measure(postgres: Postgres, faults: &[Fault], rounds: usize) -> anyhow::Result<Vec<Figure>> {
    let store = database(&postgres)?;
    let admin = store.replace("node@", "geostream@");
    let stores = &mut Stores { postgres, admin, redis: Redis::start(&[]) };
    let node = Node::start(&store, &["--cache", &stores.redis.url()])?;
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
            fault.begin(stores);
            let during = decide_for(&mut connection, WINDOW);
            fault.end(stores);
            let during = during.with_context(|| format!("deciding while {}", fault.name()))?.p99();
            ratios.push(during / before);
            with.push(during);
        }
        let (ratio, with) = (Spread::new(ratios.into_iter()), Spread::new(with.into_iter()));
        let what = |of: &str| format!("{}: {of}", fault.name());
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
            Self::Stopped => "PostgreSQL stopped",
            Self::Killed => "PostgreSQL killed",
            Self::Frozen => "PostgreSQL hanging",
            Self::ReadOnly => "PostgreSQL read-only",
            Self::OutOfConnections => "PostgreSQL out of connections",
            Self::SchemaAhead => "PostgreSQL with a later schema",
            Self::DiskFull => "PostgreSQL with a full disk",
            Self::RedisStopped => "Redis stopped",
            Self::RedisFrozen => "Redis hanging",
            Self::RedisFull => "Redis out of memory",
        }
    }

    fn begin(self, stores: &mut Stores) {
        match self {
            Self::Stopped => stores.postgres.stop(),
            Self::Killed => stores.postgres.kill(),
            Self::Frozen => stores.postgres.freeze(),
            Self::ReadOnly => {
                stores.renew("ALTER ROLE node SET default_transaction_read_only = on");
            }
            Self::OutOfConnections => stores.renew("ALTER ROLE node CONNECTION LIMIT 0"),
            Self::SchemaAhead => stores.renew(
                "INSERT INTO geostream_migrations (number, name, checksum, oldest)
                 VALUES (99, 'later', 'x', 99)",
            ),
            Self::DiskFull => stores.postgres.fill_disk(),
            Self::RedisStopped => stores.redis.stop(),
            Self::RedisFrozen => stores.redis.freeze(),
            Self::RedisFull => drop(stores.redis.ask("config set maxmemory 1")),
        }
    }

    fn end(self, stores: &mut Stores) {
        match self {
            Self::Stopped | Self::Killed => stores.postgres.start_again(),
            Self::Frozen => stores.postgres.thaw(),
            Self::ReadOnly => {
                stores.renew("ALTER ROLE node RESET default_transaction_read_only");
            }
            Self::OutOfConnections => stores.renew("ALTER ROLE node CONNECTION LIMIT -1"),
            Self::SchemaAhead => {
                stores.renew("DELETE FROM geostream_migrations WHERE number = 99");
            }
            Self::DiskFull => stores.postgres.clear_disk(),
            Self::RedisStopped => stores.redis.start_again(),
            Self::RedisFrozen => stores.redis.thaw(),
            Self::RedisFull => drop(stores.redis.ask("config set maxmemory 0")),
        }
    }
}

impl Stores {
    /// Does something, and then ends the connections that do not know of it.
    fn renew(&self, statement: &str) {
        self.postgres.sql(&self.admin, statement);
        self.postgres.end_connections("node");
    }
}
