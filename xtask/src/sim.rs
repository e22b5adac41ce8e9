//! `cargo xtask sim`: breaks Raft clusters in simulated time.

mod mutants;

use xtask::shell::{cargo, run as run_command};

/// What the simulator understands.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Arguments {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Builds the simulator and runs it; `--mutants` builds it from a copy that has known bugs.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut sim = cargo();
    sim.args(["run", "--quiet", "--profile", "sim", "--package", "geostream-sim"]);
    if arguments.arguments.iter().any(|argument| argument == "--mutants") {
        let manifest = mutants::plant()?;
        // Code beside a mutant may be unreachable or unused. The copy's lock file lists the crates
        // of the whole workspace; cargo drops those that the copy lacks, which `--locked` would
        // forbid.
        sim.env("RUSTFLAGS", "--cfg mutants -A warnings").arg("--manifest-path").arg(manifest);
    } else {
        sim.arg("--locked");
    }
    run_command(sim.arg("--").args(&arguments.arguments))
}
