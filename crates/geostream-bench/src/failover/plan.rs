//! What of the bench is run, and how long.

use std::time::Duration;

use clap::ValueEnum;

/// How much of everything is done.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) faults: Vec<Fault>,
    pub(super) runs: usize,
    pub(super) minutes: f64,
    pub(super) is_quick: bool,
}

impl Plan {
    /// How long that takes which has to go on for long.
    pub(super) fn long(&self) -> Duration {
        Duration::from_secs_f64(self.minutes * 60.0)
    }
}

/// What happens to a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fault {
    /// The process is killed
    Killed,
    /// The process is stopped
    Stopped,
    /// Connections are reset
    Reset,
    /// Packets are dropped
    Dropped,
    /// The status is 500
    Error,
    /// The body is another one
    Body,
    /// Answers take five seconds
    Slow,
    /// The certificate has run out
    Expired,
    /// The name is gone
    Name,
    /// The process is killed, while clients report what comes of each of their fifty requests a second
    Reported,
}
