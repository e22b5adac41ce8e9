//! What legitimate clients notice of an attack, beside a quiet run.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use clap::ValueEnum as _;

use crate::attacks::attacker::{Attack, Counts};
use crate::attacks::bystanders::{Requests, Seen, watch};
use crate::attacks::child::Child;
use crate::figure::Figure;
use crate::process::{now, pause};
use crate::served::Served;
use xtask::shell::say;

/// How long a server is asked before anything is measured.
pub(super) const WARM_UP: Duration = Duration::from_secs(1);

/// How long a server has to recover from one attack before the next run.
const REST: Duration = Duration::from_millis(500);

/// How many times as long as in the quiet run half of all requests may take.
const SLOWER: f64 = 3.0;

/// How long all but one of a hundred requests for `/health` may take, in milliseconds.
const HEALTH: f64 = 100.0;

/// Lines of an answer of the sink, for attacks that wait for answers.
const LINES: u32 = 100_000;

pub(super) fn run(
    attacks: &[Attack],
    declaration: &str,
    flags: &[&str],
    during: Duration,
) -> anyhow::Result<Vec<Figure>> {
    let server = Served::with_two_workers(declaration, flags)?;
    watch(server.address, WARM_UP);
    let mut figures = Vec::new();
    for &attack in attacks {
        let pair = compare(&server, attack, || Ok(watch(server.address, during)))?;
        figures.extend(pair.figures(attack, |seen| seen)?);
    }
    Ok(figures)
}

/// Returns what an attack is called.
pub(super) fn name(attack: Attack) -> anyhow::Result<String> {
    let name = attack.to_possible_value().context("the attack has no name")?;
    Ok(name.get_name().replace('-', " "))
}

/// What was seen in the quiet run and under attack.
#[derive(Debug)]
pub(super) struct Pair<T> {
    pub(super) quiet: T,
    pub(super) attacked: T,
    /// The processor time that the server has used each second while it was attacked.
    cores: f64,
    counts: Counts,
}

/// Measures while the attacker talks to a sink, and then while it talks to the server.
pub(super) fn compare<T>(
    server: &Served,
    attack: Attack,
    measure: impl Fn() -> anyhow::Result<T>,
) -> anyhow::Result<Pair<T>> {
    let lines = (attack == Attack::Heavy).then_some(LINES);
    let (_sink, sink) = Child::sink(lines)?;
    let (quiet, _counts, _cores) = attacked(server, attack, sink, &measure)?;
    let (attacked, counts, cores) = attacked(server, attack, server.address, &measure)?;
    Ok(Pair { quiet, attacked, cores, counts })
}

fn attacked<T>(
    server: &Served,
    attack: Attack,
    target: SocketAddr,
    measure: impl Fn() -> anyhow::Result<T>,
) -> anyhow::Result<(T, Counts, f64)> {
    let attacker = Child::attacker(attack, target)?;
    let began = now();
    let before = server.cpu_time()?.all();
    let seen = measure()?;
    let cores = (server.cpu_time()?.all() - before) / (now() - began).as_secs_f64();
    let counts = attacker.finish()?;
    pause(REST);
    Ok((seen, counts, cores))
}

impl<T> Pair<T> {
    /// Returns what legitimate clients noticed.
    pub(super) fn figures(
        &self,
        attack: Attack,
        seen: impl Fn(&T) -> &Seen,
    ) -> anyhow::Result<Vec<Figure>> {
        let name = name(attack)?;
        let Self { cores, counts, .. } = self;
        let quiet = seen(&self.quiet);
        let attacked = seen(&self.attacked);
        for (run, seen) in [("quiet", quiet), ("attacked", attacked)] {
            if let Some(failure) = seen.failure() {
                say(&format!("{name}, {run}: {} failed, such as: {failure}", seen.failed()));
            }
        }
        let shown = |what: &str, value, unit| Figure::shown(format!("{name}: {what}"), value, unit);
        let mut figures = vec![
            shown("connections of the attacker", counts.opened as f64, ""),
            shown("of these lost", counts.lost as f64, ""),
            shown("sent by the attacker", counts.sent as f64, ""),
            shown("processor of the server", *cores, "cores"),
            shown("failed requests of legitimate clients", attacked.failed() as f64, "")
                .at_most(0.0),
        ];
        figures.extend(slower(&name, "kept connections", &quiet.kept, &attacked.kept));
        figures.extend(slower(&name, "new connections", &quiet.new, &attacked.new));
        let health = attacked.health.took_ms().p99();
        figures.push(shown("/health, p99", health, "ms").at_most(HEALTH));
        Ok(figures)
    }
}

/// Returns how long requests took under attack, and how many times as long as in the quiet run.
pub(super) fn slower(name: &str, what: &str, quiet: &Requests, attacked: &Requests) -> [Figure; 3] {
    let took = attacked.took_ms();
    let quiet = quiet.took_ms().median();
    let shown = |of: &str, value, unit| Figure::shown(format!("{name}: {what}, {of}"), value, unit);
    [
        shown("p99", took.p99(), "ms"),
        shown("p50", took.median(), "ms"),
        shown("p50 against the quiet run", took.median() / quiet, "times").at_most(SLOWER),
    ]
}
