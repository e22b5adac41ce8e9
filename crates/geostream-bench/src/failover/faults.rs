//! How long clients are still sent to a region that has just died, and how long until they are back.

use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use crate::failover::ground::{HostName, Rule, at_once, directory};
use crate::failover::plan::{Fault, Plan};
use crate::failover::world::{Client, Declared, Region, World};
use crate::figure::float;
use crate::figure::{Figure, Spread};
use crate::process::{now, pause};
use xtask::shell::say;

impl Fault {
    fn name(self) -> &'static str {
        match self {
            Self::Killed => "process killed",
            Self::Stopped => "process stopped",
            Self::Reset => "connections reset",
            Self::Dropped => "packets dropped",
            Self::Error => "status 500",
            Self::Body => "wrong body",
            Self::Slow => "five seconds slow",
            Self::Expired => "certificate expired",
            Self::Name => "DNS name gone",
            Self::Reported => "killed, 50 reports/s",
        }
    }

    /// The most seconds that clients may be sent to the region.
    fn bar(self) -> f64 {
        match self {
            Self::Reported => 0.4,
            // The connection that is kept since the last probe ends with the fault.
            Self::Killed | Self::Reset => 0.7,
            Self::Stopped
            | Self::Dropped
            | Self::Error
            | Self::Body
            | Self::Slow
            | Self::Expired
            | Self::Name => 2.0,
        }
    }
}

/// How many runs go on at the same time: they mostly wait.
const AT_ONCE: u32 = 16;

/// How long the region has to stay away.
const STAYS_AWAY: Duration = Duration::from_secs(1);

/// Fifty reports a second.
const BETWEEN_REPORTS: Duration = Duration::from_millis(20);

/// What one run has brought, in seconds and clients.
#[derive(Debug)]
struct Outcome {
    /// From the fault to the last decision for the region.
    gone: f64,
    /// From the end of the fault to the first decision for it.
    back: f64,
    /// From the end of the fault until all of its clients are back, if that is waited for.
    all_back: Option<f64>,
    /// The share of all clients that was moved.
    moved: f64,
    /// How many were moved that were not the region's.
    strangers: usize,
    /// How often a region was removed that was well.
    false_removals: usize,
}

pub(crate) fn run(plan: &Plan) -> anyhow::Result<Vec<Figure>> {
    say(
        "| fault | min | p50 | p99 | max | first back | all back | moved | others moved | false removals |",
    );
    say("|---|---|---|---|---|---|---|---|---|---|");
    let runs: Vec<Fault> = plan.faults.iter().flat_map(|&fault| vec![fault; plan.runs]).collect();
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let figures = Mutex::new(Vec::new());
    at_once(0..AT_ONCE, |number| {
        // Otherwise all would go in step, and be in each other's way.
        pause(Duration::from_millis(900) * number);
        while let Some(&fault) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let outcome = measure(fault, plan).with_context(|| fault.name())?;
            let mut done = done.lock().ok().context("another run has panicked")?;
            done.push((fault, outcome));
            let of_fault = done.iter().filter(|(other, _)| *other == fault);
            let outcomes: Vec<&Outcome> = of_fault.map(|(_, outcome)| outcome).collect();
            if outcomes.len() == plan.runs {
                let shown = figures_of(fault, &outcomes);
                figures.lock().ok().context("another run has panicked")?.extend(shown);
            }
        }
        Ok(())
    })?;
    figures.into_inner().ok().context("a run has panicked")
}

/// Sums up the runs of a fault, and says them as a row of the table.
fn figures_of(fault: Fault, outcomes: &[&Outcome]) -> Vec<Figure> {
    let spread = |of: fn(&Outcome) -> f64| Spread::new(outcomes.iter().map(|outcome| of(outcome)));
    let (gone, back, moved) = (spread(|o| o.gone), spread(|o| o.back), spread(|o| o.moved));
    let all_back = Spread::new(outcomes.iter().filter_map(|outcome| outcome.all_back));
    let strangers: usize = outcomes.iter().map(|outcome| outcome.strangers).sum();
    let removals: usize = outcomes.iter().map(|outcome| outcome.false_removals).sum();
    let name = fault.name();
    say(&format!(
        "| {name} | {:.2} | {:.2} | {:.2} | {:.2} | {:.1} | {:.1} | {:.0} % | {strangers} | {removals} |",
        gone.least(),
        gone.median(),
        gone.p99(),
        gone.most(),
        back.median(),
        all_back.median(),
        moved.median() * 100.0,
    ));
    let figure = |what: &str, value, unit| Figure::shown(format!("{name}: {what}"), value, unit);
    let mut figures = vec![
        figure("least", gone.least(), "s"),
        figure("median", gone.median(), "s"),
        figure("p99", gone.p99(), "s").at_most(fault.bar()),
        figure("slowest", gone.most(), "s"),
        figure("first client back, median", back.median(), "s"),
        figure("first client back, slowest", back.most(), "s"),
        figure("all clients back, median", all_back.median(), "s"),
        figure("clients moved, median", moved.median() * 100.0, "%"),
        figure("clients of other regions moved", float(strangers), "").at_most(0.0),
        figure("false removals", float(removals), "").at_most(0.0),
    ];
    // Not every plan waits until all are back.
    figures.retain(|figure| !figure.value.is_nan());
    figures
}

