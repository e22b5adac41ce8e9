//! Connections to endpoints, and what goes wrong with them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use geostream_domain::{ProbeFailure, ProbeProtocol, ProbeTarget};
use http_body_util::Full;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;

use crate::addresses::PermittedNetworks;

/// A connection on which a request can be sent.
#[derive(Debug)]
pub(crate) enum Connection {
    /// HTTP/1.1.
    Http1(http1::SendRequest<Full<Bytes>>),
    /// HTTP/2, which gRPC needs.
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// How connections are made.
#[derive(Debug)]
pub(crate) struct Connector {
    pub(crate) networks: PermittedNetworks,
    pub(crate) http: Arc<ClientConfig>,
    pub(crate) grpc: Arc<ClientConfig>,
}

impl Connector {
    /// Connects, and nothing more.
    pub(crate) async fn dial(&self, target: &ProbeTarget) -> Result<TcpStream, ProbeFailure> {
        let resolved = lookup_host((target.url().host(), target.port())).await;
        let addresses: Vec<SocketAddr> = resolved.map_err(|_| ProbeFailure::Name)?.collect();
        if addresses.is_empty() {
            return Err(ProbeFailure::Name);
        }
        // One look-up and one check of what it brought: a name that is given another address in
        // between gains nothing.
        let mut failure = ProbeFailure::Forbidden;
        for address in addresses.into_iter().filter(|to| self.networks.permits(to.ip())) {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    // Probes are small, and waiting to fill a packet would only delay them.
                    stream.set_nodelay(true).map_err(|error| of_io(&error))?;
                    return Ok(stream);
                }
                Err(error) => failure = of_io(&error),
            }
        }
        Err(failure)
    }

    /// Connects for requests.
    pub(crate) async fn connect(&self, target: &ProbeTarget) -> Result<Connection, ProbeFailure> {
        let stream = self.dial(target).await?;
        match target.protocol() {
            ProbeProtocol::Http | ProbeProtocol::Tcp => http1(stream).await,
            ProbeProtocol::Https => http1(secure(stream, target, &self.http).await?).await,
            ProbeProtocol::Grpc => http2(stream).await,
            ProbeProtocol::Grpcs => http2(secure(stream, target, &self.grpc).await?).await,
        }
    }
}

impl Connection {
    /// Tells whether the other side has not closed it, as far as is known.
    pub(crate) fn is_open(&self) -> bool {
        match self {
            Self::Http1(sender) => !sender.is_closed(),
            Self::Http2(sender) => !sender.is_closed(),
        }
    }
}

async fn secure(
    stream: TcpStream,
    target: &ProbeTarget,
    config: &Arc<ClientConfig>,
) -> Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static, ProbeFailure> {
    let name = ServerName::try_from(target.url().host().to_owned());
    let name = name.map_err(|_| ProbeFailure::Name)?;
    let connected = TlsConnector::from(Arc::clone(config)).connect(name, stream).await;
    connected.map_err(|error| {
        let below = of_io(&error);
        if below == ProbeFailure::Unreachable { ProbeFailure::Tls } else { below }
    })
}

async fn http1<T>(stream: T) -> Result<Connection, ProbeFailure>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| of_hyper(&error))?;
    // It ends with its sender, and whoever sends hears of its errors.
    tokio::spawn(async move { connection.await.ok() });
    Ok(Connection::Http1(sender))
}

async fn http2<T>(stream: T) -> Result<Connection, ProbeFailure>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (sender, connection) = handshake.map_err(|error| of_hyper(&error))?;
    tokio::spawn(async move { connection.await.ok() });
    Ok(Connection::Http2(sender))
}

/// Tells what is wrong by an error of the network.
pub(crate) fn of_io(error: &io::Error) -> ProbeFailure {
    use io::ErrorKind as E;
    #[expect(clippy::wildcard_enum_match_arm, reason = "the system has many ways to say no")]
    match error.kind() {
        E::ConnectionRefused => ProbeFailure::Refused,
        E::TimedOut => ProbeFailure::Timeout,
        E::ConnectionReset | E::ConnectionAborted | E::BrokenPipe | E::UnexpectedEof => {
            ProbeFailure::Reset
        }
        _ => ProbeFailure::Unreachable,
    }
}

/// Tells what is wrong by an error of HTTP, or of the network below.
pub(crate) fn of_hyper(error: &hyper::Error) -> ProbeFailure {
    let below = std::error::Error::source(error).and_then(|source| source.downcast_ref());
    match below {
        Some(below) => of_io(below),
        None if error.is_parse() => ProbeFailure::Protocol,
        None if error.is_incomplete_message() || error.is_closed() || error.is_canceled() => {
            ProbeFailure::Reset
        }
        None => ProbeFailure::Protocol,
    }
}
