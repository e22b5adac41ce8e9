//! The store: the log, the tables beside it, and the tokens.

use std::sync::{Arc, Mutex, PoisonError};

use deadpool_postgres::Pool;
use geostream_api::{self as api, KeptChanges};
use geostream_domain::{
    Chance, Change, ClockReading, Commit, Config, Grant, NodeId, Revision, Snapshot, Timestamp,
};
use geostream_ports::{
    Attempt, ConfigStore, Head, Import, ImportError, Look, Marked, MarkedStore, Proposal,
    ProposeError, TokenId, TokenRecord, TokenStore, Unavailable, Writes,
};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::audit;
use crate::clock::{Asked, Readings};
use crate::error::{PgError, unreadable};
use crate::import;
use crate::listen::{Told, listen};
use crate::session::{Purpose, Session, available, bounded, pool};
use crate::tables::{self, documents, parse, text};
use crate::target::Target;

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

/// What commits are announced by.
pub(crate) const CHANNEL: &str = "geostream_config";

pub(crate) const HEAD: &str = "SELECT revision, mark::text FROM config_head";

/// The head and the database's clock.
pub(crate) const HEAD_AND_TIME: &str = "SELECT revision, mark::text,
       (extract(epoch FROM clock_timestamp()) * 1000)::bigint
FROM config_head";

/// Locks the head, so that commits take turns. The clock is read once the lock is held, so commits
/// are dated in their order.
pub(crate) const LOCKED_HEAD: &str = "WITH head AS MATERIALIZED (
    SELECT revision, mark::text FROM config_head FOR UPDATE)
SELECT revision, mark, (extract(epoch FROM clock_timestamp()) * 1000)::bigint FROM head";

pub(crate) const MOVE_HEAD: &str = "UPDATE config_head SET revision = $1, mark = $2::uuid";

const APPEND: &str = "INSERT INTO config_log (revision, mark, at, author, reason, change)
VALUES ($1, gen_random_uuid(), to_timestamp($2 / 1000.0), $3, $4, $5::jsonb)
RETURNING mark::text";

const ANNOUNCE: &str = "SELECT pg_notify($1, $2)";

const CHECKPOINT: &str = "INSERT INTO config_checkpoints (revision, config) VALUES ($1, $2::jsonb)";

pub(crate) const CHECKPOINT_EVERY: u64 = 256;

/// How far a configuration may be behind to be brought up to date by the log.
const CATCH_UP: i64 = 64;

const SINCE: &str = "SELECT revision, mark::text, change::text FROM config_log
WHERE revision >= $1 ORDER BY revision LIMIT $2";

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

const NEAREST_CHECKPOINT: &str = "SELECT revision, config::text FROM config_checkpoints
WHERE revision <= $1 ORDER BY revision DESC LIMIT 1";

const REPLAY: &str = "SELECT revision, change::text FROM config_log
WHERE revision > $1 AND revision <= $2 ORDER BY revision";

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
        audit::note_done(&session, proposal.attempt, Some(revision), reason, &changes).await?;
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
        import::forget(session).await?;
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

/// Keeps a whole configuration beside the log.
pub(crate) async fn checkpoint(
    session: &Session,
    revision: Revision,
    config: &Config,
) -> Result<(), PgError> {
    let whole = text(&api::WholeConfig::from(config))?;
    let row = [(&number(revision) as _, Type::INT8), (&whole as _, Type::TEXT)];
    session.run(CHECKPOINT, &row).await.map(|_rows| ())
}

/// Tells all nodes of a commit, once it is one.
pub(crate) async fn announce(session: &Session, revision: Revision) -> Result<(), PgError> {
    let announced = revision.to_string();
    let row = [(&CHANNEL as _, Type::TEXT), (&announced as _, Type::TEXT)];
    session.rows(ANNOUNCE, &row).await.map(|_nothing| ())
}

