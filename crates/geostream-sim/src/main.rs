//! `cargo xtask sim`: runs seeds, and shows what goes wrong in one.

#![expect(clippy::print_stdout, reason = "a program says what it found")]

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;
#[cfg(mutants)]
use anyhow::ensure;
use clap::Parser;
use geostream_sim::{CHECKS, Checked, Outcome, Plan, Timing, check, run, shrink};
use indicatif::{ProgressBar, ProgressStyle};

/// Run Raft clusters in which everything goes wrong that can.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask sim")]
struct Arguments {
    /// How many seeds to run
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// How many seconds of each go wrong
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// How many threads to use
    #[arg(long, default_value_t = 1)]
    jobs: u64,
    /// Run this seed only, and shrink what goes wrong in it
    #[arg(long)]
    seed: Option<u64>,
    /// Print all that happens in it
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Switch known bugs on, one after the other, and look how soon each is found
    #[arg(long)]
    mutants: bool,
    /// Only this bug, in all ways: 7 for M7 and M7b
    #[arg(long, requires = "mutants")]
    mutant: Option<u8>,
    /// Go through all runs of three nodes that stay within small bounds
    ///
    /// With --mutants, switch known bugs on in them, one after the other.
    #[arg(long)]
    model: bool,
    /// Measure how long clusters are without a leader that commits, after the last one lost power
    #[arg(long)]
    elections: bool,
    /// Measure how fast a cluster of five is simulated, with 100 requests a second and all checkers
    #[arg(long)]
    speed: bool,
}

impl Arguments {
    fn range(&self) -> Range<u64> {
        self.from..self.from.saturating_add(self.seeds)
    }
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    // A panic is a violation like any other, and shown as one.
    std::panic::set_hook(Box::new(|_| {}));
    let length = Duration::from_secs(arguments.seconds);
    if arguments.mutants {
        return hunt(&arguments, length);
    }
    if arguments.model {
        return model();
    }
    if arguments.elections {
        return elections(arguments.seeds);
    }
    if arguments.speed {
        return speed(length);
    }
    match arguments.seed {
        Some(seed) => show(&Plan::draw(seed, length), arguments.trace),
        None => run_all(&arguments, length),
    }
}

/// Runs seeds one after the other, and prints a line for each in which something goes wrong.
fn run_all(arguments: &Arguments, length: Duration) -> anyhow::Result<()> {
    let seeds = arguments.range();
    let progress = ProgressBar::new(arguments.seeds);
    let style = "{bar:30} {pos}/{len} seeds ({elapsed}, {eta} left)";
    progress.set_style(ProgressStyle::with_template(style)?);
    let next = AtomicU64::new(seeds.start);
    let started = now();
    let totals = std::thread::scope(|scope| {
        let worker = || work(&next, &seeds, length, &progress);
        let workers: Vec<_> = (0..arguments.jobs.max(1)).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().filter_map(|worker| worker.join().ok()).fold((0, 0, 0), add)
    });
    progress.finish_and_clear();
    let (broken, simulated, events) = totals;
    let took = (now() - started).as_secs_f64();
    let hours = simulated as f64 / 3.6e9;
    println!(
        "{} seeds, {hours:.1} simulated hours, {events} events in {took:.1} s; {broken} seeds with a violation",
        arguments.seeds
    );
    if broken > 0 {
        bail!("look at one with --seed");
    }
    Ok(())
}

type Totals = (u64, u64, u64);

fn add(one: Totals, other: Totals) -> Totals {
    (one.0 + other.0, one.1 + other.1, one.2 + other.2)
}

fn work(next: &AtomicU64, seeds: &Range<u64>, length: Duration, progress: &ProgressBar) -> Totals {
    let mut totals = (0, 0, 0);
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if !seeds.contains(&seed) {
            return totals;
        }
        let outcome = run(&Plan::draw(seed, length), false);
        let broken = u64::from(outcome.violation.is_some());
        totals = add(totals, (broken, outcome.simulated, outcome.events));
        if let Some(violation) = outcome.violation {
            progress.suspend(|| println!("seed {seed}: {violation}"));
        }
        progress.inc(1);
        say_how_far(progress);
    }
}

