//! Following the log, the clock and the GeoIP files.

use std::sync::Arc;
use std::time::Duration;

use geostream_domain::{Backoff, Chance, Revision, Snapshot};
use geostream_ports::{Chain, Clock, ConfigStore, LastGood, SavedTable, Unavailable};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::data_directory::DataDirectory;
use crate::lineage::Lineage;
use crate::publisher::{Publisher, StoreState};

/// Publishes what others commit and what time brings, and keeps the last good table.
#[derive(Debug)]
pub struct Follower<S, L, C> {
    store: S,
    last_good: L,
    publisher: Arc<Publisher<C>>,
    clock: C,
    directory: Arc<DataDirectory>,
    lineage: Lineage,
    /// What is still to be kept as last good.
    unsaved: Option<SavedTable>,
}

/// How long to wait before a store that has failed is asked again, at first and at the most.
const RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(5);

/// How often the store is looked at though it tells of nothing: a commit that took the place of a
/// lost one has the same revision.
const LOOK: Duration = Duration::from_secs(10);

/// How long to wait before a file that could not be written is tried again.
const REWRITE: Duration = Duration::from_secs(2);

/// How long an override may hold before somebody looks at the clock again.
const LOOK_AT_LEAST: Duration = Duration::from_secs(3600);

impl<S: ConfigStore, L: LastGood, C: Clock> Follower<S, L, C> {
    /// Follows this store, and keeps what is good there.
    pub fn new(store: S, last_good: L, publisher: Arc<Publisher<C>>, clock: C) -> Self {
        let directory = Arc::default();
        let lineage = Lineage::new();
        Self { store, last_good, publisher, clock, directory, lineage, unsaved: None }
    }

    /// Returns what says how the files are that are kept.
    #[must_use]
    pub fn directory(&self) -> Arc<DataDirectory> {
        Arc::clone(&self.directory)
    }

    /// Publishes the store's configuration, or, if it cannot be read, that of an earlier run.
    ///
    /// Tells whether the store could be read.
    pub async fn start(&mut self) -> bool {
        let saved = self.last_good.load().await;
        if let Ok(Some(SavedTable { snapshot, recent, at })) = &saved {
            self.directory.handle_loaded(Some((snapshot.revision, *at)));
            self.publisher.recall(recent.clone());
            self.lineage.recall(snapshot.clone(), recent);
        }
        self.find_records().await;
        let error = match self.store.load().await {
            Ok(latest) => {
                if let Ok(Some(SavedTable { snapshot, .. })) = saved {
                    // What the store has comes second, and is not published if it is less.
                    self.publisher.publish(snapshot, StoreState::Current);
                }
                let in_use = self.publisher.revision();
                self.publish_and_keep(latest, in_use).await.ok();
                return true;
            }
            Err(error) => error,
        };
        let error = Chain(&error).to_string();
        tracing::error!(%error, "the store cannot be read; going on with the last good table");
        match saved {
            Ok(Some(SavedTable { snapshot, at, .. })) => {
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
    pub async fn run(mut self, stop: CancellationToken) {
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
            self.look_after_files().await;
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
        let is_written = self.unsaved.is_none() && !self.lineage.has_unwritten();
        let look = if is_written { LOOK } else { REWRITE };
        let followed = match published {
            Ok(revision) => timeout(look, self.store.changed(revision)).await,
            Err(error) => Ok(Err(error)),
        };
        if let Ok(Err(error)) = followed {
            tracing::debug!(error = %Chain(&error), "the store cannot be followed");
            tokio::time::sleep(wait).await;
        }
    }

    async fn publish_latest(&mut self) -> Result<Revision, Unavailable> {
        let in_use = self.publisher.revision();
        let latest = self.store.load().await?;
        self.publish_and_keep(latest, in_use).await
    }

    /// Publishes what was read from the store while this revision or a later one was in use, and
    /// keeps it as last good.
    async fn publish_and_keep(
        &mut self,
        snapshot: Snapshot,
        in_use: Revision,
    ) -> Result<Revision, Unavailable> {
        let had = self.publisher.snapshot();
        if !self.publisher.publish_read(snapshot.clone(), in_use) {
            // The store has a later revision by now, which is read next.
            return Ok(snapshot.revision);
        }
        self.compare(&had, &snapshot).await;
        if let Some(behind) = self.publisher.behind() {
            return Err(Unavailable::new("the latest configuration", behind));
        }
        let revision = snapshot.revision;
        let recent = self.publisher.recent();
        // Only this node reads it, maybe before it knows the store's time.
        self.unsaved = Some(SavedTable { snapshot, recent, at: self.clock.own_wall() });
        self.save().await;
        Ok(revision)
    }

    /// Finds out whether the store's log still has the commits that this node has decided by.
    async fn compare(&mut self, had: &Snapshot, has: &Snapshot) {
        let Self { store, last_good, publisher, directory, lineage, clock, .. } = self;
        let compared = lineage.compare(store, publisher, had, has, clock.wall()).await;
        match compared {
            Ok(None) => {}
            // It is tried again as soon as the store can be read.
            Err(error) => tracing::debug!(error = %Chain(&error), "commits cannot be compared"),
            Ok(Some(name)) => {
                // The store has got back what it had lost.
                if let Err(error) = last_good.forget_lost(&name).await {
                    tracing::warn!(error = %Chain(&error), name, "the record is not removed");
                }
            }
        }
        lineage.write(last_good, directory, clock.own_wall()).await;
    }

    /// Tries again to write what could not be written, and looks which records are still there.
    async fn look_after_files(&mut self) {
        if self.unsaved.is_some() {
            self.save().await;
        }
        let Self { last_good, directory, lineage, clock, .. } = self;
        lineage.write(last_good, directory, clock.own_wall()).await;
        if !directory.files().lost.is_empty() {
            self.find_records().await;
        }
    }

    async fn find_records(&self) {
        match self.last_good.lost().await {
            Ok(names) => self.directory.handle_records(names),
            Err(error) => {
                tracing::debug!(error = %Chain(&error), "records of lost commits cannot be listed");
            }
        }
    }

    /// Keeps a table for the day on which the store cannot be read.
    async fn save(&mut self) {
        let Some(table) = &self.unsaved else { return };
        let saved = match self.last_good.save(table).await {
            Ok(()) => Ok(table.snapshot.revision),
            Err(error) => Err(Chain(&error).to_string()),
        };
        let is_saved = saved.is_ok();
        self.directory.handle_saved(saved, self.clock.own_wall());
        if is_saved {
            self.unsaved = None;
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
