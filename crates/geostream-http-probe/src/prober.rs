//! One probe, from its name to its outcome.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use geostream_domain::{
    HealthCheck, Load, PermittedNetworks, ProbeFailure, ProbeOutcome, ProbeProtocol,
};
use geostream_ports::{KeptConnection, Probed, Prober, TraceContext};
use geostream_tls::{Authorities, AuthoritiesError};
use http::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderValue, TE, USER_AGENT};
use http::response::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use rustls::client::Resumption;
use tokio::time::{Instant, timeout};

use crate::body;
use crate::connection::{self, Connection, Connector, HTTP1, HTTP2};
use crate::grpc;
use crate::hop::{self, Hop, MOST_REDIRECTS};
use crate::pace::Pace;

/// Probes over the network.
#[derive(Debug)]
pub struct HttpProber {
    connector: Connector,
    pace: Pace,
}

/// What a region that is well has answered.
#[derive(Debug)]
struct Answer {
    load: Option<Load>,
    connection: Option<KeptConnection>,
}

/// Why a probe has brought no answer that is a success.
#[derive(Debug)]
enum Ended {
    Failed(ProbeFailure),
    /// The endpoint to which a redirect leads is asked too often already.
    NotAsked,
}

impl From<ProbeFailure> for Ended {
    fn from(failure: ProbeFailure) -> Self {
        Self::Failed(failure)
    }
}

/// The most that is read of the message of gRPC.
const MESSAGE: usize = 64 << 10;

/// Who notices a timeout so late was too busy to hear the answer.
const LATE: Duration = Duration::from_millis(250);

/// The header in which a region reports its load, in the unit of its capacity.
const LOAD: &str = "geostream-load";

impl HttpProber {
    /// Probes public addresses and these networks, and trusts the system's authorities and those in
    /// this file (PEM).
    ///
    /// # Errors
    ///
    /// If the file cannot be used.
    pub fn new(
        networks: PermittedNetworks,
        authorities: Option<&Path>,
    ) -> Result<Self, AuthoritiesError> {
        let authorities = authorities.map_or(Authorities::System, Authorities::SystemAnd);
        let mut http = authorities.client_config()?;
        // A session that is resumed shows no certificate, so it would not be seen to run out.
        http.resumption = Resumption::disabled();
        let mut grpc = http.clone();
        http.alpn_protocols = [HTTP2, HTTP1].map(<[u8]>::to_vec).into();
        grpc.alpn_protocols = vec![HTTP2.to_vec()];
        let connector = Connector { networks, http: Arc::new(http), grpc: Arc::new(grpc) };
        Ok(Self { connector, pace: Pace::default() })
    }

    async fn ask(
        &self,
        check: &HealthCheck,
        trace: Option<TraceContext>,
        is_elsewhere: &AtomicBool,
    ) -> Result<Answer, Ended> {
        match check.target.protocol() {
            ProbeProtocol::Tcp => {
                let host = check.target.url().host();
                let patience = check.timing.timeout();
                let stream = self.connector.dial(host, check.target.port(), patience).await?;
                Ok(Answer { load: None, connection: Some(connection::keep(stream)) })
            }
            ProbeProtocol::Http | ProbeProtocol::Https => {
                self.ask_http(check, trace, is_elsewhere).await
            }
            ProbeProtocol::Grpc | ProbeProtocol::Grpcs => Ok(self.ask_grpc(check, trace).await?),
        }
    }

    async fn ask_http(
        &self,
        check: &HealthCheck,
        trace: Option<TraceContext>,
        is_elsewhere: &AtomicBool,
    ) -> Result<Answer, Ended> {
        let first = Hop::of(check);
        let (connection, response) = self.send_http(check, &first, trace).await?;
        if check.request.follows_redirects && is_redirect(response.status()) {
            return self.follow(check, first, response, trace, is_elsewhere).await;
        }
        Ok(judge(check, connection, response).await?)
    }

