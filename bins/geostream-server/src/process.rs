//! What every program tells Prometheus of its process, by the names that dashboards know.

use std::fs;

use geostream_domain::Timestamp;
use rustix::param::page_size;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

/// Returns the metrics of a process that was started then, as Prometheus reads them.
///
/// The recorder would round the counter of processor time to whole seconds.
pub(crate) fn metrics(started: Timestamp) -> String {
    let families = [
        ("cpu_seconds_total", "counter", "Processor time of the process", Some(cpu_seconds())),
        ("resident_memory_bytes", "gauge", "Memory of the process", resident_bytes()),
        ("open_fds", "gauge", "Files and connections that the process has open", open_files()),
        ("max_fds", "gauge", "The most that it may have open", most_files()),
        ("start_time_seconds", "gauge", "When the process began", Some(seconds(started))),
    ];
    let shown = families.into_iter().filter_map(|(name, kind, help, value)| {
        let (name, value) = (format!("process_{name}"), value?);
        Some(format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n\n"))
    });
    shown.collect()
}

#[expect(clippy::cast_precision_loss, reason = "a few bits of a nanosecond are nothing")]
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

#[expect(clippy::cast_precision_loss, reason = "no process has 2^53 bytes of memory")]
fn resident_bytes() -> Option<f64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some((pages * page_size() as u64) as f64)
}

#[expect(clippy::cast_precision_loss, reason = "no process has 2^53 files")]
fn open_files() -> Option<f64> {
    Some(fs::read_dir("/proc/self/fd").ok()?.count() as f64)
}

#[expect(clippy::cast_precision_loss, reason = "no process may have 2^53 files")]
fn most_files() -> Option<f64> {
    getrlimit(Resource::Nofile).current.map(|most| most as f64)
}

#[expect(clippy::cast_precision_loss, reason = "2^53 milliseconds are 285,000 years")]
fn seconds(at: Timestamp) -> f64 {
    at.unix_millis() as f64 / 1e3
}
