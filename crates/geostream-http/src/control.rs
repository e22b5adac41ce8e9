//! Control requests: what needs a token, or may wait for the store.

use std::collections::BTreeMap;
use std::time::Duration;

use geostream_api::{NewToken, Time, Token, TokenRequest};
use geostream_app::Intent;
use geostream_domain::{Line, Revision};
use geostream_ports::{Clock, GeoLocator, Store, TokenRecord};
use http::header::IF_MATCH;
use http::{HeaderMap, StatusCode};

use crate::api::Api;
use crate::body;
use crate::call::Call;
use crate::problem::{Answer, Failure, Kind};
use crate::query::Query;
use crate::routes::Control;

impl<S, G, C> Api<S, G, C>
where
    S: Store,
    G: GeoLocator,
    C: Clock + 'static,
{
    /// Does what the route says.
    pub(crate) async fn control(&self, call: Call) -> Result<Answer, Failure> {
        use Control as O;
        match call.operation {
            O::GetOpenapi => call.no_query().map(|()| self.openapi()),
            O::GetStatus => call.no_query().and_then(|()| self.status(&call)),
            O::GetRegionHealth => call.no_query().and_then(|()| self.region_health(&call)),
            O::ListHealthChanges => self.list_health_changes(&call).await,
            O::StreamEvents => call.no_query().and_then(|()| self.events(&call)),
            O::ReportOutcomes => self.take_outcomes(&call),
            O::LookUpAddress => self.look_up_address(&call),
            O::GetConfig => self.get_config(&call),
            O::PutConfig => self.put_config(&call).await,
            O::ListHistory => self.list_history(&call).await,
            O::GetHistory => self.get_history(&call).await,
            O::ListLog => self.list_log(&call).await,
            O::GetRevision => self.get_revision(&call).await,
            O::ImportLog => self.import_log(&call).await,
            O::GetDiff => self.get_diff(&call).await,
            O::RollBack => self.roll_back(&call).await,
            O::ListRegions => self.list_regions(&call),
            O::GetRegion => self.get_region(&call),
            O::PutRegion => self.put_region(&call).await,
            O::DeleteRegion => self.delete_region(&call).await,
            O::ListServices => self.list_services(&call),
            O::GetService => self.get_service(&call),
            O::PutService => self.put_service(&call).await,
            O::DeleteService => self.delete_service(&call).await,
            O::ListOverrides => self.list_overrides(&call),
            O::PutOverride => self.put_override(&call).await,
            O::DeleteOverride => self.delete_override(&call).await,
            O::ListFlags => self.list_flags(&call),
            O::PutFlag => self.put_flag(&call).await,
            O::GetSettings => self.get_settings(&call),
            O::PutSettings => self.put_settings(&call).await,
            O::GetBackup => self.back_up(&call).await,
            O::ListAudit => self.list_audit(&call).await,
            O::GetLogLevel => call.no_query().and_then(|()| self.log_level()),
            O::PutLogLevel => self.set_log_level(&call),
            O::ListTokens => call.no_query().and_then(|()| self.list_tokens(&call)),
            O::CreateToken => self.create_token(&call).await,
            O::DeleteToken => self.delete_token(&call).await,
        }
    }

    fn list_tokens(&self, call: &Call) -> Result<Answer, Failure> {
        let caller = call.visible.caller();
        let records = self.parts.access.list();
        let is_seen = |record: &&TokenRecord| {
            caller.is_none_or(|caller| caller.grant.reaches_all_of(&record.grant))
        };
        let now = self.parts.clock.wall();
        let used = self.parts.access.last_uses();
        let tokens = records.iter().filter(is_seen).map(|record| Token {
            expired: !record.grant.holds_at(now),
            last_used: used.get(&record.id).copied().map(Time),
            current: caller.is_some_and(|caller| caller.id == record.id),
            ..token(record)
        });
        let tokens: Vec<Token> = tokens.collect();
        body::json(&BTreeMap::from([("tokens", tokens)]))
    }

    async fn create_token(&self, call: &Call) -> Result<Answer, Failure> {
        call.no_query()?;
        let request: TokenRequest = body::read(&call.headers, &call.body)?;
        let (name, grant) = request.to_domain()?;
        let maker = call.visible.caller();
        let attempt = Some(call.attempt.clone());
        let made = self.parts.access.create(name, grant, maker, attempt).await?;
        let text = made.text().to_owned();
        let mut answer = body::json(&NewToken { token: text, record: token(&made.record) })?;
        *answer.status_mut() = StatusCode::CREATED;
        Ok(answer)
    }

    async fn delete_token(&self, call: &Call) -> Result<Answer, Failure> {
        call.no_query()?;
        let revoker = call.visible.caller();
        let attempt = Some(call.attempt.clone());
        self.parts.access.revoke(call.parameter()?, revoker, attempt).await?;
        Ok(body::no_content())
    }
}

