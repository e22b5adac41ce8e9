//! `cargo xtask bench`: figures, and the bars that they are to keep.

mod engine;
mod failover;
mod http;

use anyhow::bail;
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::shell::say;

#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// How long a decision takes in the library
    Engine(Options),
    /// What a request costs the server, against a bare hyper server
    Http(Options),
    /// How long clients are sent to a region that has died
    Failover(Options),
}

#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Options {
    /// Fewer runs: under a minute, and less sure
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

    /// A figure that is to be at most so much.
    pub(crate) fn at_most(self, bar: f64) -> Self {
        Self { at_most: Some(bar), ..self }
    }

    fn misses(&self) -> bool {
        self.at_most.is_some_and(|bar| self.value > bar)
    }
}

pub(crate) fn run(bench: &Bench) -> anyhow::Result<()> {
    let (options, figures) = match bench {
        Bench::Engine(options) => (options, engine::run(*options)?),
        Bench::Http(options) => (options, http::run(*options)?),
        Bench::Failover(options) => (options, failover::run(*options)?),
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
