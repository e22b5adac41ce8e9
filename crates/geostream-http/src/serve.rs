//! Accepting connections, with limits on everything that a client can make grow or wait.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use geostream_ports::{Clock, GeoLocator, Store};
use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

use crate::api::Api;
use crate::connection::{Activity, OpenRequest, Patience, Wire, bell, until_over};
use crate::problem::Answer;
use crate::tls::TlsIdentity;

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
const MAX_STREAMS: u32 = 256;

/// How long a client may take nothing of an answer; events say something four times as often.
const STALLED: Duration = Duration::from_secs(60);

/// How long to wait before accepting again after accepting has failed, as it does at once when the
/// process has no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

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
    let protocols = Protocols::new();
    let worker = Arc::new(Worker { api, protocols, limits, tls, stop: stop.clone() });
    let connections = Arc::new(Semaphore::new(limits.connections));
    loop {
        let accepted = tokio::select! {
            accepted = async {
                let permit = Arc::clone(&connections).acquire_owned().await;
                (permit, listener.accept().await)
            } => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match accepted {
            (Ok(permit), Ok((stream, peer))) => {
                let worker = Arc::clone(&worker);
                tokio::spawn(async move {
                    worker.accept(stream, peer).await;
                    drop(permit);
                });
            }
            (_, Err(error)) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
            (Err(_closed), _) => break,
        }
    }
    drop(listener);
    let all = u32::try_from(limits.connections).unwrap_or(u32::MAX);
    if timeout(limits.drain_patience, connections.acquire_many(all)).await.is_err() {
        tracing::warn!("requests that were still under way are cut off");
    }
    Ok(())
}

/// How connections are spoken with, in either version of HTTP.
struct Protocols {
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
}

impl Protocols {
    fn new() -> Self {
        let mut http1 = http1::Builder::new();
        // Without `pipeline_flush`: it keeps back the answer to a request whose head is too large.
        http1.header_read_timeout(None).max_buf_size(MAX_HEADER_BYTES as usize).half_close(true);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2.max_concurrent_streams(MAX_STREAMS).max_header_list_size(MAX_HEADER_BYTES);
        Self { http1, http2 }
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
    async fn accept(self: Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection went away");
            return;
        }
        let Some(tls) = &self.tls else {
            if let Some(is_http2) = self.begun(speaks_http2(&stream)).await {
                self.converse(stream, is_http2, peer).await;
            }
            return;
        };
        if let Some(stream) = self.begun(tls.acceptor().accept(stream)).await {
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            self.converse(stream, is_http2, peer).await;
        }
    }

    /// Waits for how a connection begins, as long as that may take and the server does not stop.
    async fn begun<T>(&self, beginning: impl Future<Output = io::Result<T>>) -> Option<T> {
        let mut stop = self.stop.clone();
        let begun = tokio::select! {
            begun = timeout(self.limits.header_patience, beginning) => begun,
            _ = stop.wait_for(|stop| *stop) => return None,
        };
        match begun {
            Ok(Ok(begun)) => return Some(begun),
            Ok(Err(error)) => tracing::debug!(%error, "a connection went away"),
            Err(_) => tracing::debug!("a connection does not begin"),
        }
        None
    }

    async fn converse<T>(self: Arc<Self>, stream: T, is_http2: bool, peer: SocketAddr)
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let activity = Arc::new(Activity::default());
        let stream = TokioIo::new(stream);
        let stop = self.stop.clone();
        let patience = Patience {
            idle: self.limits.header_patience,
            stalled: self.limits.body_patience + STALLED,
        };
        let answer = {
            let (worker, activity) = (Arc::clone(&self), Arc::clone(&activity));
            move |request| Arc::clone(&worker).answer(request, peer, OpenRequest::begin(&activity))
        };
        let ended = if is_http2 {
            let stream = Wire { stream, counted: None };
            // Each stream's future is moved into a task of its own, and before that several times.
            let service = service_fn(move |request| Box::pin(answer(request)));
            let connection = self.protocols.http2.serve_connection(stream, service);
            until_over(connection, activity, patience, stop, Waker::clone).await
        } else {
            let stream = Wire { stream, counted: Some(Arc::clone(&activity)) };
            let connection = self.protocols.http1.serve_connection(stream, service_fn(answer));
            until_over(connection, activity, patience, stop, bell).await
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
        if request.headers().len() > MAX_HEADERS {
            let mut answer = Answer::default();
            *answer.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            return Ok(answer);
        }
        let answer = self.api.answer(&mut request, peer, self.limits.body_patience).await;
        Ok(answer.map(|content| content.keeping(open)))
    }
}

/// Tells by its first bytes whether a client that has not said so by TLS speaks HTTP/2.
///
/// The bytes stay where they are. hyper can tell as well, but waits for them without a limit
/// (hyperium/hyper #3756), and costs each request more for it.
async fn speaks_http2(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0; PREFACE.len()];
    loop {
        let first = match stream.peek(&mut first).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => &first[..length],
        };
        if first == PREFACE {
            return Ok(true);
        }
        if !PREFACE.starts_with(first) {
            return Ok(false);
        }
        // Bytes that have been seen already wake nobody.
        sleep(PEEK_PAUSE).await;
    }
}

/// What every client says first that knows the server to speak HTTP/2 (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const PEEK_PAUSE: Duration = Duration::from_millis(5);

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
