//! Making routing tables and putting them in place.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use geostream_domain::{
    Commit, Observations, Override, RecentCommits, RegionEntry, Revision, RoutingTable, Snapshot,
    Timestamp,
};
use geostream_ports::Clock;
use thiserror::Error;
use tokio::sync::{broadcast, watch};

use crate::limits::RequestLimits;
use crate::load::Tally;
use crate::unassigned::{UnassignedCountry, unassigned_in};

/// Compiles what is known into a routing table and swaps it in, as one value.
///
/// Whoever holds an earlier table goes on with it undisturbed.
#[derive(Debug)]
pub struct Publisher<C> {
    published: Arc<ArcSwap<Published>>,
    sources: Mutex<Sources>,
    /// The latest commits of the log, to name those that a store loses.
    recent: Mutex<RecentCommits>,
    configured: watch::Sender<Revision>,
    ended: broadcast::Sender<Override>,
    limits: RequestLimits,
    clock: C,
}

/// The overrides that may have ended before a slow listener misses some.
const ENDED: usize = 256;

/// The most codes that no country has which are named in the log.
const NAMED: usize = 20;

/// What a table is made of.
#[derive(Debug, Default)]
struct Sources {
    snapshot: Snapshot,
    /// The codes in its geofences that no country has.
    unassigned: Arc<[UnassignedCountry]>,
    observations: Observations,
    store: StoreState,
}

/// A table in use.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) table: RoutingTable,
    pub(crate) store: StoreState,
    /// The codes in geofences that no country has.
    pub(crate) unassigned: Arc<[UnassignedCountry]>,
    /// The same as that of the table before, if the regions and services have the same names: their
    /// indexes then mean the same.
    pub(crate) naming: u64,
    /// By the regions' index.
    pub(crate) tallies: Box<[Arc<Tally>]>,
}

/// Where the configuration in use comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StoreState {
    /// Nothing has been read yet: there is no configuration.
    #[default]
    Unread,
    /// From the store.
    Current,
    /// From an earlier run, since the store could not be read.
    LastGood {
        /// When that configuration was last known to be good.
        saved: Timestamp,
        /// Why the store could not be read.
        error: String,
    },
    /// From this node's past: the store has less, and no node goes back by itself.
    Behind(StoreBehind),
    /// From nowhere: the store could not be read, and there is nothing of an earlier run.
    Nothing {
        /// Why the store could not be read.
        error: String,
    },
}

impl StoreState {
    /// Returns a word for it.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Unread => "unread",
            Self::Current => "current",
            Self::LastGood { .. } => "last_good",
            Self::Behind(_) => "behind",
            Self::Nothing { .. } => "nothing",
        }
    }
}

/// The store has less than a node has decided by: it is another one, an older one, or has lost
/// commits.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error(
    "the store is at revision {store}, and this node goes on with revision {in_use}, which is later; \
     bring the later log into the store, or, if the store is right, stop the node, remove \
     last-good.json from its data directory, and start it again"
)]
pub struct StoreBehind {
    /// The store's latest revision.
    pub store: Revision,
    /// The revision that the node decides by.
    pub in_use: Revision,
}

impl<C: Clock> Publisher<C> {
    /// Makes a publisher whose table is empty.
    #[must_use]
    pub fn new(clock: C) -> Self {
        let sources = Sources::default();
        let published = Arc::new(ArcSwap::from_pointee(sources.compile(clock.wall(), None)));
        let (configured, _) = watch::channel(Revision::ZERO);
        let (ended, _) = broadcast::channel(ENDED);
        let limits = RequestLimits::default();
        let sources = Mutex::new(sources);
        let recent = Mutex::default();
        Self { published, sources, recent, configured, ended, limits, clock }
    }

    /// Has these limits follow each configuration before [`Publisher::publish`] returns.
    #[must_use]
    pub fn with_limits(self, limits: RequestLimits) -> Self {
        Self { limits, ..self }
    }

