//! A region that fails and recovers, over and over.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;

use crate::failover::ground::{at_once, wait};
use crate::failover::plan::Plan;
use crate::failover::world::{Declared, Region, World};
use crate::figure::Figure;
use crate::figure::float;
use crate::process::pause;

/// How long the region is well, and how long it is not, in seconds: so short that it hardly comes
/// back in between, and so long that it does each time.
const PHASES: [u64; 3] = [2, 5, 10];

/// Removals that clients can live with.
const MOST_REMOVALS: f64 = 3.0;

pub(crate) fn run(plan: &Plan) -> anyhow::Result<Vec<Figure>> {
    at_once(PHASES, |seconds| {
        let removed = flap(Duration::from_secs(seconds), plan)?;
        let what =
            format!("flapping every {seconds} s for {} min: removals of the region", plan.minutes);
        Ok(Figure::shown(what, removed, "").at_most(MOST_REMOVALS))
    })
}

/// Lets a region flap, and returns how often it was removed.
fn flap(phase: Duration, plan: &Plan) -> anyhow::Result<f64> {
    let mut regions = Region::several(3, &[])?;
    let declared: Vec<_> = regions.iter().map(|region| Declared::checked(region.url())).collect();
    let world = World::new(&declared)?;
    let region = &mut regions[0];
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let flapping = scope.spawn(|| {
            for manner in ["error", "well"].into_iter().cycle() {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                region.tell(manner)?;
                pause(phase);
            }
            anyhow::Ok(())
        });
        wait(&format!("flapping every {} s", phase.as_secs()), plan.long());
        is_over.store(true, Ordering::Relaxed);
        flapping.join().ok().context("the flapping has panicked")?
    })?;
    Ok(float(world.removals().all()))
}
