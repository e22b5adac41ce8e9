//! Connections to endpoints, and what goes wrong with them.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use geostream_domain::{PermittedNetworks, ProbeFailure, TlsFailure};
use geostream_ports::KeptConnection;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::hop::Hop;

/// A connection on which a request can be sent.
#[derive(Debug)]
pub(crate) struct Connection {
    sender: Sender,
    /// What moves its bytes: it ends with the connection, or with the sender.
    driver: JoinHandle<()>,
}

#[derive(Debug)]
enum Sender {
    /// HTTP/1.1.
    Http1(http1::SendRequest<Full<Bytes>>),
    /// HTTP/2.
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
    pub(crate) async fn dial(
        &self,
        host: &str,
        port: u16,
        patience: Duration,
    ) -> Result<TcpStream, ProbeFailure> {
        let resolved = lookup_host((host, port)).await;
        let addresses: Vec<SocketAddr> = resolved.map_err(|_| ProbeFailure::Name)?.collect();
        if addresses.is_empty() {
            return Err(ProbeFailure::Name);
        }
        // One look-up and one check of what it brought: a name that is given another address in
        // between gains nothing.
        let permitted = addresses.into_iter().filter(|to| self.networks.permits(to.ip()));
        let stream = dial_any(permitted.take(MOST_ADDRESSES), patience).await?;
        // Probes are small, and waiting to fill a packet would only delay them.
        stream.set_nodelay(true).map_err(|error| of_io(&error))?;
        Ok(stream)
    }

    /// Connects for requests of HTTP: of version 2 where the server chooses it by ALPN.
    pub(crate) async fn connect(
        &self,
        hop: &Hop,
        patience: Duration,
    ) -> Result<Connection, ProbeFailure> {
        let stream = self.dial(&hop.host, hop.port, patience).await?;
        if !hop.is_secure {
            return http1(stream).await;
        }
        let stream = secure(stream, hop, &self.http).await?;
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(HTTP2);
        if is_http2 { http2(stream).await } else { http1(stream).await }
    }

    /// Connects for requests of gRPC, which HTTP/2 carries with and without TLS.
    pub(crate) async fn connect_grpc(
        &self,
        hop: &Hop,
        patience: Duration,
    ) -> Result<Connection, ProbeFailure> {
        let stream = self.dial(&hop.host, hop.port, patience).await?;
        if hop.is_secure {
            http2(secure(stream, hop, &self.grpc).await?).await
        } else {
            http2(stream).await
        }
    }
}

/// What ALPN calls HTTP/2 and HTTP/1.1 (RFC 7301, section 6).
pub(crate) const HTTP2: &[u8] = b"h2";
pub(crate) const HTTP1: &[u8] = b"http/1.1";

impl Connection {
    pub(crate) fn is_http2(&self) -> bool {
        matches!(self.sender, Sender::Http2(_))
    }

    pub(crate) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, ProbeFailure> {
        let sent = match &mut self.sender {
            Sender::Http1(sender) => sender.send_request(request).await,
            Sender::Http2(sender) => sender.send_request(request).await,
        };
        sent.map_err(|error| of_hyper(&error))
    }

    /// Keeps it open until it is dropped, or the other side closes it or sends what is no answer.
    pub(crate) fn keep(self) -> KeptConnection {
        let Self { sender, driver } = self;
        KeptConnection::new(async move {
            driver.await.ok();
            drop(sender);
        })
    }
}

/// The most that is read from a connection on which nothing was asked.
const MOST_UNASKED: usize = 64 << 10;

