//! How often an endpoint is probed, by how many regions and services are behind it.

use std::iter::repeat_n;
use std::time::Duration;

use crate::failover::ground::wait;
use crate::failover::plan::Plan;
use crate::failover::world::{Declared, Region, World};
use crate::figure::Figure;
use crate::process::now;

/// How many regions are behind each endpoint, and how often it may be probed in a second: once for
/// each, and ten times at most, counted to a hundredth.
const ENDPOINTS: [(usize, f64); 3] = [(1, 1.0), (2, 2.0), (30, 10.1)];

pub(crate) fn run(plan: &Plan) -> anyhow::Result<Vec<Figure>> {
    let mut endpoints = Region::several(ENDPOINTS.len(), &[])?;
    let behind = endpoints
        .iter()
        .zip(ENDPOINTS)
        .flat_map(|(endpoint, (regions, _))| repeat_n(Declared::checked(endpoint.url()), regions));
    let _world = World::new(&behind.collect::<Vec<_>>())?;
    // The cap admits a burst at first.
    wait("probes per endpoint, settling", Duration::from_secs(5));
    let (began, before) = (now(), counted(&mut endpoints)?);
    wait("probes per endpoint", Duration::from_secs(if plan.is_quick { 20 } else { 120 }));
    let (seconds, after) = ((now() - began).as_secs_f64(), counted(&mut endpoints)?);
    let figures = ENDPOINTS.into_iter().zip(before.into_iter().zip(after));
    let figure = |((regions, most), (before, after)): ((usize, f64), (f64, f64))| {
        let what = format!("probes at an endpoint that serves {regions}, in three services");
        Figure::shown(what, (after - before) / seconds, "1/s").at_most(most)
    };
    Ok(figures.map(figure).collect())
}

fn counted(endpoints: &mut [Region]) -> anyhow::Result<Vec<f64>> {
    endpoints.iter_mut().map(Region::probes).collect()
}