fn token(record: &TokenRecord) -> Token {
    let TokenRecord { id, name, grant, created, node, .. } = record;
    Token::of_grant(id.to_string(), name, grant, *created, node.as_ref())
}

/// Reads what a write says of itself: the `If-Match` header and the query parameter `reason`;
/// without one, the operation speaks for itself.
pub(crate) fn intent(call: &Call, query: &mut Query<'_>, deed: &str) -> Result<Intent, Failure> {
    let expected = expected_revision(&call.headers)?;
    let reason = match query.parsed::<Line>("reason")? {
        Some(reason) => reason,
        None => deed.parse().map_err(|error| Failure::field("?reason", error))?,
    };
    let author = call.author()?;
    Ok(Intent { expected, author, reason, attempt: Some(call.attempt.clone()) })
}

/// Does the same for operations that take no other parameter.
pub(crate) fn lone_intent(call: &Call, deed: &str) -> Result<Intent, Failure> {
    let mut query = Query::of(&call.uri);
    let intent = intent(call, &mut query, deed)?;
    query.end()?;
    Ok(intent)
}

/// A revision as clients write it, or another number that counts: whole, and such that every JSON
/// reader keeps it exactly (RFC 8259, section 6).
#[derive(Clone, Copy, Debug)]
pub(crate) struct RevisionNumber(pub(crate) Revision);

impl RevisionNumber {
    const MAX: u64 = (1 << 53) - 1;

    pub(crate) fn new(number: u64) -> Result<Self, String> {
        if number <= Self::MAX {
            Ok(Self(Revision::new(number)))
        } else {
            Err(format!("a number from 0 to {} is expected", Self::MAX))
        }
    }
}

impl std::str::FromStr for RevisionNumber {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map_or_else(|_| Self::new(u64::MAX), Self::new)
    }
}

/// Reads the revision that a write expects (RFC 9110, section 13.1.1).
pub(crate) fn expected_revision(headers: &HeaderMap) -> Result<Revision, Failure> {
    let Some(header) = headers.get(IF_MATCH) else {
        let detail = "send the header if-match: \"REVISION\" with the revision that you read, as \
                      the etag of every part of the configuration tells it";
        return Err(Failure::naming(Kind::RevisionRequired, "if-match", detail));
    };
    let revision = header.to_str().ok().and_then(revision_in_tag);
    revision.ok_or_else(|| {
        let detail = "one revision is expected, such as \"17\", as the etag of a read has it";
        Failure::field("if-match", detail)
    })
}

/// Reads the revision in an entity tag.
///
/// A proxy that compresses an answer makes its tag weak (`W/"17"`). A revision names what the
/// configuration says and not the bytes of one answer, so the weak tag means the same.
fn revision_in_tag(tag: &str) -> Option<Revision> {
    let opaque = tag.strip_prefix("W/").unwrap_or(tag).strip_prefix('"')?.strip_suffix('"')?;
    let RevisionNumber(revision) = opaque.parse().ok()?;
    Some(revision)
}

/// The longest that an override may hold by itself.
pub(crate) const YEAR: Duration = Duration::from_secs(366 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_is_read_from_a_strong_and_from_a_weak_tag() {
        for (tag, revision) in [
            ("\"17\"", Some(17)),
            ("W/\"17\"", Some(17)),
            ("\"0\"", Some(0)),
            ("17", None),
            ("w/\"17\"", None),
            ("\"17\", \"18\"", None),
            ("\"-1\"", None),
            ("*", None),
        ] {
            assert_eq!(revision_in_tag(tag), revision.map(Revision::new), "{tag}");
        }
    }
}
