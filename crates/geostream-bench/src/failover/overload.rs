//! One of three regions has half as many clients again as it can take.

use std::time::Duration;

use crate::failover::ground::wait;
use crate::failover::plan::Plan;
use crate::failover::thirds::{CAPACITY, CYCLE, Sent, Traffic, highest_share, send_during};
use crate::failover::world::{Declared, Region, World};
use crate::figure::Figure;
use crate::figure::float;
use crate::process::now;

/// How many clients each region has; each asks once in a cycle, so 2,400 are 150 % of the capacity.
const CLIENTS: [usize; 3] = [2_400, 480, 480];

/// The region that has too many, and those that have room.
const FULL: usize = 0;
const OTHERS: [usize; 2] = [1, 2];

/// By when the first clients have been counted and spread.
const SETTLED: Duration = Duration::from_secs(4);

pub(crate) fn run(plan: &Plan) -> anyhow::Result<Vec<Figure>> {
    let regions = Region::several(3, &[])?;
    let declared: Vec<_> = regions
        .iter()
        .map(|region| Declared { check: Some(region.url()), capacity: Some(CAPACITY) })
        .collect();
    let world = World::new(&declared)?;
    let addresses: Vec<_> = regions.iter().map(|region| region.address).collect();
    let phase = Duration::from_secs(if plan.is_quick { 12 } else { 60 });
    let began = now();
    let mut sent = send_during(&world, &addresses, Traffic::even(&CLIENTS), began + phase, || {
        wait("150 % load on one of three regions", phase);
        Ok(())
    })?;
    sent.retain(|sent| sent.at >= began + SETTLED);

    let figure = |what: &str, value| Figure::shown(format!("own demand 150 %: {what}"), value, "%");
    let highest = |region| highest_share(&sent, region) * 100.0;
    let elsewhere = OTHERS.map(highest).into_iter().fold(0.0, f64::max);
    let change = [FULL, OTHERS[0], OTHERS[1]].map(|region| largest_change(&sent, region));
    Ok(vec![
        figure("highest share of its own capacity", highest(FULL)).at_most(100.0),
        figure("highest share of capacity elsewhere", elsewhere).at_most(100.0),
        figure("largest change from one cycle to the next", change.into_iter().fold(0.0, f64::max))
            .at_most(10.0),
    ])
}

/// Returns by how much of its capacity what a region was sent changes from one cycle to the next.
fn largest_change(sent: &[Sent], region: usize) -> f64 {
    let Some(first) = sent.iter().map(|sent| sent.at).min() else { return 0.0 };
    let mut cycles: Vec<usize> = Vec::new();
    for Sent { at, .. } in sent.iter().filter(|sent| sent.to == region) {
        let cycle = (*at - first).as_millis() / CYCLE.as_millis();
        let cycle = usize::try_from(cycle).unwrap_or_default();
        cycles.resize(cycles.len().max(cycle + 1), 0);
        cycles[cycle] += 1;
    }
    // The last one may have been cut short.
    cycles.pop();
    let changes = cycles.windows(2).map(|pair| pair[0].abs_diff(pair[1]));
    float(changes.max().unwrap_or_default()) / CYCLE.as_secs_f64() / f64::from(CAPACITY) * 100.0
}
