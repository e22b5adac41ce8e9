//! How long a request takes at fixed rates: an open loop, as the world is.

use std::time::Duration;

use crate::clients::requests;
use crate::figure::Figure;
use crate::http::sustained::sustainable;
use crate::http::{CONNECTIONS, Scene};
use crate::load::Load;
use crate::served::Served;
use xtask::shell::say;

const RATES: [u32; 4] = [1_000, 5_000, 10_000, 50_000];

/// The rate that there are bars for, and what half of all requests may take there, and all but one
/// of a hundred, in milliseconds.
const BARS: (u32, f64, f64) = (10_000, 1.0, 5.0);

pub(crate) fn run(scene: &Scene) -> anyhow::Result<Vec<Figure>> {
    let requests = requests(&scene.many);
    let geostream = Served::geostream(&scene.regions)?;
    let bare = Served::bare(geostream.ask(&requests[0])?.len())?;
    let during = Duration::from_secs(if scene.is_quick { 2 } else { 20 });
    let most = Load::new(geostream.address, CONNECTIONS, &requests)?
        .as_fast_as_possible(if scene.is_quick { 50_000 } else { 500_000 })?;
    let mut figures = Vec::new();
    for rate in RATES {
        let rate = rate.min(sustainable(most.per_second));
        for (server, is_ours) in [(&geostream, true), (&bare, false)] {
            say(&format!("{} at {rate} requests a second", server.name));
            let mut load = Load::new(server.address, CONNECTIONS, &requests)?;
            load.at_rate(rate, Duration::from_secs(1))?;
            let outcome = load.at_rate(rate, during)?;
            let has_bars = is_ours && rate == BARS.0;
            let shown = |what: &str, value| {
                Figure::shown(format!("{} at {rate} a second: {what}", server.name), value, "ms")
            };
            let latency = &outcome.latency_ms;
            figures.extend([
                shown("P50", latency.median()).at_most(has_bars.then_some(BARS.1)),
                shown("P99", latency.p99()).at_most(has_bars.then_some(BARS.2)),
                shown("P99.9", latency.p999()),
            ]);
            if is_ours {
                let what = format!("{} at {rate} a second: without an answer of 200", server.name);
                figures.push(Figure::shown(what, outcome.errors as f64, "").at_most(0.0));
            }
        }
    }
    Ok(figures)
}
