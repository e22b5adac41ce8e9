//! Regions that are well, and close idle connections every few seconds, as servers do that reload.

use crate::failover::ground::wait;
use crate::failover::plan::Plan;
use crate::failover::world::{Declared, Region, World};
use crate::figure::Figure;
use crate::figure::float;
use crate::process::now;

/// How many regions there are.
const REGIONS: usize = 10;

/// One probe a second, and an early one every five seconds.
const MOST_PROBES: f64 = 1.25;

pub(crate) fn run(plan: &Plan) -> anyhow::Result<Vec<Figure>> {
    let mut regions = Region::several(REGIONS, &["--close-every", "5"])?;
    let declared: Vec<_> = regions.iter().map(|region| Declared::checked(region.url())).collect();
    let world = World::new(&declared)?;
    let before = regions[0].probes()?;
    let began = now();
    wait("connections closed every 5 s", plan.long());
    let probes = regions[0].probes()? - before;
    let rate = probes / (now() - began).as_secs_f64();
    let what =
        format!("{REGIONS} regions close idle connections every 5 s for {} min", plan.minutes);
    let removed = float(world.removals().all());
    Ok(vec![
        Figure::shown(format!("{what}: removed"), removed, "").at_most(0.0),
        Figure::shown(format!("{what}: probes a second"), rate, "1/s").at_most(MOST_PROBES),
    ])
}
