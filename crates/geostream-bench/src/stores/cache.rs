//! How much of what nodes read comes from Redis, and what is left to PostgreSQL.

use std::time::Duration;

use anyhow::ensure;
use geostream_testbed::{Postgres, Redis};

use crate::connection::Connection;
use crate::figure::Figure;
use crate::process::{now, pause};
use crate::stores::nodes::{Node, declared, question, wait_until_all_decide_by};
use xtask::shell::say;

const NODES: usize = 20;
const REGIONS: usize = 10;

/// How long PostgreSQL may take to see that nobody is connected any more.
const LEAVING: Duration = Duration::from_secs(30);

pub(crate) fn run(changes: usize) -> anyhow::Result<Vec<Figure>> {
    say(&format!("{NODES} nodes are started at once, and {changes} changes are made"));
    let (postgres, redis) = (Postgres::start(&["max_connections=200"]), Redis::start(&[]));
    let (store, token) = declared(&postgres, REGIONS, 1)?;
    let admin = store.replace("node@", "geostream@");
    wait_until_all_have_left(&postgres, &admin)?;
    postgres.sql(&admin, "SELECT pg_stat_reset()");
    let nodes = Node::start_all(NODES, &store, &["--cache", &redis.url()])?;
    let mut connections = nodes.iter().map(Node::connect).collect::<anyhow::Result<Vec<_>>>()?;
    let mut revision = connections[0].ask_where(&question())?.revision;
    wait_until_all_decide_by(revision, &mut connections)?;
    for change in 0..changes {
        let region = format!("r{}", change % REGIONS);
        revision = connections[change % NODES].send_all_to(&region, &token, revision)?;
        wait_until_all_decide_by(revision, &mut connections)?;
    }
    let requests = sum(&mut connections, r#"cache_requests_total{cache="config""#)?;
    let hits = sum(&mut connections, r#"cache_requests_total{cache="config",result="hit""#)?;
    drop(nodes);
    wait_until_all_have_left(&postgres, &admin)?;
    let missed = (1.0 - hits / requests) * 100.0;
    // `flags` is read with all other tables, and never by whoever writes.
    Ok(vec![
        Figure::shown(format!("requests of {NODES} nodes to the cache"), requests, ""),
        Figure::shown("of which no hits", missed, "%").at_most(20.0),
        Figure::shown(
            "PostgreSQL's reads of the head",
            reads(&postgres, &admin, "config_head")?,
            "",
        ),
        Figure::shown("of a part of the log", reads(&postgres, &admin, "config_log")?, ""),
        Figure::shown("of the tables", reads(&postgres, &admin, "flags")?, ""),
    ])
}

fn sum(connections: &mut [Connection], metric: &str) -> anyhow::Result<f64> {
    connections.iter_mut().map(|connection| connection.metric(metric)).sum()
}

/// Waits until no node is connected: only then have all reported what was read.
fn wait_until_all_have_left(postgres: &Postgres, admin: &str) -> anyhow::Result<()> {
    let connected = "SELECT count(*) FROM pg_stat_activity
                     WHERE application_name = 'geostream' AND datname = current_database()";
    let deadline = now() + LEAVING;
    while postgres.sql(admin, connected) != "0" {
        ensure!(now() < deadline, "nodes that are gone are still connected after {LEAVING:?}");
        pause(Duration::from_millis(10));
    }
    Ok(())
}

/// Returns how often a table was read.
fn reads(postgres: &Postgres, admin: &str, table: &str) -> anyhow::Result<f64> {
    let reads = "SELECT seq_scan + coalesce(idx_scan, 0) FROM pg_stat_user_tables";
    Ok(postgres.sql(admin, &format!("{reads} WHERE relname = '{table}'")).parse()?)
}
