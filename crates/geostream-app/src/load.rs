//! How much load regions have.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use geostream_domain::{Load, LoadShare};

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

/// What this node knows of a region's load: what it reports, and the clients a second that this node
/// has sent it.
#[derive(Debug, Default)]
pub(crate) struct RegionLoad {
    tallied: [u64; 3],
    /// Clients a second, own, displaced and away, averaged over some seconds.
    rates: [f64; 3],
    /// For how long they have been counted, in seconds.
    counted_for: f64,
    /// The seconds since counting began, or since the clients last became many more.
    steady_for: f64,
    /// Whether `steady_for` began with a rise, and not with the count.
    has_risen: bool,
    reported: Option<(Load, Instant)>,
    /// When it last answered a probe, by whatever answer.
    answered: Option<Instant>,
}

/// The seconds over which rates are averaged.
const AVERAGED: f64 = 5.0;

/// So few clients a second are none: a rate that only shrinks would be news for an hour.
const LEAST: f64 = 0.01;

/// The seconds without a notable rise after which a rate is all there is, and not its beginning.
const SETTLES: f64 = 10.0;

/// A rise by less than this share is no beginning of a larger one.
const NOTABLE: f64 = 0.1;

/// How long a report is believed.
const REPORT_HOLDS: Duration = Duration::from_secs(30);

impl RegionLoad {
    /// Notes what the region reports.
    pub(crate) fn report(&mut self, load: Load, now: Instant) {
        self.reported = Some((load, now));
    }

    /// Notes that the region has answered a probe, by whatever answer.
    pub(crate) fn handle_answer(&mut self, now: Instant) {
        self.answered = Some(now);
    }

    /// Tells whether the region has answered a probe within this time.
    pub(crate) fn has_answered(&self, within: Duration, now: Instant) -> bool {
        self.answered.is_some_and(|at| now < at + within)
    }

    /// Returns when the region reported its load last.
    pub(crate) fn reported_at(&self) -> Option<Instant> {
        self.reported.map(|(_, at)| at)
    }

    /// Returns what this node knows of the load; `None` as long as there is nothing to tell it by.
    pub(crate) fn share(&self, now: Instant) -> Option<LoadShare> {
        let reported = self.reported(now);
        // Before the first interval is over, a count of nothing means that nothing was counted.
        if self.counted_for == 0.0 && reported.is_none() {
            return None;
        }
        let [own, displaced, away] = self.rates.map(Load::new);
        Some(LoadShare { own: own.ok()?, displaced: displaced.ok()?, away: away.ok()?, reported })
    }

    /// Tells whether the region may have more clients than was counted so far: they became many more
    /// a moment ago, or counting began a moment ago and the region does not report its load.
    pub(crate) fn is_rising(&self, now: Instant) -> bool {
        let is_told = self.reported(now).is_some() && !self.has_risen;
        self.steady_for < SETTLES && !is_told
    }

    /// Takes in what was counted, `elapsed` after the last time.
    pub(crate) fn measure(&mut self, tally: &Tally, elapsed: Option<Duration>) {
        self.take_in(tally.read(), elapsed);
    }

    fn reported(&self, now: Instant) -> Option<Load> {
        let reported = self.reported.filter(|(_, at)| now < *at + REPORT_HOLDS);
        reported.map(|(load, _)| load)
    }

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
            let sent = |[own, displaced, _away]: [f64; 3]| own + displaced;
            let [wanted_before, wanted_now] = [self.rates, counted].map(wanted);
            let [sent_before, sent_now] = [self.rates, counted].map(sent);
            self.steady_for += seconds;
            if is_rush(wanted_before, wanted_now, seconds) {
                self.counted_for = 0.0;
                if wanted_now > wanted_before * (1.0 + NOTABLE) {
                    self.steady_for = 0.0;
                    self.has_risen = true;
                }
            }
            // A report is told apart into own and displaced clients by these rates, so that those
            // who are displaced must not be counted later than the region reports them.
            let is_sent_rush = is_rush(sent_before, sent_now, seconds);
            if is_sent_rush {
                self.counted_for = 0.0;
            }
            self.counted_for += seconds;
            // Until there is enough to average, each moment weighs the same; a fall is averaged
            // over the whole time even then.
            let is_fall = wanted_now < wanted_before && !is_sent_rush;
            let least = if is_fall { 0.0 } else { seconds / self.counted_for };
            let weight = weight_of(seconds, AVERAGED).max(least);
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
///
/// A rise is believed as soon as a second look confirms it, and a fall slowly: an estimate that is
/// too low sends a region more clients than it can take, one that is too high sends some of them
/// farther than necessary.
#[derive(Debug, Default)]
pub(crate) struct Demand {
    estimate: Option<Load>,
    /// When the region's reports were looked at last, if it reports.
    reported: Option<Instant>,
    /// The least share of the region's load that its own clients made of late.
    own_share: Least,
    /// The load that its own clients certainly made at the last look.
    certain: Option<f64>,
    /// The clients a second that wanted the region when the estimate had last settled.
    settled: Option<f64>,
    /// Whether more clients want the region than those whose load the estimate is.
    is_outgrown: bool,
}

/// What is taken in of a region's load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// What all nodes know of it.
    pub(crate) share: LoadShare,
    /// Whether the region does not have all of its clients, by its health or by an override: its
    /// reports tell nothing of them then.
    pub(crate) is_away: bool,
    /// Whether the region's clients have just begun to be counted, or to become many more: its
    /// reports are not of all of them yet.
    pub(crate) is_rising: bool,
    /// Whether any region reports its load.
    pub(crate) do_others_report: bool,
}