/// Prints a line at every tenth of the way where nobody sees a bar.
fn say_how_far(progress: &ProgressBar) {
    let (done, all) = (progress.position(), progress.length().unwrap_or(0));
    if progress.is_hidden() && all >= 10 && done.is_multiple_of(all / 10) {
        println!("{done} of {all} seeds after {:.0} s", progress.elapsed().as_secs_f64());
    }
}

/// Runs one seed; if something goes wrong, looks for the least that makes it go wrong.
fn show(plan: &Plan, with_trace: bool) -> anyhow::Result<()> {
    let outcome = run(plan, false);
    let (plan, outcome) = match outcome.violation {
        Some(_) => shrink(plan),
        None => (plan.clone(), outcome),
    };
    if with_trace {
        run(&plan, true).trace.iter().for_each(|line| println!("{line}"));
    }
    let Outcome { violation, hash, events, .. } = outcome;
    println!("{plan}{events} events, trace {hash:016x}");
    match violation {
        Some(violation) => bail!("{violation}"),
        None => Ok(()),
    }
}

/// Prints a line for each model, and the shortest way to what goes wrong.
fn model() -> anyhow::Result<()> {
    let spinner = ProgressBar::new_spinner().with_message("all runs within bounds");
    spinner.enable_steady_tick(Duration::from_millis(100));
    let started = now();
    let all = std::thread::scope(|scope| {
        let all = CHECKS.map(|bounds| (bounds, scope.spawn(move || check(bounds))));
        all.map(|(bounds, checked)| (bounds.name, checked.join()))
    });
    spinner.finish_and_clear();
    for (name, checked) in all {
        let Ok(Checked { states, steps, violation }) = checked else {
            bail!("{name}: a node has panicked")
        };
        println!("{name}: {states} states, {steps} steps between them");
        if let Some((violation, way)) = violation {
            way.iter().for_each(|step| println!("  {step}"));
            bail!("{violation}");
        }
    }
    println!("{:.1} s", (now() - started).as_secs_f64());
    Ok(())
}

/// Prints how long it took from the loss of a leader to the first commit of the next one's term, and how many
/// leaders there were in an hour in which none was lost, on a bad network.
fn elections(seeds: u64) -> anyhow::Result<()> {
    let lan = (Timing::LAN, (200, 800), (200, 2_000), "in one place");
    let wan = (Timing::WAN, (45_000, 55_000), (40_000, 60_000), "100 ms round trip");
    for (founders, (timing, delay, bad_delay, place)) in [(3, lan), (5, lan), (3, wan), (5, wan)] {
        let mut outages = Vec::new();
        for seed in 0..seeds {
            outages.extend(lived(&Plan::elections(seed, founders, timing, delay))?.outages);
        }
        outages.sort_unstable();
        let of = |part: usize| {
            let at = (outages.len() * part / 1_000).min(outages.len().saturating_sub(1));
            outages.get(at).map_or(f64::NAN, |us| *us as f64 / 1e3)
        };
        let hour = lived(&Plan::lossy_hour(0, founders, timing, bad_delay))?;
        println!(
            "{founders} nodes, {place}: {} elections, p50 {:.0} ms, p99 {:.0} ms, longest {:.0} ms; {} leaders in an hour without a crash",
            outages.len(),
            of(500),
            of(990),
            of(1_000),
            hour.elections
        );
    }
    Ok(())
}

fn lived(plan: &Plan) -> anyhow::Result<Outcome> {
    let outcome = run(plan, false);
    match outcome.violation {
        Some(violation) => bail!("seed {}: {violation}", plan.seed),
        None => Ok(outcome),
    }
}

