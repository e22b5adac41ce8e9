//! Processor time a request: GeoStream and its peers take turns, round after round.

use std::fmt;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::clients::{Client, ONE, locate, requests};
use crate::connection::Connection;
use crate::figure::{Figure, Spread};
use crate::http::{CONNECTIONS, Scene};
use crate::load::Load;
use crate::peers::{self, Peer};
use crate::places::{is_near, nearest};
use crate::served::Served;
use xtask::shell::say;

const PEERS: [Peer; 4] = [Peer::NginxMap, Peer::Haproxy, Peer::NginxFfi, Peer::NginxLibrary];

/// How many times a bare hyper server's processor time GeoStream may take at most.
const BARE: f64 = 1.2;

pub(crate) fn run(scene: &Scene) -> anyhow::Result<Vec<Figure>> {
    let (rounds, count) = if scene.is_quick { (3, 40_000) } else { (9, 200_000) };
    let geostream = Served::geostream(&scene.regions)?;
    let peers = peers::start_all(&PEERS, &scene.regions, &scene.database)?;
    let sample = &scene.many[..if scene.is_quick { 2_000 } else { 20_000 }];
    let mut figures = Vec::from(truth(scene, sample, &geostream)?);
    for (peer, _bar) in &peers {
        figures.extend(truth(scene, sample, peer)?);
    }
    let point = locate(&scene.database, ONE).context("the one client is nowhere")?;
    let one = [Client { address: ONE, point }];
    for (among, clients) in [("many clients", &scene.many[..]), ("one client", &one)] {
        let bare = Served::bare(answer_bytes(&geostream, clients)?)?;
        // Once more at the end: how far it is from itself is what the figures are good for.
        let mut turns = vec![&geostream, &bare];
        turns.extend(peers.iter().map(|(peer, _bar)| peer));
        turns.push(&bare);
        say(&format!(
            "{among}: {rounds} rounds of {count} requests over {CONNECTIONS} connections"
        ));
        let costs = take_turns(&turns, &requests(clients), rounds, count)?;
        // A single address flatters caches, so the bars of peers are for many.
        let bars: Vec<Option<f64>> =
            peers.iter().map(|(_peer, bar)| (clients.len() > 1).then_some(*bar)).collect();
        figures.extend(compared(among, &turns, &costs, &bars));
    }
    Ok(figures)
}

/// What requests cost a server.
#[derive(Clone, Copy, Debug)]
struct Cost {
    user_us: f64,
    kernel_us: f64,
    per_second: f64,
}

impl Cost {
    fn cpu_us(&self) -> f64 {
        self.user_us + self.kernel_us
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let busy = self.cpu_us() * self.per_second / 1e4;
        write!(f, "{:.2} us (kernel {:.2}), {busy:.0} % busy", self.cpu_us(), self.kernel_us)
    }
}

/// Returns the costs of each server, round by round.
fn take_turns(
    servers: &[&Served],
    requests: &[Vec<u8>],
    rounds: usize,
    count: usize,
) -> anyhow::Result<Vec<Vec<Cost>>> {
    let mut costs = vec![Vec::new(); servers.len()];
    for round in 0..rounds {
        // Every other round goes backwards: a machine that slows down favours nobody.
        let mut order: Vec<usize> = (0..servers.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for place in order {
            let cost = measure(servers[place], requests, count)?;
            say(&format!("round {round}: {}: {cost}", servers[place].name));
            costs[place].push(cost);
        }
    }
    Ok(costs)
}

/// Asks as fast as the server can answer, and tells what that costs it.
fn measure(server: &Served, requests: &[Vec<u8>], count: usize) -> anyhow::Result<Cost> {
    let mut load = Load::new(server.address, CONNECTIONS, requests)?;
    // Caches and allocators are warm, and every connection is accepted.
    load.as_fast_as_possible(count / 20)?;
    let before = server.cpu_time()?;
    let outcome = load.as_fast_as_possible(count)?;
    let after = server.cpu_time()?;
    ensure!(outcome.errors == 0, "{}: {} of {count} failed", server.name, outcome.errors);
    let each_us = |seconds: f64| seconds * 1e6 / count as f64;
    Ok(Cost {
        user_us: each_us(after.user - before.user),
        kernel_us: each_us(after.kernel - before.kernel),
        per_second: outcome.per_second,
    })
}

/// Puts the first server beside the others, the second and last of which are a bare hyper server.
fn compared(
    among: &str,
    servers: &[&Served],
    costs: &[Vec<Cost>],
    bars: &[Option<f64>],
) -> Vec<Figure> {
    let mut figures = Vec::new();
    for (server, costs) in servers.iter().zip(costs).take(servers.len() - 1) {
        let median = |of: fn(&Cost) -> f64| Spread::new(costs.iter().map(of)).median();
        let shown = |what, value, unit| {
            Figure::shown(format!("{among}: {}: {what}", server.name), value, unit)
        };
        figures.extend([
            shown("processor time a request", median(Cost::cpu_us), "us"),
            shown("of which in the kernel", median(|cost| cost.kernel_us), "us"),
            shown("requests a second on one core", median(|cost| cost.per_second), "1/s"),
        ]);
    }
    let ratios = |ours: &[Cost], theirs: &[Cost]| {
        Spread::new(ours.iter().zip(theirs).map(|(ours, theirs)| ours.cpu_us() / theirs.cpu_us()))
    };
    let bars = std::iter::once(Some(BARE)).chain(bars.iter().copied());
    for ((server, costs_), bar) in servers.iter().zip(costs).skip(1).zip(bars) {
        let ratio = ratios(&costs[0], costs_).median();
        let what = format!("{among}: GeoStream against {}", server.name);
        figures.push(Figure::shown(what, ratio, "times").at_most(bar));
    }
    let itself = ratios(&costs[costs.len() - 1], &costs[1]);
    let noise =
        |what: &str, value| Figure::shown(format!("{among}: noise: {what}"), value, "times");
    figures.extend([
        noise("a bare hyper server against itself", itself.median()),
        noise("the least of any round", itself.least()),
        noise("the most of any round", itself.most()),
    ]);
    figures
}

/// Returns the mean length of answers.
fn answer_bytes(server: &Served, clients: &[Client]) -> anyhow::Result<usize> {
    let some = requests(&clients[..clients.len().min(1_000)]);
    let mut connection = Connection::open(server.address)?;
    let mut bytes = 0;
    for request in &some {
        connection.send(request)?;
        bytes += connection.receive()?.len();
    }
    Ok(bytes / some.len())
}

/// Returns for how many of these clients a server names the nearest region, and for how many one that
/// is as good but for near-ties.
fn truth(scene: &Scene, clients: &[Client], server: &Served) -> anyhow::Result<[Figure; 2]> {
    let regions = &scene.regions;
    let mut connection = Connection::open(server.address)?;
    let (mut exact, mut near) = (0.0, 0.0);
    for (client, request) in clients.iter().zip(requests(clients)) {
        connection.send(&request)?;
        // Who does not know the client says so by another status, and is not right.
        let (_status, body) = connection.receive_any()?;
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        let answer = regions.iter().position(|region| answer["region"] == *region.id);
        let Some(answer) = answer else { continue };
        exact += f64::from(u8::from(answer == nearest(regions, client.point)));
        near += f64::from(u8::from(is_near(regions, &regions[answer], client.point)));
    }
    let shown = |what: &str, count: f64| {
        let share = count / clients.len() as f64 * 100.0;
        Figure::shown(format!("{}: {what}", server.name), share, "%")
    };
    Ok([
        shown("clients told of the nearest region", exact),
        shown("of one within 5 ms of it", near),
    ])
}