/// Brings what is known up to date by the log; `None` if it is too far behind, or if its last
/// commit is not in the log.
async fn catch_up(
    session: &Session,
    known: &Marked,
    head: &Head,
) -> Result<Option<Config>, PgError> {
    let from = number(known.snapshot.revision);
    let limit = CATCH_UP + 1;
    let rows = session.rows(SINCE, &[(&from, Type::INT8), (&limit, Type::INT8)]).await?;
    let Some((first, later)) = rows.split_first() else { return Ok(None) };
    let is_known = self::head(first)?.mark == known.mark;
    let is_all = later.last().is_some_and(|last| self::head(last).is_ok_and(|last| last == *head));
    if !is_known || !is_all {
        return Ok(None);
    }
    let mut changes = Vec::new();
    for row in later {
        changes.extend(read_changes(row.try_get(2)?)?);
    }
    // Where the log does not fit, the tables tell.
    Ok(known.snapshot.config.after(changes).ok())
}

/// Replays the log from the nearest checkpoint; `None` if a part of it is not there.
pub(crate) async fn replay(
    session: &Session,
    revision: Revision,
) -> Result<Option<Config>, PgError> {
    let to = number(revision);
    let base = session.rows(NEAREST_CHECKPOINT, &[(&to, Type::INT8)]).await?;
    let (mut reached, config) = match base.first() {
        Some(row) => (row.try_get(0)?, read_checkpoint(row)?),
        None => (0_i64, Config::default()),
    };
    let mut changes = Vec::new();
    for row in session.rows(REPLAY, &[(&reached, Type::INT8), (&to, Type::INT8)]).await? {
        if row.try_get::<_, i64>(0)? != reached + 1 {
            return Ok(None);
        }
        reached += 1;
        changes.extend(read_changes(row.try_get(1)?)?);
    }
    if reached != to {
        return Ok(None);
    }
    let config = config.after(changes);
    config.map(Some).map_err(|error| PgError::damaged(format!("commits up to {revision}"), error))
}

fn read_checkpoint(row: &Row) -> Result<Config, PgError> {
    let document: api::WholeConfig = parse("a checkpoint", row.try_get(1)?)?;
    document.to_domain().map_err(unreadable("a checkpoint"))
}

fn read_commit(row: &Row) -> Result<Commit, PgError> {
    let revision = revision(row, 0)?;
    let at: i64 = row.try_get(1)?;
    let line = |column| {
        let line = row.try_get::<_, &str>(column)?.parse();
        line.map_err(|error| PgError::damaged(format!("commit {revision}"), error))
    };
    Ok(Commit {
        revision,
        at: Timestamp::from_unix_millis(at.unsigned_abs()),
        author: line(2)?,
        reason: line(3)?,
        changes: read_changes(row.try_get(4)?)?,
    })
}

fn read_changes(text: &str) -> Result<Vec<Change>, PgError> {
    let documents: Vec<api::Change> = parse("a commit", text)?;
    let changes = documents.iter().map(api::Change::to_domain).collect::<Result<_, _>>();
    changes.map_err(unreadable("a commit"))
}

pub(crate) fn head(row: &Row) -> Result<Head, PgError> {
    Ok(Head { revision: revision(row, 0)?, mark: row.try_get(1)? })
}

pub(crate) fn revision(row: &Row, column: usize) -> Result<Revision, PgError> {
    let number: i64 = row.try_get(column)?;
    // Revisions count up from 0.
    Ok(Revision::new(number.unsigned_abs()))
}

/// Reads a moment that a statement returns as milliseconds since the epoch.
pub(crate) fn time(row: &Row, column: usize) -> Result<Timestamp, PgError> {
    let millis: i64 = row.try_get(column)?;
    Ok(Timestamp::from_unix_millis(millis.unsigned_abs()))
}

/// Tells of a revision, unless a later one was told of.
fn advance(told: &watch::Sender<Revision>, revision: Revision) {
    told.send_if_modified(|latest| {
        let is_later = revision > *latest;
        *latest = revision.max(*latest);
        is_later
    });
}

pub(crate) fn number(revision: Revision) -> i64 {
    i64::try_from(revision.get()).unwrap_or(i64::MAX)
}

pub(crate) fn millis(at: Timestamp) -> i64 {
    i64::try_from(at.unix_millis()).unwrap_or(i64::MAX)
}

