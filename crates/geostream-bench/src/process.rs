//! Other processes: how they end, and what they cost, as the kernel tells it.

use std::fs;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use xtask::shell::{command, output};

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
    Ok(kernel_figure(id, "status", "VmRSS:")? / 1e3)
}

/// Returns the most memory that a process had since its start or [`reset_peak`], in megabytes.
pub(crate) fn peak_mb(id: u32) -> anyhow::Result<f64> {
    Ok(kernel_figure(id, "status", "VmHWM:")? / 1e3)
}

/// Makes the kernel count the peak of a process's memory from now on: proc(5), `clear_refs`.
pub(crate) fn reset_peak(id: u32) -> anyhow::Result<()> {
    fs::write(format!("/proc/{id}/clear_refs"), "5").context("resetting the peak of memory")
}

/// Returns how much a process has had written to storage, in megabytes.
pub(crate) fn written_mb(id: u32) -> anyhow::Result<f64> {
    Ok(kernel_figure(id, "io", "write_bytes:")? / 1e6)
}

/// Reads one number from a file in which the kernel describes a process, a name and a number a
/// line.
fn kernel_figure(id: u32, file: &str, name: &str) -> anyhow::Result<f64> {
    let text = fs::read_to_string(format!("/proc/{id}/{file}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.with_context(|| format!("no {name}"))?.parse()?)
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