    /// Follows redirects to an answer that is none.
    ///
    /// While another server is asked, `is_elsewhere` is set: the region itself has answered, so a
    /// connection to that server which fails is no proof against the region.
    async fn follow(
        &self,
        check: &HealthCheck,
        first: Hop,
        response: Response<Incoming>,
        trace: Option<TraceContext>,
        is_elsewhere: &AtomicBool,
    ) -> Result<Answer, Ended> {
        let mut next = first.redirected(response.headers())?;
        for _ in 0..MOST_REDIRECTS {
            let is_at_first = (&next.host, next.port) == (&first.host, first.port);
            if !is_at_first && !self.pace.permits(&next.host, next.port) {
                return Err(Ended::NotAsked);
            }
            is_elsewhere.store(!is_at_first, Ordering::Relaxed);
            let sent = self.send_http(check, &next, trace).await;
            let (connection, response) =
                sent.map_err(|failure| if is_at_first { failure } else { of_redirect(failure) })?;
            if is_redirect(response.status()) {
                next = next.redirected(response.headers())?;
                continue;
            }
            let answer = judge(check, connection, response).await;
            if is_at_first {
                return Ok(answer?);
            }
            // The load of another server, and the end of a connection to it, say nothing of this one.
            return match answer {
                Ok(_) => Ok(Answer { load: None, connection: None }),
                Err(failure) => Err(of_redirect(failure).into()),
            };
        }
        Err(ProbeFailure::Redirect.into())
    }

    /// Sends a check's request on a new connection.
    async fn send_http(
        &self,
        check: &HealthCheck,
        hop: &Hop,
        trace: Option<TraceContext>,
    ) -> Result<(Connection, Response<Incoming>), ProbeFailure> {
        let connection = self.connector.connect(hop, check.timing.timeout()).await?;
        let request = Request::builder().method(hop::method(check));
        let request = if connection.is_http2() {
            request.uri(hop.url())
        } else {
            request.uri(&hop.path).header(HOST, &hop.authority)
        };
        let request = request.body(Full::default()).map_err(|_| ProbeFailure::Protocol)?;
        send(connection, check, hop, request, trace).await
    }

    async fn ask_grpc(
        &self,
        check: &HealthCheck,
        trace: Option<TraceContext>,
    ) -> Result<Answer, ProbeFailure> {
        let url = check.target.url();
        let hop = Hop { path: grpc::METHOD.to_owned(), ..Hop::of(check) };
        let request = Request::builder().method(Method::POST).uri(hop.url());
        let request = request.header(CONTENT_TYPE, "application/grpc").header(TE, "trailers");
        let message = grpc::request(url.path_and_query().trim_matches('/'));
        let request = request.body(Full::new(message)).map_err(|_| ProbeFailure::Protocol)?;
        let connection = self.connector.connect_grpc(&hop, check.timing.timeout()).await?;
        let (connection, response) = send(connection, check, &hop, request, trace).await?;
        let (head, body) = response.into_parts();
        let body =
            Limited::new(body, MESSAGE).collect().await.map_err(|_| ProbeFailure::Protocol)?;
        let status = body.trailers().and_then(|trailers| trailers.get("grpc-status"));
        let status = status.or_else(|| head.headers.get("grpc-status"));
        if status.is_none_or(|status| status != "0") {
            return Err(ProbeFailure::Protocol);
        }
        match grpc::is_serving(&body.to_bytes()) {
            Some(true) => {
                let connection = Some(connection.keep());
                Ok(Answer { load: load(&head.headers), connection })
            }
            Some(false) => Err(ProbeFailure::Body),
            None => Err(ProbeFailure::Protocol),
        }
    }
}

