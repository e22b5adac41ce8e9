//! What clients report of a region.

use std::time::{Duration, Instant};

use crate::hash::ClientKey;
use crate::health::breaker::{Breaker, BreakerRules, BreakerState};
use crate::health::evidence::{Evidence, Witness};
use crate::health::votes::Removal;

/// What became of a client that used a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Whether it was served.
    pub is_well: bool,
    /// The client's network, if whoever reports names it.
    pub client: Option<ClientKey>,
}

/// Believes clients once enough of them agree.
///
/// Reports that name no client all count. Of those of one network, the first two in each half
/// second do, and failures only if at least three networks have them: so no client alone removes a
/// region, nor keeps one that others have lost.
#[derive(Clone, Debug)]
pub(crate) struct Reports {
    breaker: Breaker,
    /// This half second and the one before.
    slots: [Slot; 2],
    slot_ends: Option<Instant>,
    /// Since when at least half of what is reported are failures.
    failing_since: Option<Instant>,
    trial_began: Option<Instant>,
    /// When it would have been tried again if it had not been removed before; `None` once that is
    /// over, or if the cooldown is the usual one.
    held_from: Option<Instant>,
    removal: Removal,
    lacks_witness: bool,
    evidence: Evidence,
}

/// What was reported in half a second.
#[derive(Clone, Debug, Default)]
struct Slot {
    anonymous: Tally,
    named: Vec<(ClientKey, Tally)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    failed: u32,
    all: u32,
}

/// The fewest reports within a second that say anything.
const LEAST_VOLUME: u32 = 10;

/// The fewest client networks whose failures say anything.
const LEAST_NETWORKS: usize = 3;

/// The most reports of a network that count in each slot.
const MOST_OF_ONE: u32 = 2;

/// The most networks that count in each slot: a sample, if there are more.
const MOST_NETWORKS: usize = 32;

const SLOT: Duration = Duration::from_millis(500);

const RULES: BreakerRules = BreakerRules { threshold: 1, trials: 1, rest: Duration::from_secs(30) };

impl Reports {
    pub(crate) fn new() -> Self {
        Self {
            breaker: Breaker::new(RULES),
            slots: <_>::default(),
            slot_ends: None,
            failing_since: None,
            trial_began: None,
            held_from: None,
            removal: Removal::Unproven,
            lacks_witness: false,
            evidence: Evidence::ReportsWell,
        }
    }

    pub(crate) fn handle(&mut self, report: Report, witness: Witness, now: Instant) {
        self.turn(now);
        let [slot, _] = &mut self.slots;
        slot.count(report);
        match self.breaker.state() {
            BreakerState::Closed => self.judge(witness, now),
            BreakerState::HalfOpen => self.judge_trial(now),
            // These clients were sent before it opened.
            BreakerState::Open => {}
        }
        self.handle_timeout(now);
    }

    /// Ends a trial once there are enough reports of it.
    fn judge_trial(&mut self, now: Instant) {
        let Tally { failed, all } = self.within_a_second();
        if all < LEAST_VOLUME {
            return;
        }
        if failed * 2 >= all {
            self.open(now);
            self.evidence = Evidence::ReportsFailed(failed, all);
        } else {
            self.breaker.handle_success(now);
            self.evidence = Evidence::ReportsWell;
        }
        self.slots = <_>::default();
    }

    /// Opens if at least half of enough reports are failures, and somebody else is well.
    fn judge(&mut self, witness: Witness, now: Instant) {
        let Tally { failed, all } = self.within_a_second();
        self.lacks_witness = false;
        if failed == 0 || failed * 2 < all {
            self.failing_since = None;
            return;
        }
        let since = *self.failing_since.get_or_insert(now);
        if all < LEAST_VOLUME {
            return;
        }
        self.lacks_witness = !witness.speaks_since(since);
        if !self.lacks_witness {
            self.evidence = Evidence::ReportsFailed(failed, all);
            self.open(now);
            self.slots = <_>::default();
            self.failing_since = None;
        }
    }

