//! `bench restart`: three nodes behind a load balancer, which are restarted, stopped and killed while
//! clients ask 200 times a second.
//!
//! Everything is the real thing: the built server with the full GeoIP data, HAProxy and nginx with
//! the files in `deploy/`. Each node has a configuration of its own: what a restart costs clients
//! does not depend on the store.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use clap::{Args, ValueEnum};
use geostream_testbed::Balancer;

use crate::clients;
use crate::connection::Connection;
use crate::figure::{Figure, Options, Spread};
use crate::process::{now, pause};
use crate::stores::nodes::Node;
use xtask::debian::{self, Package};
use xtask::geoip;
use xtask::shell::{root, say};

#[derive(Clone, Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) options: Options,

    /// Only these scenarios; without any, all
    scenarios: Vec<Scenario>,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// HAProxy that asks for /ready and is else at its defaults: one node after another is restarted
    Rolling,
    /// The same HAProxy: one node is told to stop
    Stop,
    /// HAProxy as documented: one node is killed
    Kill,
    /// nginx as documented: one node after another is restarted
    NginxRolling,
    /// nginx as documented: one node is killed
    NginxKill,
}

/// How often clients ask in a second.
const RATE: u32 = 200;

/// How many connections clients have to the balancer. More requests than these can only be under way
/// while some take longer than `ASKERS / RATE` seconds; they are late then, which counts.
const ASKERS: u32 = 64;

/// How long the quiet run is.
const QUIET: Duration = Duration::from_secs(10);

/// How long clients go on to ask when nothing happens any more.
const AFTER: Duration = Duration::from_secs(3);

/// How long a balancer takes to lead clients to a node that has come back: HAProxy at its defaults asks
/// every 2 s, and wants two good answers.
const SETTLE: Duration = Duration::from_secs(5);

/// HAProxy with a check of readiness and nothing else.
const CHECK_ONLY: &str = "\
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend clients
    bind :80
    option forwardfor
    default_backend nodes
backend nodes
    option httpchk GET /ready
    server node1 10.0.0.11:8080 check
    server node2 10.0.0.12:8080 check
    server node3 10.0.0.13:8080 check
";

const HAPROXY: &str = include_str!("../../../deploy/haproxy/haproxy.cfg");
const NGINX: &str = include_str!("../../../deploy/nginx/geostream.conf");

const PACKAGES: &[Package] = &[
    ("haproxy", || Path::new("/usr/sbin/haproxy").exists()),
    ("nginx", || Path::new("/usr/sbin/nginx").exists()),
];

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Vec<Figure>> {
    geoip::ensure()?;
    debian::install(PACKAGES)?;
    let Arguments { options: Options { quick, .. }, scenarios } = arguments;
    let rounds = if *quick { 1 } else { 3 };
    let scenarios = if scenarios.is_empty() { Scenario::value_variants() } else { scenarios };
    let mut figures = Vec::new();
    for scenario in scenarios {
        figures.extend(scenario.measure(rounds)?);
    }
    Ok(figures)
}

impl Scenario {
    fn name(self) -> &'static str {
        match self {
            Self::Rolling => "HAProxy with a readiness check, nodes restarted one by one",
            Self::Stop => "HAProxy with a readiness check, a node told to stop",
            Self::Kill => "HAProxy as documented, a node killed",
            Self::NginxRolling => "nginx as documented, nodes restarted one by one",
            Self::NginxKill => "nginx as documented, a node killed",
        }
    }

    fn balancer(self, nodes: &[SocketAddr]) -> Balancer {
        match self {
            Self::Rolling | Self::Stop => Balancer::haproxy(CHECK_ONLY, nodes),
            Self::Kill => Balancer::haproxy(HAPROXY, nodes),
            Self::NginxRolling | Self::NginxKill => Balancer::nginx(NGINX, nodes),
        }
    }

    fn measure(self, rounds: usize) -> anyhow::Result<Vec<Figure>> {
        let name = self.name();
        let mut quiet = Outcome::default();
        let mut disturbed = Outcome::default();
        for round in 1..=rounds {
            say(&format!("{name}, round {round} of {rounds}"));
            let mut nodes = start_nodes()?;
            let addresses: Vec<_> = nodes.iter().map(|node| node.address).collect();
            let balancer = self.balancer(&addresses);
            // The first requests open connections.
            ask_while(balancer.address(), || {
                pause(Duration::from_secs(2));
                Ok(())
            })?;
            quiet.add(ask_while(balancer.address(), || {
                pause(QUIET);
                Ok(())
            })?);
            disturbed.add(ask_while(balancer.address(), || {
                self.disturb(&mut nodes)?;
                pause(AFTER);
                Ok(())
            })?);
        }
        let quiet_p99 = Spread::new(quiet.latencies_ms.into_iter()).p99();
        let asked = disturbed.asked;
        let failed = f64::from(disturbed.failed);
        let latency = Spread::new(disturbed.latencies_ms.into_iter());
        let p99 = Figure::shown(format!("{name}: p99"), latency.p99(), "ms");
        Ok(vec![
            Figure::shown(format!("{name}: failed, of {asked}"), failed, "").at_most(0.0),
            Figure::shown(format!("{name}: p99, quiet"), quiet_p99, "ms"),
            match self {
                Self::Rolling => p99.at_most(2.0 * quiet_p99),
                Self::Stop | Self::Kill | Self::NginxRolling | Self::NginxKill => p99,
            },
            Figure::shown(format!("{name}: most"), latency.most(), "ms"),
        ])
    }

    fn disturb(self, nodes: &mut [Node]) -> anyhow::Result<()> {
        match self {
            Self::Rolling | Self::NginxRolling => {
                for node in nodes {
                    node.terminate()?;
                    node.restart()?;
                    node.wait()?;
                    pause(SETTLE);
                }
                Ok(())
            }
            Self::Stop => nodes[0].terminate(),
            Self::Kill | Self::NginxKill => {
                nodes[0].kill();
                Ok(())
            }
        }
    }
}