// === Tokens ===

/// Tokens with limits or an end have a table of their own, because programs that know no such table
/// would take them for tokens without either.
const TOKENS: &str = "SELECT id, name, scope, hash, (extract(epoch FROM created) * 1000)::bigint,
       node, NULL AS limits, NULL::bigint AS expires
FROM tokens
UNION ALL
SELECT id, name, scope, hash, (extract(epoch FROM created) * 1000)::bigint,
       node, limits::text, (extract(epoch FROM expires) * 1000)::bigint
FROM limited_tokens ORDER BY id";

const PUT_TOKEN: &str = "WITH other AS (DELETE FROM limited_tokens WHERE id = $1)
INSERT INTO tokens (id, name, scope, hash, created, node)
VALUES ($1, $2, $3, $4, to_timestamp($5 / 1000.0), $6)
ON CONFLICT (id) DO UPDATE SET name = excluded.name, scope = excluded.scope,
    hash = excluded.hash, created = excluded.created, node = excluded.node";

const PUT_LIMITED_TOKEN: &str = "WITH other AS (DELETE FROM tokens WHERE id = $1)
INSERT INTO limited_tokens (id, name, scope, hash, created, node, limits, expires)
VALUES ($1, $2, $3, $4, to_timestamp($5 / 1000.0), $6, $7::jsonb, to_timestamp($8 / 1000.0))
ON CONFLICT (id) DO UPDATE SET name = excluded.name, scope = excluded.scope,
    hash = excluded.hash, created = excluded.created, node = excluded.node,
    limits = excluded.limits, expires = excluded.expires";

/// Waits for all transactions that write tokens, and has others wait until the end of this one;
/// reading goes on. It needs no right that writing does not.
const LOCK_TOKENS: &str = "LOCK TABLE tokens, limited_tokens IN SHARE ROW EXCLUSIVE MODE";

const REMOVE_TOKEN: &str = "WITH plain AS (
    DELETE FROM tokens WHERE id = $1
    RETURNING id, name, scope, hash, (extract(epoch FROM created) * 1000)::bigint, node,
        NULL AS limits, NULL::bigint AS expires),
limited AS (
    DELETE FROM limited_tokens WHERE id = $1
    RETURNING id, name, scope, hash, (extract(epoch FROM created) * 1000)::bigint, node,
        limits::text, (extract(epoch FROM expires) * 1000)::bigint)
SELECT * FROM plain UNION ALL SELECT * FROM limited";

impl PgStore {
    async fn read_tokens(&self) -> Result<Vec<TokenRecord>, PgError> {
        let session = self.begin(Purpose::Read).await?;
        let rows = session.rows(TOKENS, &[]).await?;
        session.commit().await?;
        rows.iter().map(read_token).collect()
    }

    async fn write_token(
        &self,
        record: &TokenRecord,
        attempt: Option<Attempt>,
    ) -> Result<(), PgError> {
        let session = self.begin(Purpose::Write).await?;
        put_token(&session, record, attempt).await?;
        session.commit().await
    }

    async fn write_first_admin(
        &self,
        record: &TokenRecord,
        attempt: Option<Attempt>,
    ) -> Result<Option<TokenRecord>, PgError> {
        let session = self.begin(Purpose::Write).await?;
        session.run(LOCK_TOKENS, &[]).await?;
        let rows = session.rows(TOKENS, &[]).await?;
        let tokens: Vec<_> = rows.iter().map(read_token).collect::<Result<_, _>>()?;
        let first = TokenRecord::first_admin(tokens);
        if first.is_none() {
            put_token(&session, record, attempt).await?;
        }
        session.commit().await?;
        Ok(first)
    }

    async fn delete_token(&self, id: TokenId, attempt: Option<Attempt>) -> Result<bool, PgError> {
        let session = self.begin(Purpose::Write).await?;
        let removed = session.rows(REMOVE_TOKEN, &[(&id.to_string(), Type::TEXT)]).await?;
        if let Some(row) = removed.first() {
            let changes = KeptChanges::of_token(Some(&describe(&read_token(row)?)), None);
            audit::note_done(&session, attempt, None, None, &changes).await?;
        }
        session.commit().await?;
        Ok(!removed.is_empty())
    }
}

