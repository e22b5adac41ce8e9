//! Following the log, the clock and the GeoIP files.

use std::sync::Arc;
use std::time::Duration;

use geostream_domain::{Backoff, Chance, Revision, Snapshot};
use geostream_ports::{Chain, Clock, ConfigStore, LastGood, SavedTable, Unavailable};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::publisher::{Publisher, StoreState};

/// Publishes what others commit and what time brings, and keeps the last good table.
#[derive(Debug)]
pub struct Follower<S, L, C> {
    store: S,
    last_good: L,
    publisher: Arc<Publisher<C>>,
    clock: C,
}

/// How long to wait before a store that has failed is asked again, at first and at the most.
const RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(5);

/// How often the store is looked at though it tells of nothing: a commit that took the place of a
/// lost one has the same revision.
const LOOK: Duration = Duration::from_secs(10);

/// How long an override may hold before somebody looks at the clock again.
const LOOK_AT_LEAST: Duration = Duration::from_secs(3600);

impl<S: ConfigStore, L: LastGood, C: Clock> Follower<S, L, C> {
    /// Follows this store, and keeps what is good there.
    pub fn new(store: S, last_good: L, publisher: Arc<Publisher<C>>, clock: C) -> Self {
        Self { store, last_good, publisher, clock }
    }

    /// Publishes the store's configuration, or, if it cannot be read, that of an earlier run.
    ///
    /// Tells whether the store could be read.
    pub async fn start(&self) -> bool {
        let saved = self.last_good.load().await;
        let error = match self.store.load().await {
            Ok(latest) => {
                if let Ok(Some(SavedTable { snapshot, .. })) = saved {
                    // What the store has comes second, and is not published if it is less.
                    self.publisher.publish(snapshot, StoreState::Current);
                }
                self.publish_and_keep(latest).await.ok();
                return true;
            }
            Err(error) => error,
        };
        let error = Chain(&error).to_string();
        tracing::error!(%error, "the store cannot be read; going on with the last good table");
        match saved {
            Ok(Some(SavedTable { snapshot, at })) => {
                self.publisher.publish(snapshot, StoreState::LastGood { saved: at, error });
            }
            Ok(None) => self.publisher.publish(<_>::default(), StoreState::Nothing { error }),
            Err(unreadable) => {
                tracing::error!(error = %Chain(&unreadable), "nor can the last good table");
                self.publisher.publish(<_>::default(), StoreState::Nothing { error });
            }
        }
        false
    }

    /// Goes on until it is told to stop, and then keeps what was committed last.
    pub async fn run(self, stop: CancellationToken) {
        let mut backoff = Backoff::new(RETRY, LONGEST_RETRY);
        let mut chance = Chance::new(self.clock.wall().unix_millis());
        loop {
            // What is waited for depends on what is published, so that comes first.
            let published = self.publish_latest().await;
            let wait = match &published {
                Ok(_) => {
                    backoff.handle_success();
                    RETRY
                }
                Err(_) => backoff.handle_failure(&mut chance),
            };
            tokio::select! {
                () = self.next_commit(published, wait) => {}
                () = self.override_ends() => self.publisher.refresh(),
                () = stop.cancelled() => break,
            }
        }
        if let Err(error) = self.publish_latest().await {
            tracing::warn!(error = %Chain(&error), "the last commits may not be kept as last good");
        }
    }

    /// Waits for a commit after the published one, or so long until the store may be asked again.
    async fn next_commit(&self, published: Result<Revision, Unavailable>, wait: Duration) {
        let followed = match published {
            Ok(revision) => timeout(LOOK, self.store.changed(revision)).await,
            Err(error) => Ok(Err(error)),
        };
        if let Ok(Err(error)) = followed {
            tracing::warn!(error = %Chain(&error), "the store cannot be followed");
            tokio::time::sleep(wait).await;
        }
    }

    async fn publish_latest(&self) -> Result<Revision, Unavailable> {
        self.publish_and_keep(self.store.load().await?).await
    }

    async fn publish_and_keep(&self, snapshot: Snapshot) -> Result<Revision, Unavailable> {
        self.publisher.publish(snapshot.clone(), StoreState::Current);
        if let Some(behind) = self.publisher.behind() {
            return Err(Unavailable::new("the latest configuration", behind));
        }
        let revision = snapshot.revision;
        self.keep(SavedTable { snapshot, at: self.clock.wall() }).await;
        Ok(revision)
    }

    /// Keeps a table for the day on which the store cannot be read.
    async fn keep(&self, table: SavedTable) {
        // The store itself is well: nothing is lost but the spare.
        if let Err(error) = self.last_good.save(&table).await {
            tracing::warn!(error = %Chain(&error), "the last good table is not kept");
        }
    }

    async fn override_ends(&self) {
        let wait = match self.publisher.expires() {
            Some(expires) => expires.since(self.clock.wall()).min(LOOK_AT_LEAST),
            None => LOOK_AT_LEAST,
        };
        tokio::time::sleep(wait).await;
    }
}