/// Keeps a connection open on which nothing is sent; what the other side says by itself, such as a
/// greeting, is dropped. One that says too much is closed, which tells nothing.
pub(crate) fn keep(stream: TcpStream) -> KeptConnection {
    KeptConnection::new(async move {
        let mut heard = 0;
        while heard < MOST_UNASKED {
            if stream.readable().await.is_err() {
                return;
            }
            match stream.try_read(&mut [0; 512]) {
                Ok(0) => return,
                Ok(read) => heard += read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
        drop(stream);
        pending::<()>().await;
    })
}

/// The most addresses of a name that are tried.
const MOST_ADDRESSES: usize = 16;

/// How long an address may keep the next one waiting (RFC 8305, section 8).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Connects to whichever address answers first. The next one is tried as soon as one fails, or is
/// silent for a while, which is short enough that all are tried in half of the time.
async fn dial_any(
    addresses: impl Iterator<Item = SocketAddr>,
    patience: Duration,
) -> Result<TcpStream, ProbeFailure> {
    let addresses: Vec<_> = addresses.collect();
    let count = u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    let delay = ATTEMPT_DELAY.min(patience / 2 / count);
    let mut waiting = addresses.into_iter();
    let mut attempts = JoinSet::new();
    let mut failure = ProbeFailure::Forbidden;
    loop {
        if let Some(address) = waiting.next() {
            attempts.spawn(TcpStream::connect(address));
        }
        match timeout(delay, attempts.join_next()).await {
            Ok(Some(Ok(Ok(stream)))) => return Ok(stream),
            Ok(Some(Ok(Err(error)))) => failure = of_io(&error),
            Ok(Some(Err(_panic))) => failure = ProbeFailure::Local,
            Ok(None) => return Err(failure),
            Err(_) => {}
        }
    }
}

async fn secure(
    stream: TcpStream,
    hop: &Hop,
    config: &Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>, ProbeFailure> {
    let name = ServerName::try_from(hop.name.clone()).map_err(|_| ProbeFailure::Name)?;
    let connected = TlsConnector::from(Arc::clone(config)).connect(name, stream).await;
    connected.map_err(|error| {
        let failure = of_io(&error);
        if failure == ProbeFailure::Local {
            // Whatever else goes wrong now is TLS, and not this server.
            ProbeFailure::Tls(TlsFailure::Other)
        } else if failure == ProbeFailure::Tls(TlsFailure::WrongName) && !hop.is_of_check {
            ProbeFailure::Tls(TlsFailure::WrongNameOfRedirect)
        } else {
            failure
        }
    })
}

/// Tells what is wrong by an error of TLS.
fn of_tls(error: &io::Error) -> TlsFailure {
    use rustls::{CertificateError as C, Error as E};
    let error = error.get_ref().and_then(|error| error.downcast_ref::<E>());
    #[expect(clippy::wildcard_enum_match_arm, reason = "TLS has many ways to say no")]
    match error {
        Some(E::InvalidCertificate(certificate)) => match certificate {
            C::Expired | C::ExpiredContext { .. } => TlsFailure::Expired,
            C::NotValidYet | C::NotValidYetContext { .. } => TlsFailure::NotYetValid,
            C::UnknownIssuer => TlsFailure::UnknownAuthority,
            C::NotValidForName | C::NotValidForNameContext { .. } => TlsFailure::WrongName,
            _ => TlsFailure::Certificate,
        },
        Some(E::AlertReceived(AlertDescription::ProtocolVersion) | E::PeerIncompatible(_)) => {
            TlsFailure::Version
        }
        Some(E::AlertReceived(_)) => TlsFailure::Alert,
        Some(E::InvalidMessage(_)) => TlsFailure::NotTls,
        _ => TlsFailure::Other,
    }
}

/// The most header fields and bytes that the head of an answer may have.
const MOST_FIELDS: usize = 256;
const MOST_OF_HEAD: usize = 64 << 10;

async fn http1<T>(stream: T) -> Result<Connection, ProbeFailure>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut builder = http1::Builder::new();
    builder.max_headers(MOST_FIELDS).max_buf_size(MOST_OF_HEAD);
    let handshake = builder.handshake(TokioIo::new(stream)).await;
    let (sender, connection) = handshake.map_err(|error| of_hyper(&error))?;
    // The sender hears of errors as well.
    let driver = tokio::spawn(async move { drop(connection.await) });
    Ok(Connection { sender: Sender::Http1(sender), driver })
}

async fn http2<T>(stream: T) -> Result<Connection, ProbeFailure>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.max_header_list_size(u32::try_from(MOST_OF_HEAD).unwrap_or(u32::MAX));
    let handshake = builder.handshake(TokioIo::new(stream)).await;
    let (sender, connection) = handshake.map_err(|error| of_hyper(&error))?;
    let driver = tokio::spawn(async move { drop(connection.await) });
    Ok(Connection { sender: Sender::Http2(sender), driver })
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
        E::HostUnreachable | E::NetworkUnreachable | E::NetworkDown => ProbeFailure::Unreachable,
        // What rustls says of an alert, which may come after the handshake as well.
        E::InvalidData => ProbeFailure::Tls(of_tls(error)),
        // No file, port or memory is left for it, or the firewall of this machine refuses it.
        _ => ProbeFailure::Local,
    }
}

/// Tells what is wrong by an error of HTTP, or of the network below.
pub(crate) fn of_hyper(error: &hyper::Error) -> ProbeFailure {
    let below = std::error::Error::source(error).and_then(|source| source.downcast_ref());
    match below {
        Some(below) => of_io(below),
        None if error.is_parse_too_large() => ProbeFailure::HeadTooLarge,
        None if error.is_parse() => ProbeFailure::Protocol,
        None if error.is_incomplete_message() || error.is_closed() || error.is_canceled() => {
            ProbeFailure::Reset
        }
        None => ProbeFailure::Protocol,
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    /// Listens, and has no room for another connection: whoever asks for one waits.
    async fn silent() -> (TcpListener, Vec<TcpStream>) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let mut waiting = Vec::new();
        let moment = Duration::from_millis(100);
        while let Ok(stream) =
            timeout(moment, TcpStream::connect(listener.local_addr().unwrap())).await
        {
            waiting.push(stream.unwrap());
        }
        (listener, waiting)
    }

    #[tokio::test]
    async fn an_address_that_is_silent_or_refuses_does_not_keep_the_next_waiting() {
        let (silent, _waiting) = silent().await;
        let refusing = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let well = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let [silent, well] = [&silent, &well].map(|listener| listener.local_addr().unwrap());
        let second = Duration::from_secs(1);
        for before in [vec![silent], vec![refusing], vec![silent; 8], vec![refusing, silent]] {
            let dialled = dial_any(before.into_iter().chain([well]), second);
            let stream = timeout(second, dialled).await.unwrap().unwrap();
            assert_eq!(stream.peer_addr().unwrap(), well);
        }
        let refused = dial_any([refusing, refusing].into_iter(), second).await;
        assert_eq!(refused.err(), Some(ProbeFailure::Refused));
        assert_eq!(dial_any([].into_iter(), second).await.err(), Some(ProbeFailure::Forbidden));
        assert!(timeout(second, dial_any([silent].into_iter(), second)).await.is_err());
    }
}
