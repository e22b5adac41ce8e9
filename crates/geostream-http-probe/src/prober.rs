//! One probe, from its name to its outcome.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use geostream_domain::{
    HealthCheck, Load, PermittedNetworks, ProbeFailure, ProbeOutcome, ProbeProtocol, ProbeTarget,
};
use geostream_ports::{Probed, Prober, TraceContext};
use http::header::{CONTENT_TYPE, HOST, HeaderValue, TE, USER_AGENT};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;
use tokio::time::{Instant, timeout};

use crate::connection::{Connection, Connector, of_hyper};
use crate::grpc;
use crate::pace::Pace;

/// Probes over the network.
#[derive(Debug)]
pub struct HttpProber {
    connector: Connector,
    pace: Pace,
    /// The connections that have served one probe, by the URL they were made for.
    idle: Mutex<IdleConnections>,
}

#[derive(Debug, Default)]
struct IdleConnections {
    by_url: HashMap<String, Idle>,
    /// When those of regions that are probed no more were last looked for.
    swept: Option<Instant>,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

/// A connection that a probe uses.
///
/// It serves two probes: so every second one resolves the name, connects and looks at the
/// certificate anew. What keeps new clients out is noticed within two intervals, and half of the
/// cost of connecting is saved.
#[derive(Debug)]
struct InUse {
    connection: Connection,
    is_first: bool,
}

/// Why no prober can be made.
#[derive(Debug, Error)]
pub enum TrustError {
    /// The file of authorities cannot be read.
    #[error("the authorities in {path} cannot be read")]
    File {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: pem::Error,
    },
    /// A certificate is none of an authority.
    #[error("a certificate of an authority cannot be used")]
    Certificate(#[from] rustls::Error),
}

/// The most that is read of a body.
const BODY: usize = 64 << 10;

/// How long a connection waits for its second probe: servers close idle ones anyway.
const LONGEST_IDLE: Duration = Duration::from_secs(10);

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
    /// If the file cannot be read, or holds what is no authority's certificate.
    pub fn new(
        networks: PermittedNetworks,
        authorities: Option<&Path>,
    ) -> Result<Self, TrustError> {
        let mut roots = RootCertStore::empty();
        let system = rustls_native_certs::load_native_certs();
        for error in &system.errors {
            tracing::warn!(%error, "some of the system's authorities cannot be read");
        }
        roots.add_parsable_certificates(system.certs);
        if let Some(path) = authorities {
            for authority in read(path)? {
                roots.add(authority)?;
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut http = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        // A session that is resumed shows no certificate, so it would not be seen to run out.
        http.resumption = Resumption::disabled();
        let mut grpc = http.clone();
        grpc.alpn_protocols = vec![b"h2".to_vec()];
        let connector = Connector { networks, http: Arc::new(http), grpc: Arc::new(grpc) };
        Ok(Self { connector, pace: Pace::default(), idle: Mutex::default() })
    }

    async fn ask(
        &self,
        check: &HealthCheck,
        trace: Option<TraceContext>,
    ) -> Result<Option<Load>, ProbeFailure> {
        match check.target.protocol() {
            ProbeProtocol::Tcp => self.connector.dial(check).await.map(|_stream| None),
            ProbeProtocol::Http | ProbeProtocol::Https => self.ask_http(check, trace).await,
            ProbeProtocol::Grpc | ProbeProtocol::Grpcs => self.ask_grpc(check, trace).await,
        }
    }

    async fn ask_http(
        &self,
        check: &HealthCheck,
        trace: Option<TraceContext>,
    ) -> Result<Option<Load>, ProbeFailure> {
        let url = check.target.url();
        let path = match url.path_and_query() {
            "" => "/".to_owned(),
            query if query.starts_with('?') => format!("/{query}"),
            path => path.to_owned(),
        };
        let request = Request::get(path).header(HOST, authority(&check.target));
        let request = request.body(Full::default()).map_err(|_| ProbeFailure::Protocol)?;
        let (connection, response) = self.send(check, request, trace).await?;
        let (head, body) = response.into_parts();
        if !check.status.contains(head.status.as_u16()) {
            return Err(ProbeFailure::Status(head.status.as_u16()));
        }
        let body = Limited::new(body, BODY).collect().await;
        match (&check.body, body) {
            (Some(wanted), Ok(body)) => {
                let (body, wanted) = (body.to_bytes(), wanted.as_str().as_bytes());
                if !body.windows(wanted.len()).any(|part| part == wanted) {
                    return Err(ProbeFailure::Body);
                }
                self.keep(&check.target, connection);
            }
            (Some(_), Err(_)) => return Err(ProbeFailure::Body),
            (None, Ok(_)) => self.keep(&check.target, connection),
            // A long body is nobody's fault, but its connection cannot be used again.
            (None, Err(_)) => {}
        }
        Ok(load(&head.headers))
    }

    async fn ask_grpc(
        &self,
        check: &HealthCheck,
        trace: Option<TraceContext>,
    ) -> Result<Option<Load>, ProbeFailure> {
        let url = check.target.url();
        let scheme = if check.target.protocol() == ProbeProtocol::Grpcs { "https" } else { "http" };
        let uri = format!("{scheme}://{}{}", authority(&check.target), grpc::METHOD);
        let request = Request::builder().method(Method::POST).uri(uri);
        let request = request.header(CONTENT_TYPE, "application/grpc").header(TE, "trailers");
        let message = grpc::request(url.path_and_query().trim_matches('/'));
        let request = request.body(Full::new(message)).map_err(|_| ProbeFailure::Protocol)?;
        let (connection, response) = self.send(check, request, trace).await?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, BODY).collect().await.map_err(|_| ProbeFailure::Protocol)?;
        let status = body.trailers().and_then(|trailers| trailers.get("grpc-status"));
        let status = status.or_else(|| head.headers.get("grpc-status"));
        if status.is_none_or(|status| status != "0") {
            return Err(ProbeFailure::Protocol);
        }
        match grpc::is_serving(&body.to_bytes()) {
            Some(true) => {
                self.keep(&check.target, connection);
                Ok(load(&head.headers))
            }
            Some(false) => Err(ProbeFailure::Body),
            None => Err(ProbeFailure::Protocol),
        }
    }

    /// Sends a request, on the connection of an earlier one if there is one.
    async fn send(
        &self,
        check: &HealthCheck,
        mut request: Request<Full<Bytes>>,
        trace: Option<TraceContext>,
    ) -> Result<(InUse, Response<Incoming>), ProbeFailure> {
        let agent = concat!("geostream/", env!("CARGO_PKG_VERSION"), " (health check)");
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(agent));
        if let Some(Ok(trace)) = trace.map(|trace| trace.to_string().parse()) {
            request.headers_mut().insert("traceparent", trace);
        }
        if let Some(mut connection) = self.take(&check.target) {
            match send_on(&mut connection, request.clone()).await {
                Ok(response) => return Ok((InUse { connection, is_first: false }, response)),
                // It may have been closed for idleness at this very moment.
                Err(ProbeFailure::Reset) => {}
                Err(failure) => return Err(failure),
            }
        }
        let mut connection = self.connector.connect(check).await?;
        let response = send_on(&mut connection, request).await?;
        Ok((InUse { connection, is_first: true }, response))
    }

