//! Accepting connections, with limits on everything that a client can make grow or wait.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use std::time::Duration;

use geostream_ports::{Clock, GeoLocator, Store};
use http::header::{CONNECTION, HeaderValue};
use http::{Request, StatusCode, Version};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::api::Api;
use crate::connection::{Connection, Listener, OpenRequest, Stream};
use crate::connections::Place;
use crate::head;
use crate::lifetime::{LAST_REQUEST, Timeouts, until_over};
use crate::preface::Beginning;
use crate::problem::{Answer, Failure, Kind};
use crate::proxy_protocol;
use crate::socket::{STALLED, close};
use crate::stage::Stage;
use crate::stream::{STREAM, Streams};
use crate::tls::Tls;
use crate::verdict::Over;
use crate::waker::filtered;
use crate::wire::Wire;

/// What a client may make grow, and how long it may make the server wait.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most connections on one listener; more wait to be accepted.
    pub connections: usize,
    /// How long a connection may take for its TLS handshake, its first bytes, and the headers of
    /// each request; an idle one is closed after as long.
    pub header_patience: Duration,
    /// How long a request's body may take.
    pub body_patience: Duration,
    /// How long requests that are under way may take when the server stops.
    pub drain_patience: Duration,
    /// Whether trusted proxies begin each connection with a header of the PROXY protocol.
    pub proxy_protocol: bool,
}

const MAX_HEADER_BYTES: u32 = 16 << 10;
/// What hyper takes of HTTP/1, where its own limit costs least; of HTTP/2 it limits the bytes only.
const MAX_HEADERS: usize = 100;
/// The fewest that are to be permitted are 100 (RFC 9113, section 6.5.2).
const MAX_STREAMS: u32 = 128;

/// How many streams of a connection are reset or refused for errors of its client. A client that
/// does not know the most yet may begin more.
const MAX_RESETS: usize = 256;

/// What a client may send before it is read, on a connection and of a request.
const CONNECTION_WINDOW: u32 = 256 << 10;
const STREAM_WINDOW: u32 = 128 << 10;

/// How much of an answer h2 takes before it is sent.
const SEND_BUFFER: usize = 16 << 10;

/// How long to wait before accepting again after accepting has failed, as it does at once when the
/// process has no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long an accepted connection waits for its permit before more room is made.
const ROOM_PAUSE: Duration = Duration::from_millis(100);

/// Serves the connections of one listener on this thread, until the server drains and what is under
/// way is done.
///
/// # Errors
///
/// If the listener cannot be used on this thread.
pub async fn serve<S, G, C>(
    listener: std::net::TcpListener,
    api: Api<S, G, C>,
    limits: Limits,
    tls: Option<Tls>,
    mut stage: watch::Receiver<Stage>,
) -> io::Result<()>
where
    S: Store,
    G: GeoLocator,
    C: Clock + 'static,
{
    let listener = TcpListener::from_std(listener)?;
    let reception = Reception {
        here: Listener::new(limits.connections),
        permits: Arc::new(Semaphore::new(limits.connections)),
        // Requests of this thread count references to the thread's own copy, which no other
        // thread's cache wants.
        worker: Arc::new(Worker {
            api,
            protocols: Protocols::new(),
            limits,
            tls,
            stage: stage.clone(),
            is_leaving: AtomicBool::new(false),
        }),
    };
    let _leaves = AbortOnDropHandle::new(tokio::spawn(Arc::clone(&reception.worker).leave()));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stage.wait_for(|stage| *stage >= Stage::Draining) => break,
        };
        match accepted {
            Ok((stream, peer)) => reception.take(stream, peer).await,
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    let waiting = close(listener)?;
    let taken = async {
        for (stream, peer) in waiting {
            reception.take(stream, peer).await;
        }
    };
    if timeout(LAST_REQUEST, taken).await.is_err() {
        tracing::warn!("no room was left for connections that waited to be accepted");
    }
    let every = u32::try_from(limits.connections).unwrap_or(u32::MAX);
    if timeout(limits.drain_patience, reception.permits.acquire_many(every)).await.is_err() {
        tracing::warn!("requests that were still under way are cut off");
    }
    Ok(())
}

/// Gives the accepted connections of one listener their places, and has them served.
struct Reception<S, G, C> {
    here: Arc<Listener>,
    permits: Arc<Semaphore>,
    worker: Arc<Worker<S, G, C>>,
}

