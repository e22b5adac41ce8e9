//! Who wanted what, and what came of it.

use std::time::Duration;

use geostream_domain::{NodeId, Revision, Timestamp, longest_gap};
use geostream_ports::{
    Actor, Attempt, AuditLog, AuditOutcome, AuditRecord, Audited, Effect, Scope, TokenId,
    TrailQuery, Unavailable,
};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::error::PgError;
use crate::log::{millis, number};
use crate::session::{Purpose, available};
use crate::store::PgStore;
use crate::trail::{COUNT, append};

fn read_count(reason: Option<&str>) -> u64 {
    reason.and_then(|reason| reason.strip_prefix(COUNT)?.parse().ok()).unwrap_or(1)
}

const TRAIL: &str =
    "SELECT number, (extract(epoch FROM at) * 1000)::bigint, node, who, token, scope,
       host(address), action, target, changes::text, revision, reason, status, problem, detail
FROM audit
WHERE number < $1 AND ($2 IS NULL OR at >= to_timestamp($2 / 1000.0))
  AND ($3 IS NULL OR who = $3 OR token = $3)
  AND ($4 IS NULL OR action = $4 OR position($4 IN target) > 0)
  AND ($6 IS NULL OR at < to_timestamp($6 / 1000.0))
  AND ($7 IS NULL OR node = $7
       OR left(node, -17) = $7 AND right(node, 17) ~ '^-[0-9a-f]{16}$')
ORDER BY number DESC LIMIT $5";

/// The ages are those of `geostream_domain::outlived`: each gap between two records counts as `$3`
/// milliseconds at the most, forwards and backwards.
const FORGET: &str = "WITH dated AS (
    SELECT number, (extract(epoch FROM at) * 1000)::bigint AS at FROM audit),
gaps AS (
    SELECT number, lead(at, 1, $1) OVER (ORDER BY number) - at AS gap FROM dated),
ages AS (
    SELECT number, sum(greatest(-$3, least($3, gap))) OVER (ORDER BY number DESC) AS age FROM gaps),
kept AS (
    SELECT min(number) AS first FROM ages WHERE age <= $4)
DELETE FROM audit WHERE number < (SELECT first FROM kept)
    OR status IS NULL AND number <= (SELECT number FROM audit WHERE status IS NULL
                                     ORDER BY number DESC OFFSET $2 LIMIT 1)
    OR status IS NOT NULL AND who IS NOT NULL
       AND number <= (SELECT number FROM audit WHERE status IS NOT NULL AND who IS NOT NULL
                      ORDER BY number DESC OFFSET $2 LIMIT 1)
    OR status IS NOT NULL AND who IS NULL
       AND number <= (SELECT number FROM audit WHERE status IS NOT NULL AND who IS NULL
                      ORDER BY number DESC OFFSET $2 LIMIT 1)";

impl PgStore {
    async fn append_records(&self, records: &[AuditRecord]) -> Result<(), PgError> {
        let session = self.begin(Purpose::Write).await?;
        append(&session, records).await?;
        session.commit().await
    }

    async fn read_trail(&self, wanted: &TrailQuery) -> Result<Vec<Audited>, PgError> {
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let below = wanted.below.map_or(i64::MAX, |below| number(Revision::new(below)));
        let (since, limit) = (wanted.since.map(millis), count(wanted.limit));
        let until = wanted.until.map(millis);
        let node = wanted.node.as_ref().map(NodeId::as_str);
        let parameters = [
            (&below as _, Type::INT8),
            (&since as _, Type::INT8),
            (&wanted.who as _, Type::TEXT),
            (&wanted.what as _, Type::TEXT),
            (&limit as _, Type::INT8),
            (&until as _, Type::INT8),
            (&node as _, Type::TEXT),
        ];
        let session = self.begin(Purpose::Read).await?;
        let rows = session.rows(TRAIL, &parameters).await?;
        session.commit().await?;
        rows.iter().map(read).collect()
    }

