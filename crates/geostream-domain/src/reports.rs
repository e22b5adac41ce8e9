//! What clients report of a region.

use std::time::{Duration, Instant};

use crate::breaker::{Breaker, BreakerRules, BreakerState};
use crate::monitor::{Evidence, Witness};

/// Believes clients once enough of them agree.
#[derive(Clone, Debug)]
pub(crate) struct Reports {
    breaker: Breaker,
    /// This half second and the one before.
    slots: [Slot; 2],
    slot_ends: Option<Instant>,
    /// Since when at least half of what is reported are failures.
    failing_since: Option<Instant>,
    trial_began: Option<Instant>,
    evidence: Evidence,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    failed: u32,
    all: u32,
}

/// The fewest reports within a second that say anything.
const LEAST_VOLUME: u32 = 10;

const SLOT: Duration = Duration::from_millis(500);

const RULES: BreakerRules = BreakerRules { threshold: 1, trials: 1, rest: Duration::from_secs(30) };

impl Reports {
    pub(crate) fn new() -> Self {
        Self {
            breaker: Breaker::new(RULES),
            slots: [Slot::default(); 2],
            slot_ends: None,
            failing_since: None,
            trial_began: None,
            evidence: Evidence::ReportsWell,
        }
    }

    pub(crate) fn handle(&mut self, is_well: bool, witness: Witness, now: Instant) {
        self.turn(now);
        let [slot, _] = &mut self.slots;
        slot.all = slot.all.saturating_add(1);
        slot.failed = slot.failed.saturating_add(u32::from(!is_well));
        match self.breaker.state() {
            BreakerState::Closed => self.judge(is_well, witness, now),
            BreakerState::HalfOpen => self.judge_trial(now),
            // These clients were sent before it opened.
            BreakerState::Open => {}
        }
        self.handle_timeout(now);
    }

    /// Ends a trial once there are enough reports of it.
    fn judge_trial(&mut self, now: Instant) {
        let [this, before] = self.slots;
        let (failed, all) = (this.failed + before.failed, this.all + before.all);
        if all < LEAST_VOLUME {
            return;
        }
        if failed * 2 >= all {
            self.breaker.handle_failure(now);
            self.evidence = Evidence::ReportsFailed(failed, all);
        } else {
            self.breaker.handle_success(now);
            self.evidence = Evidence::ReportsWell;
        }
        self.slots = [Slot::default(); 2];
    }

    /// Opens if at least half of enough reports are failures, and somebody else is well.
    fn judge(&mut self, is_well: bool, witness: Witness, now: Instant) {
        if !is_well {
            self.failing_since.get_or_insert(now);
        }
        let [this, before] = self.slots;
        let (failed, all) = (this.failed + before.failed, this.all + before.all);
        if failed * 2 < all {
            self.failing_since = None;
        }
        let Some(since) = self.failing_since else { return };
        if all >= LEAST_VOLUME && failed * 2 >= all && witness.speaks_since(since) {
            self.evidence = Evidence::ReportsFailed(failed, all);
            self.breaker.handle_failure(now);
            self.slots = [Slot::default(); 2];
            self.failing_since = None;
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.breaker.handle_timeout(now);
        if self.breaker.state() != BreakerState::HalfOpen {
            self.trial_began = None;
            return;
        }
        let began = *self.trial_began.get_or_insert_with(|| {
            self.evidence = Evidence::Rested;
            self.slots = [Slot::default(); 2];
            now
        });
        // Nobody reports any more: what is left to say is with the probes.
        if now >= began + RULES.rest {
            self.breaker = Breaker::new(RULES);
            self.evidence = Evidence::ReportsWell;
            self.trial_began = None;
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let trial_ends = self.trial_began.map(|began| began + RULES.rest);
        self.breaker.poll_timeout().or(trial_ends)
    }

    pub(crate) fn punish(&mut self, rest: Duration, now: Instant) {
        self.breaker.punish(rest, now);
    }

    pub(crate) fn state(&self) -> BreakerState {
        self.breaker.state()
    }

    /// Returns why the state is what it is.
    pub(crate) fn evidence(&self) -> Evidence {
        self.evidence
    }

    /// Begins a new slot where the old one is over.
    fn turn(&mut self, now: Instant) {
        let ends = *self.slot_ends.get_or_insert(now + SLOT);
        if now < ends {
            return;
        }
        let [this, _] = self.slots;
        // After a pause both are stale.
        let before = if now < ends + SLOT { this } else { Slot::default() };
        self.slots = [Slot::default(), before];
        self.slot_ends = Some(now + SLOT);
    }
}
