//! Counting what a store fails to do.

use std::collections::BTreeMap;
use std::sync::Arc;

use geostream_domain::{Commit, Config, RegionId, Revision, Snapshot, Timestamp};
use geostream_ports::{
    Attempt, AuditLog, AuditRecord, Audited, ConfigStore, HealthLog, HealthRecord, Import,
    ImportError, Proposal, ProposeError, TokenId, TokenRecord, TokenStore, TrailQuery, Unavailable,
};
use metrics::{Counter, counter};

/// A store whose failures are counted, by what it was to do.
#[derive(Clone, Debug)]
pub struct Counted<S> {
    store: S,
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

impl<S> Counted<S> {
    /// Counts what this store fails to do.
    pub fn new(store: S) -> Self {
        let failures = Operation::ALL.map(|operation| {
            (operation, counter!("store_errors_total", "operation" => operation.as_str()))
        });
        Self { store, failures: Arc::new(failures.into()) }
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
}

impl<S: ConfigStore> ConfigStore for Counted<S> {
    async fn load(&self) -> Result<Snapshot, Unavailable> {
        self.count(Operation::Load, self.store.load()).await
    }

    async fn base(&self) -> Result<Snapshot, Unavailable> {
        self.count(Operation::Load, self.store.base()).await
    }

    async fn propose(&self, proposal: Proposal) -> Result<Snapshot, ProposeError> {
        self.count(Operation::Propose, self.store.propose(proposal)).await
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
        self.count(Operation::Import, self.store.import(import)).await
    }

    async fn at(&self, revision: Revision) -> Result<Option<Arc<Config>>, Unavailable> {
        self.count(Operation::History, self.store.at(revision)).await
    }

    async fn changed(&self, since: Revision) -> Result<Revision, Unavailable> {
        self.count(Operation::Watch, self.store.changed(since)).await
    }
}

impl<S: TokenStore> TokenStore for Counted<S> {
    async fn tokens(&self) -> Result<Vec<TokenRecord>, Unavailable> {
        self.count(Operation::Tokens, self.store.tokens()).await
    }

    async fn put_token(
        &self,
        record: TokenRecord,
        attempt: Option<Attempt>,
    ) -> Result<(), Unavailable> {
        self.count(Operation::Tokens, self.store.put_token(record, attempt)).await
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
        self.count(Operation::Tokens, self.store.remove_token(id, attempt)).await
    }
}

impl<S: HealthLog> HealthLog for Counted<S> {
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

impl<S: AuditLog> AuditLog for Counted<S> {
    async fn record(&self, records: Vec<AuditRecord>) -> Result<(), Unavailable> {
        self.count(Operation::Audit, self.store.record(records)).await
    }

    async fn trail(&self, wanted: TrailQuery) -> Result<Vec<Audited>, Unavailable> {
        self.count(Operation::Audit, self.store.trail(wanted)).await
    }

    async fn forget(&self, before: Timestamp, most: usize) -> Result<(), Unavailable> {
        self.count(Operation::Audit, self.store.forget(before, most)).await
    }
}