/// Starts three nodes as they are delivered, at their default shutdown delay.
fn start_nodes() -> anyhow::Result<Vec<Node>> {
    let sample = root().join("xtask/sample/sample.toml");
    let mut further = vec!["--bootstrap".to_owned(), text(&sample)?];
    further.extend(["--trusted-proxy".to_owned(), "127.0.0.1/32".to_owned()]);
    for file in geoip::files()? {
        further.extend(["--geoip-file".to_owned(), text(&file)?]);
    }
    let further: Vec<&str> = further.iter().map(String::as_str).collect();
    Node::start_all(3, "embedded", &further)
}

fn text(path: &Path) -> anyhow::Result<String> {
    Ok(path.to_str().context("a path is text")?.to_owned())
}

/// What came of asking.
#[derive(Debug, Default)]
struct Outcome {
    asked: u32,
    /// Answers with a status but 200, and requests without an answer.
    failed: u32,
    /// From when a request was to be sent to its answer.
    latencies_ms: Vec<f64>,
}

impl Outcome {
    fn add(&mut self, other: Self) {
        self.asked += other.asked;
        self.failed += other.failed;
        self.latencies_ms.extend(other.latencies_ms);
    }
}

/// Asks at the rate, whether or not earlier requests are answered, for as long as something happens.
fn ask_while(
    address: SocketAddr,
    happens: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<Outcome> {
    let is_over = AtomicBool::new(false);
    let began = now();
    thread::scope(|scope| {
        let asker = |first| {
            let is_over = &is_over;
            scope.spawn(move || ask_every(first, began, address, is_over))
        };
        let askers: Vec<_> = (0..ASKERS).map(asker).collect();
        let happened = happens();
        is_over.store(true, Ordering::Relaxed);
        let mut all = Outcome::default();
        for asker in askers {
            all.add(asker.join().map_err(|_panic| anyhow!("a client has panicked"))?);
        }
        happened.map(|()| all)
    })
}

/// Sends every request of one connection when it is due: each has every `ASKERS`-th of all.
fn ask_every(first: u32, began: Instant, address: SocketAddr, is_over: &AtomicBool) -> Outcome {
    let mut outcome = Outcome::default();
    let mut kept = None;
    let question = clients::ask_for(clients::ONE);
    for number in (first..).step_by(ASKERS as usize) {
        let due = began + Duration::from_secs_f64(f64::from(number) / f64::from(RATE));
        pause(due.saturating_duration_since(now()));
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        outcome.asked += 1;
        match ask(&mut kept, address, &question) {
            Ok(()) => outcome.latencies_ms.push((now() - due).as_secs_f64() * 1e3),
            Err(error) => {
                say(&format!("a request has failed: {error:#}"));
                outcome.failed += 1;
                kept = None;
            }
        }
    }
    outcome
}

fn ask(kept: &mut Option<Connection>, address: SocketAddr, question: &[u8]) -> anyhow::Result<()> {
    let connection = match kept {
        Some(connection) => connection,
        None => kept.insert(Connection::open(address)?),
    };
    connection.send(question)?;
    connection.receive().map(|_decision| ())
}
