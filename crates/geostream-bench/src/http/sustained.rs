//! A minute at 50,000 requests a second, or nearly as many as the server's core can answer.

use std::time::Duration;

use crate::clients::requests;
use crate::figure::Figure;
use crate::http::{CONNECTIONS, Scene};
use crate::load::Load;
use crate::served::Served;
use xtask::shell::say;

const RATE: u32 = 50_000;

pub(crate) fn run(scene: &Scene) -> anyhow::Result<Vec<Figure>> {
    let seconds = if scene.is_quick { 3 } else { 60 };
    let requests = requests(&scene.many);
    let geostream = Served::geostream(&scene.regions)?;
    let mut load = Load::new(geostream.address, CONNECTIONS, &requests)?;
    let most = load.as_fast_as_possible(if scene.is_quick { 50_000 } else { 500_000 })?;
    let rate = RATE.min(sustainable(most.per_second));
    say(&format!("{rate} requests a second for {seconds} s; {:.0} are the most", most.per_second));
    let before = geostream.resident_mb()?;
    let outcome = load.at_rate(rate, Duration::from_secs(seconds))?;
    let grown = (geostream.resident_mb()? / before - 1.0) * 100.0;
    let shown = |what: &str, value, unit| {
        Figure::shown(format!("{seconds} s at {rate} a second: {what}"), value, unit)
    };
    Ok(vec![
        Figure::shown("the most requests a second on one core", most.per_second, "1/s"),
        shown("answered a second", outcome.per_second, "1/s"),
        shown("without an answer of 200", outcome.errors as f64, "").at_most(0.0),
        shown("P50", outcome.latency_ms.median(), "ms"),
        shown("P99", outcome.latency_ms.p99(), "ms").at_most(20.0),
        shown("P99.9", outcome.latency_ms.p999(), "ms"),
        shown("growth of memory", grown, "%").at_most(5.0),
    ])
}

/// Returns how many whole thousands a second can be asked for where so many are the most: beyond nine
/// tenths, queues would soon grow without end.
pub(crate) fn sustainable(most: f64) -> u32 {
    let fits = |rate: &u32| f64::from(*rate) <= most * 0.9;
    (1..=RATE / 1_000).map(|thousands| thousands * 1_000).rev().find(fits).unwrap_or(1_000)
}
