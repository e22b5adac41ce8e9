//! Reading the configuration once for all nodes.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use geostream_domain::{Commit, Config, RegionId, Revision, Snapshot, Timestamp};
use geostream_ports::{
    Attempt, AuditLog, AuditRecord, Audited, Cache, CacheError, Chain, ConfigStore, Head,
    HealthLog, HealthRecord, Import, ImportError, Kept, Look, Marked, MarkedStore, Proposal,
    ProposeError, TokenId, TokenRecord, TokenStore, TrailQuery, Unavailable, Writes,
};
use metrics::counter;
use tokio::time::timeout;

/// A store whose latest configuration is read from a cache, where that has it.
///
/// What is the latest is always the store's to say: its head is read first, and only what that very
/// commit led to is taken from the cache. So the cache can be behind, lost, or filled by another
/// store, and no node goes back. What it says is decided by, but no change is thought out on it:
/// whoever can write there does not write the log.
#[derive(Clone, Debug)]
pub struct Cached<S, C> {
    store: S,
    cache: C,
    /// What was found in the cache last; the store never hears of it.
    found: Arc<Mutex<Marked>>,
    tally: Arc<CacheTally>,
}

/// How often the cache was asked, and had what it was asked for.
#[derive(Debug, Default)]
pub struct CacheTally {
    hits: AtomicU64,
    requests: AtomicU64,
}

/// What came of asking the cache; how it is called in metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Hit,
    Miss,
    Nonsense,
    Unavailable,
}

/// What is to be done after the cache was asked.
#[derive(Debug)]
enum Asked {
    Found(Snapshot),
    /// It is for this node to read the store.
    Read(Outcome),
    /// Another node reads the store.
    Wait,
    /// Something has happened meanwhile.
    Again,
}

/// How often a node looks whether another one has read, before it reads itself.
const LOOKS: usize = 20;

/// How long it waits for news before it looks again.
const LOOK: Duration = Duration::from_millis(100);

impl<S: MarkedStore, C: Cache> Cached<S, C> {
    /// Keeps the latest configuration of this store in this cache.
    pub fn new(store: S, cache: C) -> Self {
        Self { store, cache, found: Arc::default(), tally: Arc::default() }
    }

    /// Returns what counts the requests, for as long as this store is used.
    #[must_use]
    pub fn tally(&self) -> Arc<CacheTally> {
        Arc::clone(&self.tally)
    }

    async fn ask(&self, head: &Head) -> Asked {
        let error = match self.look(head).await {
            Ok(Some(asked)) => return asked,
            Ok(None) => match self.cache.claim(head).await {
                Ok(true) => return Asked::Read(Outcome::Miss),
                Ok(false) => return Asked::Wait,
                Err(error) => error,
            },
            Err(error) => error,
        };
        match error {
            CacheError::Unavailable(error) => {
                tracing::debug!(error = %Chain(&error), "the cache cannot be asked");
                Asked::Read(Outcome::Unavailable)
            }
            CacheError::Nonsense(error) => {
                tracing::warn!(%error, "the cache held nonsense");
                Asked::Read(Outcome::Nonsense)
            }
        }
    }

    /// Looks for what the latest commit led to; `None` if that has to be read by somebody.
    async fn look(&self, head: &Head) -> Result<Option<Asked>, CacheError> {
        let other = match self.cache.look(head).await? {
            Kept::This(snapshot) => {
                let found = Marked { mark: head.mark.clone(), snapshot: snapshot.clone() };
                *self.found() = found;
                return Ok(Some(Asked::Found(snapshot)));
            }
            Kept::Other(other) if other.revision >= head.revision => other,
            Kept::Other(_) | Kept::Nothing => return Ok(None),
        };
        // What is kept was committed before it was kept. If the head is not there by now, the store
        // has gone back since, or it is the commit of another store.
        let latest = self.store.head().await?;
        if latest.revision < other.revision || latest == *head {
            self.cache.forget(&other).await?;
        }
        Ok(Some(Asked::Again))
    }

    /// Returns what this commit led to, if that was read or found here before.
    fn known(&self, head: &Head) -> Option<Snapshot> {
        let known = [self.store.known(), self.found().clone()];
        known.into_iter().find(|known| known.is_at(head)).map(|known| known.snapshot)
    }

    fn found(&self) -> MutexGuard<'_, Marked> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the store, and puts it where the other nodes find it.
    async fn read(&self, outcome: Outcome) -> Result<Snapshot, Unavailable> {
        self.tally.count(outcome);
        let snapshot = self.store.load().await?;
        self.put_known().await;
        Ok(snapshot)
    }

    /// Puts what is known into the cache. Whoever has a later revision has put that.
    async fn put_known(&self) {
        match self.cache.put(&self.store.known()).await {
            Ok(()) | Err(CacheError::Nonsense(_)) => {}
            Err(CacheError::Unavailable(error)) => {
                tracing::debug!(error = %Chain(&error), "the cache is not brought up to date");
            }
        }
    }
}

