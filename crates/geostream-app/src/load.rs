//! How much load regions have.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use geostream_domain::{Load, LoadShare, RegionId};

/// Counts the clients that a region was answered to, and its own that another was.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// For whom it ranked first.
    own: AtomicU64,
    /// Who are another region's, which could not have them.
    displaced: AtomicU64,
    /// For whom it ranked first, and who were answered another one.
    away: AtomicU64,
}

impl Tally {
    pub(crate) fn count_own(&self) {
        self.own.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_displaced(&self) {
        self.displaced.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_away(&self) {
        self.away.fetch_add(1, Ordering::Relaxed);
    }

    fn read(&self) -> [u64; 3] {
        let counters = [&self.own, &self.displaced, &self.away];
        counters.map(|counter| counter.load(Ordering::Relaxed))
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
    tallied: [u64; 3],
    /// Clients a second, own, displaced and away, averaged over some seconds.
    rates: [f64; 3],
    /// For how long they have been counted, in seconds.
    counted_for: f64,
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
        let [own, displaced, away] = known.rates.map(Load::new);
        let reported = known.reported.filter(|(_, at)| now < *at + REPORT_HOLDS);
        let reported = reported.map(|(load, _)| load);
        Some(LoadShare { own: own.ok()?, displaced: displaced.ok()?, away: away.ok()?, reported })
    }
}

impl Known {
    #[expect(
        clippy::cast_precision_loss,
        reason = "as many clients as that never come in a second"
    )]
    fn take_in(&mut self, tallied: [u64; 3], elapsed: Option<Duration>) {
        if let Some(seconds) = elapsed.map(|elapsed| elapsed.as_secs_f64())
            && seconds > 0.0
        {
            // A tally that begins anew is of a region that was away.
            let count = |place: usize| tallied[place].saturating_sub(self.tallied[place]) as f64;
            let counted: [f64; 3] = std::array::from_fn(|place| count(place) / seconds);
            let wanted = |[own, _displaced, away]: [f64; 3]| own + away;
            if is_rush(wanted(self.rates), wanted(counted), seconds) {
                self.counted_for = 0.0;
            }
            // Until there is enough to average, each moment weighs the same.
            self.counted_for += seconds;
            let weight = weight_of(seconds, AVERAGED).max(seconds / self.counted_for);
            for (rate, counted) in self.rates.iter_mut().zip(counted) {
                *rate += (counted - *rate) * weight;
                if *rate < LEAST {
                    *rate = 0.0;
                }
            }
        }
        self.tallied = tallied;
    }
}

/// What is known of the load that a region's own clients make, wherever they are sent.
#[derive(Debug, Default)]
pub(crate) struct Demand {
    estimate: Option<Load>,
    /// When the region's reports were looked at last, if it reports.
    reported: Option<Instant>,
}

/// The seconds over which demand is averaged where it is told by what a region reports.
///
/// Such a report is of clients who were sent a while ago. Were it believed at once, it would be taken
/// for the work of those who are sent now, and regions would be filled and emptied in turn.
const REPORTS_AVERAGED: f64 = 10.0;

impl Demand {
    /// Takes in what all nodes know of the region's load now; one that is away does not have all of
    /// its clients by its health or by an operator's wish, and its reports tell nothing of them.
    pub(crate) fn take_in(&mut self, share: LoadShare, is_away: bool, now: Instant) {
        if is_away && (self.reported.is_some() || share.reported.is_some()) {
            return;
        }
        let before = match share.reported {
            Some(_) => self.reported.replace(now),
            None => self.reported.take(),
        };
        let Some(seen) = share.demand() else { return };
        self.estimate = match (self.estimate, before) {
            (Some(estimate), Some(before)) => {
                let seconds = now.saturating_duration_since(before).as_secs_f64();
                let change =
                    (seen.units() - estimate.units()) * weight_of(seconds, REPORTS_AVERAGED);
                Load::new(estimate.units() + change).ok()
            }
            (Some(_) | None, Some(_) | None) => Some(seen),
        };
    }

    pub(crate) fn estimate(&self) -> Option<Load> {
        self.estimate
    }
}

/// Tells whether so many more clients a second come than before that it is not by chance: a count varies
/// by its root.
///
/// A rush is believed at once. Its end is not: clients that come in bursts would be sent to and fro.
fn is_rush(before: f64, now: f64, seconds: f64) -> bool {
    now - before > 4.0 * (now / seconds).sqrt()
}