impl<S, G, C> Reception<S, G, C>
where
    S: Store,
    G: GeoLocator,
    C: Clock + 'static,
{
    /// Takes a connection in, as soon as there is room for it.
    async fn take(&self, stream: TcpStream, peer: SocketAddr) {
        // Taken before its permit is awaited, so that a full listener still refuses the surplus of
        // a network and has a reason to close idle connections.
        let connections = &self.worker.api.parts.connections;
        let Some(place) = connections.admit(&self.here, peer.ip()) else { return };
        let permit = tokio::select! {
            permit = self.permit(&place) => permit,
            () = self.worker.last_call() => None,
        };
        let Some(permit) = permit else { return };
        let worker = Arc::clone(&self.worker);
        tokio::spawn(async move {
            worker.accept(stream, peer, place).await;
            drop(permit);
        });
    }

    async fn permit(&self, place: &Place) -> Option<OwnedSemaphorePermit> {
        loop {
            let connections = &self.worker.api.parts.connections;
            connections.make_room(place, self.permits.available_permits());
            let permit = timeout(ROOM_PAUSE, Arc::clone(&self.permits).acquire_owned());
            if let Ok(permit) = permit.await {
                return permit.ok();
            }
        }
    }
}

/// How connections are spoken with, in either version of HTTP.
struct Protocols {
    http1: http1::Builder,
}

impl Protocols {
    fn new() -> Self {
        let mut http1 = http1::Builder::new();
        // Without `pipeline_flush`: it keeps back the answer to a request whose head is too large.
        http1.header_read_timeout(None).max_buf_size(MAX_HEADER_BYTES as usize).half_close(true);
        Self { http1 }
    }

