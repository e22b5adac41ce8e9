//! Requests that somebody wants to look at: those that are sampled, and decisions that are logged.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use geostream_app::{OpenSpan, Root, RouteError, RouteQuery, Routed, Trace, Tracer, View};
use geostream_ports::{Chain, Clock, GeoLocator, SpanKind, Store, TraceContext};
use http::header::HeaderValue;
use http::{HeaderMap, Request};
use hyper::body::Incoming;
use tracing::Level;

use crate::api::Api;
use crate::problem::Answer;
use crate::routes::ROUTES;

/// What a caller says of its trace, and what it is told.
///
/// Sources: <https://www.w3.org/TR/trace-context/#traceparent-header>, and for the answer, which is a
/// draft, <https://www.w3.org/TR/trace-context-2/>.
const ASKED: &str = "traceparent";
const ANSWERED: &str = "traceresponse";

impl<S, G, C> Api<S, G, C>
where
    S: Store,
    G: GeoLocator,
    C: Clock + 'static,
{
    /// Begins the trace of a request, if anybody wants to look at it.
    #[inline]
    pub(crate) fn watch(&self, headers: &HeaderMap) -> Option<Root> {
        let (tracer, is_logged) = (&self.parts.tracer, is_decision_logged());
        if tracer.is_on() || is_logged { watch(tracer, is_logged, headers) } else { None }
    }

    /// Answers a request that somebody wants to look at.
    pub(crate) async fn answer_watched(
        &self,
        root: Root,
        request: &mut Request<Incoming>,
        peer: SocketAddr,
        patience: Duration,
    ) -> Answer {
        let found = self.finder.find(request.method(), request.uri().path());
        let pattern = found.position().map(|position| ROUTES[position].pattern);
        let method = request.method().clone();
        let name = pattern.map_or_else(|| method.to_string(), |it| format!("{method} {it}"));
        let mut span = root.open(SpanKind::Server, name);
        span.note("http.request.method", method.to_string());
        if let Some(pattern) = pattern {
            span.note("http.route", pattern);
        }
        request.extensions_mut().insert(span.trace().clone());
        let mut answer = self.answer_unwatched(request, peer, patience).await;
        finish(&mut span, &mut answer);
        answer
    }
}

fn watch(tracer: &Tracer, is_logged: bool, headers: &HeaderMap) -> Option<Root> {
    let caller = caller(headers);
    let sampled = tracer.sample(caller);
    sampled.or_else(|| is_logged.then(|| Tracer::unsampled(caller)))
}

/// Notes what came of a request, and tells the caller where to find it.
fn finish(span: &mut OpenSpan, answer: &mut Answer) {
    let status = answer.status();
    span.note("http.response.status_code", u64::from(status.as_u16()));
    if status.is_server_error() {
        span.fail(status);
    }
    if let Ok(context) = HeaderValue::from_str(&span.trace().context().to_string()) {
        answer.headers_mut().insert(ANSWERED, context);
    }
}

fn caller(headers: &HeaderMap) -> Option<TraceContext> {
    headers.get(ASKED)?.to_str().ok()?.parse().ok()
}

/// Returns the trace of a request for the control runtime, whose log always names one.
pub(crate) fn trace_of(request: &mut Request<Incoming>) -> Trace {
    let watched = request.extensions_mut().remove::<Trace>();
    watched.unwrap_or_else(|| Tracer::unsampled(caller(request.headers())).trace().clone())
}

/// Tells whether every decision is logged: `decision=trace`.
#[inline]
fn is_decision_logged() -> bool {
    tracing::enabled!(target: "decision", Level::TRACE)
}

/// Decides for a client whose request is watched.
pub(crate) fn route_watched<'a, G: GeoLocator>(
    view: &'a View<'_, G>,
    query: &RouteQuery<'_>,
    trace: &Trace,
) -> Result<Routed<'a>, RouteError> {
    let routed = view.route_traced(query, trace);
    log(&routed, query.address, trace.context());
    routed
}

/// Logs a decision, under the id of the request that asked for it.
pub(crate) fn log(
    routed: &Result<Routed<'_>, RouteError>,
    client: Option<IpAddr>,
    TraceContext { trace, span, .. }: TraceContext,
) {
    let client = client.map(tracing::field::display);
    match routed {
        Ok(Routed { table, service, decision, .. }) => tracing::trace!(
            target: "decision",
            trace_id = %trace,
            decision_id = %span,
            revision = table.revision().get(),
            service = %service.service().id,
            region = %table.region(decision.region).id,
            reason = decision.reason.as_str(),
            latency_ms = decision.latency.map(|latency| latency.rtt.as_millis()),
            client,
            "decided"
        ),
        Err(error) => tracing::trace!(
            target: "decision",
            trace_id = %trace,
            decision_id = %span,
            error = %Chain(error),
            client,
            "not decided"
        ),
    }
}
