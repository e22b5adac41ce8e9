//! Other processes: how they end, and what they cost, as the kernel tells it.

use std::fs;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::shell::{command, output};

/// A process that ends with whoever has started it.
#[derive(Debug)]
pub(crate) struct Process(pub(crate) Child);

impl Process {
    pub(crate) fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let id = self.0.id().to_string();
        output(Command::new("kill").args(["-s", signal, &id])).map(|_nothing| ())
    }

    /// Ends it at once, and waits until it is gone.
    pub(crate) fn end(&mut self) {
        // It may have been killed already.
        if self.0.kill().is_ok() {
            self.0.wait().ok();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// The processor time that a process has used outside of the kernel and in it, in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CpuTime {
    pub(crate) user: f64,
    pub(crate) kernel: f64,
}

/// Returns the processor time that a process has used.
pub(crate) fn cpu_time(id: u32) -> anyhow::Result<CpuTime> {
    let ticks: f64 = output(command("getconf").arg("CLK_TCK"))?.trim().parse()?;
    let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
    // Behind the name, which may hold anything: proc(5) counts utime and stime as 14 and 15.
    let fields: Vec<&str> =
        stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let (user, kernel) = (fields.get(11), fields.get(12));
    let (Some(user), Some(kernel)) = (user, kernel) else { bail!("no times in {stat}") };
    Ok(CpuTime { user: user.parse::<f64>()? / ticks, kernel: kernel.parse::<f64>()? / ticks })
}

impl CpuTime {
    pub(crate) fn all(self) -> f64 {
        self.user + self.kernel
    }
}

/// Returns the memory that a process has, in megabytes.
pub(crate) fn resident_mb(id: u32) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kb = line.and_then(|line| line.split_whitespace().next()).context("no VmRSS")?;
    Ok(kb.parse::<f64>()? / 1000.0)
}

/// Raises the limit on open files as far as the system permits, and returns it.
pub(crate) fn permit_many_files() -> anyhow::Result<Option<u64>> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
        .context("asking for as many open files as there may be")?;
    Ok(maximum)
}

#[expect(clippy::disallowed_methods, reason = "a benchmark is a program of its own")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "nothing tells when another program is ready")]
pub(crate) fn pause(duration: Duration) {
    thread::sleep(duration);
}
