//! The time of one node, which never runs backwards.

use std::time::Duration;

use crate::time::Moment;

/// Turns what the driver calls now into a time that never runs backwards.
///
/// If the driver's clock jumps back, time stands still at the jump and then runs on at once, so that no
/// deadline moves an hour away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Clock {
    now: Moment,
    /// What the driver's clock showed last.
    shown: Moment,
    /// The last moment at which an unknown time may have passed.
    doubted: Option<Moment>,
}

impl Clock {
    pub(crate) fn new(now: Moment) -> Self {
        Self { now, shown: now, doubted: None }
    }

    pub(crate) fn advance(&mut self, shown: Moment) {
        if shown < self.shown {
            self.doubted = Some(self.now);
        }
        self.now = self.now + (shown - self.shown);
        self.shown = shown;
    }

    pub(crate) fn now(&self) -> Moment {
        self.now
    }

    /// Returns how long ago a moment was; `None` if the clock jumped back since.
    pub(crate) fn since(&self, moment: Moment) -> Option<Duration> {
        let trusted = self.doubted.is_none_or(|doubted| moment > doubted);
        trusted.then(|| self.now - moment)
    }

    /// Returns when a moment comes by the driver's clock.
    pub(crate) fn by_driver(&self, moment: Moment) -> Moment {
        self.shown + (moment - self.now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Moment {
        Moment::from_micros(ms * 1_000)
    }

    #[test]
    fn a_clock_that_jumps_back_delays_no_deadline_and_is_not_trusted_with_the_past() {
        let mut clock = Clock::new(ms(5_000));
        let heard = clock.now();
        let deadline = clock.now() + Duration::from_millis(100);
        clock.advance(ms(5_040));
        assert_eq!(clock.since(heard), Some(Duration::from_millis(40)));
        clock.advance(ms(1_000));
        assert_eq!(clock.by_driver(deadline), ms(1_060));
        assert_eq!(clock.since(heard), None);
        clock.advance(ms(1_060));
        assert_eq!(clock.now(), deadline);
    }
}
