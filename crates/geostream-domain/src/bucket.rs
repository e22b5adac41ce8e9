//! How often somebody may do something.

use std::time::{Duration, Instant};

/// Lets so many through at once, and so many a second over time.
///
/// Kept as the one moment at which the bucket would be full again: the generic cell rate algorithm
/// (ITU-T I.371, annex A), which equals a token bucket.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokenBucket {
    full_at: Option<Instant>,
}

/// How many a bucket lets through.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// How many at once, at least 1.
    burst: u32,
    /// How long one takes to come back.
    interval: Duration,
}

impl Rate {
    /// Allows so many a second, and a burst of as many; `None` for none or more than 10^9.
    #[must_use]
    pub fn per_second(rate: u32) -> Option<Self> {
        let interval = Duration::from_secs(1).checked_div(rate)?;
        (!interval.is_zero()).then_some(Self { burst: rate, interval })
    }
}

impl TokenBucket {
    /// Takes a token, or says how long until there is one.
    ///
    /// # Errors
    ///
    /// The wait, if the bucket is empty.
    pub fn take(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
        let full_at = self.full_at.map_or(now, |full_at| full_at.max(now)) + rate.interval;
        let room = rate.interval * rate.burst;
        match (full_at - now).checked_sub(room) {
            None | Some(Duration::ZERO) => {
                self.full_at = Some(full_at);
                Ok(())
            }
            Some(wait) => Err(wait),
        }
    }

    /// Tells whether the bucket is full: nothing is lost by forgetting it.
    #[must_use]
    pub fn is_full(&self, now: Instant) -> bool {
        self.full_at.is_none_or(|full_at| full_at <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let rate = Rate::per_second(10).unwrap();
        let mut bucket = TokenBucket::default();
        let now = start();
        let passed = |bucket: &mut TokenBucket, now| {
            (0..100).filter(|_| bucket.take(rate, now).is_ok()).count()
        };
        assert_eq!(passed(&mut bucket, now), 10);
        assert_eq!(bucket.take(rate, now), Err(Duration::from_millis(100)));
        assert_eq!(passed(&mut bucket, now + Duration::from_millis(550)), 5);
        assert!(!bucket.is_full(now + Duration::from_secs(1)));
        assert!(bucket.is_full(now + Duration::from_secs(2)));
        assert_eq!(passed(&mut bucket, now + Duration::from_secs(60)), 10, "no more than a burst");
        assert_eq!(Rate::per_second(0), None);
    }

    #[expect(clippy::disallowed_methods, reason = "any moment will do")]
    fn start() -> Instant {
        Instant::now()
    }
}
