//! How long to wait before trying again.

use std::time::Duration;

use crate::chance::Chance;

/// Waits that grow with each failure: exponential, capped, with full jitter.
///
/// Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    failures: u32,
}

impl Backoff {
    /// Begins with waits of up to `first`, which double up to `cap`.
    #[must_use]
    pub fn new(first: Duration, cap: Duration) -> Self {
        Self { first, cap, failures: 0 }
    }

    /// Notes a failure and returns how long to wait: anything from nothing to the current bound.
    pub fn handle_failure(&mut self, chance: &mut Chance) -> Duration {
        let factor = 2_u32.saturating_pow(self.failures);
        self.failures = self.failures.saturating_add(1);
        self.first.saturating_mul(factor).min(self.cap).mul_f64(chance.fraction())
    }

    /// Notes a success: the next wait is short again.
    pub fn handle_success(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_differ() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        let mut chance = Chance::new(7);
        let waits: Vec<_> = (0..1000).map(|_| backoff.handle_failure(&mut chance)).collect();
        for (failure, wait) in waits.iter().enumerate().take(6) {
            assert!(*wait <= Duration::from_secs(1 << failure), "{wait:?} after {failure}");
        }
        assert!(waits.iter().all(|wait| *wait <= Duration::from_secs(60)));
        let mean = waits[10..].iter().sum::<Duration>() / 990;
        assert!((28..32).contains(&mean.as_secs()), "{mean:?} on average");
        backoff.handle_success();
        assert!(backoff.handle_failure(&mut chance) <= Duration::from_secs(1));
    }
}
