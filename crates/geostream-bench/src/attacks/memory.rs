//! Memory of a server whose answers are not taken.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;

use crate::attacks::attacker::Attack;
use crate::attacks::beside::{WARM_UP, name};
use crate::attacks::bystanders;
use crate::attacks::child::Child;
use crate::figure::Figure;
use crate::process::{now, pause, peak_mb, reset_peak};
use crate::served::Served;
use xtask::shell::say;

/// How much the server may need above what it has when idle, in megabytes.
const BAR: f64 = 300.0;

/// The attack is broken off here, so that it does not take the machine down.
const TOO_MUCH: f64 = 1_500.0;

/// How often the memory is looked at.
const LOOK: Duration = Duration::from_millis(20);

pub(super) fn run(
    attack: Attack,
    declaration: &str,
    during: Duration,
) -> anyhow::Result<Vec<Figure>> {
    let server = Served::with_two_workers(declaration, &[])?;
    bystanders::watch(server.address, WARM_UP);
    let idle = server.resident_mb()?;
    reset_peak(server.id())?;
    let attacker = Child::attacker(attack, server.address)?;
    let is_over = AtomicBool::new(false);
    let seen = thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut seen = bystanders::Seen::default();
            while !is_over.load(Ordering::Relaxed) {
                seen.add(bystanders::watch(server.address, Duration::from_secs(1)));
            }
            seen
        });
        let grown = wait(&server, idle, during);
        is_over.store(true, Ordering::Relaxed);
        let seen = watching.join().ok().context("a client has panicked")?;
        grown.map(|()| seen)
    })?;
    let counts = attacker.finish()?;
    let peak = peak_mb(server.id())? - idle;
    let name = name(attack)?;
    let shown = |what: &str, value, unit| Figure::shown(format!("{name}: {what}"), value, unit);
    Ok(vec![
        shown("memory when idle", idle, "MB"),
        shown("peak of memory above that", peak, "MB").at_most(BAR),
        shown("requests whose answers were not taken", counts.sent as f64, ""),
        shown("connections that the server closed", counts.lost as f64, ""),
        shown("failed requests of legitimate clients", seen.failed() as f64, ""),
        shown("kept connections, p50", seen.kept.took_ms().median(), "ms"),
        shown("/health, p99", seen.health.took_ms().p99(), "ms"),
    ])
}

/// Waits for the end of the attack, or until the server has grown too much.
fn wait(server: &Served, idle: f64, during: Duration) -> anyhow::Result<()> {
    let end = now() + during;
    while now() < end {
        let grown = server.resident_mb()? - idle;
        if grown > TOO_MUCH {
            say(&format!("broken off: the server has grown by {grown:.0} MB"));
            break;
        }
        pause(LOOK);
    }
    Ok(())
}
