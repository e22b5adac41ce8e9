//! How much nodes let through that share a rate limit over Redis.

use std::fs;
use std::panic::resume_unwind;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use geostream_testbed::{Postgres, Redis};

use crate::figure::Figure;
use crate::process::{now, pause};
use crate::stores::nodes::{Node, declared, question};
use xtask::shell::{root, say};

const NODES: u32 = 3;

/// The requests a second that all nodes together are to let through, and how many times as many
/// they are asked.
const LIMIT: u32 = 300;
const TIMES: u32 = 10;

/// How long it takes until nothing is left of the burst that a limit permits at first.
const BURST: Duration = Duration::from_secs(3);

/// How long nodes may take to hear of each other.
const MEETING: Duration = Duration::from_secs(30);

pub(crate) fn run(measured: Duration) -> anyhow::Result<Vec<Figure>> {
    say(&format!("{NODES} nodes are asked {TIMES} times as often as they are to let through"));
    let (postgres, redis) = (Postgres::start(&[]), Redis::start(&[]));
    let ((store, _), cache) = (declared(&postgres, 10, 1)?, redis.url());
    let config = root().join("target/bench-stores/limits.toml");
    fs::write(&config, format!("[http]\nrequests_per_second = {LIMIT}\n"))?;
    let config = config.to_str().context("its path is no text")?;
    let further = ["--cache", &cache, "--config", config];
    let nodes = Node::start_all(usize::try_from(NODES)?, &store, &further)?;
    wait_until_all_have_met(&nodes)?;
    let from = now() + BURST;
    let until = from + measured;
    let (asked, passed) = thread::scope(|scope| {
        let asking: Vec<_> =
            nodes.iter().map(|node| scope.spawn(move || ask(node, from, until))).collect();
        asking.into_iter().try_fold((0, 0), |(asked, passed), asking| {
            let (more, of_them) = asking.join().unwrap_or_else(|panic| resume_unwind(panic))?;
            anyhow::Ok((asked + more, passed + of_them))
        })
    })?;
    let rate = |count: u32| f64::from(count) / measured.as_secs_f64();
    let off = (rate(passed) / f64::from(LIMIT) - 1.0).abs() * 100.0;
    Ok(vec![
        Figure::shown(format!("requests to {NODES} nodes, limit {LIMIT}"), rate(asked), "1/s"),
        Figure::shown("of which let through", rate(passed), "1/s"),
        Figure::shown("that is above the limit or below it by", off, "%").at_most(5.0),
    ])
}

/// Waits until each has heard of all: a limit is shared among those that are heard.
fn wait_until_all_have_met(nodes: &[Node]) -> anyhow::Result<()> {
    let deadline = now() + MEETING;
    for node in nodes {
        let mut connection = node.connect()?;
        while connection.metric("shared_views_nodes")? < f64::from(NODES) {
            ensure!(now() < deadline, "the nodes do not hear of each other");
            pause(Duration::from_millis(100));
        }
    }
    Ok(())
}

/// Asks a node its part, and returns how many requests were sent between these times, and passed.
fn ask(node: &Node, from: Instant, until: Instant) -> anyhow::Result<(u32, u32)> {
    let (mut connection, question) = (node.connect()?, question());
    let gap = Duration::from_secs(1) * NODES / (LIMIT * TIMES);
    let (mut next, mut asked, mut passed) = (now(), 0, 0);
    while now() < until {
        pause(next.saturating_duration_since(now()));
        connection.send(question.as_bytes())?;
        let (status, _) = connection.receive_any()?;
        ensure!(matches!(status, 200 | 429), "a node answers {status}");
        if now() >= from {
            asked += 1;
            passed += u32::from(status == 200);
        }
        next += gap;
    }
    Ok((asked, passed))
}