/// Returns how much the last seconds weigh in an average over so many.
fn weight_of(seconds: f64, averaged: f64) -> f64 {
    1.0 - (-seconds / averaged).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A region whose clients are counted each second.
    struct Counted {
        region: RegionId,
        tally: Arc<Tally>,
        loads: Loads,
        now: Instant,
    }

    impl Counted {
        fn new() -> Self {
            let (region, tally) = ("eu".parse().unwrap(), Arc::default());
            let mut counted = Self { region, tally, loads: Loads::default(), now: start() };
            counted.measure();
            counted
        }

        fn measure(&mut self) {
            self.loads.measure([(&self.region, &self.tally)].into_iter(), self.now);
        }

        /// Lets a second pass in which so many clients come.
        fn pass(&mut self, own: u64, displaced: u64) -> LoadShare {
            (0..own).for_each(|_| self.tally.count_own());
            (0..displaced).for_each(|_| self.tally.count_displaced());
            self.now += Duration::from_secs(1);
            self.measure();
            self.load(Duration::ZERO)
        }

        fn load(&self, later: Duration) -> LoadShare {
            self.loads.of(&self.region, self.now + later).unwrap()
        }
    }

    #[test]
    fn rates_follow_what_is_counted_and_reports_go_first() {
        let mut counted = Counted::new();
        for _ in 0..60 {
            counted.pass(40, 10);
        }
        let load = counted.load(Duration::ZERO);
        assert!((load.all().units() - 50.0).abs() < 0.1, "{load:?}");
        assert!((load.own.units() - 40.0).abs() < 0.1, "{load:?}");

        counted.loads.report(&counted.region, Load::new(500.0).unwrap(), counted.now);
        let load = counted.load(Duration::ZERO);
        let demand = load.demand().unwrap().units();
        assert!((demand - 400.0).abs() < 1.0, "by the same share: {load:?}");
        let later = counted.load(REPORT_HOLDS);
        assert!(later.all().units() < 51.0, "a report does not hold for ever: {later:?}");
    }

    #[test]
    fn a_rush_is_believed_at_once_and_its_end_later() {
        let mut counted = Counted::new();
        let mut pass = |clients| counted.pass(clients, 0).own.units();
        for _ in 0..20 {
            pass(100);
        }
        let chance = pass(120);
        assert!((100.0..105.0).contains(&chance), "{chance}");
        assert_eq!([pass(500), pass(1_200)], [500.0, 1_200.0]);
        let ebb = pass(100);
        assert!((600.0..1_200.0).contains(&ebb), "{ebb}");
    }

    #[test]
    fn a_rate_comes_to_be_nothing_when_nobody_is_sent_there() {
        let mut counted = Counted::new();
        assert!(counted.pass(1_000, 0).all().units() > 100.0);
        for _ in 0..59 {
            counted.pass(0, 0);
        }
        assert_eq!(counted.pass(0, 0), LoadShare::default());
    }

    #[test]
    fn demand_is_of_all_own_clients_and_stays_where_only_a_report_would_tell() {
        let load = |units| Load::new(units).unwrap();
        let share = |own, away, reported: Option<f64>| LoadShare {
            own: load(own),
            displaced: load(10.0),
            away: load(away),
            reported: reported.map(load),
        };
        let (mut demand, mut now) = (Demand::default(), start());
        let mut after_a_second = |share, is_away| {
            now += Duration::from_secs(1);
            demand.take_in(share, is_away, now);
            demand.estimate().unwrap().units()
        };
        assert_eq!(after_a_second(share(50.0, 50.0, None), true), 100.0);
        assert_eq!(after_a_second(share(50.0, 70.0, Some(300.0)), false), 600.0);
        let next = after_a_second(share(50.0, 70.0, Some(150.0)), false);
        assert!((570.0..575.0).contains(&next), "a report is not believed at once: {next}");
        for reported in [Some(10.0), None] {
            assert_eq!(after_a_second(share(0.0, 120.0, reported), true), next);
        }
        after_a_second(share(50.0, 60.0, None), false);
        assert_eq!(after_a_second(share(50.0, 60.0, None), false), 110.0);
    }

    #[expect(clippy::disallowed_methods, reason = "any moment will do")]
    fn start() -> Instant {
        Instant::now()
    }
}
