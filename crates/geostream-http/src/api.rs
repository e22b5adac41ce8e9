//! From a request to its answer.

use std::cell::RefCell;
use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::HashMap;
use geostream_app::{
    Access, AuditTrail, CacheTally, Caller, Configuration, DataDirectory, DecisionTimer, Denied,
    KnownNodes, LogLevel, RegionHealth, RequestLimits, Router, StoreHealth, Trace, Tracer,
};
use geostream_domain::{NodeId, Timestamp};
use geostream_ports::{Clock, GeoLocator, Store, Unavailable};
use geostream_tls::ServerIdentity;
use http::header::{AUTHORIZATION, CACHE_CONTROL, HeaderValue};
use http::{HeaderMap, Method, Request, StatusCode};
use hyper::body::Incoming;
use metrics::Histogram;
use tokio::runtime::Handle;
use tracing::Instrument as _;

use crate::body;
use crate::client::TrustedProxies;
use crate::connections::Connections;
use crate::cors::{AllowedOrigins, Verdict};
use crate::problem::{Answer, Failure, Kind};
use crate::query::Query;
use crate::route_input::RouteInput;
use crate::routes::{Decide, Found, Operation, ROUTES, Route, RouteFinder, Serves};
use crate::shared::Shared;
use crate::stream;

/// Answers requests by the route table.
///
/// Cloning is cheap; each thread that serves has a copy.
#[derive(Debug)]
pub struct Api<S, G, C> {
    pub(crate) parts: Arc<Parts<S, G, C>>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) router: Router<G>,
    pub(crate) timer: DecisionTimer,
    pub(crate) finder: RouteFinder,
}

impl<S, G, C> Clone for Api<S, G, C> {
    fn clone(&self) -> Self {
        let Self { parts, shared, router, timer, finder } = self;
        let (router, timer, finder) = (router.clone(), timer.clone(), finder.clone());
        Self { parts: Arc::clone(parts), shared: Arc::clone(shared), router, timer, finder }
    }
}

/// Copies everything that the store keeps into a file that has no name any more.
pub type Backup = Box<dyn Fn() -> CopiedStore + Send + Sync>;

/// The copy, once it is made.
pub type CopiedStore = Pin<Box<dyn Future<Output = Result<File, Unavailable>> + Send>>;

/// What an [`Api`] is made of.
pub struct Parts<S, G, C> {
    /// Answers clients.
    pub router: Router<G>,
    /// Changes the configuration.
    pub configuration: Configuration<S, C>,
    /// Copies the store, if it is kept by this server and not by a database.
    pub backup: Option<Backup>,
    /// Says how the store is now.
    pub store: Arc<StoreHealth>,
    /// Says how the files of the data directory are.
    pub directory: Arc<DataDirectory>,
    /// Sees how regions are.
    pub health: Arc<RegionHealth<S, C>>,
    /// Knows the other nodes, if views are shared.
    pub nodes: Option<Arc<KnownNodes>>,
    /// Counts what comes of asking the cache, if there is one.
    pub cache: Option<Arc<CacheTally>>,
    /// Says who a token belongs to.
    pub access: Arc<Access<S, C>>,
    /// Tells who wanted what.
    pub trail: AuditTrail<S>,
    /// Tells the time.
    pub clock: C,
    /// How often clients and holders of tokens may ask.
    pub limits: RequestLimits,
    /// The most connections of clients at once.
    pub max_connections: usize,
    /// Says what is logged.
    pub log_level: Arc<LogLevel<C>>,
    /// Decides which requests are traced.
    pub tracer: Tracer,
    /// The proxies that are believed.
    pub proxies: TrustedProxies,
    /// The web pages that may ask for regions from a browser.
    pub origins: AllowedOrigins,
    /// What the listeners present to clients that use TLS.
    pub certificate: Option<Arc<ServerIdentity>>,
    /// The connections of all listeners.
    pub connections: Arc<Connections>,
    /// Where everything runs that may wait or takes long.
    pub control: Handle,
    /// Shows the metrics as Prometheus reads them.
    pub metrics: Box<dyn Fn() -> String + Send + Sync>,
    /// What the server is called among those that share what they see.
    pub node: NodeId,
    /// The server's version.
    pub version: &'static str,
    /// When the server was started.
    pub started: Timestamp,
    /// Tells whether the server is about to stop.
    pub stopping: Box<dyn Fn() -> bool + Send + Sync>,
}

impl<S, G, C> std::fmt::Debug for Parts<S, G, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("version", &self.version).finish_non_exhaustive()
    }
}