    async fn forget_records(
        &self,
        age: Duration,
        now: Timestamp,
        most: usize,
    ) -> Result<(), PgError> {
        let now = millis(now);
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let longest_gap = millis_of(longest_gap(age));
        let age = millis_of(age);
        let parameters = [
            (&now as _, Type::INT8),
            (&most as _, Type::INT8),
            (&longest_gap as _, Type::INT8),
            (&age as _, Type::INT8),
        ];
        let session = self.begin(Purpose::Write).await?;
        session.run(FORGET, &parameters).await?;
        session.commit().await
    }
}

impl AuditLog for PgStore {
    async fn record(&self, records: Vec<AuditRecord>) -> Result<(), Unavailable> {
        available(self.append_records(&records)).await
    }

    async fn trail(&self, wanted: TrailQuery) -> Result<Vec<Audited>, Unavailable> {
        available(self.read_trail(&wanted)).await
    }

    async fn forget(&self, age: Duration, now: Timestamp, most: usize) -> Result<(), Unavailable> {
        available(self.forget_records(age, now, most)).await
    }
}

/// Returns so many milliseconds that PostgreSQL can still add some.
fn millis_of(duration: Duration) -> i64 {
    const MOST: i64 = i64::MAX / 4;
    i64::try_from(duration.as_millis()).unwrap_or(MOST).min(MOST)
}

fn read(row: &Row) -> Result<Audited, PgError> {
    let number: i64 = row.try_get(0)?;
    let record =
        AuditRecord { attempt: read_attempt(row, number)?, outcome: read_outcome(row, number)? };
    Ok(Audited { number: number.unsigned_abs(), record })
}

fn read_attempt(row: &Row, number: i64) -> Result<Attempt, PgError> {
    let at: i64 = row.try_get(1)?;
    let node: &str = row.try_get(2)?;
    let address: Option<&str> = row.try_get(6)?;
    let address = address.map(str::parse).transpose();
    Ok(Attempt {
        at: Timestamp::from_unix_millis(at.unsigned_abs()),
        node: node.parse().map_err(|error| damaged(number, error))?,
        who: read_actor(row, number)?,
        address: address.map_err(|error| damaged(number, error))?,
        action: row.try_get(7)?,
        target: row.try_get(8)?,
    })
}

fn read_actor(row: &Row, number: i64) -> Result<Option<Actor>, PgError> {
    let Some(name) = row.try_get::<_, Option<&str>>(3)? else { return Ok(None) };
    let name = name.parse().map_err(|error| damaged(number, error))?;
    let (id, scope): (Option<&str>, Option<&str>) = (row.try_get(4)?, row.try_get(5)?);
    let token = match id.zip(scope) {
        Some((id, scope)) => {
            let id: TokenId = id.parse().map_err(|error| damaged(number, error))?;
            let scope: Scope = scope.parse().map_err(|error| damaged(number, error))?;
            Some((id, scope))
        }
        None => None,
    };
    Ok(Some(Actor { name, token }))
}

fn read_outcome(row: &Row, number: i64) -> Result<AuditOutcome, PgError> {
    let Some(changes) = row.try_get(9)? else {
        let status: i32 = row.try_get(12)?;
        return Ok(AuditOutcome::Refused {
            status: status.try_into().map_err(|error| damaged(number, error))?,
            problem: row.try_get(13)?,
            detail: row.try_get(14)?,
            count: read_count(row.try_get(11)?),
        });
    };
    let (revision, reason): (Option<i64>, Option<&str>) = (row.try_get(10)?, row.try_get(11)?);
    let reason = reason.map(str::parse).transpose();
    Ok(AuditOutcome::Done(Effect {
        revision: revision.map(|revision| Revision::new(revision.unsigned_abs())),
        reason: reason.map_err(|error| damaged(number, error))?,
        changes,
    }))
}

fn damaged(number: i64, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> PgError {
    PgError::damaged(format!("entry {number} of the audit trail"), error)
}