    fn take(&self, target: &ProbeTarget) -> Option<Connection> {
        let idle = self.idle().by_url.remove(target.url().as_str())?;
        idle.may_be_used().then_some(idle.connection)
    }

    fn keep(&self, target: &ProbeTarget, InUse { connection, is_first }: InUse) {
        if !is_first {
            return;
        }
        let mut idle = self.idle();
        if idle.swept.is_none_or(|swept| swept.elapsed() >= LONGEST_IDLE) {
            idle.by_url.retain(|_, idle| idle.may_be_used());
            idle.swept = Some(Instant::now());
        }
        let kept = Idle { connection, since: Instant::now() };
        idle.by_url.insert(target.url().as_str().to_owned(), kept);
    }

    fn idle(&self) -> MutexGuard<'_, IdleConnections> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Idle {
    fn may_be_used(&self) -> bool {
        self.connection.is_open() && self.since.elapsed() < LONGEST_IDLE
    }
}

impl Prober for HttpProber {
    async fn probe(&self, check: &HealthCheck, trace: Option<TraceContext>) -> Probed {
        if !self.pace.permits(check.target.url().host(), check.target.port()) {
            return Probed { outcome: ProbeOutcome::NotAsked, load: None };
        }
        let (began, patience) = (Instant::now(), check.timing.timeout());
        match timeout(patience, self.ask(check, trace)).await {
            Ok(Ok(load)) => Probed { outcome: ProbeOutcome::Well(began.elapsed()), load },
            Ok(Err(failure)) => Probed { outcome: ProbeOutcome::Failed(failure), load: None },
            Err(_) if began.elapsed() > patience + LATE => {
                Probed { outcome: ProbeOutcome::NotAsked, load: None }
            }
            Err(_) => Probed { outcome: ProbeOutcome::Failed(ProbeFailure::Timeout), load: None },
        }
    }
}

fn read(authorities: &Path) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let read = CertificateDer::pem_file_iter(authorities).and_then(Iterator::collect);
    read.map_err(|source| TrustError::File { path: authorities.display().to_string(), source })
}

async fn send_on(
    connection: &mut Connection,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, ProbeFailure> {
    let sent = match connection {
        Connection::Http1(sender) => sender.send_request(request).await,
        Connection::Http2(sender) => sender.send_request(request).await,
    };
    sent.map_err(|error| of_hyper(&error))
}

fn authority(target: &ProbeTarget) -> String {
    let host = target.url().host();
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    match target.url().port() {
        Some(port) => format!("{host}:{port}"),
        None => host,
    }
}

/// Reads the load that a region reports; one that cannot be read is none.
fn load(headers: &HeaderMap) -> Option<Load> {
    let units = headers.get(LOAD)?.to_str().ok()?.trim().parse().ok()?;
    Load::new(units).ok()
}
