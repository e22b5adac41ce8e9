//! Regions that are well, behind a network that is not.

use std::time::Duration;

use anyhow::ensure;

use crate::failover::ground::{Rule, at_once, wait};
use crate::failover::plan::Plan;
use crate::failover::world::{Declared, Region, World};
use crate::figure::Figure;
use crate::figure::float;

/// How many regions there are.
const REGIONS: usize = 10;

/// Drops some of all packets, both ways, for a while.
pub(crate) fn run(plan: &Plan) -> anyhow::Result<Vec<Figure>> {
    at_once([1, 5], |percent| {
        let (world, regions) = world()?;
        let _rules = Rule::drop(&ports(&regions), f64::from(percent) / 100.0)?;
        wait(&format!("{percent} % packet loss"), plan.long());
        let what = format!(
            "{REGIONS} regions, {percent} % of packets lost for {} min: removed",
            plan.minutes
        );
        let figure = Figure::shown(what, float(world.removals().all()), "");
        Ok(if percent == 1 { figure.at_most(0.0) } else { figure })
    })
}

/// Cuts the server off from all its regions.
pub(crate) fn cut_off(_plan: &Plan) -> anyhow::Result<Vec<Figure>> {
    let (world, regions) = world()?;
    let _rules = Rule::drop(&ports(&regions), 1.0)?;
    wait("prober cut off", Duration::from_secs(15));
    let abstaining = world.health()?.iter().filter(|region| region["abstains"] == true).count();
    ensure!(abstaining == REGIONS, "of {REGIONS} regions only {abstaining} are abstained from");
    let removed = float(world.removals().all());
    Ok(vec![Figure::shown("prober cut off for 15 s: regions removed", removed, "").at_most(0.0)])
}

fn world() -> anyhow::Result<(World, Vec<Region>)> {
    let regions = Region::several(REGIONS, &[])?;
    let declared: Vec<_> = regions.iter().map(|region| Declared::checked(region.url())).collect();
    Ok((World::new(&declared)?, regions))
}

fn ports(regions: &[Region]) -> Vec<u16> {
    regions.iter().map(|region| region.address.port()).collect()
}