/// The seconds over which demand is averaged where it is told by what a region reports.
///
/// Such a report is of clients who were sent a while ago. Were it believed at once, it would be taken
/// for the work of those who are sent now, and regions would be filled and emptied in turn.
const REPORTS_AVERAGED: f64 = 10.0;

/// How old the clients may be that a report is of: those who were displaced within this time may be
/// part of the load, even if none are displaced now.
const REPORTS_LATE: Duration = Duration::from_secs(10);

impl Demand {
    /// Takes in what is known of the region's load now; called once a tick.
    pub(crate) fn take_in(&mut self, look: Look, now: Instant) {
        let Look { share, is_away, is_rising, do_others_report } = look;
        let wanted = share.own.units() + share.away.units();
        let has_reported = self.reported.is_some() || share.reported.is_some();
        if is_away && (has_reported || (do_others_report && self.settled.is_none())) {
            let is_more = |settled| wanted > settled * (1.0 + NOTABLE);
            self.is_outgrown = self.settled.is_none_or(is_more);
            // Where others report, a count is in another unit than the capacity.
            self.estimate = self.estimate.filter(|_| has_reported);
            // The first reports after it is back are of some of its clients only.
            self.reported = self.reported.map(|_| now);
            return;
        }
        if !is_rising {
            self.settled = Some(wanted);
        }
        self.is_outgrown = false;
        let before = match share.reported {
            Some(_) => self.reported.replace(now),
            None => self.reported.take(),
        };
        let certain = self.certain(share, now);
        let Some(seen) = share.demand() else { return };
        self.estimate = match (self.estimate, before) {
            (Some(estimate), Some(before)) => {
                let seconds = now.saturating_duration_since(before).as_secs_f64();
                let change =
                    (seen.units() - estimate.units()) * weight_of(seconds, REPORTS_AVERAGED);
                Load::new((estimate.units() + change).max(certain)).ok()
            }
            (Some(_) | None, Some(_) | None) => Some(seen),
        };
    }

    pub(crate) fn estimate(&self) -> Option<Load> {
        self.estimate
    }

    /// Tells whether the demand may be more than the estimate.
    pub(crate) fn is_outgrown(&self) -> bool {
        self.is_outgrown
    }

    /// Returns the load that the region's own clients have made at this look and at the one before,
    /// even if every client of others that it was sent of late is part of its report.
    ///
    /// A report of one burst is over at the next look, and moves no client.
    fn certain(&mut self, share: LoadShare, now: Instant) -> f64 {
        let sent = share.own.units() + share.displaced.units();
        let wanted = share.own.units() + share.away.units();
        let own_share = if sent == wanted || sent == 0.0 { 1.0 } else { wanted / sent };
        let least = self.own_share.note(own_share, now);
        let certain = share.reported.map_or(0.0, |reported| reported.units() * least);
        self.certain.replace(certain).map_or(0.0, |before| before.min(certain))
    }
}

/// The least of what was noted in the last [`REPORTS_LATE`], or up to twice that.
#[derive(Debug, Default)]
struct Least {
    /// When the present period began.
    since: Option<Instant>,
    present: f64,
    previous: f64,
}

impl Least {
    fn note(&mut self, value: f64, now: Instant) -> f64 {
        let is_over = |since| now >= since + REPORTS_LATE;
        if self.since.is_none_or(is_over) {
            self.previous = if self.since.is_some() { self.present } else { value };
            self.present = value;
            self.since = Some(now);
        }
        self.present = self.present.min(value);
        self.present.min(self.previous)
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
        tally: Tally,
        load: RegionLoad,
        measured: Option<Instant>,
        now: Instant,
    }

