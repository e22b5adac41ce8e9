//! Timing decisions.

use std::cell::Cell;

use geostream_ports::Clock;
use metrics::Histogram;

/// Times one decision in 64: whoever is timed has the clock read twice.
#[derive(Clone, Debug)]
pub struct DecisionTimer {
    durations: Histogram,
}

const TIMED: u32 = 64;

impl Default for DecisionTimer {
    /// Times into the metrics.
    fn default() -> Self {
        Self { durations: metrics::histogram!("route_decision_duration_seconds") }
    }
}

impl DecisionTimer {
    /// Makes a decision, and times it if its turn has come on this thread.
    pub fn time<T>(&self, clock: &impl Clock, decide: impl FnOnce() -> T) -> T {
        let began = is_due().then(|| clock.now());
        let decided = decide();
        if let Some(began) = began {
            self.durations.record(clock.now() - began);
        }
        decided
    }
}

fn is_due() -> bool {
    thread_local! {
        static DECIDED: Cell<u32> = const { Cell::new(0) };
    }
    let decided = DECIDED.get().wrapping_add(1);
    DECIDED.set(decided);
    decided.is_multiple_of(TIMED)
}
