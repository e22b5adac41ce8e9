//! `bench soak`: half of the load that there can be, for long, while nothing else stands still: the
//! configuration changes every second, and a region fails and recovers.

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use geostream_geoip::Database;
use serde_json::{Value, json};

use crate::connection::Connection;
use crate::failover::world::Region as Endpoint;
use crate::figure::{Figure, Options, Spread};
use crate::load::Load;
use crate::places::{self, Region, declaration};
use crate::process::pause;
use crate::served::Served;
use crate::{clients, cores};
use xtask::geoip;
use xtask::shell::say;

#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) options: Options,

    /// How long; 30 minutes, or half a one with --quick
    #[arg(long)]
    minutes: Option<f64>,
}

const CONNECTIONS: usize = 64;
const CLIENTS: usize = 100_000;

/// The load is looked at, and the memory, so many times.
const SLICES: u32 = 20;

/// How long the region is well, and how long it is not: it is removed and comes back each time.
const PHASE: Duration = Duration::from_secs(10);

/// How often the configuration changes.
const CHANGE: Duration = Duration::from_secs(1);

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Vec<Figure>> {
    geoip::ensure()?;
    cores::separate()?;
    let quick = arguments.options.quick;
    let minutes = arguments.minutes.unwrap_or(if quick { 0.5 } else { 30.0 });
    let slice = Duration::from_secs_f64((minutes * 60.0 / f64::from(SLICES)).round().max(1.0));
    let regions = places::thirty()?;
    let database = Database::open(&geoip::ipv4_file().0)?;
    let requests = clients::requests(&clients::many(&database, CLIENTS)?);
    let free = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let mut endpoint = Endpoint::start_at(free, &[])?;
    let declared = declared(&regions, &endpoint.url());
    let server = Served::geostream_with(&declared, "", &["--probe-network", "127.0.0.0/8"])?;
    let mut load = Load::new(server.address, CONNECTIONS, &requests)?;
    let most = load.as_fast_as_possible(if quick { 50_000 } else { 500_000 })?;
    let rate = format!("{:.0}", most.per_second / 2.0).parse()?;
    say(&format!("{rate} requests a second, half of the most, for {minutes} minutes"));

    let is_over = AtomicBool::new(false);
    let (seen, changes) = thread::scope(|scope| {
        let changing = scope.spawn(|| change(&server, &regions[0], &is_over));
        let flapping = scope.spawn(|| flap(&mut endpoint, &is_over));
        let seen = watch(&server, &mut load, rate, slice);
        is_over.store(true, Ordering::Relaxed);
        flapping.join().ok().context("the flapping has panicked")??;
        let changes = changing.join().ok().context("the changing has panicked")??;
        anyhow::Ok((seen?, changes))
    })?;
    Ok(seen.figures(minutes, rate, changes))
}

/// Declares the regions, and one more that is probed at its endpoint.
fn declared(regions: &[Region], endpoint: &str) -> String {
    declaration(regions)
        + "flapping = {}\n[regions.flapping]\nlatitude = 52.4\nlongitude = 4.9\n"
        + &format!("check = {{ url = \"{endpoint}\", body = \"well\" }}\n")
}

/// Changes a label each second, and returns how often.
fn change(server: &Served, region: &Region, is_over: &AtomicBool) -> anyhow::Result<u32> {
    let mut connection = Connection::open(server.address)?;
    let (token, path) = (server.token()?, format!("/api/v1/regions/{}", region.id));
    let answer: Value = serde_json::from_slice(&server.ask(&clients::ask_for(clients::ONE))?)?;
    let mut revision = answer["revision"].as_u64().context("no revision")?;
    let mut changes = 0;
    while !is_over.load(Ordering::Relaxed) {
        changes += 1;
        let document = json!({
            "latitude": region.point.latitude(), "longitude": region.point.longitude(),
            "endpoint": format!("https://{}.api.example.com", region.id),
            "labels": { "change": changes.to_string() },
        });
        revision = connection.write(&path, &token, revision, &document.to_string())?;
        pause(CHANGE);
    }
    Ok(changes)
}

/// Lets a region fail and recover.
fn flap(endpoint: &mut Endpoint, is_over: &AtomicBool) -> anyhow::Result<()> {
    for manner in ["error", "well"].into_iter().cycle() {
        endpoint.tell(manner)?;
        for _second in 0..PHASE.as_secs() {
            if is_over.load(Ordering::Relaxed) {
                return Ok(());
            }
            pause(Duration::from_secs(1));
        }
    }
    Ok(())
}

/// What was seen, slice by slice.
#[derive(Debug, Default)]
struct Seen {
    errors: usize,
    p99_ms: Vec<f64>,
    memory_mb: Vec<f64>,
}

fn watch(server: &Served, load: &mut Load<'_>, rate: u32, slice: Duration) -> anyhow::Result<Seen> {
    let mut seen = Seen::default();
    for number in 1..=SLICES {
        let outcome = load.at_rate(rate, slice)?;
        let (p99, memory) = (outcome.latency_ms.p99(), server.resident_mb()?);
        let errors = outcome.errors;
        say(&format!("{number} of {SLICES}: {errors} errors, P99 {p99:.2} ms, {memory:.1} MB"));
        seen.errors += errors;
        seen.p99_ms.push(p99);
        seen.memory_mb.push(memory);
    }
    Ok(seen)
}

impl Seen {
    fn figures(&self, minutes: f64, rate: u32, changes: u32) -> Vec<Figure> {
        // The first quarter is for whatever grows once.
        let quarter = self.memory_mb.len() / 4;
        let most = |of: &[f64]| Spread::new(of.iter().copied()).most();
        let first = most(&self.memory_mb[..quarter]);
        let last = most(&self.memory_mb[self.memory_mb.len() - quarter..]);
        let shown = |what: &str, value, unit| {
            Figure::shown(format!("{minutes} min at {rate} a second: {what}"), value, unit)
        };
        vec![
            shown("changes of the configuration", f64::from(changes), ""),
            shown("without an answer of 200", self.errors as f64, "").at_most(0.0),
            shown("P99, the worst of twenty slices", most(&self.p99_ms), "ms"),
            shown("memory in the first quarter", first, "MB"),
            shown("memory in the last quarter", last, "MB"),
            shown("growth in between", (last / first - 1.0) * 100.0, "%").at_most(5.0),
        ]
    }
}
