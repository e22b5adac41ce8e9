//! Reading the database's clock.

use std::time::Instant;

use geostream_domain::{ClockReading, Timestamp};
use geostream_ports::{Clock as _, SystemClock};
use tokio::sync::watch;

/// When the database was asked for its time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    at: Instant,
    wall: Timestamp,
}

impl Asked {
    /// Returns the present moment by both clocks of this node.
    pub(crate) fn now() -> Self {
        Self { at: SystemClock.now(), wall: SystemClock.wall() }
    }
}

/// The latest reading, for those who compare clocks.
#[derive(Clone, Debug)]
pub(crate) struct Readings(watch::Sender<Option<ClockReading>>);

impl Default for Readings {
    fn default() -> Self {
        Self(watch::channel(None).0)
    }
}

impl Readings {
    /// Notes what the database has told, which was asked at this moment and has just answered.
    pub(crate) fn note(&self, asked: Asked, told: Timestamp) {
        let Asked { at, wall } = asked;
        let took = SystemClock.now().saturating_duration_since(at);
        self.0.send_replace(Some(ClockReading::new(at, wall, took, told)));
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<ClockReading>> {
        self.0.subscribe()
    }
}
