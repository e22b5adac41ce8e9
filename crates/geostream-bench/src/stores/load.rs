//! A large configuration, from PostgreSQL to a published table.

use geostream_testbed::Postgres;

use crate::figure::{Figure, Spread};
use crate::process::now;
use crate::stores::nodes::{Node, declared, question};
use xtask::shell::say;

const REGIONS: usize = 10_000;
const SERVICES: usize = 1_000;

pub(crate) fn run(runs: usize) -> anyhow::Result<Vec<Figure>> {
    say(&format!("{REGIONS} regions and {SERVICES} services, loaded {runs} times"));
    let server = Postgres::start(&[]);
    let (store, _) = declared(&server, REGIONS, SERVICES)?;
    let mut took = Vec::new();
    for _ in 0..runs {
        let started = now();
        // It answers once the table is published.
        let node = Node::start(&store, &[])?;
        node.connect()?.ask_where(&question())?;
        took.push((now() - started).as_secs_f64() * 1e3);
    }
    let took = Spread::new(took.into_iter());
    Ok(vec![
        Figure::shown(
            "from a node's start to its first answer, 10,000 regions, median",
            took.median(),
            "ms",
        ),
        Figure::shown(
            "from a node's start to its first answer, 10,000 regions, most",
            took.most(),
            "ms",
        )
        .at_most(1000.0),
    ])
}
