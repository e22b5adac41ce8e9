//! `bench attacks`: attacks on a server at its defaults, and what legitimate clients notice.
//!
//! The server has two workers. Attackers are a child process with addresses in 127.1.0.0/16;
//! legitimate clients are threads of the bench with addresses in 127.2.0.0/16, because limits count
//! by network. Each attack is first directed at a sink, so that the quiet run has a machine that is
//! as busy; the sink is a child process as well.

mod attacker;
mod beside;
mod bystanders;
mod child;
mod memory;
mod role;
mod sink;
mod unauthorized;

use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::attacks::attacker::Attack;
use crate::figure::{Figure, Options};
use crate::places::{declaration, spread, thirty};
use crate::process::now;
use xtask::geoip;
use xtask::shell::say;

pub(crate) use crate::attacks::role::Role;

#[derive(Clone, Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) options: Options,

    /// Only these scenarios; without any, all
    scenarios: Vec<Scenario>,
}

/// What is attacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// HTTP/2 streams that ask for batches and never take the answers
    Streams,
    /// The same with anonymous explanations of 20,000 regions
    Explanations,
    /// One address opens 12,000 connections and keeps them alive
    Connections,
    /// 5,000 connections send the first byte of an HTTP/2 preface, and then nothing
    Preface,
    /// A few connections flood small HTTP/2 frames
    Frames,
    /// Tens of thousands of requests a second without a valid token
    Unauthorized,
    /// Eight clients fetch metrics and explanations of 20,000 regions without pause
    Heavy,
}

/// The regions of a large configuration.
const MANY_REGIONS: u32 = 20_000;

/// Flags that make the server count connections of loopback networks like those of any other.
///
/// A limit that is set explicitly, here to its default, holds for loopback addresses, which are
/// exempt otherwise.
const COUNTING_LOOPBACK: &[&str] = &["--max-connections-per-network", "1000"];

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Vec<Figure>> {
    geoip::ensure()?;
    let Arguments { options, scenarios } = arguments;
    let scenarios = if scenarios.is_empty() { Scenario::value_variants() } else { scenarios };
    let mut figures = Vec::new();
    for scenario in scenarios {
        let began = now();
        figures.extend(scenario.run(options.quick)?);
        say(&format!("{scenario:?} took {:.0} s", (now() - began).as_secs_f64()));
    }
    Ok(figures)
}

impl Scenario {
    fn run(self, is_quick: bool) -> anyhow::Result<Vec<Figure>> {
        let few = declaration(&thirty()?);
        let many = || Ok::<_, anyhow::Error>(declaration(&spread(MANY_REGIONS)?));
        let seconds = |quick, full| Duration::from_secs(if is_quick { quick } else { full });
        match self {
            Self::Streams => memory::run(Attack::Streams, &few, seconds(30, 120)),
            Self::Explanations => memory::run(Attack::Explanations, &many()?, seconds(30, 120)),
            Self::Connections => {
                let attacks = [Attack::Connections];
                beside::run(&attacks, &few, COUNTING_LOOPBACK, seconds(10, 60))
            }
            Self::Preface => beside::run(&[Attack::Preface], &few, &[], seconds(10, 60)),
            Self::Frames => beside::run(&Attack::FRAMES, &few, &[], seconds(3, 20)),
            Self::Unauthorized => unauthorized::run(&few, seconds(6, 30)),
            Self::Heavy => beside::run(&[Attack::Heavy], &many()?, &[], seconds(10, 60)),
        }
    }
}
