//! The audit trail: what becomes of control requests, and who asks for it.

use std::net::SocketAddr;
use std::time::Duration;

use geostream_api::{AuditEntry, AuditOutcome, AuditPage, KeptChanges, Time};
use geostream_domain::{GrantError, Line, Revision};
use geostream_ports::{
    self as ports, Actor, Attempt, AuditRecord, Audited, Clock, GeoLocator, Store, TrailQuery,
};
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;

use crate::api::Api;
use crate::body;
use crate::call::Call;
use crate::control::RevisionNumber;
use crate::limited::{self, Visible};
use crate::problem::{Answer, Failure, Kind};
use crate::query::Query;
use crate::routes::{Control, Route};
use crate::trace::trace_of;

/// The most characters that are kept of a text that a stranger can choose.
const LONGEST: usize = 300;

/// So many hexadecimal digits in a row, half as many as a token's secret has, may be one.
const SECRET: usize = 32;

impl<S, G, C> Api<S, G, C>
where
    S: Store,
    G: GeoLocator,
    C: Clock + 'static,
{
    /// Does what is no decision, and takes a note if it is refused.
    pub(crate) async fn supervise(
        &self,
        route: &'static Route,
        operation: Control,
        parameter: String,
        request: &mut Request<Incoming>,
        peer: SocketAddr,
        patience: Duration,
    ) -> Result<Answer, Failure> {
        let mut attempt = self.attempt(route, request, peer);
        let done =
            self.perform_control(route, operation, parameter, request, patience, &mut attempt);
        let result = done.await;
        if let Err(failure) = &result
            && is_noted(route, operation, failure.status())
        {
            self.parts.trail.note(refused(attempt, failure), self.parts.clock.now());
        }
        result
    }

    async fn perform_control(
        &self,
        route: &'static Route,
        operation: Control,
        parameter: String,
        request: &mut Request<Incoming>,
        patience: Duration,
        attempt: &mut Attempt,
    ) -> Result<Answer, Failure> {
        let mut visible = Visible::to(None);
        if let Some(needed) = route.scope {
            let caller = self.authenticate(request.headers()).await?;
            attempt.who = Some(Actor::from(&caller));
            match limited::check(&caller.grant, needed, operation, &parameter) {
                Ok(()) => visible = Visible::to(Some(caller)),
                Err(GrantError::Scope(_)) if !self.parts.access.is_loaded() => {
                    return Err(Failure::tokens_unread());
                }
                Err(error) => return Err(error.into()),
            }
        }
        let body = body::collect(request.body_mut(), route.body_limit, patience).await?;
        let trace = trace_of(request);
        let (uri, headers) =
            (std::mem::take(request.uri_mut()), std::mem::take(request.headers_mut()));
        let attempt = attempt.clone();
        let call = Call { operation, parameter, uri, headers, body, attempt, visible };
        let work = |api: Self| async move { api.control(call).await };
        self.on_control(route.operation.id(), trace, work).await
    }

    fn attempt(&self, route: &Route, request: &Request<Incoming>, peer: SocketAddr) -> Attempt {
        Attempt {
            at: self.parts.clock.wall(),
            node: self.parts.node.clone(),
            who: None,
            address: Some(self.client_address(request.headers(), peer)),
            action: route.operation.id().to_owned(),
            target: shortened(request.uri().path()),
        }
    }

    pub(crate) async fn list_audit(&self, call: &Call) -> Result<Answer, Failure> {
        let mut query = Query::of(&call.uri);
        let limit = query.page_limit()?;
        let wanted = TrailQuery {
            below: query.parsed("below")?.map(|RevisionNumber(below)| below.get()),
            limit,
            since: query.parsed("since")?.map(|Time(since)| since),
            until: query.parsed("until")?.map(|Time(until)| until),
            node: query.parsed("node")?,
            who: query.parsed("who")?.map(|who: Line| who.to_string()),
            what: query.parsed("what")?.map(|what: Line| what.to_string()),
        };
        query.end()?;
        let trail = self.parts.trail.read(wanted).await?;
        let last = trail.last().filter(|_| trail.len() == limit);
        let next_below = last.map(|audited| audited.number);
        // A page of a limited token may have fewer entries, and tells where the next one begins.
        let seen = |audited: &Audited| call.visible.has_attempt(&audited.record.attempt);
        let trail: Vec<_> = trail.into_iter().filter(seen).collect();
        let is_own = |audited: &Audited| call.visible.is_own(&audited.record.attempt);
        let own: Vec<_> = trail.iter().map(is_own).collect();
        let mut entries = trail.into_iter().map(describe).collect::<Result<Vec<_>, _>>()?;
        for (entry, &is_own) in entries.iter_mut().zip(&own) {
            match &mut entry.outcome {
                AuditOutcome::Done { changes, .. } => {
                    *changes = call.visible.kept_changes(std::mem::take(changes));
                }
                // What was told to another token may name what this one does not see.
                AuditOutcome::Refused { detail, .. } if !is_own => detail.clear(),
                AuditOutcome::Refused { .. } => {}
            }
        }
        body::json(&AuditPage { entries, next_below })
    }
}

