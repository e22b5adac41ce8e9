//! From a commit until every node decides by it.

use geostream_testbed::Postgres;

use crate::figure::{Figure, Spread};
use crate::process::now;
use crate::stores::nodes::{Node, database, declaration, wait_until_all_decide_by};
use xtask::shell::say;

const NODES: usize = 5;
const REGIONS: usize = 10;

pub(crate) fn run(changes: usize) -> anyhow::Result<Vec<Figure>> {
    say(&format!("{changes} commits, each until {NODES} nodes decide by it"));
    let server = Postgres::start(&["fsync=on"]);
    let store = database(&server)?;
    let nodes = (0..NODES).map(|_| Node::start(&store, &[])).collect::<anyhow::Result<Vec<_>>>()?;
    let token = nodes[0].token()?;
    let mut connections = nodes.iter().map(Node::connect).collect::<anyhow::Result<Vec<_>>>()?;
    let declared = declaration(REGIONS, 1);
    let mut revision = connections[0].write("/api/v1/config", &token, 0, &declared)?;
    let mut took = Vec::new();
    for change in 0..changes {
        let region = format!("r{}", change % REGIONS);
        let sent = now();
        let writer = &mut connections[change % NODES];
        // It hears of the commit before as late as the others.
        revision = writer.send_all_to(&region, &token, revision)?;
        wait_until_all_decide_by(revision, &mut connections)?;
        took.push((now() - sent).as_secs_f64() * 1e3);
    }
    let took = Spread::new(took.into_iter());
    Ok(vec![
        Figure::shown(
            "from a change, sent, to 5 nodes that decide by it, median",
            took.median(),
            "ms",
        ),
        Figure::shown("from a change, sent, to 5 nodes that decide by it, p99", took.p99(), "ms")
            .at_most(200.0),
        Figure::shown("from a change, sent, to 5 nodes that decide by it, most", took.most(), "ms"),
    ])
}
