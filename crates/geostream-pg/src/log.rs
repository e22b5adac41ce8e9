//! The log of commits, its checkpoints and its head, as one transaction reads and writes them.

use geostream_api as api;
use geostream_domain::{Change, Commit, Config, Revision, Timestamp};
use geostream_ports::{Head, Marked};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::error::{PgError, unreadable};
use crate::session::Session;
use crate::tables::{parse, text};

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

const ANNOUNCE: &str = "SELECT pg_notify($1, $2)";

const CHECKPOINT: &str = "INSERT INTO config_checkpoints (revision, config) VALUES ($1, $2::jsonb)";

pub(crate) const CHECKPOINT_EVERY: u64 = 256;

/// How far a configuration may be behind to be brought up to date by the log.
const CATCH_UP: i64 = 64;

const SINCE: &str = "SELECT revision, mark::text, change::text FROM config_log
WHERE revision >= $1 ORDER BY revision LIMIT $2";

const NEAREST_CHECKPOINT: &str = "SELECT revision, config::text FROM config_checkpoints
WHERE revision <= $1 ORDER BY revision DESC LIMIT 1";

const REPLAY: &str = "SELECT revision, change::text FROM config_log
WHERE revision > $1 AND revision <= $2 ORDER BY revision";

const FORGET: &[&str] = &["DELETE FROM config_log", "DELETE FROM config_checkpoints"];

/// Forgets an import that has not ended: nothing else can be there before the first commit.
pub(crate) async fn forget(session: &Session) -> Result<(), PgError> {
    for statement in FORGET {
        session.run(statement, &[]).await?;
    }
    Ok(())
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
pub(crate) async fn catch_up(
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

pub(crate) fn read_commit(row: &Row) -> Result<Commit, PgError> {
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

pub(crate) fn number(revision: Revision) -> i64 {
    i64::try_from(revision.get()).unwrap_or(i64::MAX)
}

pub(crate) fn millis(at: Timestamp) -> i64 {
    i64::try_from(at.unix_millis()).unwrap_or(i64::MAX)
}
