//! GeoStream's own tasks: `cargo xtask --help`.

mod bench;
mod ci;
mod coverage;
mod run;
mod sim;
mod test;
mod tidy;

use clap::{Parser, Subcommand};
use xtask::geoip;

/// GeoStream's own tasks.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Run a server with real GeoIP data and a sample configuration
    Run(run::Arguments),
    /// Check everything that a change must pass
    Test,
    /// Check the rules of the house: who imports whom, and what lies where
    Tidy,
    /// Measure, and compare with what is promised: `cargo xtask bench --help`
    Bench(bench::Arguments),
    /// Bring GeoIP data (DB-IP City Lite)
    Geoip(geoip::Arguments),
    /// Break Raft clusters in simulated time: `cargo xtask sim --help`
    Sim(sim::Arguments),
    /// Print how much of the pure crates their tests reach
    Coverage,
    /// Do what the continuous integration does, or a part of it
    Ci(ci::Arguments),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().task {
        Task::Run(arguments) => run::run(&arguments),
        Task::Test => test::run(),
        Task::Tidy => tidy::run(),
        Task::Bench(bench) => bench::run(&bench),
        Task::Geoip(arguments) => geoip::run(&arguments),
        Task::Sim(arguments) => sim::run(&arguments),
        Task::Coverage => coverage::run(),
        Task::Ci(arguments) => ci::run(&arguments),
    }
}