    fn open(&mut self, now: Instant) {
        self.breaker.handle_failure(now);
        self.removal = Removal::Unproven;
        self.held_from = None;
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.breaker.handle_timeout(now);
        if self.held_from.is_some_and(|from| now >= from) {
            self.held_from = None;
            self.removal = Removal::Held;
        }
        if self.breaker.state() != BreakerState::HalfOpen {
            self.trial_began = None;
            return;
        }
        let began = *self.trial_began.get_or_insert_with(|| {
            self.evidence = Evidence::Rested;
            self.slots = <_>::default();
            now
        });
        // Nobody reports any more: what is left to say is with the probes.
        if now >= began + RULES.rest {
            self.breaker = Breaker::new(RULES);
            self.evidence = Evidence::ReportsWell;
            self.trial_began = None;
        }
    }

    /// Forgets what was reported so far, of which nothing is believed yet.
    pub(crate) fn begin_anew(&mut self) {
        if self.breaker.state() == BreakerState::Closed {
            self.slots = <_>::default();
            self.failing_since = None;
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let trial_ends = self.trial_began.map(|began| began + RULES.rest);
        self.held_from.or_else(|| self.breaker.poll_timeout()).or(trial_ends)
    }

    pub(crate) fn punish(&mut self, rest: Duration, now: Instant) {
        self.breaker.punish(rest, now);
        self.held_from = Some(now + RULES.rest);
    }

    /// Returns how sure the removal is; `None` unless it is removed.
    ///
    /// Reports are no proof: one reporter can be wrong about all regions. What they say counts for
    /// the usual cooldown, and beyond it only the earlier removals keep the region out.
    pub(crate) fn removal(&self) -> Option<Removal> {
        (self.breaker.state() == BreakerState::Open).then_some(self.removal)
    }

    /// Returns until when it is not tried again.
    pub(crate) fn open_until(&self) -> Option<Instant> {
        self.breaker.poll_timeout()
    }

    pub(crate) fn state(&self) -> BreakerState {
        self.breaker.state()
    }

    /// Tells whether it would open, if somebody else were well.
    pub(crate) fn lacks_witness(&self) -> bool {
        self.lacks_witness
    }

    /// Returns why the state is what it is.
    pub(crate) fn evidence(&self) -> Evidence {
        self.evidence
    }

    /// Returns how many reports of this slot and the one before count.
    fn within_a_second(&self) -> Tally {
        let [this, before] = &self.slots;
        let fails = |(_, tally): &&(ClientKey, Tally)| tally.failed > 0;
        let failing = this.named.iter().filter(fails);
        let only_before = |(network, _): &&(ClientKey, Tally)| {
            !this.named.iter().any(|(other, tally)| other == network && tally.failed > 0)
        };
        let failed_before = before.named.iter().filter(fails).filter(only_before);
        let is_agreed = failing.chain(failed_before).count() >= LEAST_NETWORKS;
        let mut sum = Tally::default();
        for slot in &self.slots {
            sum.add(slot.anonymous);
            for &(_, Tally { failed, all }) in &slot.named {
                let believed = Tally { failed: 0, all: all - failed };
                sum.add(if is_agreed { Tally { failed, all } } else { believed });
            }
        }
        sum
    }

    /// Begins a new slot where the old one is over.
    fn turn(&mut self, now: Instant) {
        let ends = *self.slot_ends.get_or_insert(now + SLOT);
        if now < ends {
            return;
        }
        let [this, _] = std::mem::take(&mut self.slots);
        // After a pause both are stale.
        let (before, ends) =
            if now < ends + SLOT { (this, ends + SLOT) } else { (Slot::default(), now + SLOT) };
        self.slots = [Slot::default(), before];
        self.slot_ends = Some(ends);
    }
}

impl Slot {
    fn count(&mut self, Report { is_well, client }: Report) {
        let Some(network) = client else { return self.anonymous.count(is_well) };
        let known = self.named.iter().position(|(known, _)| *known == network);
        let place = known.unwrap_or(self.named.len());
        if place == MOST_NETWORKS {
            return;
        }
        if known.is_none() {
            self.named.push((network, Tally::default()));
        }
        let (_, tally) = &mut self.named[place];
        if tally.all < MOST_OF_ONE {
            tally.count(is_well);
        }
    }
}

impl Tally {
    fn count(&mut self, is_well: bool) {
        self.add(Self { failed: u32::from(!is_well), all: 1 });
    }

