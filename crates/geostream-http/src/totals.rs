//! What all connections of a process count together: the memory they hold, the time, and why
//! connections and requests end.

use std::fmt;
use std::sync::Weak;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use metrics::{Counter, counter};
use tokio::time::Instant;

/// How often a limit that is reached is logged.
const WARNING_EVERY: Duration = Duration::from_secs(300);

/// What is freed at once, as a part of the limit: looking for it takes time.
pub(crate) const BATCH: usize = 16;

/// Frees memory by giving up requests.
pub(crate) trait Shed: Send + Sync {
    /// Gives up requests that hold so many bytes together.
    fn shed(&self, wanted: usize);
}

/// What all connections of a process count together.
pub(crate) struct Totals {
    /// The most memory that requests and their unsent answers may take, in bytes.
    memory: usize,
    held: AtomicUsize,
    shed: Weak<dyn Shed>,
    started: Instant,
    /// The time since the start, in milliseconds, when it was last looked at.
    now: AtomicU64,
    pressed: Cause,
    flooded: Cause,
    stalled: Cause,
}

impl fmt::Debug for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Totals").field("memory", &self.memory).finish_non_exhaustive()
    }
}

impl Totals {
    /// Counts from zero; `shed` is asked to free memory once more than `memory` bytes are held.
    pub(crate) fn new(memory: usize, shed: Weak<dyn Shed>) -> Self {
        Self {
            memory,
            held: AtomicUsize::new(0),
            shed,
            started: Instant::now(),
            now: AtomicU64::new(0),
            pressed: closed("memory"),
            flooded: closed("frames"),
            stalled: reset("stalled"),
        }
    }

    /// Returns the most memory that requests and their unsent answers may take, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.memory
    }

    /// Returns how many bytes requests and their unsent answers hold.
    pub(crate) fn held_bytes(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Counts more memory that is held; where it is more than there may be, answers that stand
    /// still are given up.
    pub(crate) fn hold(&self, bytes: usize) {
        let before = self.held.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > self.memory
            && let Some(shed) = self.shed.upgrade()
        {
            shed.shed(before + bytes - self.memory + self.memory / BATCH);
        }
    }

    pub(crate) fn release(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Notes requests whose client has taken nothing of their answers for too long.
    pub(crate) fn note_stalled(&self, number: usize) {
        self.stalled.counter.increment(number as u64);
    }

    /// Notes a connection that is closed for the memory it holds.
    pub(crate) fn note_pressed(&self) {
        self.pressed.counter.increment(1);
    }

    /// Notes a connection that is closed since its client sends nothing but control frames.
    pub(crate) fn note_flood(&self) {
        if self.flooded.note(1, self.now()) {
            tracing::warn!("a client floods its connection with control frames; it is closed");
        }
    }

    /// Returns the time since the start as of the last look at the clock, which is a fraction of a
    /// second ago while many connections are open. Requests read it often.
    pub(crate) fn now(&self) -> Duration {
        Duration::from_millis(self.now.load(Ordering::Relaxed))
    }

    pub(crate) fn look_at_clock(&self) -> Duration {
        // In whole milliseconds, as what moved is noted: a fraction would make it seem older.
        let now = millis(self.started.elapsed());
        self.now.store(now, Ordering::Relaxed);
        Duration::from_millis(now)
    }
}

/// Counts connections that are closed for this reason.
pub(crate) fn closed(reason: &'static str) -> Cause {
    Cause::new(counter!("connections_closed_total", "reason" => reason))
}

/// Counts requests that are given up for this reason.
pub(crate) fn reset(reason: &'static str) -> Cause {
    Cause::new(counter!("requests_reset_total", "reason" => reason))
}

/// Why a connection or an answer is cut off: a counter, and when it was last logged.
pub(crate) struct Cause {
    counter: Counter,
    /// When it may be logged again, in milliseconds since the start.
    silent_until: AtomicU64,
}

impl Cause {
    pub(crate) fn new(counter: Counter) -> Self {
        Self { counter, silent_until: AtomicU64::new(0) }
    }

    /// Counts a number of them, and tells whether to log it.
    pub(crate) fn note(&self, number: usize, now: Duration) -> bool {
        self.counter.increment(number as u64);
        let until = self.silent_until.load(Ordering::Relaxed);
        let next = millis(now + WARNING_EVERY);
        let relaxed = Ordering::Relaxed;
        millis(now) >= until
            && self.silent_until.compare_exchange(until, next, relaxed, relaxed).is_ok()
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