    /// Returns how a connection is spoken with whose streams these are.
    fn http2(streams: Streams) -> http2::Builder<Streams> {
        let mut http2 = http2::Builder::new(streams);
        http2
            .max_concurrent_streams(MAX_STREAMS)
            .max_local_error_reset_streams(MAX_RESETS)
            .max_header_list_size(MAX_HEADER_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .initial_stream_window_size(STREAM_WINDOW)
            .max_send_buf_size(SEND_BUFFER);
        http2
    }
}

/// What the connections of one thread share.
struct Worker<S, G, C> {
    api: Api<S, G, C>,
    protocols: Protocols,
    limits: Limits,
    tls: Option<Tls>,
    stage: watch::Receiver<Stage>,
    /// Whether each answer ends its connection. Requests look at this flag, because looking at
    /// `stage` takes a lock that all threads share.
    is_leaving: AtomicBool,
}

impl<S, G, C> Worker<S, G, C>
where
    S: Store,
    G: GeoLocator,
    C: Clock + 'static,
{
    /// Waits until the server is about to stop, and has answers end their connections from then on.
    async fn leave(self: Arc<Self>) {
        let mut stage = self.stage.clone();
        if stage.wait_for(|stage| *stage >= Stage::Leaving).await.is_ok() {
            self.is_leaving.store(true, Ordering::Relaxed);
        }
    }

    /// Waits until the server has drained for as long as the first bytes of a connection may take
    /// that was accepted at the last moment.
    async fn last_call(&self) {
        let mut stage = self.stage.clone();
        // An error means that nothing is left that could change the stage: the server stops.
        stage.wait_for(|stage| *stage >= Stage::Draining).await.ok();
        sleep(LAST_REQUEST).await;
    }

    async fn accept(self: Arc<Self>, mut stream: TcpStream, peer: SocketAddr, place: Place) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection went away");
            return;
        }
        let Some((peer, place)) = self.introduced(&mut stream, peer, place).await else { return };
        let connection = &place.connection;
        let Some(tls) = &self.tls else {
            let beginning = Beginning::read(&mut stream);
            if let Some((beginning, is_http2)) = self.begun(connection, beginning).await {
                self.converse(stream, beginning, is_http2, peer, connection).await;
            }
            return;
        };
        if let Some(stream) = self.begun(connection, tls.acceptor().accept(stream)).await {
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            self.converse(stream, Beginning::default(), is_http2, peer, connection).await;
        }
    }

    /// Waits until a trusted proxy has said by the PROXY protocol whose connection this is, where it
    /// has to.
    async fn introduced(
        &self,
        stream: &mut TcpStream,
        peer: SocketAddr,
        place: Place,
    ) -> Option<(SocketAddr, Place)> {
        let is_proxy = self.api.parts.proxies.trusts(peer.ip().to_canonical());
        if !self.limits.proxy_protocol || !is_proxy {
            return Some((peer, place));
        }
        let client = self.begun(&place.connection, proxy_protocol::read(stream)).await?;
        match client {
            Some(client) => Some((client, place.pass_to(client.ip())?)),
            None => Some((peer, place)),
        }
    }

    /// Waits for how a connection begins, as long as that may take, its place is not needed for
    /// another one, and the server has not drained for long.
    async fn begun<T>(
        &self,
        connection: &Connection,
        beginning: impl Future<Output = io::Result<T>>,
    ) -> Option<T> {
        let begun = tokio::select! {
            begun = timeout(self.limits.header_patience, beginning) => begun,
            _over = connection.verdict.heard() => return None,
            () = self.last_call() => return None,
        };
        match begun {
            Ok(Ok(begun)) => return Some(begun),
            Ok(Err(error)) => tracing::debug!(%error, "a connection went away"),
            Err(_) => tracing::debug!("a connection does not begin"),
        }
        None
    }

    async fn converse<T>(
        self: &Arc<Self>,
        stream: T,
        beginning: Beginning,
        is_http2: bool,
        peer: SocketAddr,
        connection: &Arc<Connection>,
    ) where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let stage = self.stage.clone();
        let patience = Timeouts {
            idle: self.limits.header_patience,
            stalled: self.limits.body_patience + STALLED,
        };
        let seen = Arc::clone(connection);
        let worker = Arc::clone(self);
        let answer = move |request, stream| {
            Arc::clone(&worker).answer(request, peer, OpenRequest::begin(stream))
        };
        let ended = if is_http2 {
            let wire = Wire::http2(stream, beginning, Arc::clone(connection));
            let streams = Streams::default();
            let http2 = Protocols::http2(streams.clone());
            let connection = Arc::clone(connection);
            // Each stream's future is moved into a task of its own, and before that several times.
            let service = service_fn(move |request| {
                let stream = Stream::multiplexed(&connection);
                streams.begin(Arc::clone(&stream));
                Box::pin(answer(request, stream))
            });
            let conversation = http2.serve_connection(TokioIo::new(wire), service);
            until_over(conversation, seen, patience, stage, Waker::clone).await
        } else {
            let wire = Wire::http1(stream, beginning, Arc::clone(connection));
            let stream = Stream::only(connection);
            let service = service_fn(move |request| answer(request, Arc::clone(&stream)));
            let conversation = self.protocols.http1.serve_connection(TokioIo::new(wire), service);
            until_over(conversation, seen, patience, stage, filtered).await
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended badly");
        }
    }

    async fn answer(
        self: Arc<Self>,
        mut request: Request<Incoming>,
        peer: SocketAddr,
        open: OpenRequest,
    ) -> Result<Answer, Infallible> {
        let mut answer = match refuse(&request) {
            Some(refusal) => refusal,
            None => {
                let patience = self.limits.body_patience;
                let answering = self.api.answer(&mut request, peer, patience);
                STREAM.scope(Arc::clone(open.stream()), answering).await
            }
        };
        if self.is_leaving.load(Ordering::Relaxed) {
            end_with(&mut answer, request.version(), &open.stream().connection);
        }
        Ok(answer.map(|content| content.keeping(open)))
    }
}

/// Has a connection end with this answer, without losing a request that is sent meanwhile.
fn end_with(answer: &mut Answer, version: Version, connection: &Connection) {
    if version == Version::HTTP_2 {
        // GOAWAY first permits every stream, and names the last one only when the client has
        // acknowledged a PING behind it (RFC 9113, section 6.8): what it has sent until then is
        // answered.
        connection.verdict.tell(Over::Leaving);
    } else {
        // The client knows before it can send the next request.
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

/// Refuses a request by its head alone.
fn refuse(request: &Request<Incoming>) -> Option<Answer> {
    if request.headers().len() > MAX_HEADERS {
        let mut answer = Answer::default();
        *answer.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Some(answer);
    }
    let bad = head::check(request.version(), request.uri(), request.headers()).err()?;
    let failure = Failure::naming(Kind::InvalidRequest, bad.header, bad.detail);
    let mut answer = failure.into_answer();
    if request.version() != Version::HTTP_2 {
        // Where the next request begins is in doubt.
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Some(answer)
}
