//! Accepting connections, with limits on everything that a client can make grow or wait.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use geostream_ports::{Clock, ConfigStore, GeoLocator, TokenStore};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

use crate::api::Api;
use crate::first_bytes::FirstBytes;
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

const MAX_HEADERS: usize = 64;
const MAX_HEADER_BYTES: u32 = 16 << 10;
const MAX_STREAMS: u32 = 256;
const KEEP_ALIVE: Duration = Duration::from_secs(20);

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
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    Ok(socket.into())
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
    S: ConfigStore + TokenStore,
    G: GeoLocator,
    C: Clock + 'static,
{
    let listener = TcpListener::from_std(listener)?;
    // Requests of this thread count references to the thread's own copy, which no other thread's
    // cache wants.
    let worker = Arc::new(Worker { api, builder: builder(limits), limits, tls });
    let connections = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
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
                let watcher = graceful.watcher();
                let worker = Arc::clone(&worker);
                tokio::spawn(async move {
                    worker.accept(stream, peer, watcher).await;
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
    if timeout(limits.drain_patience, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests that were still under way are cut off");
    }
    Ok(())
}

fn builder(limits: Limits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    // Without `pipeline_flush`: it keeps back the answer to a request whose head is too large.
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_patience)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_BYTES as usize)
        .half_close(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(limits.header_patience)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES);
    builder
}

/// What the connections of one thread share.
struct Worker<S, G, C> {
    api: Api<S, G, C>,
    builder: Builder<TokioExecutor>,
    limits: Limits,
    tls: Option<TlsIdentity>,
}

type Watcher = hyper_util::server::graceful::Watcher;

impl<S, G, C> Worker<S, G, C>
where
    S: ConfigStore + TokenStore,
    G: GeoLocator,
    C: Clock + 'static,
{
    async fn accept(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, watcher: Watcher) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection went away");
            return;
        }
        let patience = self.limits.header_patience;
        let Some(tls) = &self.tls else {
            let stream = FirstBytes::new(stream, patience);
            return self.converse(stream, peer, watcher).await;
        };
        match timeout(patience, tls.acceptor().accept(stream)).await {
            Ok(Ok(stream)) => {
                let stream = FirstBytes::new(stream, patience);
                self.converse(stream, peer, watcher).await;
            }
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        }
    }

    async fn converse<T>(self: Arc<Self>, stream: T, peer: SocketAddr, watcher: Watcher)
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let worker = Arc::clone(&self);
        let service = service_fn(move |request| {
            let worker = Arc::clone(&worker);
            let patience = worker.limits.body_patience;
            async move {
                Ok::<_, std::convert::Infallible>(worker.api.answer(request, peer, patience).await)
            }
        });
        let connection = self.builder.serve_connection(TokioIo::new(stream), service).into_owned();
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!(%error, "a connection ended badly");
        }
    }
}
