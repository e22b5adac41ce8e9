//! Looking into a store once for all requests that wait for it.

use std::time::Duration;

use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::timeout;

/// The requests that may wait for a look at once. Requests with invented tokens cannot hold more
/// than these, and are refused at once where there is no place left.
const PLACES: usize = 32;

/// How long a request waits: longer than a look takes unless the store is away.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Tells one reader of a store when requests wait for what it reads, and those requests when it has
/// read.
///
/// The reader decides how often it reads, so no number of requests makes it read more often.
#[derive(Debug)]
pub(crate) struct Looks {
    counts: watch::Sender<Counts>,
    wanted: Notify,
    places: Semaphore,
}

/// How many looks have begun, and the number of the one that has ended last.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    begun: u64,
    ended: u64,
}

/// A look that has begun; it ends when it is dropped, whatever has come of it.
#[derive(Debug)]
pub(crate) struct Look<'a>(&'a Looks);

impl Default for Looks {
    fn default() -> Self {
        let (counts, _) = watch::channel(Counts::default());
        Self { counts, wanted: Notify::new(), places: Semaphore::new(PLACES) }
    }
}

impl Looks {
    /// Begins to look. Looks do not overlap.
    pub(crate) fn begin(&self) -> Look<'_> {
        self.counts.send_modify(|counts| counts.begun += 1);
        Look(self)
    }

    /// Waits until a request waits for a look.
    pub(crate) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Waits for the end of a look that begins from now on, if there is a place to wait.
    ///
    /// One that is under way does not count: it may have read before what the caller looks for was
    /// written.
    pub(crate) async fn next(&self) {
        let Ok(_place) = self.places.try_acquire() else { return };
        let mut counts = self.counts.subscribe();
        let begun = counts.borrow().begun;
        self.wanted.notify_one();
        let ended = counts.wait_for(|counts| counts.ended > begun);
        // The caller finds out by itself whether there is anything new.
        let _is_over = timeout(TIMEOUT, ended).await.is_ok();
    }
}

impl Drop for Look<'_> {
    fn drop(&mut self) {
        self.0.counts.send_modify(|counts| counts.ended = counts.begun);
    }
}
