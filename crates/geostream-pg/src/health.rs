//! How the health of regions has changed.

use std::time::Duration;

use geostream_domain::{Health, NodeId, RegionId, Timestamp};
use geostream_ports::{CHANGES_IN_ALL, CHANGES_PER_REGION, HealthLog, HealthRecord, Unavailable};
use serde::Serialize;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::error::PgError;
use crate::session::{Purpose, available};
use crate::store::PgStore;
use crate::tables::text;

/// A change as the statements below read it.
#[derive(Serialize)]
struct Document<'a> {
    region: &'a str,
    node: Option<&'a str>,
    is_healthy: Option<bool>,
    /// Milliseconds since 1970.
    at: u64,
    response_time_ms: Option<f64>,
    errors: u32,
    evidence: &'a str,
}

impl<'a> From<&'a HealthRecord> for Document<'a> {
    fn from(record: &'a HealthRecord) -> Self {
        Self {
            region: record.region.as_str(),
            node: record.node.as_ref().map(NodeId::as_str),
            is_healthy: match record.health {
                Health::Unknown => None,
                Health::Healthy => Some(true),
                Health::Unhealthy => Some(false),
            },
            at: record.at.unix_millis(),
            response_time_ms: record.response_time.map(|time| time.as_secs_f64() * 1e3),
            errors: record.errors,
            evidence: &record.evidence,
        }
    }
}

const MAKE_ROOM: &str = "SELECT geostream_keep_health(moment, $2::integer)
FROM (SELECT DISTINCT date_trunc('month', to_timestamp((c->>'at')::bigint / 1000.0)) AS moment
      FROM jsonb_array_elements($1::jsonb) AS c) AS months";

const APPEND: &str = "INSERT INTO health_status
    (region_id, is_healthy, last_check, response_time_ms, error_count, evidence, node)
SELECT region, is_healthy, to_timestamp(at / 1000.0), response_time_ms, errors, evidence, node
FROM jsonb_array_elements($1::jsonb) WITH ORDINALITY AS c(change, place),
     jsonb_to_record(change) AS r(region text, is_healthy boolean, at bigint,
         response_time_ms double precision, errors bigint, evidence text, node text)
ORDER BY place";

const REMEMBER: &str = "INSERT INTO health_latest
    (region_id, is_healthy, last_check, response_time_ms, error_count, evidence)
SELECT DISTINCT ON (region)
       region, is_healthy, to_timestamp(at / 1000.0), response_time_ms, errors, evidence
FROM jsonb_array_elements($1::jsonb) WITH ORDINALITY AS c(change, place),
     jsonb_to_record(change) AS r(region text, is_healthy boolean, at bigint,
         response_time_ms double precision, errors bigint, evidence text)
ORDER BY region, place DESC
ON CONFLICT (region_id) DO UPDATE SET
    is_healthy = excluded.is_healthy, last_check = excluded.last_check,
    response_time_ms = excluded.response_time_ms, error_count = excluded.error_count,
    evidence = excluded.evidence";

/// Selects changes as [`read`] reads them.
macro_rules! changes {
    ($from:literal) => {
        changes!("node", $from)
    };
    ($node:literal, $from:literal) => {
        concat!(
            "SELECT region_id, is_healthy, (extract(epoch FROM last_check) * 1000)::bigint,
                    response_time_ms, error_count, evidence, ",
            $node,
            " ",
            $from
        )
    };
}

/// In the order of bytes, as that of ids. That table does not name nodes.
const LATEST: &str = changes!("NULL::text", "FROM health_latest ORDER BY region_id COLLATE \"C\"");

const OF_ONE: &str =
    changes!("FROM health_status WHERE region_id = $1 ORDER BY number DESC LIMIT $2");

const OF_ALL: &str = changes!(
    "FROM (SELECT *, row_number() OVER (PARTITION BY region_id ORDER BY number DESC) AS place
      FROM (SELECT * FROM health_status ORDER BY number DESC LIMIT $1) AS newest) AS numbered
WHERE place <= $2 ORDER BY number DESC LIMIT $3"
);

impl PgStore {
    async fn append_health(&self, records: &[HealthRecord]) -> Result<(), PgError> {
        let changes = text(&records.iter().map(Document::from).collect::<Vec<_>>())?;
        let session = self.begin(Purpose::Write).await?;
        let days = i64::from(self.health_days());
        session.rows(MAKE_ROOM, &[(&changes, Type::TEXT), (&days, Type::INT8)]).await?;
        session.run(APPEND, &[(&changes, Type::TEXT)]).await?;
        session.run(REMEMBER, &[(&changes, Type::TEXT)]).await?;
        session.commit().await
    }

    async fn latest_health(&self) -> Result<Vec<HealthRecord>, PgError> {
        let session = self.begin(Purpose::Read).await?;
        let rows = session.rows(LATEST, &[]).await?;
        session.commit().await?;
        rows.iter().map(read).collect()
    }

    async fn health_changes(
        &self,
        region: Option<RegionId>,
        limit: usize,
    ) -> Result<Vec<HealthRecord>, PgError> {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let (each, all) = (number(CHANGES_PER_REGION), number(CHANGES_IN_ALL));
        let limit = number(limit);
        let session = self.begin(Purpose::Read).await?;
        let rows = match region {
            Some(region) => {
                let limit = limit.min(each);
                session.rows(OF_ONE, &[(&region.as_str(), Type::TEXT), (&limit, Type::INT8)]).await
            }
            None => {
                let bounds = [&all, &each, &limit].map(|bound| (bound as _, Type::INT8));
                session.rows(OF_ALL, &bounds).await
            }
        }?;
        session.commit().await?;
        rows.iter().map(read).collect()
    }
}

impl HealthLog for PgStore {
    async fn append(&self, records: Vec<HealthRecord>) -> Result<(), Unavailable> {
        available(self.append_health(&records)).await
    }

    async fn latest(&self) -> Result<Vec<HealthRecord>, Unavailable> {
        available(self.latest_health()).await
    }

    async fn changes(
        &self,
        region: Option<RegionId>,
        limit: usize,
    ) -> Result<Vec<HealthRecord>, Unavailable> {
        available(self.health_changes(region, limit)).await
    }
}

fn read(row: &Row) -> Result<HealthRecord, PgError> {
    let id: &str = row.try_get(0)?;
    let what = || format!("the health of {id}");
    let (at, errors): (i64, i64) = (row.try_get(2)?, row.try_get(4)?);
    let response_time: Option<f64> = row.try_get(3)?;
    let node = row.try_get::<_, Option<&str>>(6)?.map(str::parse).transpose();
    // To the microsecond: what is finer is lost in the float.
    let time = |millis: f64| Duration::try_from_secs_f64((millis * 1e3).round() / 1e6);
    let response_time = response_time.map(time).transpose();
    Ok(HealthRecord {
        region: id.parse().map_err(|error| PgError::damaged(what(), error))?,
        node: node.map_err(|error| PgError::damaged(what(), error))?,
        health: match row.try_get(1)? {
            None => Health::Unknown,
            Some(true) => Health::Healthy,
            Some(false) => Health::Unhealthy,
        },
        evidence: row.try_get(5)?,
        at: Timestamp::from_unix_millis(at.unsigned_abs()),
        response_time: response_time.map_err(|error| PgError::damaged(what(), error))?,
        errors: errors.try_into().map_err(|error| PgError::damaged(what(), error))?,
    })
}
