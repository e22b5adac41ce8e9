//! Records of the audit trail, as one transaction writes them.

use std::borrow::Cow;

use geostream_api::KeptChanges;
use geostream_domain::{Line, Revision};
use geostream_ports::{Attempt, AuditOutcome, AuditRecord, Effect};
use serde::Serialize;
use tokio_postgres::types::Type;

use crate::error::PgError;
use crate::log::number;
use crate::session::Session;
use crate::tables::text;

/// A record as the statement below reads it.
#[derive(Serialize)]
struct Document<'a> {
    /// Milliseconds since 1970.
    at: u64,
    node: &'a str,
    who: Option<&'a str>,
    token: Option<String>,
    scope: Option<&'a str>,
    address: Option<String>,
    action: &'a str,
    target: &'a str,
    changes: Option<&'a str>,
    revision: Option<i64>,
    reason: Option<Cow<'a, str>>,
    status: Option<u16>,
    problem: Option<&'a str>,
    detail: Option<&'a str>,
}

impl<'a> From<&'a AuditRecord> for Document<'a> {
    fn from(AuditRecord { attempt, outcome }: &'a AuditRecord) -> Self {
        let who = attempt.who.as_ref();
        let token = who.and_then(|who| who.token);
        let (effect, refusal) = match outcome {
            AuditOutcome::Done(effect) => (Some(effect), None),
            AuditOutcome::Refused { status, problem, detail, count } => {
                (None, Some((*status, problem.as_str(), detail.as_str(), *count)))
            }
        };
        let reason = effect.and_then(|effect| effect.reason.as_ref());
        let count = refusal.and_then(|(.., count)| kept_count(count));
        Self {
            at: attempt.at.unix_millis(),
            node: attempt.node.as_str(),
            who: who.map(|who| who.name.as_str()),
            token: token.map(|(id, _)| id.to_string()),
            scope: token.map(|(_, scope)| scope.as_str()),
            address: attempt.address.map(|address| address.to_string()),
            action: &attempt.action,
            target: &attempt.target,
            changes: effect.map(|effect| effect.changes.as_str()),
            revision: effect.and_then(|effect| effect.revision).map(number),
            reason: reason.map(|reason| reason.as_str().into()).or_else(|| count.map(Cow::Owned)),
            status: refusal.map(|(status, ..)| status),
            problem: refusal.map(|(_, problem, ..)| problem),
            detail: refusal.map(|(_, _, detail, _)| detail),
        }
    }
}

/// What the column `reason` begins with where something was refused several times.
pub(crate) const COUNT: &str = "count=";

/// Returns how many refusals a row stands for, as the column `reason` keeps it: a refusal has no
/// other use for that column, and nodes of earlier versions do not read it there.
fn kept_count(count: u64) -> Option<String> {
    (count > 1).then(|| format!("{COUNT}{count}"))
}

const RECORD: &str = "INSERT INTO audit
    (at, node, who, token, scope, address, action, target, changes, revision, reason,
     status, problem, detail)
SELECT to_timestamp(at / 1000.0), node, who, token, scope, address::inet, action, target,
       changes::json, revision, reason, status, problem, detail
FROM jsonb_array_elements($1::jsonb) WITH ORDINALITY AS r(record, place),
     jsonb_to_record(record) AS a(at bigint, node text, who text, token text, scope text,
         address text, action text, target text, changes text, revision bigint, reason text,
         status integer, problem text, detail text)
ORDER BY place";

/// Records what is done by the same transaction, if it is somebody's attempt.
pub(crate) async fn note_done(
    session: &Session,
    attempt: Option<Attempt>,
    revision: Option<Revision>,
    reason: Option<Line>,
    changes: &KeptChanges,
) -> Result<(), PgError> {
    let Some(attempt) = attempt else { return Ok(()) };
    let changes = text(changes)?;
    append(session, &[attempt.done(Effect { revision, reason, changes })]).await
}

/// Writes records to the trail.
pub(crate) async fn append(session: &Session, records: &[AuditRecord]) -> Result<(), PgError> {
    let documents = text(&records.iter().map(Document::from).collect::<Vec<_>>())?;
    session.run(RECORD, &[(&documents, Type::TEXT)]).await.map(|_rows| ())
}
