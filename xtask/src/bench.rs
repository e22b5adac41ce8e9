//! `cargo xtask bench`: figures, and the bars that they are to keep.

mod attacks;
mod clients;
mod connection;
mod cores;
mod engine;
mod failover;
mod http;
mod instructions;
mod load;
mod peers;
mod places;
mod process;
mod restart;
mod served;
mod soak;
mod stores;

use anyhow::bail;
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::shell::{cargo, run as run_command, say};

pub(crate) use crate::bench::attacks::Role;

#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// How long a decision takes in the library
    Engine(Options),
    /// What a request costs and how long it takes, beside other servers
    Http(http::Arguments),
    /// Half of the most load for long, while the configuration changes and a region flaps
    Soak(soak::Arguments),
    /// How many instructions a decision takes, and a request, against what was accepted
    Instructions(instructions::Arguments),
    /// How long clients are sent to a region that has died
    Failover(failover::Arguments),
    /// Attacks on a server at its defaults, and what legitimate clients notice
    Attacks(attacks::Arguments),
    /// What several nodes over one store cost it, and its faults them
    Stores(stores::Arguments),
    /// What clients notice when nodes behind a load balancer are restarted, stopped and killed
    Restart(restart::Arguments),
}

#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct Options {
    /// Fewer runs: quicker, and less sure
    #[arg(long)]
    pub(crate) quick: bool,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// A figure, and the bar that it is to keep, if there is one.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    what: String,
    value: f64,
    unit: &'static str,
    at_most: Option<f64>,
}

impl Figure {
    /// A figure that is shown for comparison.
    pub(crate) fn shown(what: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { what: what.into(), value, unit, at_most: None }
    }

    /// A figure that is to be at most so much, if that is said.
    pub(crate) fn at_most(self, bar: impl Into<Option<f64>>) -> Self {
        Self { at_most: bar.into(), ..self }
    }

    fn misses(&self) -> bool {
        self.at_most.is_some_and(|bar| self.value > bar)
    }
}

/// The same figure of many runs.
#[derive(Debug)]
pub(crate) struct Spread(Vec<f64>);

impl Spread {
    pub(crate) fn new(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    pub(crate) fn least(&self) -> f64 {
        self.at(0)
    }

    pub(crate) fn median(&self) -> f64 {
        self.at(500)
    }

    pub(crate) fn p99(&self) -> f64 {
        self.at(990)
    }

    pub(crate) fn p999(&self) -> f64 {
        self.at(999)
    }

    pub(crate) fn most(&self) -> f64 {
        self.at(1_000)
    }

    /// Returns the nearest rank: of fewer than a hundred values, the 99th percentile is the most.
    fn at(&self, per_thousand: usize) -> f64 {
        let rank = (self.0.len() * per_thousand).div_ceil(1_000);
        self.0.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }
}

/// Counts instructions: the one bench that is a test, since nothing else on the machine disturbs it.
pub(crate) fn count_instructions() -> anyhow::Result<()> {
    run(&Bench::Instructions(<_>::default()))
}

pub(crate) fn run(bench: &Bench) -> anyhow::Result<()> {
    let (options, figures) = match bench {
        Bench::Engine(options) => (options, engine::run(*options)?),
        Bench::Http(arguments) => (&arguments.options, http::run(arguments)?),
        Bench::Soak(arguments) => (&arguments.options, soak::run(arguments)?),
        Bench::Instructions(arguments) => (&arguments.options, instructions::run(arguments)?),
        Bench::Failover(arguments) => (&arguments.options, failover::run(arguments)?),
        Bench::Attacks(arguments) => (&arguments.options, attacks::run(arguments)?),
        Bench::Stores(arguments) => (&arguments.options, stores::run(arguments)?),
        Bench::Restart(arguments) => (&arguments.options, restart::run(arguments)?),
    };
    if options.json {
        print(&serde_json::to_string_pretty(&figures)?);
    } else {
        show(&figures);
    }
    let missed: Vec<&str> =
        figures.iter().filter(|f| f.misses()).map(|figure| figure.what.as_str()).collect();
    if !missed.is_empty() {
        bail!("above the bar: {}", missed.join(", "));
    }
    Ok(())
}

/// Builds what is measured, always the same packages: with another selection of them, cargo chooses
/// other features of their dependencies, and builds all anew.
pub(crate) fn build() -> anyhow::Result<()> {
    let packages = ["-p", "geostream-server", "-p", "geostream-admin", "-p", "xtask"];
    let mut build = cargo();
    build.args(["build", "--release", "--locked"]).args(packages);
    run_command(build.stdout(std::io::stderr()))
}

fn show(figures: &[Figure]) {
    let width = figures.iter().map(|figure| figure.what.chars().count()).max().unwrap_or_default();
    say("");
    for figure in figures {
        let Figure { what, value, unit, at_most } = figure;
        let bar = match at_most {
            Some(bar) => {
                format!("<= {bar} {unit}{}", if figure.misses() { "  MISSED" } else { "" })
            }
            None => String::new(),
        };
        print(&format!("{what:width$}  {value:>9.2} {unit:5}  {bar}"));
    }
}

#[expect(clippy::print_stdout, reason = "the figures are what was asked for")]
fn print(text: &str) {
    println!("{text}");
}
