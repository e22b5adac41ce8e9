//! Two cores: servers have one, and whoever measures them the other.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

use xtask::shell::{command, root};

const SERVERS: &str = "0";
const LOAD: &str = "1";

/// Builds what is measured, and does the same task again by the built program, on its own core.
///
/// Returns where it is already so.
pub(crate) fn separate() -> anyhow::Result<()> {
    let status = fs::read_to_string("/proc/self/status")?;
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    if allowed.is_some_and(|cores| cores.trim() == LOAD) {
        return Ok(());
    }
    let mut again = command("taskset");
    again.args(["--cpu-list", LOAD]).arg(root().join("target/release/geostream-bench"));
    Err(again.args(std::env::args_os().skip(1)).exec()).context("running taskset")
}

/// Returns a command that runs on the servers' core.
pub(crate) fn server(program: &Path) -> Command {
    let mut command = command("taskset");
    command.args(["--cpu-list", SERVERS]).arg(program);
    command
}
