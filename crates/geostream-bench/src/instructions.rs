//! `bench instructions`: how many instructions a decision takes, and a whole request.
//!
//! They are counted by callgrind, so that a slow or busy machine has no part in them. What they were
//! is in a file beside the code: a commit that raises one by more than a twentieth says so there.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::Value;

use crate::figure::{Figure, Options};
use xtask::debian::{self, Package};
use xtask::shell::{cargo, output, root, say};

#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) options: Options,

    /// Take what is counted for what it is to be from now on
    #[arg(long)]
    accept: bool,
}

const VALGRIND: Package = ("valgrind", || Path::new("/usr/bin/valgrind").exists());

/// What each count was when it was last accepted.
const ACCEPTED: &str = "crates/geostream-bench/instructions.json";

/// How many times that a count may be.
const RISE: f64 = 1.05;

/// The share of a request's instructions that metrics may take.
const METRICS: f64 = 3.0;

/// Decisions in a run: one for each client of the benches' scene.
const DECISIONS: f64 = 1024.0;
const REQUESTS: u32 = 1_000;

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Vec<Figure>> {
    debian::install(&[VALGRIND])?;
    let counts = count_all()?;
    if arguments.accept {
        let text = serde_json::to_string_pretty(&counts)? + "\n";
        fs::write(root().join(ACCEPTED), text).with_context(|| format!("writing {ACCEPTED}"))?;
    }
    let accepted = fs::read_to_string(root().join(ACCEPTED));
    let accepted = accepted.with_context(|| {
        format!("reading {ACCEPTED}; cargo xtask bench instructions --accept writes it")
    })?;
    let accepted: BTreeMap<String, f64> =
        serde_json::from_str(&accepted).with_context(|| format!("reading {ACCEPTED}"))?;
    let mut figures = Vec::new();
    for (what, count) in &counts {
        let before = accepted.get(what).with_context(|| format!("{ACCEPTED} lacks {what:?}"))?;
        figures.push(Figure::shown(what, *count, "instr"));
        figures.push(Figure::shown(format!("{what}: rise"), count / before, "times").at_most(RISE));
    }
    let share = metrics_share(&counts)?;
    figures.push(Figure::shown("share of metrics in a request", share, "%").at_most(METRICS));
    if figures.iter().any(Figure::misses) {
        say("if it is meant: cargo xtask bench instructions --accept");
    }
    Ok(figures)
}

fn count_all() -> anyhow::Result<BTreeMap<String, f64>> {
    let mut counts = BTreeMap::new();
    let decisions = build("geostream-domain")?;
    for (objective, regions) in [
        ("latency", "30"),
        ("latency", "1000"),
        ("latency", "10000"),
        ("proximity", "30"),
        ("cost", "30"),
        ("load", "30"),
        ("priority", "30"),
        ("weighted", "30"),
    ] {
        let what = format!("decision by {objective} among {regions} regions");
        let count = count(&decisions, &[objective, regions])? / DECISIONS;
        say(&format!("{what}: {count:.0}"));
        counts.insert(what, count.round());
    }
    let requests = build("geostream-http")?;
    for mode in ["recorded", "unrecorded"] {
        // What a connection takes once is in both.
        let once = count(&requests, &[mode, &REQUESTS.to_string()])?;
        let twice = count(&requests, &[mode, &(2 * REQUESTS).to_string()])?;
        let count = (twice - once) / f64::from(REQUESTS);
        say(&format!("request, metrics {mode}: {count:.0}"));
        counts.insert(format!("request, metrics {mode}"), count.round());
    }
    Ok(counts)
}

fn metrics_share(counts: &BTreeMap<String, f64>) -> anyhow::Result<f64> {
    let count = |mode| counts.get(&format!("request, metrics {mode}")).context("no such count");
    let (with, without) = (count("recorded")?, count("unrecorded")?);
    Ok((with / without - 1.0) * 100.0)
}

/// Builds a package's counted program, and returns where it is.
fn build(package: &str) -> anyhow::Result<PathBuf> {
    let mut build = cargo();
    build.args(["bench", "--quiet", "--locked", "--no-run", "--bench", "instructions", "-p"]);
    let messages = output(build.args([package, "--message-format", "json"]))?;
    let mut programs = messages.lines().filter_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    });
    programs.next_back().with_context(|| format!("cargo has built no program of {package}"))
}

/// Returns how many instructions a program takes within its function `counted`.
fn count(program: &Path, arguments: &[&str]) -> anyhow::Result<f64> {
    let directory = tempfile::tempdir()?;
    let counts = directory.path().join("counts");
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--collect-atstart=no", "--toggle-collect=*counted*"]);
    valgrind.arg(format!("--callgrind-out-file={}", counts.display()));
    output(valgrind.arg(program).args(arguments))?;
    let text = fs::read_to_string(&counts).context("reading what callgrind has counted")?;
    let Some(total) = text.lines().find_map(|line| line.strip_prefix("totals: ")) else {
        bail!("callgrind has counted nothing in {}", program.display());
    };
    Ok(total.trim().parse()?)
}
