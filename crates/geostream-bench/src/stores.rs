//! `bench stores`: several nodes over one store, what they cost it, and what its faults cost them.
//!
//! Everything is the real thing: the built server as several processes, and servers of
//! PostgreSQL and Redis that are stopped, frozen, filled up and killed.

mod cache;
mod chaos;
mod commits;
mod faults;
mod limits;
mod load;
pub(crate) mod nodes;

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::figure::{Figure, Options};
use xtask::shell::say;

#[derive(Clone, Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) options: Options,

    /// Only these scenarios; without any, all
    scenarios: Vec<Scenario>,

    /// Minutes of killing at random; 10, or 0.25 with --quick
    #[arg(long)]
    minutes: Option<f64>,

    /// What chance begins with; another one in each run, which is printed
    #[arg(long)]
    seed: Option<u64>,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// From a commit until five nodes decide by it
    Commits,
    /// 10,000 regions and 1,000 services, from PostgreSQL to a published table
    Load,
    /// What 20 nodes read from PostgreSQL beside a Redis
    Cache,
    /// How much three nodes let through together
    Limits,
    /// Decisions while PostgreSQL or Redis is away, in every way
    Faults,
    /// Nodes, PostgreSQL and Redis are killed at random
    Chaos,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Vec<Figure>> {
    let Arguments { options: Options { quick, .. }, scenarios, minutes, seed } = arguments;
    let minutes = minutes.unwrap_or(if *quick { 0.25 } else { 10.0 });
    let seed = seed.unwrap_or_else(|| RandomState::new().hash_one(minutes.to_bits()));
    say(&format!("seed {seed}"));
    let scenarios = if scenarios.is_empty() { Scenario::value_variants() } else { scenarios };
    let mut figures = Vec::new();
    for scenario in scenarios {
        figures.extend(match scenario {
            Scenario::Commits => commits::run(if *quick { 100 } else { 500 })?,
            Scenario::Load => load::run(if *quick { 3 } else { 10 })?,
            Scenario::Cache => cache::run(if *quick { 20 } else { 100 })?,
            Scenario::Limits => limits::run(Duration::from_secs(if *quick { 5 } else { 20 }))?,
            Scenario::Faults => faults::run(if *quick { 3 } else { 15 })?,
            Scenario::Chaos => chaos::run(minutes, seed)?,
        });
    }
    Ok(figures)
}