impl<S, G, C> Api<S, G, C>
where
    S: Store,
    G: GeoLocator,
    C: Clock + 'static,
{
    /// Answers with these parts.
    #[must_use]
    pub fn new(parts: Parts<S, G, C>) -> Self {
        let router = parts.router.clone();
        let timer = DecisionTimer::default();
        let finder = RouteFinder::new(Serves::ALL);
        let shared = Arc::new(Shared::new(parts.clock.now()));
        Self { parts: Arc::new(parts), shared, router, timer, finder }
    }

    /// Answers these operations only, as a listener of its own does.
    #[must_use]
    pub fn serving(self, serves: Serves) -> Self {
        Self { finder: RouteFinder::new(serves), ..self }
    }

    /// Answers a request that came from this address.
    pub(crate) async fn answer(
        &self,
        request: &mut Request<Incoming>,
        peer: SocketAddr,
        patience: Duration,
    ) -> Answer {
        match self.watch(request.headers()) {
            None => self.answer_unwatched(request, peer, patience).await,
            // On the heap, it takes no room in the futures of all the others.
            Some(root) => Box::pin(self.answer_watched(root, request, peer, patience)).await,
        }
    }

    pub(crate) async fn answer_unwatched(
        &self,
        request: &mut Request<Incoming>,
        peer: SocketAddr,
        patience: Duration,
    ) -> Answer {
        let started = self.parts.clock.now();
        let method = Label::of(request.method());
        let found = self.finder.find(request.method(), request.uri().path());
        let position = found.position();
        let page = self.parts.origins.judge(request);
        let admitted = if found.is_watch() { Ok(()) } else { self.admit(request, peer, started) };
        let result = match admitted {
            Err(wait) => Err(Failure::too_many("this client's network", wait)),
            Ok(()) => match found {
                Found::Route(position, parameter) => {
                    let parameter = parameter.unwrap_or_default().to_owned();
                    self.perform(&ROUTES[position], parameter, request, peer, patience).await
                }
                Found::Methods(allowed) => {
                    let preflight = page.as_ref().and_then(Verdict::preflight);
                    preflight.ok_or_else(|| Failure::method(&allowed))
                }
                Found::Nothing => {
                    let detail = "there is nothing at this path of this listener; /openapi.yaml \
                                  tells what there is";
                    Err(Failure::new(Kind::NotFound, detail))
                }
            },
        };
        let mut answer = result.unwrap_or_else(Failure::into_answer);
        if matches!(method, Label::Get | Label::Head) {
            // Nobody keeps what other methods bring, unless told how long (RFC 9110, 9.3.3).
            answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        if let Some(page) = page {
            page.tell(&mut answer);
        }
        method.record(position, answer.status(), self.parts.clock.now() - started);
        answer
    }

    /// Counts a request against its client's rate, or says how long that has to wait.
    fn admit(
        &self,
        request: &Request<Incoming>,
        peer: SocketAddr,
        now: Instant,
    ) -> Result<(), Duration> {
        let limit = &self.parts.limits.clients;
        if !limit.is_on() {
            return Ok(());
        }
        let client = self.client_address(request.headers(), peer);
        limit.take(self.parts.proxies.rate_key(client), now)
    }

    async fn perform(
        &self,
        route: &'static Route,
        parameter: String,
        request: &mut Request<Incoming>,
        peer: SocketAddr,
        patience: Duration,
    ) -> Result<Answer, Failure> {
        let decide = match route.operation {
            Operation::Decide(decide) => decide,
            Operation::Watch(watch) => {
                return Box::pin(self.answer_watcher(watch, route, request, peer, patience)).await;
            }
            Operation::Control(control) => {
                let done = self.supervise(route, control, parameter, request, peer, patience);
                // Every request's future has room for this one: on the heap, for a pointer.
                return Box::pin(done).await.map_err(|failure| match route.parameter() {
                    Some(parameter) => failure.at(parameter),
                    None => failure,
                });
            }
        };
        let body = body::collect(request.body_mut(), route.body_limit, patience).await?;
        match decide {
            Decide::ByDocument => {
                Query::of(request.uri()).end()?;
                let asked = RouteInput::by_document(request.headers(), &body)?;
                self.route(asked, request, peer).await
            }
            Decide::ByQuery => {
                let asked = RouteInput::by_query(request.uri())?.into_owned();
                let routed = self.route(asked, request, peer).await;
                routed.map_err(Failure::in_query)
            }
            Decide::Batch => {
                Query::of(request.uri()).end()?;
                Box::pin(stream::large_answer()).await;
                Box::pin(self.route_batch(request, &body, peer)).await
            }
        }
    }

    /// Does something on the control runtime, whose threads may wait; what is logged meanwhile names
    /// the operation and the trace.
    pub(crate) async fn on_control<F>(
        &self,
        operation: &'static str,
        trace: Trace,
        work: impl FnOnce(Self) -> F,
    ) -> Result<Answer, Failure>
    where
        F: Future<Output = Result<Answer, Failure>> + Send + 'static,
    {
        stream::large_answer().await;
        let trace_id = trace.context().trace;
        // It is there whatever is logged.
        let logged = tracing::error_span!("request", operation, %trace_id);
        let work = trace.around(work(self.clone())).instrument(logged);
        // Every request's future has room for this one: on the heap, it takes no more than a pointer.
        match Box::pin(self.parts.control.spawn(work)).await {
            Ok(result) => result,
            Err(error) => {
                tracing::error!(%error, "a request could not be finished");
                Err(Failure::new(Kind::Internal, "the request could not be finished"))
            }
        }
    }

    /// Says whose token a request has, and counts it against the token's rate.
    ///
    /// A token that is not known here may have been made at another node just now: it waits until
    /// the tokens have been read again.
    pub(crate) async fn authenticate(&self, headers: &HeaderMap) -> Result<Caller, Failure> {
        let Some(header) = headers.get(AUTHORIZATION) else {
            let detail = "send a token in the header authorization: Bearer TOKEN";
            return Err(Failure::unauthorized(detail));
        };
        let token = header.to_str().ok().and_then(bearer);
        let access = &self.parts.access;
        let unknown = Err(Denied::Unknown);
        let mut caller = token.map_or(unknown, |token| access.authenticate(token));
        if caller == Err(Denied::Unknown)
            && let Some(token) = token.filter(|token| access.may_be_new(token))
        {
            // On the heap, it takes no room in the futures of requests with a known token.
            caller = Box::pin(access.authenticate_after_load(token)).await;
        }
        if let Ok(caller) = &caller {
            let taken = self.parts.limits.tokens.take(caller.id, self.parts.clock.now());
            taken.map_err(|wait| Failure::too_many("this token", wait))?;
        }
        match caller {
            Ok(caller) => Ok(caller),
            Err(Denied::Expired(end)) => Err(Failure::expired(end)),
            Err(Denied::Unknown) if !access.is_loaded() => Err(Failure::tokens_unread()),
            Err(Denied::Unknown) => Err(Failure::unauthorized("the token is not valid")),
        }
    }

    pub(crate) fn client_address(&self, headers: &HeaderMap, peer: SocketAddr) -> IpAddr {
        self.parts.proxies.client(peer.ip(), headers)
    }

    /// Notes a request that a proxy has forwarded which is not trusted.
    pub(crate) fn note_forwarding(&self, headers: &HeaderMap, peer: SocketAddr) {
        let peer = peer.ip().to_canonical();
        if self.parts.proxies.lacks(peer, headers) {
            self.shared.forwarding.note(peer, self.parts.clock.now());
        }
    }
}

/// Takes the token out of an `Authorization` header (RFC 6750, section 2.1).
fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_start())
}