/// Tells whether a refusal is kept: of reading, only that somebody may not; of writing, everything
/// but that it is too often, which is there to spare everybody else.
fn is_noted(route: &Route, operation: Control, status: StatusCode) -> bool {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => true,
        StatusCode::TOO_MANY_REQUESTS => false,
        _ => route.method != Method::GET && operation != Control::ReportOutcomes,
    }
}

fn refused(attempt: Attempt, failure: &Failure) -> AuditRecord {
    let outcome = ports::AuditOutcome::Refused {
        status: failure.status().as_u16(),
        problem: failure.name().to_owned(),
        detail: shortened(failure.detail()),
        count: 1,
    };
    AuditRecord { attempt, outcome }
}

/// Keeps a text short and printable, and without what may be a token's secret: it can quote whoever
/// was refused, and people put tokens where ids belong.
fn shortened(text: &str) -> String {
    let is_digit = |char: char| char.is_ascii_hexdigit();
    let without_secrets = text.split_inclusive(|char| !is_digit(char)).map(|part| {
        let rest = part.trim_start_matches(is_digit);
        if part.len() - rest.len() < SECRET { part } else { rest }
    });
    let chars = without_secrets.flat_map(str::chars);
    chars.filter(|char| !char.is_control()).take(LONGEST).collect()
}

fn describe(Audited { number, record }: Audited) -> Result<AuditEntry, Failure> {
    let AuditRecord { attempt, outcome } = record;
    let (who, token) = attempt.who.map(|Actor { name, token }| (name, token)).unzip();
    let (token, scope) = token.flatten().unzip();
    Ok(AuditEntry {
        number,
        at: Time(attempt.at),
        node: attempt.node.to_string(),
        who: who.map(|who| who.to_string()),
        token: token.map(|token| token.to_string()),
        scope: scope.map(|scope| scope.to_string()),
        address: attempt.address.map(|address| address.to_string()),
        action: attempt.action,
        target: attempt.target,
        outcome: describe_outcome(outcome)?,
    })
}

fn describe_outcome(outcome: ports::AuditOutcome) -> Result<AuditOutcome, Failure> {
    Ok(match outcome {
        ports::AuditOutcome::Done(effect) => AuditOutcome::Done {
            revision: effect.revision.map(Revision::get),
            reason: effect.reason.map(|reason| reason.to_string()),
            changes: read_changes(&effect.changes)?,
        },
        ports::AuditOutcome::Refused { status, problem, detail, count } => {
            AuditOutcome::Refused { status, problem, detail, count }
        }
    })
}

fn read_changes(text: &str) -> Result<KeptChanges, Failure> {
    serde_json::from_str(text).map_err(|error| {
        tracing::error!(%error, "an entry of the audit trail cannot be read");
        Failure::new(Kind::Internal, "an entry of the audit trail cannot be read")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_is_short_and_no_secret() {
        let secret = "0123456789abcdef".repeat(4);
        let quoted = format!("/api/v1/tokens/gs_0123456789abcdef_{secret}?\u{0}\n{secret}");
        assert_eq!(shortened(&quoted), "/api/v1/tokens/gs_0123456789abcdef_?");
        assert_eq!(shortened("/api/v1/regions/cafe"), "/api/v1/regions/cafe");
        assert_eq!(shortened(&"x".repeat(1_000)).len(), LONGEST);
    }
}
