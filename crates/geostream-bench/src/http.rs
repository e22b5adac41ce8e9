//! `bench http`: what a request costs, how long it takes, and what a server is that takes many,
//! beside other servers on the same machine in the same run.
//!
//! A server has one core and the load the other. What is compared is the processor time that the
//! kernel has charged to each process, so the load's own speed does not matter.

mod latency;
mod memory;
mod processor;
mod streams;
mod sustained;

use clap::{Args, ValueEnum};
use geostream_geoip::Database;

use crate::clients::{self, Client};
use crate::cores;
use crate::figure::{Figure, Options};
use crate::places::{self, Region};
use xtask::geoip;

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
    /// Processor time a request, beside peers, and who answers rightly
    Processor,
    /// The same over HTTP/2
    Http2,
    /// How long a request takes at fixed rates
    Latency,
    /// A minute at 50,000 requests a second, or the most that there is
    Sustained,
    /// Memory by regions and idle connections
    Memory,
}

/// Connections that a load has.
const CONNECTIONS: usize = 64;

/// Different clients among many.
const CLIENTS: usize = 100_000;

/// What all scenarios are about.
#[derive(Debug)]
struct Scene {
    regions: Vec<Region>,
    database: Database,
    many: Vec<Client>,
    is_quick: bool,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Vec<Figure>> {
    geoip::ensure()?;
    cores::separate()?;
    let Arguments { options, scenarios } = arguments;
    let (file, _is_nested) = geoip::ipv4_file();
    let database = Database::open(&file)?;
    let many = clients::many(&database, CLIENTS)?;
    let scene = Scene { regions: places::thirty()?, database, many, is_quick: options.quick };
    let scenarios = if scenarios.is_empty() { Scenario::value_variants() } else { scenarios };
    let mut figures = Vec::new();
    for scenario in scenarios {
        figures.extend(match scenario {
            Scenario::Processor => processor::run(&scene)?,
            Scenario::Http2 => streams::run(&scene)?,
            Scenario::Latency => latency::run(&scene)?,
            Scenario::Sustained => sustained::run(&scene)?,
            Scenario::Memory => memory::run(&scene)?,
        });
    }
    Ok(figures)
}