    /// Publishes a configuration, unless a later one has been published.
    ///
    /// A write may end after a later one, so an earlier revision says nothing about the store.
    pub fn publish(&self, snapshot: Snapshot, store: StoreState) {
        let mut sources = self.sources();
        if snapshot.revision >= sources.snapshot.revision {
            self.put_in_use(&mut sources, snapshot, store);
        }
    }

    /// Publishes what was read from the store, or notes that the store has less than this node.
    ///
    /// `in_use` is the revision in use when the read began. What this node has published since may
    /// be missing from the answer, so a later revision in use proves nothing: tells whether the
    /// answer is up to date.
    pub(crate) fn publish_read(&self, snapshot: Snapshot, in_use: Revision) -> bool {
        let mut sources = self.sources();
        let store = snapshot.revision;
        if store < in_use {
            self.fall_behind(&mut sources, StoreBehind { store, in_use });
        } else if store < sources.snapshot.revision {
            return false;
        } else {
            self.put_in_use(&mut sources, snapshot, StoreState::Current);
        }
        true
    }

    fn put_in_use(&self, sources: &mut Sources, snapshot: Snapshot, store: StoreState) {
        let new = snapshot.revision;
        // Of two commits of one number, the store's is the one that was not lost.
        if sources.store == store && sources.snapshot == snapshot {
            return;
        }
        tracing::info!(revision = new.get(), "configuration in use");
        sources.note_unassigned(&snapshot);
        sources.snapshot = snapshot;
        sources.store = store;
        self.swap(sources);
        self.limits.handle_settings(sources.snapshot.config.settings());
        self.configured.send_replace(new);
    }

    /// Publishes what is seen of the regions, unless nothing of it is new.
    pub fn observe(&self, observations: Observations) {
        let mut sources = self.sources();
        if sources.observations != observations {
            sources.observations = observations;
            self.swap(&sources);
        }
    }

    /// Publishes again what is published, since time has passed: overrides may have ended.
    pub fn refresh(&self) {
        self.swap(&self.sources());
    }

    /// Returns the configuration in use.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.sources().snapshot.clone()
    }

    /// Returns the latest commits of the log, as far as they are known.
    pub(crate) fn recent(&self) -> RecentCommits {
        self.recent_commits().clone()
    }

    /// Takes these for the latest commits.
    pub(crate) fn recall(&self, recent: RecentCommits) {
        *self.recent_commits() = recent;
    }

    /// Takes in the next commits of the log.
    pub(crate) fn follow(&self, commits: Vec<Commit>) {
        let mut recent = self.recent_commits();
        commits.into_iter().for_each(|commit| recent.push(commit));
    }

    /// Takes in a commit that this node has made, before it is read from the log.
    pub(crate) fn note(&self, commit: Commit) {
        self.recent_commits().note(commit);
    }

    /// Says so if the store has less than what is in use.
    pub(crate) fn behind(&self) -> Option<StoreBehind> {
        match self.sources().store {
            StoreState::Behind(behind) => Some(behind),
            StoreState::Unread
            | StoreState::Current
            | StoreState::LastGood { .. }
            | StoreState::Nothing { .. } => None,
        }
    }

    /// Returns what was last seen of the regions.
    pub(crate) fn observations(&self) -> Observations {
        self.sources().observations.clone()
    }

    /// Returns the revision of the configuration in use.
    pub(crate) fn revision(&self) -> Revision {
        self.published.load().table.revision()
    }

    /// Tells of every configuration that is published.
    pub(crate) fn configured(&self) -> watch::Receiver<Revision> {
        self.configured.subscribe()
    }

    /// Tells of every override that ends by itself, once the table is without it.
    pub(crate) fn ended(&self) -> broadcast::Receiver<Override> {
        self.ended.subscribe()
    }

    /// Returns when the next override ends, as of the published table.
    #[must_use]
    pub fn expires(&self) -> Option<Timestamp> {
        self.published.load().table.expires()
    }

    pub(crate) fn published(&self) -> &Arc<ArcSwap<Published>> {
        &self.published
    }

    fn fall_behind(&self, sources: &mut Sources, behind: StoreBehind) {
        let state = StoreState::Behind(behind);
        if sources.store != state {
            tracing::error!(error = %behind, "the configuration in use is kept");
            sources.store = state;
            self.swap(sources);
        }
    }

    fn swap(&self, sources: &Sources) {
        let previous = self.published.load_full();
        let next = Arc::new(sources.compile(self.clock.wall(), Some(&previous)));
        self.published.store(Arc::clone(&next));
        for wish in next.table.ended_since(&previous.table) {
            let Override { region, action, .. } = wish;
            tracing::info!(%region, action = action.as_str(), "an override has ended");
            // Nobody has to listen.
            let _nobody = self.ended.send(wish.clone()).is_err();
        }
    }

    fn recent_commits(&self) -> MutexGuard<'_, RecentCommits> {
        // A panic between two commits leaves those before.
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sources(&self) -> MutexGuard<'_, Sources> {
        // A panic while compiling leaves the sources as they were or as they are to be.
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sources {
    /// Finds the codes in geofences that no country has, and warns of them if they are others than
    /// before.
    fn note_unassigned(&mut self, snapshot: &Snapshot) {
        let found = unassigned_in(snapshot.config.services().values().map(|service| &**service));
        if *self.unassigned == found[..] {
            return;
        }
        for UnassignedCountry { service, code } in found.iter().take(NAMED) {
            tracing::warn!(%service, %code, "a geofence names a code that no country has");
        }
        self.unassigned = found.into();
    }

    fn compile(&self, now: Timestamp, previous: Option<&Published>) -> Published {
        let before = previous.map(|published| &published.table);
        let table = RoutingTable::compile(self.snapshot.clone(), &self.observations, now, before);
        let renamed = |published: &Published| u64::from(!names_alike(&published.table, &table));
        Published {
            naming: previous.map_or(0, |published| published.naming + renamed(published)),
            tallies: tallies(&table, previous),
            table,
            store: self.store.clone(),
            unassigned: Arc::clone(&self.unassigned),
        }
    }
}

