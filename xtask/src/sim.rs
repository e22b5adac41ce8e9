//! `cargo xtask sim`: breaks Raft clusters in simulated time.

use xtask::shell::{cargo, run as run_command};

/// What the simulator understands.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Arguments {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Builds the simulator, with known bugs in it if those are to be found, and runs it.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut sim = cargo();
    sim.args(["run", "--quiet", "--locked", "--profile", "sim", "--package", "geostream-sim"]);
    if arguments.arguments.iter().any(|argument| argument == "--mutants") {
        sim.env("RUSTFLAGS", "--cfg mutants").args(["--target-dir", "target/mutants"]);
    }
    run_command(sim.arg("--").args(&arguments.arguments))
}
