//! A store that can be seen at work.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use geostream_domain::{Commit, Config, RegionId, Revision, Snapshot, Timestamp};
use geostream_ports::{
    Attempt, AuditLog, AuditRecord, Audited, Chain, ConfigStore, HealthLog, HealthRecord, Import,
    ImportError, Look, Proposal, ProposeError, SpanKind, TokenId, TokenRecord, TokenStore,
    TrailQuery, Unavailable, Writes,
};

use crate::trace::{Trace, Tracer};

/// A store whose work shows in the traces of those who ask it, and as traces of its own.
#[derive(Clone, Debug)]
pub struct Traced<S> {
    store: S,
    tracer: Tracer,
}

impl<S> Traced<S> {
    /// Traces what this store is asked.
    pub fn new(store: S, tracer: Tracer) -> Self {
        Self { store, tracer }
    }

    /// Shows this work, which is on the heap: a future that holds another one, which holds another one,
    /// outgrows a thread's stack.
    fn trace<T, E: std::error::Error>(
        &self,
        name: &'static str,
        work: impl Future<Output = Result<T, E>> + Send,
    ) -> impl Future<Output = Result<T, E>> + Send {
        let (work, tracer) = (Box::pin(work), &self.tracer);
        async move {
            let own = || tracer.sample(None).map(|root| root.open(SpanKind::Client, name));
            let span = Trace::open_in_task(SpanKind::Client, name).or_else(own);
            let Some(mut span) = span else { return work.await };
            let done = work.await;
            if let Err(error) = &done {
                span.fail(Chain(error));
            }
            done
        }
    }
}

impl<S: ConfigStore> ConfigStore for Traced<S> {
    async fn load(&self) -> Result<Snapshot, Unavailable> {
        self.trace("store load", self.store.load()).await
    }

    async fn base(&self) -> Result<Snapshot, Unavailable> {
        self.trace("store load base", self.store.base()).await
    }

    async fn propose(&self, proposal: Proposal) -> Result<Snapshot, ProposeError> {
        self.trace("store propose", self.store.propose(proposal)).await
    }

    async fn history(
        &self,
        below: Option<Revision>,
        limit: usize,
    ) -> Result<Vec<Commit>, Unavailable> {
        self.trace("store history", self.store.history(below, limit)).await
    }

    async fn commits(&self, after: Revision, limit: usize) -> Result<Vec<Commit>, Unavailable> {
        self.trace("store commits", self.store.commits(after, limit)).await
    }

    async fn import(&self, import: Import) -> Result<(), ImportError> {
        self.trace("store import", self.store.import(import)).await
    }

    async fn at(&self, revision: Revision) -> Result<Option<Arc<Config>>, Unavailable> {
        self.trace("store at", self.store.at(revision)).await
    }

    /// Waiting is no work.
    async fn changed(&self, since: Revision) -> Result<Revision, Unavailable> {
        self.store.changed(since).await
    }

    /// A look is part of no request, and comes too often to be a trace of its own.
    async fn look(&self, look: Look) -> Result<Writes, Unavailable> {
        self.store.look(look).await
    }
}

impl<S: TokenStore> TokenStore for Traced<S> {
    async fn tokens(&self) -> Result<Vec<TokenRecord>, Unavailable> {
        self.trace("store tokens", self.store.tokens()).await
    }

    async fn put_token(
        &self,
        record: TokenRecord,
        attempt: Option<Attempt>,
    ) -> Result<(), Unavailable> {
        self.trace("store put token", self.store.put_token(record, attempt)).await
    }

    async fn put_first_admin(
        &self,
        record: TokenRecord,
        attempt: Option<Attempt>,
    ) -> Result<Option<TokenRecord>, Unavailable> {
        self.trace("store put first admin", self.store.put_first_admin(record, attempt)).await
    }

    async fn remove_token(
        &self,
        id: TokenId,
        attempt: Option<Attempt>,
    ) -> Result<bool, Unavailable> {
        self.trace("store remove token", self.store.remove_token(id, attempt)).await
    }
}

impl<S: HealthLog> HealthLog for Traced<S> {
    async fn append(&self, records: Vec<HealthRecord>) -> Result<(), Unavailable> {
        self.trace("store append health", self.store.append(records)).await
    }

    async fn latest(&self) -> Result<Vec<HealthRecord>, Unavailable> {
        self.trace("store latest health", self.store.latest()).await
    }

    async fn changes(
        &self,
        region: Option<RegionId>,
        limit: usize,
    ) -> Result<Vec<HealthRecord>, Unavailable> {
        self.trace("store changes of health", self.store.changes(region, limit)).await
    }
}

impl<S: AuditLog> AuditLog for Traced<S> {
    async fn record(&self, records: Vec<AuditRecord>) -> Result<(), Unavailable> {
        self.trace("store record audit", self.store.record(records)).await
    }

    async fn trail(&self, wanted: TrailQuery) -> Result<Vec<Audited>, Unavailable> {
        self.trace("store read audit", self.store.trail(wanted)).await
    }

    async fn forget(&self, age: Duration, now: Timestamp, most: usize) -> Result<(), Unavailable> {
        self.trace("store forget audit", self.store.forget(age, now, most)).await
    }
}
