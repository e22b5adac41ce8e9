//! Debian's packages that tasks need.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context as _, bail};

use crate::shell::{command, run as run_command};

/// A package, and what tells that it is installed.
pub type Package = (&'static str, fn() -> bool);

/// Installs the missing packages if this process runs as root.
///
/// # Errors
///
/// A package is missing and cannot be installed; the text has the command to run.
pub fn install(packages: &[Package]) -> anyhow::Result<()> {
    let missing: Vec<&str> =
        packages.iter().filter(|(_, is_there)| !is_there()).map(|(package, _)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let install = format!("apt-get install --yes --no-install-recommends {}", missing.join(" "));
    let user = fs::metadata("/proc/self").context("looking at who runs this")?.uid();
    if user != 0 || !Path::new("/usr/bin/apt-get").exists() {
        bail!("{} is missing; install it: sudo {install}", missing.join(", "));
    }
    let mut apt = command("sh");
    apt.args(["-c", &format!("apt-get update --quiet --quiet && {install} --quiet --quiet")]);
    // Figures are what goes to standard output.
    run_command(apt.env("DEBIAN_FRONTEND", "noninteractive").stdout(std::io::stderr()))
}