/// Prints a line for each known bug: what found it after how many seeds, and how many scripts do.
#[cfg(mutants)]
fn hunt(arguments: &Arguments, length: Duration) -> anyhow::Result<()> {
    let wanted = |number| arguments.mutant.is_none_or(|only| only == number % 100);
    ensure!(geostream_sim::MUTANTS.iter().any(|mutant| wanted(mutant.0)), "there is no such bug");
    let outdated = geostream_sim::contradicted(0)?;
    ensure!(outdated.is_empty(), "these come otherwise without a bug: {}", outdated.join(", "));
    if arguments.model {
        hunt_in_models(wanted);
        return Ok(());
    }
    let (mut missed, mut needed, mut found) = (Vec::new(), Vec::new(), 0);
    println!("bug    seeds  scripts  {:37}  what it is", "found by");
    for (number, what, argued) in geostream_sim::MUTANTS.iter().filter(|mutant| wanted(mutant.0)) {
        if let Some(why) = argued {
            println!("{:4} {:>7}  {:>7}  {why:37}  {what}", name(*number), "-", "-");
            continue;
        }
        let scripts = geostream_sim::contradicted(*number)?;
        let hit = geostream_sim::hunt(*number, arguments.range(), length);
        let seeds = hit.as_ref().map_or_else(
            || format!("> {}", arguments.seeds),
            |finding| (finding.seed + 1 - arguments.from).to_string(),
        );
        needed.extend(hit.as_ref().map(|finding| finding.seed + 1 - arguments.from));
        let by = hit.map(|finding| finding.violation.property.to_owned());
        let by = by.or_else(|| scripts.first().map(|name| format!("{name}.txt")));
        match &by {
            Some(_) => found += 1,
            None => missed.push(name(*number)),
        }
        let by = by.as_deref().unwrap_or("nothing");
        println!("{:4} {seeds:>7}  {:>7}  {by:37}  {what}", name(*number), scripts.len());
    }
    needed.sort_unstable();
    let median = needed.get(needed.len() / 2).copied().unwrap_or(0);
    println!(
        "{found} found, {} of them by seeds, {median} seeds in the median; not found: {}",
        needed.len(),
        if missed.is_empty() { "none".to_owned() } else { missed.join(", ") }
    );
    if missed.is_empty() { Ok(()) } else { bail!("some bugs were not found") }
}

/// Prints a line for each bug that is wanted and can be had: what a model with it goes wrong with.
#[cfg(mutants)]
fn hunt_in_models(wanted: impl Fn(u8) -> bool) {
    let can_be_had = geostream_sim::MUTANTS.iter().filter(|mutant| mutant.2.is_none());
    for (number, what, _) in can_be_had.filter(|mutant| wanted(mutant.0)) {
        let mut violations = CHECKS.iter().filter_map(|bounds| {
            let (violation, way) = geostream_sim::check_mutant(*bounds, *number).violation?;
            Some(format!("{} after {} steps", violation.property, way.len()))
        });
        let by = violations.next().unwrap_or_else(|| "nothing".to_owned());
        println!("{:4} {by:60}  {what}", name(*number));
    }
}

/// Returns what a bug is called: `M7`, and `M7b` what is another way to have it.
#[cfg(mutants)]
fn name(number: u8) -> String {
    let way = ["", "b", "c"][usize::from(number / 100)];
    format!("M{}{way}", number % 100)
}

#[cfg(not(mutants))]
fn hunt(_arguments: &Arguments, _length: Duration) -> anyhow::Result<()> {
    bail!("this build has no bugs in it; cargo xtask sim --mutants makes one that has")
}

fn speed(length: Duration) -> anyhow::Result<()> {
    let before = processor_seconds();
    let outcome = run(&Plan::steady(1, length), false);
    let took = processor_seconds() - before;
    let Outcome { violation, simulated, events, .. } = outcome;
    let hours = simulated as f64 / 3.6e9 / (took / 60.0);
    println!(
        "{hours:.1} simulated hours in a minute of a processor, with five nodes, 100 requests a second,"
    );
    println!(
        "simulated disks and network, all properties judged after every step, and all assertions on"
    );
    println!(
        "{} simulated s, {events} events, {:.0} ns each",
        simulated / 1_000_000,
        took * 1e9 / events as f64
    );
    violation.map_or(Ok(()), |violation| bail!("{violation}"))
}

/// Returns how many seconds of a processor this thread has had, as the machine may be busy with others.
fn processor_seconds() -> f64 {
    let spent = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    spent.split(' ').next().and_then(|nanos| nanos.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1e9
}

#[expect(clippy::disallowed_methods, reason = "a program measures itself")]
fn now() -> Instant {
    Instant::now()
}
