//! Regions that are lost shortly after a start, while the load rises, or one after the other: the
//! others must have room for the clients, and none of them may be removed in turn.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::failover::plan::Plan;
use crate::failover::thirds::{CAPACITY, SETTLED, Sent, Traffic, highest_share, send_during};
use crate::failover::world::{Declared, Region, World};
use crate::figure::Figure;
use crate::figure::float;
use crate::process::{now, pause};
use xtask::shell::say;

/// How many regions there are; the first ones are lost.
const REGIONS: usize = 3;

/// As each client asks every 2 s, this many are 480 requests a second: 60 % of the capacity.
const AT_60_PERCENT: usize = 960;

/// This many are 200 requests a second.
const AT_25_PERCENT: usize = 400;

/// What happens to a service that has just started.
#[derive(Clone, Debug)]
struct Course<'a> {
    what: String,
    /// How many clients each region has.
    clients: usize,
    rise: Option<(f64, Duration)>,
    /// How long after the start the first regions are lost, one after the other.
    losses: &'a [Duration],
    /// How long it goes on after the last loss.
    after: Duration,
}

/// What came of it.
struct Outcome {
    sent: Vec<Sent>,
    /// When the last region was lost.
    lost: Instant,
    /// How often the others were removed.
    others_removed: usize,
    /// Those that are left.
    others: Vec<usize>,
}

pub(crate) fn cold_start(plan: &Plan) -> anyhow::Result<Vec<Figure>> {
    lost_after([2, 4, 8], plan)
}

pub(crate) fn warm_start(plan: &Plan) -> anyhow::Result<Vec<Figure>> {
    lost_after([20], plan)
}

fn lost_after<const COUNT: usize>(
    seconds: [u64; COUNT],
    plan: &Plan,
) -> anyhow::Result<Vec<Figure>> {
    let courses = seconds.map(|seconds| {
        let what = format!("one of three lost {seconds} s after a cold start at 60 %");
        let losses = [Duration::from_secs(seconds)];
        Course { what, losses: &losses, ..Course::at_60_percent(plan) }.figures(true)
    });
    let figures: Vec<_> = courses.into_iter().collect::<anyhow::Result<_>>()?;
    Ok(figures.into_iter().flatten().collect())
}

pub(crate) fn rising(plan: &Plan) -> anyhow::Result<Vec<Figure>> {
    let over = Duration::from_secs(if plan.is_quick { 16 } else { 60 });
    let what = format!("one of three lost while load rises from 20 to 60 % in {over:?}");
    let losses = [over / 2];
    let rise = Some((1.0 / 3.0, over));
    let after = Course::after(plan) + over / 2;
    Course { what, rise, losses: &losses, after, ..Course::at_60_percent(plan) }.figures(true)
}

pub(crate) fn second(plan: &Plan) -> anyhow::Result<Vec<Figure>> {
    let what = "two of three lost 5 s apart at 25 %".to_owned();
    let losses = [10, 15].map(Duration::from_secs);
    let clients = AT_25_PERCENT;
    Course { what, clients, losses: &losses, ..Course::at_60_percent(plan) }.figures(true)
}

pub(crate) fn above_capacity(plan: &Plan) -> anyhow::Result<Vec<Figure>> {
    let what = "two of three lost 10 s apart at 60 %".to_owned();
    let losses = [8, 18].map(Duration::from_secs);
    Course { what, losses: &losses, ..Course::at_60_percent(plan) }.figures(false)
}

impl Course<'_> {
    fn at_60_percent(plan: &Plan) -> Self {
        let what = String::new();
        let after = Self::after(plan);
        Self { what, clients: AT_60_PERCENT, rise: None, losses: &[], after }
    }

    fn after(plan: &Plan) -> Duration {
        Duration::from_secs(if plan.is_quick { 10 } else { 60 })
    }

    /// Lets it happen, and holds it to the bars; those of capacity only where there is enough.
    fn figures(&self, has_room: bool) -> anyhow::Result<Vec<Figure>> {
        let Outcome { sent, lost, others_removed, others } = self.happen()?;
        let figure =
            |what: &str, value, unit| Figure::shown(format!("{}: {what}", self.what), value, unit);
        let shares = others.iter().map(|&region| highest_share(&sent, region) * 100.0);
        let elsewhere = shares.fold(0.0, f64::max);
        let elsewhere = figure("highest share of capacity elsewhere", elsewhere, "%");
        let late: Vec<&Sent> = sent.iter().filter(|sent| sent.at > lost + SETTLED).collect();
        let failed = late.iter().filter(|sent| !sent.is_served).count();
        let failures = figure("requests that failed later than 3 s", float(failed), "");
        let moves = float(moves(&late)) / float(late.len().max(1)) * 100.0;
        Ok(vec![
            if has_room { elsewhere.at_most(100.0) } else { elsewhere },
            figure("others removed", float(others_removed), "").at_most(0.0),
            if has_room { failures.at_most(0.0) } else { failures },
            figure("clients that change region from one cycle to the next, later", moves, "%"),
        ])
    }

    fn happen(&self) -> anyhow::Result<Outcome> {
        let capacity = CAPACITY.to_string();
        let mut regions = Region::several(REGIONS, &["--capacity", &capacity])?;
        let declared: Vec<_> = regions
            .iter()
            .map(|region| Declared { check: Some(region.url()), capacity: Some(CAPACITY) })
            .collect();
        let world = World::new(&declared)?;
        let addresses: Vec<_> = regions.iter().map(|region| region.address).collect();
        let began = now();
        let last = self.losses.last().copied().unwrap_or_default();
        let lost = began + last;
        let clients = [self.clients; REGIONS];
        let traffic = Traffic { clients: &clients, rise: self.rise };
        say(&self.what);
        let sent = send_during(&world, &addresses, traffic, lost + self.after, || {
            for (region, loss) in regions.iter_mut().zip(self.losses) {
                pause((began + *loss).saturating_duration_since(now()));
                region.process().end();
            }
            Ok(())
        })?;
        let removals = world.removals();
        let others: Vec<usize> = (self.losses.len()..REGIONS).collect();
        let others_removed = others.iter().map(|&region| removals.of(region)).sum();
        Ok(Outcome { sent, lost, others_removed, others })
    }
}

/// Counts how often clients were sent to another region than the time before.
fn moves(sent: &[&Sent]) -> usize {
    let mut in_order = sent.to_vec();
    in_order.sort_by_key(|sent| sent.at);
    let mut last = BTreeMap::new();
    let is_move = |sent: &&&Sent| {
        let before = last.insert(sent.client, sent.to);
        before.is_some_and(|before| before != sent.to)
    };
    in_order.iter().filter(is_move).count()
}