fn names_alike(one: &RoutingTable, other: &RoutingTable) -> bool {
    let (one, other) = (one.config(), other.config());
    one.regions().keys().eq(other.regions().keys())
        && one.services().keys().eq(other.services().keys())
}

/// Goes on counting where the previous table's regions are.
fn tallies(table: &RoutingTable, previous: Option<&Published>) -> Box<[Arc<Tally>]> {
    let tally = |entry: &RegionEntry| {
        let before = previous?;
        let index = before.table.index_of(&entry.region.id)?;
        Some(Arc::clone(&before.tallies[index.get()]))
    };
    table.regions().iter().map(|entry| tally(entry).unwrap_or_default()).collect()
}

#[cfg(test)]
mod tests {
    use geostream_ports::SystemClock;

    use super::*;

    fn snapshot(revision: u64) -> Snapshot {
        Snapshot { revision: Revision::new(revision), ..Snapshot::default() }
    }

    #[test]
    fn only_a_read_that_began_later_shows_that_the_store_is_behind() {
        let publisher = Publisher::new(SystemClock);
        publisher.publish(snapshot(5), StoreState::Current);
        let in_use = publisher.revision();
        // A write at this node ends while the store is read.
        publisher.publish(snapshot(7), StoreState::Current);
        assert!(!publisher.publish_read(snapshot(5), in_use), "out of date");
        assert_eq!(publisher.behind(), None);
        // An earlier write ends later.
        publisher.publish(snapshot(6), StoreState::Current);
        assert_eq!(publisher.behind(), None);
        assert_eq!(publisher.revision(), Revision::new(7));

        let in_use = publisher.revision();
        assert!(publisher.publish_read(snapshot(5), in_use));
        let behind = StoreBehind { store: Revision::new(5), in_use };
        assert_eq!(publisher.behind(), Some(behind));
        assert!(publisher.publish_read(snapshot(7), in_use));
        assert_eq!(publisher.behind(), None, "the store has caught up");
    }
}
