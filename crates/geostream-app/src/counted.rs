//! Counting what a store fails to do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use geostream_domain::{Commit, Config, RegionId, Revision, Snapshot, Timestamp};
use geostream_ports::{
    Attempt, AuditLog, AuditRecord, Audited, Chain, Clock, ConfigStore, HealthLog, HealthRecord,
    Import, ImportError, Look, Proposal, ProposeError, TokenId, TokenRecord, TokenStore,
    TrailQuery, Unavailable, Writes,
};
use metrics::{Counter, counter};

use crate::store_health::StoreHealth;

/// A store whose failures are counted, by what it was to do, and told to its [`StoreHealth`].
#[derive(Clone, Debug)]
pub struct Counted<S, C> {
    store: S,
    clock: C,
    health: Arc<StoreHealth>,
    failures: Arc<BTreeMap<Operation, Counter>>,
}

/// What a store is asked for; how it is called in metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Operation {
    Load,
    Propose,
    History,
    Import,
    Watch,
    Tokens,
    Health,
    Audit,
}

impl Operation {
    const ALL: [Self; 8] = [
        Self::Load,
        Self::Propose,
        Self::History,
        Self::Import,
        Self::Watch,
        Self::Tokens,
        Self::Health,
        Self::Audit,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Propose => "propose",
            Self::History => "history",
            Self::Import => "import",
            Self::Watch => "watch",
            Self::Tokens => "tokens",
            Self::Health => "health",
            Self::Audit => "audit",
        }
    }
}

/// An error that may be the store's fault; else it is that of whoever asks.
trait Fault {
    fn is_store(&self) -> bool;
}

impl Fault for Unavailable {
    fn is_store(&self) -> bool {
        true
    }
}

impl Fault for ProposeError {
    fn is_store(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

impl Fault for ImportError {
    fn is_store(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

impl<S, C: Clock> Counted<S, C> {
    /// Counts what this store fails to do.
    pub fn new(store: S, clock: C) -> Self {
        let failures = Operation::ALL.map(|operation| {
            (operation, counter!("store_errors_total", "operation" => operation.as_str()))
        });
        let health = Arc::default();
        Self { store, clock, health, failures: Arc::new(failures.into()) }
    }

    /// Returns what following and writing see of this store.
    #[must_use]
    pub fn health(&self) -> Arc<StoreHealth> {
        Arc::clone(&self.health)
    }

    /// Counts a failure of this work, which is on the heap: a future that holds another one, which holds
    /// another one, outgrows a thread's stack.
    fn count<T, E: Fault>(
        &self,
        operation: Operation,
        work: impl Future<Output = Result<T, E>> + Send,
    ) -> impl Future<Output = Result<T, E>> + Send {
        let (work, failures) = (Box::pin(work), &self.failures[&operation]);
        async move {
            let done = work.await;
            if done.as_ref().is_err_and(Fault::is_store) {
                failures.increment(1);
            }
            done
        }
    }

    /// Counts a failure of a write, and tells what comes of it.
    async fn write<T, E: Fault + std::error::Error>(
        &self,
        operation: Operation,
        work: impl Future<Output = Result<T, E>> + Send,
    ) -> Result<T, E> {
        let done = self.count(operation, work).await;
        match &done {
            Ok(_) => self.health.handle_write(Ok(()), self.clock.wall()),
            Err(error) if error.is_store() => {
                self.health.handle_write(Err(Chain(error).to_string()), self.clock.wall());
            }
            // The store has answered: the request was wrong, or came too late.
            Err(_) => {}
        }
        done
    }
}

impl<S: ConfigStore, C: Clock + 'static> ConfigStore for Counted<S, C> {
    async fn load(&self) -> Result<Snapshot, Unavailable> {
        let loaded = self.count(Operation::Load, self.store.load()).await;
        let error = loaded.as_ref().err().map(|error| Chain(error).to_string());
        self.health.handle_load(error, self.clock.wall());
        loaded
    }

    /// Every write begins with it, so its failure is one of writing.
    async fn base(&self) -> Result<Snapshot, Unavailable> {
        let base = self.count(Operation::Load, self.store.base()).await;
        if let Err(error) = &base {
            self.health.handle_write(Err(Chain(error).to_string()), self.clock.wall());
        }
        base
    }

    async fn propose(&self, proposal: Proposal) -> Result<Snapshot, ProposeError> {
        self.write(Operation::Propose, self.store.propose(proposal)).await
    }

    async fn history(
        &self,
        below: Option<Revision>,
        limit: usize,
    ) -> Result<Vec<Commit>, Unavailable> {
        self.count(Operation::History, self.store.history(below, limit)).await
    }

    async fn commits(&self, after: Revision, limit: usize) -> Result<Vec<Commit>, Unavailable> {
        self.count(Operation::History, self.store.commits(after, limit)).await
    }

    async fn import(&self, import: Import) -> Result<(), ImportError> {
        self.write(Operation::Import, self.store.import(import)).await
    }

    async fn at(&self, revision: Revision) -> Result<Option<Arc<Config>>, Unavailable> {
        self.count(Operation::History, self.store.at(revision)).await
    }

    async fn changed(&self, since: Revision) -> Result<Revision, Unavailable> {
        self.count(Operation::Watch, self.store.changed(since)).await
    }

    async fn look(&self, look: Look) -> Result<Writes, Unavailable> {
        self.count(Operation::Watch, self.store.look(look)).await
    }
}

impl<S: TokenStore, C: Clock + 'static> TokenStore for Counted<S, C> {
    async fn tokens(&self) -> Result<Vec<TokenRecord>, Unavailable> {
        self.count(Operation::Tokens, self.store.tokens()).await
    }

    async fn put_token(
        &self,
        record: TokenRecord,
        attempt: Option<Attempt>,
    ) -> Result<(), Unavailable> {
        self.write(Operation::Tokens, self.store.put_token(record, attempt)).await
    }

    async fn put_first_admin(
        &self,
        record: TokenRecord,
        attempt: Option<Attempt>,
    ) -> Result<Option<TokenRecord>, Unavailable> {
        self.count(Operation::Tokens, self.store.put_first_admin(record, attempt)).await
    }

    async fn remove_token(
        &self,
        id: TokenId,
        attempt: Option<Attempt>,
    ) -> Result<bool, Unavailable> {
        self.write(Operation::Tokens, self.store.remove_token(id, attempt)).await
    }
}

impl<S: HealthLog, C: Clock + 'static> HealthLog for Counted<S, C> {
    async fn append(&self, changes: Vec<HealthRecord>) -> Result<(), Unavailable> {
        self.count(Operation::Health, self.store.append(changes)).await
    }

    async fn latest(&self) -> Result<Vec<HealthRecord>, Unavailable> {
        self.count(Operation::Health, self.store.latest()).await
    }

    async fn changes(
        &self,
        region: Option<RegionId>,
        limit: usize,
    ) -> Result<Vec<HealthRecord>, Unavailable> {
        self.count(Operation::Health, self.store.changes(region, limit)).await
    }
}

impl<S: AuditLog, C: Clock + 'static> AuditLog for Counted<S, C> {
    async fn record(&self, records: Vec<AuditRecord>) -> Result<(), Unavailable> {
        self.count(Operation::Audit, self.store.record(records)).await
    }

    async fn trail(&self, wanted: TrailQuery) -> Result<Vec<Audited>, Unavailable> {
        self.count(Operation::Audit, self.store.trail(wanted)).await
    }

    async fn forget(&self, age: Duration, now: Timestamp, most: usize) -> Result<(), Unavailable> {
        self.count(Operation::Audit, self.store.forget(age, now, most)).await
    }
}
