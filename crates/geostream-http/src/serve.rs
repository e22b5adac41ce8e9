//! Accepting connections, with limits on everything that a client can make grow or wait.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use geostream_ports::{Clock, GeoLocator, Store};
use http::header::{CONNECTION, HeaderValue};
use http::{Request, StatusCode, Version};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

use crate::api::Api;
use crate::connection::{Connection, OpenRequest, Patience, bell, until_over};
use crate::connections::{Listener, Place};
use crate::head;
use crate::preface::Beginning;
use crate::problem::{Answer, Failure, Kind};
use crate::stream::{STREAM, Stream, Streams};
use crate::tls::TlsIdentity;
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

/// How long a client may take nothing of an answer; events say something four times as often.
const STALLED: Duration = Duration::from_secs(60);

/// How long to wait before accepting again after accepting has failed, as it does at once when the
/// process has no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long an accepted connection waits for its permit before more room is made.
const ROOM_PAUSE: Duration = Duration::from_millis(100);

/// Opens a listener that shares its address with others, so that each thread has its own.
///
/// # Errors
///
/// If the address cannot be listened on.
pub fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    give_up_on_the_silent(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    Ok(socket.into())
}

/// Has the kernel end connections whose other side acknowledges or takes nothing of what it is sent
/// (RFC 5482): it does so anyway, but only after a quarter of an hour.
///
/// What is accepted inherits it. A client that hangs while its kernel goes on is not found by it.
#[cfg(target_os = "linux")]
fn give_up_on_the_silent(listener: &Socket) -> io::Result<()> {
    listener.set_tcp_user_timeout(Some(STALLED))
}

#[cfg(not(target_os = "linux"))]
fn give_up_on_the_silent(_listener: &Socket) -> io::Result<()> {
    Ok(())
}

/// Serves the connections of one listener on this thread, until it is told to stop and what is
/// under way is done.
///
/// # Errors
///
/// If the listener cannot be used on this thread.
pub async fn serve<S, G, C>(
    listener: std::net::TcpListener,
    api: Api<S, G, C>,
    limits: Limits,
    tls: Option<TlsIdentity>,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()>
where
    S: Store,
    G: GeoLocator,
    C: Clock + 'static,
{
    let listener = TcpListener::from_std(listener)?;
    // Requests of this thread count references to the thread's own copy, which no other thread's
    // cache wants.
    let all = Arc::clone(&api.parts.connections);
    let here = Listener::new(limits.connections);
    let worker =
        Arc::new(Worker { api, protocols: Protocols::new(), limits, tls, stop: stop.clone() });
    let connections = Arc::new(Semaphore::new(limits.connections));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Taken before its permit is awaited, so that a full listener still refuses the surplus of
        // a network and has a reason to close idle connections.
        let Some(place) = all.admit(&here, peer.ip()) else { continue };
        let permit = loop {
            all.make_room(&place, connections.available_permits());
            let permit = tokio::select! {
                permit = timeout(ROOM_PAUSE, Arc::clone(&connections).acquire_owned()) => permit,
                _ = stop.wait_for(|stop| *stop) => break None,
            };
            if let Ok(permit) = permit {
                break permit.ok();
            }
        };
        let Some(permit) = permit else { break };
        let worker = Arc::clone(&worker);
        tokio::spawn(async move {
            worker.accept(stream, peer, place).await;
            drop(permit);
        });
    }
    drop(listener);
    let every = u32::try_from(limits.connections).unwrap_or(u32::MAX);
    if timeout(limits.drain_patience, connections.acquire_many(every)).await.is_err() {
        tracing::warn!("requests that were still under way are cut off");
    }
    Ok(())
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
    tls: Option<TlsIdentity>,
    stop: watch::Receiver<bool>,
}

impl<S, G, C> Worker<S, G, C>
where
    S: Store,
    G: GeoLocator,
    C: Clock + 'static,
{
    async fn accept(self: Arc<Self>, mut stream: TcpStream, peer: SocketAddr, place: Place) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection went away");
            return;
        }
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

    /// Waits for how a connection begins, as long as that may take, its place is not needed for
    /// another one, and the server does not stop.
    async fn begun<T>(
        &self,
        connection: &Connection,
        beginning: impl Future<Output = io::Result<T>>,
    ) -> Option<T> {
        let mut stop = self.stop.clone();
        let begun = tokio::select! {
            begun = timeout(self.limits.header_patience, beginning) => begun,
            _over = connection.verdict.heard() => return None,
            _ = stop.wait_for(|stop| *stop) => return None,
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
        let stop = self.stop.clone();
        let patience = Patience {
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
            until_over(conversation, seen, patience, stop, Waker::clone).await
        } else {
            let wire = Wire::http1(stream, beginning, Arc::clone(connection));
            let stream = Stream::only(connection);
            let service = service_fn(move |request| answer(request, Arc::clone(&stream)));
            let conversation = self.protocols.http1.serve_connection(TokioIo::new(wire), service);
            until_over(conversation, seen, patience, stop, bell).await
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
        let answer = match refuse(&request) {
            Some(refusal) => refusal,
            None => {
                let patience = self.limits.body_patience;
                let answering = self.api.answer(&mut request, peer, patience);
                STREAM.scope(Arc::clone(open.stream()), answering).await
            }
        };
        Ok(answer.map(|content| content.keeping(open)))
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::{Ipv4Addr, TcpStream};

    use socket2::SockRef;

    use super::*;

    #[test]
    fn connections_end_when_nothing_is_acknowledged() {
        let listener = listen((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        listener.set_nonblocking(false).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert_eq!(SockRef::from(&accepted).tcp_user_timeout().unwrap(), Some(STALLED));
    }
}