/// Causes a fault, ends it, and tells what became of the clients.
fn measure(fault: Fault, plan: &Plan) -> anyhow::Result<Outcome> {
    let mut scene = Scene::new(fault)?;
    let before = scene.world.decide_all(&scene.clients)?;
    scene.use_until(now() + moment(), fault)?;
    let gone = scene.break_down(fault)?;
    let during = scene.world.decide_all(&scene.clients)?;
    ensure!(scene.world.removals().of(BROKEN) > 0, "no event tells of the removal");

    let moved = || before.iter().zip(&during).filter(|(before, during)| before != during);
    scene.end(fault)?;
    let ended = now();
    let back = scene.wait_for(|clients| clients > 0, ended)?;
    let all_back = if plan.is_quick {
        None
    } else {
        let own = before.iter().filter(|region| **region == BROKEN).count();
        Some(scene.wait_for(|clients| clients == own, ended)?)
    };
    Ok(Outcome {
        gone,
        back,
        all_back,
        moved: float(moved().count()) / float(before.len()),
        strangers: moved().filter(|(before, _)| **before != BROKEN).count(),
        false_removals: scene.world.removals().all() - 1,
    })
}

/// The region that the fault is of.
const BROKEN: usize = 0;

/// A world to break.
struct Scene {
    world: World,
    regions: Vec<Region>,
    name: HostName,
    rules: Vec<Rule>,
    /// Of all three regions, alike.
    clients: Vec<Client>,
}

impl Scene {
    fn new(fault: Fault) -> anyhow::Result<Self> {
        let directory = directory();
        let tls = ["--tls", directory.to_str().context("the path of the lab is text")?];
        let speaks_tls = fault == Fault::Expired;
        let regions = Region::several(3, if speaks_tls { &tls } else { &[] })?;
        let port = regions[BROKEN].address.port();
        let name = HostName::new(format!("r{port}.lab.example"))?;
        let url = |region: &Region| match fault {
            Fault::Expired => format!("https://{}/", region.address),
            Fault::Name if region.address.port() == port => format!("http://{}:{port}/", name.name),
            Fault::Killed
            | Fault::Stopped
            | Fault::Reset
            | Fault::Dropped
            | Fault::Error
            | Fault::Body
            | Fault::Slow
            | Fault::Name
            | Fault::Reported => region.url(),
        };
        let declared: Vec<_> =
            regions.iter().map(|region| Declared::checked(url(region))).collect();
        let world = World::new(&declared)?;
        let clients = (0..3).flat_map(|region| Client::around(region, 100)).collect();
        Ok(Self { world, regions, name, rules: Vec::new(), clients })
    }

    /// Causes the fault, and returns for how many seconds clients are sent to the region.
    fn break_down(&mut self, fault: Fault) -> anyhow::Result<f64> {
        let client = self.clients[0];
        ensure!(self.world.decide(client)? == BROKEN, "the client is of another region");
        let broken = now();
        self.cause(fault)?;
        let mut reported = broken;
        let (mut last, deadline) = (broken, broken + Duration::from_secs(20));
        while now() - last < STAYS_AWAY {
            ensure!(now() < deadline, "the region is still answered");
            let asked = now();
            if self.world.decide(client)? == BROKEN {
                last = asked;
            }
            if fault == Fault::Reported && now() - reported >= BETWEEN_REPORTS {
                reported = now();
                self.report()?;
            }
            pause(Duration::from_millis(1));
        }
        Ok((last - broken).as_secs_f64())
    }

    /// Lets time pass; clients report, if they ever do.
    fn use_until(&self, end: Instant, fault: Fault) -> anyhow::Result<()> {
        while now() < end {
            if fault == Fault::Reported {
                self.report()?;
            }
            pause(BETWEEN_REPORTS.min(end.saturating_duration_since(now())));
        }
        Ok(())
    }

    fn cause(&mut self, fault: Fault) -> anyhow::Result<()> {
        let region = &mut self.regions[BROKEN];
        match fault {
            Fault::Killed | Fault::Reported => region.process().0.kill()?,
            Fault::Stopped => region.process().signal("STOP")?,
            Fault::Dropped => self.rules.extend(Rule::drop(&[region.address.port()], 1.0)?),
            Fault::Reset => region.tell("reset")?,
            Fault::Error => region.tell("error")?,
            Fault::Body => region.tell("body")?,
            Fault::Slow => region.tell("slow")?,
            Fault::Expired => region.tell("expired")?,
            Fault::Name => self.name.remove()?,
        }
        Ok(())
    }

    fn end(&mut self, fault: Fault) -> anyhow::Result<()> {
        let region = &mut self.regions[BROKEN];
        match fault {
            Fault::Killed | Fault::Reported => region.restart(),
            Fault::Stopped => region.process().signal("CONT"),
            Fault::Dropped => {
                self.rules.clear();
                Ok(())
            }
            Fault::Reset | Fault::Error | Fault::Body | Fault::Slow | Fault::Expired => {
                region.tell("well")
            }
            Fault::Name => self.name.restore(),
        }
    }

    /// Waits until enough clients are sent to the region again, and returns the seconds that have
    /// passed since the fault has ended.
    fn wait_for(&self, is_enough: impl Fn(usize) -> bool, ended: Instant) -> anyhow::Result<f64> {
        loop {
            let regions = self.world.decide_all(&self.clients)?;
            let passed = (now() - ended).as_secs_f64();
            let returned = regions.iter().filter(|region| **region == BROKEN).count();
            if is_enough(returned) {
                return Ok(passed);
            }
            ensure!(passed < 120.0, "only {returned} clients have come back");
            pause(Duration::from_millis(100));
        }
    }

    /// Uses the broken region as a client would, and reports what came of it.
    fn report(&self) -> anyhow::Result<()> {
        let connects = TcpStream::connect(self.regions[BROKEN].address).is_ok();
        self.world.report(BROKEN, if connects { "ok" } else { "connect" })
    }
}

/// Returns a moment between two probes, by the clock's nanoseconds; a second of reports comes first.
fn moment() -> Duration {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    Duration::from_secs(1) + Duration::from_nanos(u64::from(since.subsec_nanos())) * 2
}
