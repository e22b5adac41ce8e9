//! `cargo xtask bench`: builds what is measured and the benches, and runs them.

use std::io;
use std::os::unix::process::CommandExt as _;

use anyhow::Context as _;
use xtask::shell::{cargo, command, root, run as run_command};

/// The arguments of `geostream-bench`.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Arguments {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Always the same packages: with another selection cargo chooses other features of their
/// dependencies, and builds everything anew.
const PACKAGES: [&str; 6] =
    ["-p", "geostream-server", "-p", "geostream-admin", "-p", "geostream-bench"];

/// Replaces this process by the benches, so that signals and the exit code are theirs.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    Err(benches()?.args(&arguments.arguments).exec()).context("starting geostream-bench")
}

/// Counts instructions: the one bench that is a test, since other processes do not disturb it.
pub(crate) fn count_instructions() -> anyhow::Result<()> {
    run_command(benches()?.arg("instructions"))
}

/// Builds the benches and what they measure; returns the command that runs them.
fn benches() -> anyhow::Result<std::process::Command> {
    let mut build = cargo();
    build.args(["build", "--release", "--locked"]).args(PACKAGES);
    // Standard output is for figures.
    run_command(build.stdout(io::stderr()))?;
    Ok(command(&root().join("target/release/geostream-bench").to_string_lossy()))
}