impl CacheTally {
    /// Returns how often the cache was asked.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Returns how often it had what it was asked for.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// Returns the share of requests that were answered from the cache; `None` before the first.
    #[expect(clippy::cast_precision_loss, reason = "a ratio needs no more digits than it has")]
    #[must_use]
    pub fn hit_ratio(&self) -> Option<f64> {
        let requests = self.requests();
        (requests > 0).then(|| self.hits() as f64 / requests as f64)
    }

    fn count(&self, outcome: Outcome) {
        let result = match outcome {
            Outcome::Hit => "hit",
            Outcome::Miss => "miss",
            Outcome::Nonsense => "nonsense",
            Outcome::Unavailable => "unavailable",
        };
        counter!("cache_requests_total", "cache" => "config", "result" => result).increment(1);
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.hits.fetch_add(u64::from(outcome == Outcome::Hit), Ordering::Relaxed);
    }
}

impl<S: MarkedStore, C: Cache> ConfigStore for Cached<S, C> {
    async fn load(&self) -> Result<Snapshot, Unavailable> {
        for _ in 0..LOOKS {
            let news = self.cache.news();
            // It is read each time: whoever has waited is not to take what was the latest before.
            let head = self.store.head().await?;
            if let Some(known) = self.known(&head) {
                return Ok(known);
            }
            match self.ask(&head).await {
                Asked::Found(snapshot) => {
                    self.tally.count(Outcome::Hit);
                    return Ok(snapshot);
                }
                Asked::Read(outcome) => return self.read(outcome).await,
                Asked::Wait => drop(timeout(LOOK, news).await),
                Asked::Again => {}
            }
        }
        self.read(Outcome::Miss).await
    }

    async fn base(&self) -> Result<Snapshot, Unavailable> {
        self.store.base().await
    }

    async fn propose(&self, proposal: Proposal) -> Result<Snapshot, ProposeError> {
        let snapshot = self.store.propose(proposal).await?;
        self.put_known().await;
        Ok(snapshot)
    }

    async fn history(
        &self,
        below: Option<Revision>,
        limit: usize,
    ) -> Result<Vec<Commit>, Unavailable> {
        self.store.history(below, limit).await
    }

    async fn commits(&self, after: Revision, limit: usize) -> Result<Vec<Commit>, Unavailable> {
        self.store.commits(after, limit).await
    }

    async fn import(&self, import: Import) -> Result<(), ImportError> {
        self.store.import(import).await
    }

    async fn at(&self, revision: Revision) -> Result<Option<Arc<Config>>, Unavailable> {
        self.store.at(revision).await
    }

    async fn changed(&self, since: Revision) -> Result<Revision, Unavailable> {
        let mut changed = pin!(self.store.changed(since));
        loop {
            tokio::select! {
                biased;
                changed = &mut changed => return changed,
                () = self.cache.news() => {}
            }
            // What others say is only a reason to look, and whoever shouts is listened to ten times
            // a second.
            match self.store.head().await {
                Ok(head) if head.revision > since => return Ok(head.revision),
                Ok(_) | Err(_) => {}
            }
            if let Ok(changed) = timeout(LOOK, &mut changed).await {
                return changed;
            }
        }
    }

    /// The cache is no part of it: nothing but the store says whether the store works.
    async fn look(&self, look: Look) -> Result<Writes, Unavailable> {
        self.store.look(look).await
    }
}

// === What is not cached ===

impl<S: MarkedStore + TokenStore, C: Cache> TokenStore for Cached<S, C> {
    async fn tokens(&self) -> Result<Vec<TokenRecord>, Unavailable> {
        self.store.tokens().await
    }

    async fn put_token(
        &self,
        record: TokenRecord,
        attempt: Option<Attempt>,
    ) -> Result<(), Unavailable> {
        self.store.put_token(record, attempt).await
    }

    async fn put_first_admin(
        &self,
        record: TokenRecord,
        attempt: Option<Attempt>,
    ) -> Result<Option<TokenRecord>, Unavailable> {
        self.store.put_first_admin(record, attempt).await
    }

    async fn remove_token(
        &self,
        id: TokenId,
        attempt: Option<Attempt>,
    ) -> Result<bool, Unavailable> {
        self.store.remove_token(id, attempt).await
    }
}

impl<S: MarkedStore + HealthLog, C: Cache> HealthLog for Cached<S, C> {
    async fn append(&self, changes: Vec<HealthRecord>) -> Result<(), Unavailable> {
        self.store.append(changes).await
    }

    async fn latest(&self) -> Result<Vec<HealthRecord>, Unavailable> {
        self.store.latest().await
    }

    async fn changes(
        &self,
        region: Option<RegionId>,
        limit: usize,
    ) -> Result<Vec<HealthRecord>, Unavailable> {
        self.store.changes(region, limit).await
    }
}

impl<S: MarkedStore + AuditLog, C: Cache> AuditLog for Cached<S, C> {
    async fn record(&self, records: Vec<AuditRecord>) -> Result<(), Unavailable> {
        self.store.record(records).await
    }

    async fn trail(&self, wanted: TrailQuery) -> Result<Vec<Audited>, Unavailable> {
        self.store.trail(wanted).await
    }

    async fn forget(&self, age: Duration, now: Timestamp, most: usize) -> Result<(), Unavailable> {
        self.store.forget(age, now, most).await
    }
}
