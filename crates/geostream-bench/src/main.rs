//! The benches behind `cargo xtask bench`: each prints figures and the bars that they keep.
//!
//! `cargo xtask bench` builds this program, the server and the admin tool in one call, because
//! another selection of packages would make cargo choose other features and build everything anew.

mod attacks;
mod clients;
mod connection;
mod cores;
mod engine;
mod failover;
mod figure;
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
use clap::{Parser, Subcommand};
use xtask::shell::say;

use crate::attacks::Role;
use crate::figure::{Figure, Options};

/// Measure, and compare with what is promised.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
struct Arguments {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
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
    /// Play a part in `attacks`, which starts this itself
    #[command(subcommand, hide = true)]
    Attack(Role),
}

fn main() -> anyhow::Result<()> {
    let Arguments { bench } = Arguments::parse();
    let (options, figures) = match bench {
        Bench::Engine(options) => (options, engine::run(options)?),
        Bench::Http(arguments) => (arguments.options, http::run(&arguments)?),
        Bench::Soak(arguments) => (arguments.options, soak::run(&arguments)?),
        Bench::Instructions(arguments) => (arguments.options, instructions::run(&arguments)?),
        Bench::Failover(arguments) => (arguments.options, failover::run(&arguments)?),
        Bench::Attacks(arguments) => (arguments.options, attacks::run(&arguments)?),
        Bench::Stores(arguments) => (arguments.options, stores::run(&arguments)?),
        Bench::Restart(arguments) => (arguments.options, restart::run(&arguments)?),
        Bench::Attack(role) => return role.play(),
    };
    report(options, &figures)
}

/// Prints the figures; a figure above its bar is an error.
fn report(options: Options, figures: &[Figure]) -> anyhow::Result<()> {
    if options.json {
        print(&serde_json::to_string_pretty(figures)?);
    } else {
        show(figures);
    }
    let missed: Vec<&str> =
        figures.iter().filter(|f| f.misses()).map(|figure| figure.what.as_str()).collect();
    if !missed.is_empty() {
        bail!("above the bar: {}", missed.join(", "));
    }
    Ok(())
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