impl TokenStore for PgStore {
    async fn tokens(&self) -> Result<Vec<TokenRecord>, Unavailable> {
        available(self.read_tokens()).await
    }

    async fn put_token(
        &self,
        record: TokenRecord,
        attempt: Option<Attempt>,
    ) -> Result<(), Unavailable> {
        available(self.write_token(&record, attempt)).await
    }

    async fn put_first_admin(
        &self,
        record: TokenRecord,
        attempt: Option<Attempt>,
    ) -> Result<Option<TokenRecord>, Unavailable> {
        available(self.write_first_admin(&record, attempt)).await
    }

    async fn remove_token(
        &self,
        id: TokenId,
        attempt: Option<Attempt>,
    ) -> Result<bool, Unavailable> {
        available(self.delete_token(id, attempt)).await
    }
}

async fn put_token(
    session: &Session,
    record: &TokenRecord,
    attempt: Option<Attempt>,
) -> Result<(), PgError> {
    let id = record.id.to_string();
    let created = millis(record.created);
    let node = record.node.as_ref().map(NodeId::as_str);
    let Grant { scope, limits, expires } = &record.grant;
    let limits = limits.as_ref().map(|limits| text(&api::TokenLimits::from(&**limits)));
    let limits = limits.transpose()?;
    let expires = expires.map(millis);
    let row = [
        (&id as _, Type::TEXT),
        (&record.name.as_str() as _, Type::TEXT),
        (&scope.as_str() as _, Type::TEXT),
        (&record.hash.as_slice() as _, Type::BYTEA),
        (&created as _, Type::INT8),
        (&node as _, Type::TEXT),
        (&limits as _, Type::TEXT),
        (&expires as _, Type::INT8),
    ];
    if record.grant.is_plain() {
        session.run(PUT_TOKEN, &row[..6]).await?;
    } else {
        session.run(PUT_LIMITED_TOKEN, &row).await?;
    }
    let changes = KeptChanges::of_token(None, Some(&describe(record)));
    audit::note_done(session, attempt, None, None, &changes).await
}

/// Returns what everybody may know of a token.
fn describe(record: &TokenRecord) -> api::Token {
    let TokenRecord { id, name, grant, created, node, .. } = record;
    api::Token::of_grant(id.to_string(), name, grant, *created, node.as_ref())
}

fn read_token(row: &Row) -> Result<TokenRecord, PgError> {
    let id: &str = row.try_get(0)?;
    let unreadable = |error: Box<dyn std::error::Error + Send + Sync>| {
        PgError::damaged(format!("token {id}"), error)
    };
    let (hash, created): (&[u8], i64) = (row.try_get(3)?, row.try_get(4)?);
    let node = row.try_get::<_, Option<&str>>(5)?.map(str::parse).transpose();
    let scope = row.try_get::<_, &str>(2)?.parse().map_err(|error| unreadable(Box::new(error)))?;
    let limits = row.try_get::<_, Option<&str>>(6)?.map(|limits| {
        let document: api::TokenLimits = parse("the limits of a token", limits)?;
        document.to_domain().map_err(|error| unreadable(Box::new(error)))
    });
    let limits = limits.transpose()?;
    let expires = row.try_get::<_, Option<i64>>(7)?;
    let expires = expires.map(|expires| Timestamp::from_unix_millis(expires.unsigned_abs()));
    Ok(TokenRecord {
        id: id.parse().map_err(|error| unreadable(Box::new(error)))?,
        name: row.try_get::<_, &str>(1)?.parse().map_err(|error| unreadable(Box::new(error)))?,
        grant: Grant { scope, limits, expires },
        hash: hash.try_into().map_err(|error| unreadable(Box::new(error)))?,
        created: Timestamp::from_unix_millis(created.unsigned_abs()),
        node: node.map_err(|error| unreadable(Box::new(error)))?,
    })
}