    impl Counted {
        fn new() -> Self {
            let (tally, load) = (Tally::default(), RegionLoad::default());
            let mut counted = Self { tally, load, measured: None, now: start() };
            counted.measure();
            counted
        }

        fn measure(&mut self) {
            let elapsed = self.measured.map(|before| self.now - before);
            self.load.measure(&self.tally, elapsed);
            self.measured = Some(self.now);
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
            self.load.share(self.now + later).unwrap()
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

        counted.load.report(Load::new(500.0).unwrap(), counted.now);
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
    fn a_fall_is_believed_slowly_even_when_counting_has_just_begun() {
        let mut counted = Counted::new();
        assert_eq!(counted.pass(1_000, 0).own.units(), 1_000.0);
        let fallen = counted.pass(0, 0).own.units();
        assert!((800.0..850.0).contains(&fallen), "a fifth of the way after a second: {fallen}");
    }

    #[test]
    fn nothing_is_known_of_a_region_before_it_was_counted_or_has_reported() {
        let mut counted = Counted::new();
        let Counted { load, now, .. } = &mut counted;
        assert_eq!(load.share(*now), None);
        assert!(load.is_rising(*now));
        load.report(Load::new(7.0).unwrap(), *now);
        assert_eq!(load.share(*now).unwrap().all().units(), 7.0);
        assert!(!load.is_rising(*now), "a report is of all its clients");
    }

    #[test]
    fn a_count_is_all_there_is_once_it_has_not_risen_for_ten_seconds() {
        let mut counted = Counted::new();
        let mut is_rising = |own, seconds| {
            (0..seconds).for_each(|_| {
                counted.pass(own, 0);
            });
            counted.load.is_rising(counted.now)
        };
        assert!(is_rising(100, 10));
        assert!(!is_rising(100, 1));
        assert!(!is_rising(120, 1), "it may be by chance");
        assert!(is_rising(500, 1));
        assert!(!is_rising(500, 10));
        assert!(!is_rising(0, 1), "a fall is no rise");
    }

    /// A region that takes in a look each second.
    struct Looked {
        demand: Demand,
        now: Instant,
    }

    impl Looked {
        fn new() -> Self {
            Self { demand: Demand::default(), now: start() }
        }

        fn look(&mut self, share: LoadShare, is_away: bool) -> f64 {
            self.take_in(share, is_away, false);
            self.demand.estimate().unwrap().units()
        }

        fn take_in(&mut self, share: LoadShare, is_away: bool, is_rising: bool) {
            self.now += Duration::from_secs(1);
            let do_others_report = share.reported.is_some();
            let look = Look { share, is_away, is_rising, do_others_report };
            self.demand.take_in(look, self.now);
        }
    }

    fn share(own: f64, displaced: f64, away: f64, reported: Option<f64>) -> LoadShare {
        let load = |units| Load::new(units).unwrap();
        LoadShare {
            own: load(own),
            displaced: load(displaced),
            away: load(away),
            reported: reported.map(load),
        }
    }

    #[test]
    fn demand_is_of_all_own_clients_and_stays_where_only_a_report_would_tell() {
        let mut region = Looked::new();
        let share = |own, away, reported| share(own, 10.0, away, reported);
        assert_eq!(region.look(share(50.0, 50.0, None), true), 100.0);
        assert_eq!(region.look(share(50.0, 70.0, Some(300.0)), false), 600.0);
        let next = region.look(share(50.0, 70.0, Some(150.0)), false);
        assert!((570.0..575.0).contains(&next), "a fall is not believed at once: {next}");
        for reported in [Some(10.0), None] {
            assert_eq!(region.look(share(0.0, 120.0, reported), true), next);
        }
        region.look(share(50.0, 60.0, None), false);
        assert_eq!(region.look(share(50.0, 60.0, None), false), 110.0);
    }

    #[test]
    fn a_reported_rise_is_believed_at_the_second_look_and_a_fall_slowly() {
        let mut region = Looked::new();
        let mut report = |load| region.look(share(480.0, 0.0, 0.0, Some(load)), false);
        report(0.0);
        assert!(report(300.0) < 30.0, "it may be a burst");
        assert_eq!(report(480.0), 300.0);
        assert_eq!(report(480.0), 480.0);
        let fallen = [report(100.0), report(100.0), report(100.0)];
        assert!(fallen.is_sorted_by(|before, after| before > after), "{fallen:?}");
        assert!(fallen[2] > 380.0, "{fallen:?}");
    }

    #[test]
    fn reports_of_bursts_move_the_estimate_little() {
        let mut region = Looked::new();
        let mut estimates = Vec::new();
        for second in 0..300 {
            // Every third report is of a burst.
            let load = if second % 3 == 2 { 800.0 } else { 400.0 };
            estimates.push(region.look(share(400.0, 0.0, 0.0, Some(load)), false));
        }
        let settled = &estimates[60..];
        let least = settled.iter().copied().fold(f64::INFINITY, f64::min);
        let most = settled.iter().copied().fold(0.0, f64::max);
        assert!((400.0..600.0).contains(&least) && most - least < 40.0, "{least} to {most}");
    }

    #[test]
    fn a_load_that_displaced_clients_make_is_hardly_taken_for_demand() {
        for late in 0..4 {
            let mut region = Looked::new();
            let mut sent = Vec::new();
            for second in 0..60 {
                // From the 20th to the 40th second, half as many more are sent from elsewhere.
                let displaced = if (20..40).contains(&second) { 240.0 } else { 0.0 };
                sent.push(480.0 + displaced);
                let reported = sent[sent.len().saturating_sub(1 + late)];
                let demand = region.look(share(480.0, displaced, 0.0, Some(reported)), false);
                assert!(demand < 552.0, "{demand} after {second} s, {late} s late");
            }
        }
    }

    #[test]
    fn a_region_that_is_away_is_outgrown_as_soon_as_more_clients_want_it() {
        let mut region = Looked::new();
        assert_eq!(region.look(share(160.0, 0.0, 0.0, Some(160.0)), false), 160.0);
        assert_eq!(region.look(share(0.0, 0.0, 165.0, None), true), 160.0);
        assert!(!region.demand.is_outgrown());
        assert_eq!(region.look(share(0.0, 0.0, 200.0, None), true), 160.0);
        assert!(region.demand.is_outgrown());
        region.look(share(200.0, 0.0, 0.0, Some(200.0)), false);
        assert!(!region.demand.is_outgrown());
    }

    #[test]
    fn a_region_that_was_lost_while_its_first_clients_were_counted_stays_outgrown() {
        let mut region = Looked::new();
        region.take_in(share(480.0, 0.0, 0.0, Some(0.0)), false, true);
        region.take_in(share(480.0, 0.0, 0.0, Some(240.0)), false, true);
        for _ in 0..60 {
            region.take_in(share(0.0, 0.0, 480.0, None), true, false);
            assert!(region.demand.is_outgrown());
        }
        region.take_in(share(480.0, 0.0, 0.0, Some(480.0)), false, false);
        region.take_in(share(0.0, 0.0, 480.0, None), true, false);
        assert!(!region.demand.is_outgrown());
    }

    #[test]
    fn the_end_of_a_rush_leaves_the_estimate_from_before_it() {
        let mut region = Looked::new();
        region.take_in(share(100.0, 0.0, 0.0, Some(100.0)), false, false);
        region.take_in(share(300.0, 0.0, 0.0, Some(150.0)), false, true);
        region.take_in(share(0.0, 0.0, 300.0, None), true, false);
        assert!(region.demand.is_outgrown());
        region.take_in(share(0.0, 0.0, 100.0, None), true, false);
        assert!(!region.demand.is_outgrown());
    }

    #[test]
    fn a_region_that_is_back_is_not_judged_by_its_first_reports() {
        let mut region = Looked::new();
        assert_eq!(region.look(share(480.0, 0.0, 0.0, Some(480.0)), false), 480.0);
        for _ in 0..60 {
            region.look(share(0.0, 0.0, 480.0, Some(0.0)), true);
        }
        let back = region.look(share(480.0, 0.0, 0.0, Some(100.0)), false);
        assert!((440.0..480.0).contains(&back), "{back}");
    }

    #[test]
    fn a_count_is_not_taken_for_the_load_of_a_region_that_was_never_seen_where_others_report() {
        let mut demand = Demand::default();
        let now = start();
        let look = |is_away| Look {
            share: share(0.0, 0.0, 480.0, None),
            is_away,
            is_rising: false,
            do_others_report: true,
        };
        demand.take_in(look(true), now);
        assert_eq!(demand.estimate(), None);
        demand.take_in(look(false), now);
        assert_eq!(demand.estimate(), Load::new(480.0).ok());
    }

    #[expect(clippy::disallowed_methods, reason = "any moment will do")]
    fn start() -> Instant {
        Instant::now()
    }
}
