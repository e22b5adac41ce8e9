//! The time, for drivers; machines and rules get it as an argument.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use geostream_domain::{Skews, Timestamp};

/// Tells the time.
pub trait Clock: Send + Sync {
    /// Returns a moment of the monotonic clock, for durations.
    fn now(&self) -> Instant;

    /// Returns the wall time, for what leaves the process.
    fn wall(&self) -> Timestamp;

    /// Returns the wall time by the node's own clock, uncorrected: for what only this node dates and
    /// reads.
    fn own_wall(&self) -> Timestamp {
        self.wall()
    }

    /// Returns how far the node's own clock is from others, where that is measured.
    fn skews(&self) -> Skews {
        Skews::default()
    }
}

/// The clocks of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the port that asks the system")]
    fn now(&self) -> Instant {
        Instant::now()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the port that asks the system")]
    fn wall(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_unix_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}
