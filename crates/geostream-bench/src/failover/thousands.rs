//! Five thousand regions are probed each second, while decisions go on.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::ensure;

use crate::failover::ground::wait;
use crate::failover::plan::Plan;
use crate::failover::world::{Client, Declared, Region, World};
use crate::figure::float;
use crate::figure::{Figure, Spread};
use crate::process;
use crate::process::{now, pause};
use xtask::shell::say;

const REGIONS: usize = 5_000;

/// How many processes stand for the regions, each with many addresses.
const PROCESSES: usize = 4;

/// From one decision to the next.
const GAP: Duration = Duration::from_millis(4);

pub(crate) fn run(plan: &Plan) -> anyhow::Result<Vec<Figure>> {
    let (rounds, seconds) = if plan.is_quick { (1, 5) } else { (3, 20) };
    let duration = Duration::from_secs(seconds);
    let mut regions: Vec<Region> = (0..PROCESSES)
        .map(|_| Region::start_on(Ipv4Addr::UNSPECIFIED, &[]))
        .collect::<anyhow::Result<_>>()?;
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        let checked = measure(&mut regions, true, duration)?;
        let unchecked = measure(&mut regions, false, duration)?;
        say(&format!(
            "{REGIONS} regions, round {round} of {rounds}: {:.0} probes/s, {:.2} cores; decisions {:.0} us, \
             without probes {:.0} us",
            checked.probes, checked.cores, checked.median, unchecked.median,
        ));
        with.push(checked);
        without.push(unchecked);
    }
    Ok(figures_of(&with, &without))
}

fn figures_of(with: &[Cost], without: &[Cost]) -> Vec<Figure> {
    let shown = |what: &str, costs: &[Cost], of: fn(&Cost) -> f64, unit| {
        Figure::shown(what, Spread::new(costs.iter().map(of)).median(), unit)
    };
    let ratio = |of: fn(&Cost) -> f64| {
        let ratios = with.iter().zip(without).map(|(with, without)| of(with) / of(without));
        Figure::shown("against the same without probes", Spread::new(ratios).median(), "times")
    };
    let removed: usize = with.iter().map(|cost| cost.removed).sum();
    vec![
        shown("5,000 regions: probes", with, |cost| cost.probes, "1/s"),
        shown("5,000 regions: processor", with, |cost| cost.cores, "cores"),
        shown("the same without probes", without, |cost| cost.cores, "cores"),
        shown("5,000 regions: memory", with, |cost| cost.megabytes, "MB"),
        shown("the same without probes", without, |cost| cost.megabytes, "MB"),
        shown("5,000 regions: decision, median", with, |cost| cost.median, "us"),
        ratio(|cost| cost.median).at_most(1.25),
        shown("5,000 regions: decision, p99", with, |cost| cost.p99, "us"),
        ratio(|cost| cost.p99),
        Figure::shown("5,000 regions: removed", float(removed), "").at_most(0.0),
    ]
}

/// How long a server's memory and connections take to be as they stay.
const SETTLING: Duration = Duration::from_secs(6);

/// What a server costs, and how fast it is.
#[derive(Debug)]
struct Cost {
    probes: f64,
    cores: f64,
    megabytes: f64,
    /// Of a decision, in microseconds, as a client sees it.
    median: f64,
    p99: f64,
    removed: usize,
}

fn measure(regions: &mut [Region], is_checked: bool, duration: Duration) -> anyhow::Result<Cost> {
    let ports: Vec<u16> = regions.iter().map(|region| region.address.port()).collect();
    let declared: Vec<_> = (0..REGIONS)
        .map(|number| {
            let check = is_checked.then(|| format!("http://{}/", endpoint(number, &ports)));
            Declared { check, capacity: None }
        })
        .collect();
    let world = World::new(&declared)?;
    wait(if is_checked { "5,000 regions, settling" } else { "no probes, settling" }, SETTLING);
    let id = world.server_id();
    let (began, cpu, probes) = (now(), process::cpu_time(id)?.all(), probes(regions)?);
    let took = decide_for(&world, duration)?;
    let seconds = (now() - began).as_secs_f64();
    let cost = Cost {
        probes: (self::probes(regions)? - probes) / seconds,
        cores: (process::cpu_time(id)?.all() - cpu) / seconds,
        megabytes: process::resident_mb(id)?,
        median: took.median() * 1e6,
        p99: took.p99() * 1e6,
        removed: world.removals().all(),
    };
    ensure!(!is_checked || cost.probes > 0.9 * float(REGIONS), "only {} probes/s", cost.probes);
    Ok(cost)
}

/// Returns an address of its own for each region.
fn endpoint(number: usize, ports: &[u16]) -> SocketAddr {
    let [_, _, high, low] = u32::try_from(number).unwrap_or_default().to_be_bytes();
    SocketAddr::from((Ipv4Addr::new(127, 1, high, low), ports[number % ports.len()]))
}

/// Decides at a steady pace, and returns the seconds that decisions take.
fn decide_for(world: &World, duration: Duration) -> anyhow::Result<Spread> {
    let mut server = world.connect()?;
    let end = now() + duration;
    let mut took = Vec::new();
    for client in Client::around(9, 1_000).into_iter().cycle() {
        let asked = now();
        if asked >= end {
            break;
        }
        server.decide(client)?;
        took.push((now() - asked).as_secs_f64());
        pause((asked + GAP).saturating_duration_since(now()));
    }
    Ok(Spread::new(took.into_iter()))
}

fn probes(regions: &mut [Region]) -> anyhow::Result<f64> {
    regions.iter_mut().map(Region::probes).sum()
}