/// What requests are counted by: the route is named by its position in the table.
type Labels = (Label, Option<usize>, StatusCode);

/// A method as a label: a client could invent any number of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Label {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Other,
}

impl Label {
    fn of(method: &Method) -> Self {
        match *method {
            Method::GET => Self::Get,
            Method::HEAD => Self::Head,
            Method::POST => Self::Post,
            Method::PUT => Self::Put,
            Method::DELETE => Self::Delete,
            _ => Self::Other,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Other => "other",
        }
    }

    /// Records how long a request took, at this position of the route table.
    ///
    /// A histogram is looked up by its labels once per thread and combination, and then kept.
    fn record(self, position: Option<usize>, status: StatusCode, took: Duration) {
        thread_local! {
            static HISTOGRAMS: RefCell<HashMap<Labels, Histogram>> = RefCell::default();
        }
        HISTOGRAMS.with_borrow_mut(|histograms| {
            let histogram = histograms.entry((self, position, status)).or_insert_with(|| {
                metrics::histogram!(
                    "http_request_duration_seconds",
                    "method" => self.as_str(),
                    "endpoint" => position.map_or("unmatched", |place| ROUTES[place].pattern),
                    "status" => status.as_str().to_owned(),
                )
            });
            histogram.record(took.as_secs_f64());
        });
    }
}
