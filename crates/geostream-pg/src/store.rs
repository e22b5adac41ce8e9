//! The store: the log of commits and the tables beside it.

use std::sync::{Arc, Mutex, PoisonError};

use deadpool_postgres::Pool;
use geostream_api::KeptChanges;
use geostream_domain::{Chance, ClockReading, Commit, Config, Revision, Snapshot};
use geostream_ports::{
    ConfigStore, Head, Import, ImportError, Look, Marked, MarkedStore, Proposal, ProposeError,
    Unavailable, Writes,
};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio_postgres::types::Type;

use crate::clock::{Asked, Readings};
use crate::error::PgError;
use crate::listen::{Told, listen};
use crate::log::{
    CHECKPOINT_EVERY, HEAD, HEAD_AND_TIME, LOCKED_HEAD, MOVE_HEAD, announce, catch_up, checkpoint,
    forget, head, millis, number, read_commit, replay, time,
};
use crate::session::{Purpose, Session, available, bounded, pool};
use crate::tables::{self, documents, text};
use crate::target::Target;
use crate::trail::note_done;

/// Configuration, tokens, the log of health and the audit trail in a database that several nodes share.
///
/// Cloning gives another handle to the same store.
#[derive(Clone, Debug)]
pub struct PgStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    target: Target,
    pool: Pool,
    /// The latest configuration that was read or written here.
    known: Mutex<Arc<Marked>>,
    revision: watch::Sender<Revision>,
    clock: Readings,
    listener: AbortHandle,
    health_days: u16,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

const APPEND: &str = "INSERT INTO config_log (revision, mark, at, author, reason, change)
VALUES ($1, gen_random_uuid(), to_timestamp($2 / 1000.0), $3, $4, $5::jsonb)
RETURNING mark::text";

/// What lies beyond the head is an import that has not ended.
const HISTORY: &str = "SELECT revision, (extract(epoch FROM at) * 1000)::bigint, author, reason,
       change::text
FROM config_log
WHERE revision < $1 AND revision <= (SELECT revision FROM config_head)
ORDER BY revision DESC LIMIT $2";

const COMMITS: &str = "SELECT revision, (extract(epoch FROM at) * 1000)::bigint, author, reason,
       change::text
FROM config_log
WHERE revision > $1 AND revision <= (SELECT revision FROM config_head)
ORDER BY revision LIMIT $2";

impl PgStore {
    /// Uses this database from now on, as soon as it is there.
    ///
    /// Changes of health are kept for so many days, and a month more at the most. The seed spreads
    /// attempts to connect over time.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn new(target: Target, health_days: u16, seed: u64) -> Self {
        let pool = pool(target.clone());
        let (revision, _) = watch::channel(Revision::ZERO);
        let clock = Readings::default();
        let told = Told { revision: revision.clone(), clock: clock.clone() };
        let listening = listen(target.clone(), pool.clone(), told, Chance::new(seed));
        let listener = tokio::spawn(listening).abort_handle();
        let known = Mutex::default();
        let shared = Shared { target, pool, known, revision, clock, listener, health_days };
        Self { shared: Arc::new(shared) }
    }

    /// Tells of every reading of the database's clock: about one a second, and one with each load.
    #[must_use]
    pub fn clock_readings(&self) -> watch::Receiver<Option<ClockReading>> {
        self.shared.clock.subscribe()
    }

    pub(crate) fn health_days(&self) -> u16 {
        self.shared.health_days
    }

    pub(crate) async fn begin(&self, purpose: Purpose) -> Result<Session, PgError> {
        Session::begin(&self.shared.pool, &self.shared.target, purpose).await
    }

    async fn read_latest(&self) -> Result<Snapshot, PgError> {
        let session = self.begin(Purpose::Read).await?;
        let asked = Asked::now();
        let row = session.row(HEAD_AND_TIME, &[]).await?;
        self.shared.clock.note(asked, time(&row, 2)?);
        let head = head(&row)?;
        let snapshot = self.at_head(&session, &head).await?;
        session.commit().await?;
        self.remember(Marked { mark: head.mark, snapshot: snapshot.clone() });
        Ok(snapshot)
    }

    async fn read_head(&self) -> Result<Head, PgError> {
        let session = self.begin(Purpose::Read).await?;
        let head = head(&session.row(HEAD, &[]).await?)?;
        session.commit().await?;
        Ok(head)
    }

    async fn commit(&self, proposal: Proposal) -> Result<Result<Snapshot, ProposeError>, PgError> {
        let session = self.begin(Purpose::Write).await?;
        let row = session.row(LOCKED_HEAD, &[]).await?;
        let proposal = proposal.dated(time(&row, 2)?);
        let head = head(&row)?;
        if proposal.expected != head.revision {
            session.commit().await?;
            return Ok(Err(ProposeError::Conflict { current: head.revision }));
        }
        let before = self.at_head(&session, &head).await?;
        let config = match before.config.after(proposal.changes.iter().cloned()) {
            Ok(config) => Arc::new(config),
            Err(error) => {
                session.commit().await?;
                return Ok(Err(ProposeError::Invalid(error)));
            }
        };
        let mark = append(&session, &proposal, &before.config, &config).await?;
        let changes = KeptChanges::between(&before.config, &config);
        let (revision, reason) = (head.revision.next(), Some(proposal.reason));
        note_done(&session, proposal.attempt, Some(revision), reason, &changes).await?;
        session.commit().await?;
        let snapshot = Snapshot { revision, config };
        self.remember(Marked { mark, snapshot: snapshot.clone() });
        Ok(Ok(snapshot))
    }

    /// Returns the configuration at the head: what is known, brought up to date, or else the tables.
    async fn at_head(&self, session: &Session, head: &Head) -> Result<Snapshot, PgError> {
        let known = Arc::clone(&self.latest_known());
        let revision = head.revision;
        if known.is_at(head) {
            return Ok(known.snapshot.clone());
        }
        let config = match catch_up(session, &known, head).await? {
            Some(config) => config,
            None => tables::read(session).await?,
        };
        Ok(Snapshot { revision, config: Arc::new(config) })
    }

    pub(crate) fn remember(&self, found: Marked) {
        advance(&self.shared.revision, found.snapshot.revision);
        *self.latest_known() = Arc::new(found);
    }

    fn latest_known(&self) -> std::sync::MutexGuard<'_, Arc<Marked>> {
        self.shared.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read_at(&self, revision: Revision) -> Result<Option<Arc<Config>>, PgError> {
        let session = self.begin(Purpose::Read).await?;
        let head = head(&session.row(HEAD, &[]).await?)?;
        let config =
            if revision > head.revision { None } else { replay(&session, revision).await? };
        session.commit().await?;
        Ok(config.map(Arc::new))
    }

    async fn read_history(
        &self,
        below: Option<Revision>,
        limit: usize,
    ) -> Result<Vec<Commit>, PgError> {
        self.read_commits(HISTORY, below.map_or(i64::MAX, number), limit).await
    }

    async fn read_commits(
        &self,
        statement: &str,
        border: i64,
        limit: usize,
    ) -> Result<Vec<Commit>, PgError> {
        let session = self.begin(Purpose::Read).await?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = session.rows(statement, &[(&border, Type::INT8), (&limit, Type::INT8)]).await?;
        session.commit().await?;
        rows.iter().map(read_commit).collect()
    }
}

