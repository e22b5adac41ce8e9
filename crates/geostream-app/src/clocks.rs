//! The node's time, corrected by the store's clock, and how far its own clock is from others.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use geostream_domain::{ClockReading, KnownSkew, Skew, SkewWatch, Skews, Timestamp};
use geostream_ports::{Clock, SystemClock};
use tokio::sync::watch;

use crate::publisher::Publisher;

/// A clock whose wall time is the store's, as far as that is known.
///
/// Overrides end at a time that the store has set, so a node whose own clock is wrong has to judge
/// them by the store's. Where no store tells its time, the wall time is the node's own. Cloning
/// gives another handle to the same clock.
#[derive(Clone, Debug, Default)]
pub struct Clocks {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    store: Mutex<Store>,
    cache: Mutex<SkewWatch>,
    /// The skew against the cache of each peer that says it.
    peers: Mutex<Vec<Skew>>,
}

#[derive(Debug, Default)]
struct Store {
    readings: Option<watch::Receiver<Option<ClockReading>>>,
    watch: SkewWatch,
}

impl Clocks {
    /// Follows what the store tells of its clock. Each reading counts from the moment that it is
    /// there, so a table that is compiled after a load is compiled by the store's time.
    #[must_use]
    pub fn following(readings: watch::Receiver<Option<ClockReading>>) -> Self {
        let store = Store { readings: Some(readings), watch: SkewWatch::default() };
        let shared = Shared { store: Mutex::new(store), ..Shared::default() };
        Self { shared: Arc::new(shared) }
    }

    /// Publishes again whenever the corrected time makes a step, for ever: overrides may hold again,
    /// or hold no longer.
    pub async fn refresh(self, publisher: Arc<Publisher<Self>>) {
        let Some(mut readings) = lock(&self.shared.store).readings.clone() else { return };
        // A table that was compiled before the first reading goes by the node's own time.
        let mut settled = Skew::ZERO;
        while readings.changed().await.is_ok() {
            let now = self.settled();
            if now != settled {
                publisher.refresh();
            }
            settled = now;
        }
    }

    /// Takes in what the cache's clock has shown.
    pub(crate) fn handle_cache_reading(&self, reading: ClockReading) {
        let mut watch = lock(&self.shared.cache);
        let before = watch.known();
        watch.handle_reading(reading);
        report("cache", before, watch.known());
    }

    /// Takes in what the peers have said of their skew against the cache's clock.
    pub(crate) fn handle_peers(&self, skews: Vec<Skew>) {
        *lock(&self.shared.peers) = skews;
    }

    /// Returns the skew against the store that the wall time is corrected by.
    fn settled(&self) -> Skew {
        let known = self.store().watch.known();
        known.map_or(Skew::ZERO, |known| known.settled)
    }

    /// Takes in the latest reading, if it is new.
    fn store(&self) -> MutexGuard<'_, Store> {
        let mut store = lock(&self.shared.store);
        let Store { readings, watch } = &mut *store;
        let Some(readings) = readings else { return store };
        if readings.has_changed().unwrap_or(false)
            && let Some(reading) = *readings.borrow_and_update()
        {
            let before = watch.known();
            if watch.handle_reading(reading)
                && let Some(KnownSkew { settled, .. }) = watch.known()
            {
                let skew = settled.to_string();
                tracing::warn!(
                    skew,
                    "the node's time is corrected by its skew to the store's clock"
                );
            }
            report("store", before, watch.known());
        }
        store
    }
}

impl Clock for Clocks {
    fn now(&self) -> Instant {
        SystemClock.now()
    }

    fn wall(&self) -> Timestamp {
        let store = self.store();
        store.watch.time_at(SystemClock.now(), SystemClock.wall())
    }

    fn own_wall(&self) -> Timestamp {
        SystemClock.wall()
    }

    fn skews(&self) -> Skews {
        let cache = lock(&self.shared.cache).known();
        let peers = lock(&self.shared.peers).clone();
        let own = cache.map(|cache| cache.settled);
        Skews {
            store: self.store().watch.known(),
            cache,
            peers: own.and_then(|own| KnownSkew::among_peers(own, peers)),
        }
    }
}

/// Logs that a skew begins or ceases to need attention.
fn report(against: &'static str, before: Option<KnownSkew>, now: Option<KnownSkew>) {
    let was_beyond = before.is_some_and(|before| before.is_beyond);
    let Some(KnownSkew { skew, is_beyond, .. }) = now else { return };
    if was_beyond == is_beyond {
        return;
    }
    let skew = skew.to_string();
    if is_beyond {
        tracing::warn!(against, skew, "this node's clock differs");
    } else {
        tracing::info!(against, skew, "this node's clock agrees again");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each holds a whole value at any moment.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