    fn add(&mut self, other: Self) {
        self.failed = self.failed.saturating_add(other.failed);
        self.all = self.all.saturating_add(other.all);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const AT_ONCE: Duration = Duration::ZERO;

    /// Reports of this many clients of each of some networks, each of whom is served or not.
    fn of_networks(networks: std::ops::Range<u8>, each: usize, is_well: bool) -> Vec<Report> {
        let report = |network| Report { is_well, client: Some(ClientKey::of_bytes(&[network])) };
        networks.flat_map(|network| vec![report(network); each]).collect()
    }

    fn anonymous(count: usize, is_well: bool) -> Vec<Report> {
        vec![Report { is_well, client: None }; count]
    }

    fn state_after(reports: &[Report], gap: Duration) -> BreakerState {
        let (mut seen, mut now) = (Reports::new(), start());
        for &report in reports {
            seen.handle(report, Witness::Alone, now);
            now += gap;
        }
        seen.state()
    }

    #[test]
    fn failures_count_once_enough_networks_have_them() {
        use BreakerState::{Closed, Open};
        let (failed, well) = (false, true);
        for (reports, expected) in [
            (anonymous(9, failed), Closed),
            (anonymous(10, failed), Open),
            ([anonymous(6, well), anonymous(5, failed)].concat(), Closed),
            (of_networks(0..1, 1_000, failed), Closed),
            (of_networks(0..2, 1_000, failed), Closed),
            (of_networks(0..5, 2, failed), Open),
            (of_networks(0..9, 1, failed), Closed),
            (of_networks(0..10, 1, failed), Open),
            // Two networks that fail say nothing, and take nothing from what others say.
            ([of_networks(0..2, 99, failed), anonymous(10, failed)].concat(), Open),
            ([of_networks(0..2, 99, failed), anonymous(9, failed)].concat(), Closed),
            // However loud one is, it is one of many.
            ([of_networks(0..20, 1, well), of_networks(20..23, 999, failed)].concat(), Closed),
            ([of_networks(0..1, 999, well), of_networks(1..6, 2, failed)].concat(), Open),
        ] {
            assert_eq!(state_after(&reports, AT_ONCE), expected, "{reports:?}");
        }
    }

    #[test]
    fn three_networks_that_go_on_failing_are_believed() {
        let round = of_networks(0..3, 1, false);
        let reports = round.repeat(20);
        assert_eq!(state_after(&reports, Duration::from_millis(20)), BreakerState::Open);
    }

    #[test]
    fn memory_is_bounded() {
        let (mut seen, now) = (Reports::new(), start());
        for report in of_networks(0..255, 3, true) {
            seen.handle(report, Witness::Alone, now);
        }
        assert!(seen.slots.iter().all(|slot| slot.named.len() <= MOST_NETWORKS));
    }

    proptest! {
        #[test]
        fn two_networks_never_remove_a_region_whatever_others_report_well(
            reports in prop::collection::vec((0..8_u8, any::<bool>(), 0..300_u64), 1..400),
        ) {
            let (mut seen, mut now) = (Reports::new(), start());
            for (network, is_well, pause) in reports {
                // The first two fail as they like; of the others all is well, named or not.
                let client = (network < 7).then(|| ClientKey::of_bytes(&[network]));
                let report = Report { is_well: is_well || network >= 2, client };
                seen.handle(report, Witness::Alone, now);
                prop_assert_eq!(seen.state(), BreakerState::Closed);
                now += Duration::from_millis(pause);
            }
        }

        #[test]
        fn reports_that_name_nobody_open_it_at_ten_a_second_and_half_of_them_failures(
            outcomes in prop::collection::vec(any::<bool>(), 1..60),
        ) {
            let (mut seen, now) = (Reports::new(), start());
            let (mut failed, mut is_open) = (0, false);
            for (all, &is_well) in (1..).zip(&outcomes) {
                failed += u32::from(!is_well);
                is_open |= all >= LEAST_VOLUME && failed * 2 >= all;
                seen.handle(Report { is_well, client: None }, Witness::Alone, now);
                prop_assert_eq!(seen.state() == BreakerState::Open, is_open);
            }
        }
    }

    #[expect(clippy::disallowed_methods, reason = "any moment will do")]
    fn start() -> Instant {
        Instant::now()
    }
}