impl ConfigStore for PgStore {
    async fn load(&self) -> Result<Snapshot, Unavailable> {
        available(self.read_latest()).await
    }

    async fn base(&self) -> Result<Snapshot, Unavailable> {
        self.load().await
    }

    async fn propose(&self, proposal: Proposal) -> Result<Snapshot, ProposeError> {
        bounded(self.commit(proposal)).await.map_err(Unavailable::from)?
    }

    async fn history(
        &self,
        below: Option<Revision>,
        limit: usize,
    ) -> Result<Vec<Commit>, Unavailable> {
        available(self.read_history(below, limit)).await
    }

    async fn commits(&self, after: Revision, limit: usize) -> Result<Vec<Commit>, Unavailable> {
        available(self.read_commits(COMMITS, number(after), limit)).await
    }

    async fn import(&self, import: Import) -> Result<(), ImportError> {
        bounded(self.take_in(import)).await.map_err(Unavailable::from)?
    }

    async fn at(&self, revision: Revision) -> Result<Option<Arc<Config>>, Unavailable> {
        available(self.read_at(revision)).await
    }

    async fn changed(&self, since: Revision) -> Result<Revision, Unavailable> {
        let mut revision = self.shared.revision.subscribe();
        let changed = revision.wait_for(|revision| *revision > since).await;
        changed.map(|revision| *revision).map_err(|ended| Unavailable::new("PostgreSQL", ended))
    }

    async fn look(&self, look: Look) -> Result<Writes, Unavailable> {
        available(self.look_at(look)).await
    }
}

impl MarkedStore for PgStore {
    async fn head(&self) -> Result<Head, Unavailable> {
        available(self.read_head()).await
    }

    fn known(&self) -> Marked {
        Marked::clone(&self.latest_known())
    }
}

/// Writes a commit and what follows from it, and returns its mark.
async fn append(
    session: &Session,
    proposal: &Proposal,
    before: &Config,
    config: &Config,
) -> Result<String, PgError> {
    let revision = proposal.expected.next();
    if proposal.expected == Revision::ZERO {
        forget(session).await?;
    }
    let (key, at) = (number(revision), millis(proposal.at));
    let change = text(&documents(&proposal.changes))?;
    let commit = [
        (&key as _, Type::INT8),
        (&at as _, Type::INT8),
        (&proposal.author.as_str() as _, Type::TEXT),
        (&proposal.reason.as_str() as _, Type::TEXT),
        (&change as _, Type::TEXT),
    ];
    let mark: String = session.row(APPEND, &commit).await?.try_get(0)?;
    session.run(MOVE_HEAD, &[(&key, Type::INT8), (&mark, Type::TEXT)]).await?;
    tables::write(session, before, config).await?;
    if revision.get().is_multiple_of(CHECKPOINT_EVERY) {
        checkpoint(session, revision, config).await?;
    }
    announce(session, revision).await?;
    Ok(mark)
}

/// Tells of a revision, unless a later one was told of.
fn advance(told: &watch::Sender<Revision>, revision: Revision) {
    told.send_if_modified(|latest| {
        let is_later = revision > *latest;
        *latest = revision.max(*latest);
        is_later
    });
}
