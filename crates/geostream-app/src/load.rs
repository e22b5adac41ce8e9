//! How much load regions have.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use geostream_domain::{Load, LoadShare, RegionId};

/// Counts the clients that a region was answered to.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// For whom it ranked first.
    own: AtomicU64,
    /// Who are another region's, which could not have them.
    displaced: AtomicU64,
}

impl Tally {
    pub(crate) fn count(&self, is_own: bool) {
        let counter = if is_own { &self.own } else { &self.displaced };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn read(&self) -> [u64; 2] {
        [&self.own, &self.displaced].map(|counter| counter.load(Ordering::Relaxed))
    }
}

/// What this node knows of the regions' loads: what each reports, and the clients a second that this
/// node has sent it.
#[derive(Debug, Default)]
pub(crate) struct Loads {
    regions: BTreeMap<RegionId, Known>,
    measured: Option<Instant>,
}

#[derive(Debug, Default)]
struct Known {
    tallied: [u64; 2],
    /// Clients a second, own and displaced, averaged over some seconds.
    rates: [f64; 2],
    reported: Option<(Load, Instant)>,
}

/// The seconds over which rates are averaged.
const AVERAGED: f64 = 5.0;

/// So few clients a second are none: a rate that only shrinks would be news for an hour.
const LEAST: f64 = 0.01;

/// How long a report is believed.
const REPORT_HOLDS: Duration = Duration::from_secs(30);

impl Loads {
    /// Notes what a region reports.
    pub(crate) fn report(&mut self, region: &RegionId, load: Load, now: Instant) {
        self.regions.entry(region.clone()).or_default().reported = Some((load, now));
    }

    /// Takes in what was counted since the last time.
    pub(crate) fn measure<'a>(
        &mut self,
        tallies: impl Iterator<Item = (&'a RegionId, &'a Arc<Tally>)>,
        now: Instant,
    ) {
        let elapsed = self.measured.map(|before| now.saturating_duration_since(before));
        self.measured = Some(now);
        let mut regions = std::mem::take(&mut self.regions);
        for (id, tally) in tallies {
            let mut known = regions.remove(id).unwrap_or_default();
            known.take_in(tally.read(), elapsed);
            self.regions.insert(id.clone(), known);
        }
    }

    /// Returns when a region reported its load last.
    pub(crate) fn reported(&self, region: &RegionId) -> Option<Instant> {
        self.regions.get(region)?.reported.map(|(_, at)| at)
    }

    /// Returns what this node knows of a region's load; `None` as long as there is nothing to tell it
    /// by.
    pub(crate) fn of(&self, region: &RegionId, now: Instant) -> Option<LoadShare> {
        let known = self.regions.get(region)?;
        let [own, displaced] = known.rates.map(Load::new);
        let reported = known.reported.filter(|(_, at)| now < *at + REPORT_HOLDS);
        let reported = reported.map(|(load, _)| load);
        Some(LoadShare { own: own.ok()?, displaced: displaced.ok()?, reported })
    }
}

impl Known {
    #[expect(
        clippy::cast_precision_loss,
        reason = "as many clients as that never come in a second"
    )]
    fn take_in(&mut self, tallied: [u64; 2], elapsed: Option<Duration>) {
        if let Some(seconds) = elapsed.map(|elapsed| elapsed.as_secs_f64())
            && seconds > 0.0
        {
            let weight = 1.0 - (-seconds / AVERAGED).exp();
            for (place, rate) in self.rates.iter_mut().enumerate() {
                // A tally that begins anew is of a region that was away.
                let counted = tallied[place].saturating_sub(self.tallied[place]);
                *rate += (counted as f64 / seconds - *rate) * weight;
                if *rate < LEAST {
                    *rate = 0.0;
                }
            }
        }
        self.tallied = tallied;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_follow_what_is_counted_and_reports_go_first() {
        let region: RegionId = "eu".parse().unwrap();
        let tally = Arc::new(Tally::default());
        let mut loads = Loads::default();
        let mut now = start();
        for _ in 0..60 {
            loads.measure([(&region, &tally)].into_iter(), now);
            now += Duration::from_secs(1);
            for _ in 0..40 {
                tally.count(true);
            }
            for _ in 0..10 {
                tally.count(false);
            }
        }
        let load = loads.of(&region, now).unwrap();
        assert!((load.all().units() - 50.0).abs() < 0.1, "{load:?}");
        assert!((load.own.units() - 40.0).abs() < 0.1, "{load:?}");

        loads.report(&region, Load::new(500.0).unwrap(), now);
        let load = loads.of(&region, now).unwrap();
        let own = load.of_own_clients().units();
        assert!((own - 400.0).abs() < 1.0, "by the same share: {load:?}");
        let later = loads.of(&region, now + REPORT_HOLDS).unwrap();
        assert!(later.all().units() < 51.0, "a report does not hold for ever: {later:?}");
    }

    #[test]
    fn a_rate_comes_to_be_nothing_when_nobody_is_sent_there() {
        let region: RegionId = "eu".parse().unwrap();
        let tally = Arc::new(Tally::default());
        let mut loads = Loads::default();
        let now = start();
        let mut measure = |seconds| {
            let now = now + Duration::from_secs(seconds);
            loads.measure([(&region, &tally)].into_iter(), now);
            loads.of(&region, now).unwrap()
        };
        measure(0);
        (0..1_000).for_each(|_| tally.count(true));
        assert!(measure(1).all().units() > 100.0);
        for seconds in 2..=60 {
            measure(seconds);
        }
        assert_eq!(measure(61), LoadShare::default());
    }

    #[expect(clippy::disallowed_methods, reason = "any moment will do")]
    fn start() -> Instant {
        Instant::now()
    }
}
