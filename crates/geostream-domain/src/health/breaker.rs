//! Whether something may be used, by a run of failures and a rest.

use std::time::{Duration, Instant};

/// Opens after a run of failures, rests, and closes again after a trial.
///
/// The circuit breaker of M. Nygard, "Release It!", 2007. Successes may begin the trial before the
/// rest is over, unless the rest is a punishment.
///
/// ```
/// use std::time::Instant;
/// use geostream_domain::{Breaker, BreakerRules, BreakerState};
///
/// let rules = BreakerRules::default();
/// let mut breaker = Breaker::new(rules);
/// let now = Instant::now();
/// for _ in 0..rules.threshold {
///     breaker.handle_failure(now);
/// }
/// assert_eq!(breaker.state(), BreakerState::Open);
/// breaker.handle_timeout(now + rules.rest);
/// assert_eq!(breaker.state(), BreakerState::HalfOpen);
/// ```
#[derive(Clone, Debug)]
pub struct Breaker {
    rules: BreakerRules,
    state: State,
}

/// When a breaker opens and closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerRules {
    /// How many failures in a row open it.
    pub threshold: u8,
    /// How many successes in a row close it.
    pub trials: u8,
    /// How long it stays open without a success.
    pub rest: Duration,
}

impl Default for BreakerRules {
    fn default() -> Self {
        Self { threshold: 5, trials: 3, rest: Duration::from_secs(30) }
    }
}

/// What a breaker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BreakerState {
    /// All is well.
    Closed,
    /// It is not to be used.
    Open,
    /// It is being tried.
    HalfOpen,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed { failures: u8 },
    Open { until: Instant, punished: bool },
    HalfOpen { successes: u8 },
}

#[derive(Clone, Copy)]
enum Input {
    Success,
    Failure,
    Timeout,
}

impl Breaker {
    /// Makes a closed breaker; thresholds of 0 mean 1.
    #[must_use]
    pub fn new(rules: BreakerRules) -> Self {
        let BreakerRules { threshold, trials, rest } = rules;
        let rules = BreakerRules { threshold: threshold.max(1), trials: trials.max(1), rest };
        Self { rules, state: State::Closed { failures: 0 } }
    }

    /// Notes that it was used and worked.
    pub fn handle_success(&mut self, now: Instant) {
        self.handle(Input::Success, now);
    }

    /// Notes that it was used and failed.
    pub fn handle_failure(&mut self, now: Instant) {
        self.handle(Input::Failure, now);
    }

    /// Begins the trial, if the rest is over.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.handle(Input::Timeout, now);
    }

    /// Returns when the rest is over.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Open { until, .. } => Some(until),
            State::Closed { .. } | State::HalfOpen { .. } => None,
        }
    }

    /// Opens it for this long at least, whatever succeeds in between.
    pub fn punish(&mut self, rest: Duration, now: Instant) {
        self.state = State::Open { until: now + rest, punished: true };
    }

    /// Opens it as if it had just failed.
    pub fn open(&mut self, now: Instant) {
        self.state = self.opened(now);
    }

    /// Closes it, and forgets what it has seen.
    pub fn close(&mut self) {
        self.state = State::Closed { failures: 0 };
    }

    /// Returns what it says.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        match self.state {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// Returns how many failures in a row it has seen while closed.
    #[must_use]
    pub fn failures(&self) -> u8 {
        match self.state {
            State::Closed { failures } => failures,
            State::Open { .. } | State::HalfOpen { .. } => 0,
        }
    }

    /// Every transition.
    fn handle(&mut self, input: Input, now: Instant) {
        let BreakerRules { threshold, trials, .. } = self.rules;
        self.state = match (self.state, input) {
            (State::Closed { .. }, Input::Success) => State::Closed { failures: 0 },
            (State::Closed { failures }, Input::Failure) if failures + 1 >= threshold => {
                self.opened(now)
            }
            (State::Closed { failures }, Input::Failure) => {
                State::Closed { failures: failures + 1 }
            }
            (State::Open { until, .. }, Input::Timeout) if now >= until => {
                State::HalfOpen { successes: 0 }
            }
            (State::Open { punished: false, .. }, Input::Success) => tried(1, trials),
            (State::HalfOpen { successes }, Input::Success) => tried(successes + 1, trials),
            (State::HalfOpen { .. }, Input::Failure) => self.opened(now),
            (state @ (State::Closed { .. } | State::HalfOpen { .. }), Input::Timeout)
            | (state @ State::Open { .. }, Input::Success | Input::Failure | Input::Timeout) => {
                state
            }
        };
    }

    fn opened(&self, now: Instant) -> State {
        State::Open { until: now + self.rules.rest, punished: false }
    }
}

fn tried(successes: u8, trials: u8) -> State {
    if successes >= trials { State::Closed { failures: 0 } } else { State::HalfOpen { successes } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RULES: BreakerRules =
        BreakerRules { threshold: 3, trials: 2, rest: Duration::from_secs(30) };

    /// Reads a script: `.` is a success, `x` a failure, a number so many seconds that pass.
    #[track_caller]
    fn check(script: &str, expected: &str) {
        let mut breaker = Breaker::new(RULES);
        let mut now = start();
        let mut said = String::new();
        for step in script.split(' ') {
            match step {
                "." => breaker.handle_success(now),
                "x" => breaker.handle_failure(now),
                seconds => {
                    now += Duration::from_secs(seconds.parse().unwrap());
                    breaker.handle_timeout(now);
                }
            }
            said.push(match breaker.state() {
                BreakerState::Closed => 'C',
                BreakerState::Open => 'O',
                BreakerState::HalfOpen => 'H',
            });
        }
        assert_eq!(said, expected, "{script}");
    }

    #[test]
    fn a_run_of_failures_opens_it_and_a_run_of_successes_closes_it() {
        check("x x . x x x", "CCCCCO");
        check("x x x . .", "CCOHC");
        check("x x x . x . .", "CCOHOHC");
        check("x x x x 29 1 . .", "CCOOOHHC");
        check("x x x 30 x 29 1", "CCOHOOH");
    }

    #[test]
    fn a_punished_one_rests_to_the_end() {
        let mut breaker = Breaker::new(RULES);
        let now = start();
        breaker.punish(Duration::from_secs(120), now);
        breaker.handle_success(now);
        assert_eq!(breaker.state(), BreakerState::Open);
        assert_eq!(breaker.poll_timeout(), Some(now + Duration::from_secs(120)));
        breaker.handle_timeout(now + Duration::from_secs(120));
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
    }

    proptest! {
        #[test]
        fn a_fresh_run_at_the_threshold_never_leaves_it_closed_and_no_rest_is_overslept(
            events in prop::collection::vec((0..3_u8, 0..20_u64), 1..200),
        ) {
            let mut breaker = Breaker::new(RULES);
            let (mut now, mut run) = (start(), 0);
            for (event, seconds) in events {
                now += Duration::from_secs(seconds);
                breaker.handle_timeout(now);
                prop_assert!(breaker.poll_timeout().is_none_or(|until| until > now));
                match event {
                    0 => { breaker.handle_success(now); run = 0; }
                    1 => { breaker.handle_failure(now); run += 1; }
                    _ => {}
                }
                if run >= RULES.threshold {
                    prop_assert_ne!(breaker.state(), BreakerState::Closed);
                }
                if breaker.state() == BreakerState::Open {
                    prop_assert!(breaker.poll_timeout().unwrap() <= now + RULES.rest);
                }
            }
        }
    }

    #[expect(clippy::disallowed_methods, reason = "any moment will do")]
    fn start() -> Instant {
        Instant::now()
    }
}