impl Prober for HttpProber {
    async fn probe(&self, check: &HealthCheck, trace: Option<TraceContext>) -> Probed {
        if !self.pace.permits(check.target.url().host(), check.target.port()) {
            return Probed::new(ProbeOutcome::NotAsked);
        }
        let (began, patience) = (Instant::now(), check.timing.timeout());
        let is_elsewhere = AtomicBool::new(false);
        match timeout(patience, self.ask(check, trace, &is_elsewhere)).await {
            Ok(Ok(Answer { load, connection })) => {
                Probed { outcome: ProbeOutcome::Well(began.elapsed()), load, connection }
            }
            Ok(Err(Ended::Failed(failure))) => Probed::new(ProbeOutcome::Failed(failure)),
            Ok(Err(Ended::NotAsked)) => Probed::new(ProbeOutcome::NotAsked),
            Err(_) if began.elapsed() > patience + LATE => Probed::new(ProbeOutcome::NotAsked),
            Err(_) if is_elsewhere.load(Ordering::Relaxed) => {
                Probed::new(ProbeOutcome::Failed(ProbeFailure::Redirect))
            }
            Err(_) => Probed::new(ProbeOutcome::Failed(ProbeFailure::Timeout)),
        }
    }
}

/// Sends a request with what all requests of a check carry.
async fn send(
    mut connection: Connection,
    check: &HealthCheck,
    hop: &Hop,
    mut request: Request<Full<Bytes>>,
    trace: Option<TraceContext>,
) -> Result<(Connection, Response<Incoming>), ProbeFailure> {
    let agent = concat!("geostream/", env!("CARGO_PKG_VERSION"), " (health check)");
    request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(agent));
    if let Some(Ok(trace)) = trace.map(|trace| trace.to_string().parse()) {
        request.headers_mut().insert("traceparent", trace);
    }
    if hop.is_of_check {
        hop::put_headers(check, request.headers_mut());
    }
    let response = connection.send(request).await?;
    Ok((connection, response))
}

/// Returns what a failure at another server, to which a redirect leads, says of the region that has
/// answered with the redirect: no more than that the redirect leads nowhere, where it is a failure
/// of the connection.
fn of_redirect(failure: ProbeFailure) -> ProbeFailure {
    match failure {
        ProbeFailure::Refused
        | ProbeFailure::Reset
        | ProbeFailure::Timeout
        | ProbeFailure::Unreachable
        | ProbeFailure::Name
        | ProbeFailure::Forbidden => ProbeFailure::Redirect,
        ProbeFailure::Tls(_)
        | ProbeFailure::Status(_)
        | ProbeFailure::Body
        | ProbeFailure::Redirect
        | ProbeFailure::Incomplete
        | ProbeFailure::HeadTooLarge
        | ProbeFailure::Protocol
        | ProbeFailure::Local => failure,
    }
}

/// Judges an answer of HTTP by its status and its body.
async fn judge(
    check: &HealthCheck,
    connection: Connection,
    response: Response<Incoming>,
) -> Result<Answer, ProbeFailure> {
    let (head, body) = response.into_parts();
    if !check.status.contains(head.status.as_u16()) {
        return Err(ProbeFailure::Status(head.status.as_u16()));
    }
    let is_read = body::read(&head, body, check.body.as_ref()).await?;
    // A body that was not read to its end leaves a connection whose end says nothing.
    let connection = (is_read && !ends_with(&head)).then(|| connection.keep());
    Ok(Answer { load: load(&head.headers), connection })
}

/// Tells whether a status asks for a request to another URL (RFC 9110, section 15.4).
fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Tells whether an answer says that its connection ends with it (RFC 9112, section 9.3).
fn ends_with(head: &Parts) -> bool {
    let values =
        head.headers.get_all(CONNECTION).into_iter().filter_map(|value| value.to_str().ok());
    let mut options = values.flat_map(|value| value.split(',')).map(str::trim);
    let mut says = |option: &str| options.any(|said| said.eq_ignore_ascii_case(option));
    if head.version == Version::HTTP_10 { !says("keep-alive") } else { says("close") }
}

/// Reads the load that a region reports; one that cannot be read is none.
fn load(headers: &HeaderMap) -> Option<Load> {
    let units = headers.get(LOAD)?.to_str().ok()?.trim().parse().ok()?;
    Load::new(units).ok()
}
