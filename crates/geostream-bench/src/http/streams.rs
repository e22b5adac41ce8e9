//! HTTP/2: many requests at a time on few connections, by h2load.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::clients::{self, Client, ONE};
use crate::figure::{Figure, Spread};
use crate::http::Scene;
use crate::peers::{self, Peer};
use crate::served::Served;
use xtask::debian::{self, Package};
use xtask::shell::{output, say};

const CONNECTIONS: &str = "16";
const STREAMS: &str = "10";
const H2LOAD: Package = ("nghttp2-client", || Path::new("/usr/bin/h2load").exists());

/// How many times nginx's processor time GeoStream may take at most.
const BAR: f64 = 0.4;

/// More clients than these would but take h2load longer to read.
const CLIENTS: usize = 10_000;

pub(crate) fn run(scene: &Scene) -> anyhow::Result<Vec<Figure>> {
    if let Err(missing) = debian::install(&[H2LOAD]) {
        say(&format!("left out: HTTP/2: {missing:#}"));
        return Ok(Vec::new());
    }
    let (rounds, count) = if scene.is_quick { (3, 20_000) } else { (9, 200_000) };
    let geostream = Served::geostream(&scene.regions)?;
    let peers = peers::start_all(&[Peer::NginxMap], &scene.regions, &scene.database)?;
    let mut servers = vec![(&geostream, geostream.address)];
    servers.extend(peers.iter().map(|(peer, _bar)| (peer, peer.http2_address())));
    let directory = tempfile::tempdir()?;
    let mut figures = Vec::new();
    for (asked, bar) in [
        (Asked::one(directory.path())?, Some(BAR)),
        (Asked::many(directory.path(), &scene.many)?, None),
    ] {
        figures.extend(compare(&servers, &asked, bar, rounds, count)?);
    }
    Ok(figures)
}

/// What is asked: h2load sends one body, or goes through many paths.
#[derive(Debug)]
enum Asked {
    One { body: PathBuf },
    Many { targets: PathBuf },
}

impl Asked {
    fn one(directory: &Path) -> anyhow::Result<Self> {
        let body = directory.join("body");
        fs::write(&body, clients::body(ONE))?;
        Ok(Self::One { body })
    }

    fn many(directory: &Path, clients: &[Client]) -> anyhow::Result<Self> {
        let targets = directory.join("targets");
        let addresses = clients.iter().take(CLIENTS).map(|client| client.address);
        let lines = addresses.map(|address| {
            format!("http://localhost/api/v1/route?client_ip={address}&service=api\n")
        });
        fs::write(&targets, lines.collect::<String>())?;
        Ok(Self::Many { targets })
    }

    fn name(&self) -> &'static str {
        match self {
            Self::One { .. } => "HTTP/2, POST, one client",
            Self::Many { .. } => "HTTP/2, GET, many clients",
        }
    }

    /// Asks so often.
    fn h2load(&self, address: SocketAddr, count: usize) -> Command {
        let mut h2load = Command::new("h2load");
        h2load.args(["-c", CONNECTIONS, "-m", STREAMS, "-t", "1", "-n", &count.to_string()]);
        match self {
            Self::One { body } => h2load
                .arg("-d")
                .arg(body)
                .args(["-H", "content-type: application/json"])
                .args(["-H", &format!("x-forwarded-for: {ONE}")])
                .arg(format!("http://{address}/api/v1/route")),
            Self::Many { targets } => {
                h2load.args(["-B", &format!("http://{address}"), "-i"]).arg(targets)
            }
        };
        h2load
    }
}

/// Puts the first server beside the others, round by round.
fn compare(
    servers: &[(&Served, SocketAddr)],
    asked: &Asked,
    bar: Option<f64>,
    rounds: usize,
    count: usize,
) -> anyhow::Result<Vec<Figure>> {
    let name = asked.name();
    let mut costs = vec![Vec::new(); servers.len()];
    let mut rates = vec![Vec::new(); servers.len()];
    for round in 0..rounds {
        for (place, (server, address)) in servers.iter().enumerate() {
            let (cost, rate) = measure(server, asked.h2load(*address, count), count)?;
            say(&format!("{name}, round {round}: {}: {cost:.2} us", server.name));
            costs[place].push(cost);
            rates[place].push(rate);
        }
    }
    let median = |values: &[f64]| Spread::new(values.iter().copied()).median();
    let shown = |what: String, value, unit| Figure::shown(format!("{name}: {what}"), value, unit);
    let mut figures = Vec::new();
    for ((server, _), (costs, rates)) in servers.iter().zip(costs.iter().zip(&rates)) {
        let what = |what: &str| format!("{}: {what}", server.name);
        figures.push(shown(what("processor time a request"), median(costs), "us"));
        figures.push(shown(what("requests a second on one core"), median(rates), "1/s"));
    }
    for ((server, _), theirs) in servers.iter().zip(&costs).skip(1) {
        let ratios = costs[0].iter().zip(theirs).map(|(ours, theirs)| ours / theirs);
        let what = format!("GeoStream against {}", server.name);
        figures.push(shown(what, Spread::new(ratios).median(), "times").at_most(bar));
    }
    Ok(figures)
}

/// Returns the processor time of a request in microseconds, and how many were answered a second.
fn measure(server: &Served, mut h2load: Command, count: usize) -> anyhow::Result<(f64, f64)> {
    let before = server.cpu_time()?;
    let said = output(&mut h2load)?;
    let after = server.cpu_time()?;
    ensure!(said.contains(&format!(" {count} 2xx,")), "{}: {said}", server.name);
    let rate = said.lines().find_map(|line| line.strip_prefix("finished in "));
    let rate = rate.and_then(|line| line.split(", ").nth(1)?.strip_suffix(" req/s"));
    let rate = rate.with_context(|| format!("h2load says: {said}"))?.parse()?;
    Ok(((after.all() - before.all()) * 1e6 / count as f64, rate))
}
