//! Probes of real servers, well and broken.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use geostream_domain::{
    CheckTiming, HealthCheck, Line, Load, PermittedNetworks, ProbeFailure, ProbeOutcome,
    ProbeTarget,
};
use geostream_http_probe::HttpProber;
use geostream_ports::{Probed, Prober as _};
use http::Response;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

/// A server that answers every request on every connection with these bytes.
struct Region {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Region {
    async fn answering(answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(converse(stream, answer));
            }
        });
        Self { address, connections }
    }

    /// Listens, and says nothing ever.
    async fn silent() -> Self {
        Self::answering("").await
    }

    fn check(&self, scheme: &str) -> HealthCheck {
        check(&format!("{scheme}://{}/healthz", self.address))
    }
}

async fn converse<T: AsyncRead + AsyncWrite + Unpin>(mut stream: T, answer: &'static str) {
    let mut request = Vec::new();
    while let Ok(1..) = stream.read_buf(&mut request).await {
        if request.ends_with(b"\r\n\r\n") {
            request.clear();
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

fn check(url: &str) -> HealthCheck {
    HealthCheck::of(ProbeTarget::new(url.parse().unwrap()).unwrap())
}

fn prober() -> HttpProber {
    let loopback = [("127.0.0.0".parse().unwrap(), 8), ("::1".parse().unwrap(), 128)];
    HttpProber::new(PermittedNetworks::new(loopback), None).unwrap()
}

fn failure(probed: &Probed) -> Option<ProbeFailure> {
    match probed.outcome {
        ProbeOutcome::Well(_) => None,
        ProbeOutcome::NotAsked => panic!("it is not asked too often"),
        ProbeOutcome::Failed(failure) => Some(failure),
    }
}

const WELL: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ngeostream-load: 41.5\r\n\r\nok";

#[tokio::test]
async fn each_probe_makes_a_connection_and_a_region_may_report_its_load() {
    let region = Region::answering(WELL).await;
    let prober = prober();
    for _ in 0..5 {
        let probed = prober.probe(&region.check("http"), None).await;
        assert_eq!(probed.load, Some(Load::new(41.5).unwrap()));
        assert_eq!(failure(&probed), None);
    }
    assert_eq!(region.connections.load(Ordering::SeqCst), 5);
    assert_eq!(failure(&prober.probe(&region.check("tcp"), None).await), None);
}

/// Makes a server end its next connection in some way after it has answered, and returns whether
/// the end is told.
async fn is_told(scheme: &str, answer: &'static str, end: End) -> bool {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let check = check(&format!("{scheme}://{}/", listener.local_addr().unwrap()));
    let (ended, may_end) = oneshot::channel();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        if !answer.is_empty() {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                stream.read_buf(&mut request).await.unwrap();
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        may_end.await.unwrap();
        match end {
            End::Fin => drop(stream),
            End::Reset => {
                stream.set_zero_linger().unwrap();
                drop(stream);
            }
            End::Unasked => {
                stream.write_all(b"HTTP/1.1 408 Idle\r\n\r\n").await.unwrap();
                return Some(stream);
            }
        }
        None
    });
    let probed = prober().probe(&check, None).await;
    assert!(matches!(probed.outcome, ProbeOutcome::Well(_)), "{probed:?}");
    let Some(connection) = probed.connection else { return false };
    let connection = tokio::spawn(connection);
    tokio::task::yield_now().await;
    assert!(!connection.is_finished(), "it is open until the server ends it");
    ended.send(()).unwrap();
    let _open = server.await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), connection).await.is_ok()
}

/// How a server ends a connection.
#[derive(Clone, Copy, Debug)]
enum End {
    Fin,
    Reset,
    /// It answers what was not asked.
    Unasked,
}

#[tokio::test]
async fn the_end_of_a_kept_connection_is_told_whatever_it_is() {
    for end in [End::Fin, End::Reset, End::Unasked] {
        assert!(is_told("http", WELL, end).await, "{end:?}");
    }
    for end in [End::Fin, End::Reset] {
        assert!(is_told("tcp", "", end).await, "{end:?}");
    }
}

#[tokio::test]
async fn a_goaway_ends_a_kept_grpc_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let check = check(&format!("grpc://{}/", listener.local_addr().unwrap()));
    let (leave, leaving) = oneshot::channel::<()>();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let serving = service_fn(|_| async {
            let message = Bytes::from_static(b"\0\0\0\0\x02\x08\x01");
            Response::builder().header("grpc-status", "0").body(Full::new(message))
        });
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let mut connection = pin!(server.serve_connection(TokioIo::new(stream), serving));
        tokio::select! {
            _ = &mut connection => panic!("the prober keeps it"),
            _ = leaving => {}
        }
        connection.as_mut().graceful_shutdown();
        connection.await.ok();
    });
    let probed = prober().probe(&check, None).await;
    assert!(matches!(probed.outcome, ProbeOutcome::Well(_)), "{probed:?}");
    let connection = tokio::spawn(probed.connection.expect("it is kept"));
    tokio::task::yield_now().await;
    assert!(!connection.is_finished(), "it is open until the server leaves");
    leave.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(10), connection).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_connection_that_ends_with_its_answer_is_not_kept() {
    for answer in [
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nConnection: upgrade, Close\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
    ] {
        let region = Region::answering(answer).await;
        let probed = prober().probe(&region.check("http"), None).await;
        assert!(matches!(probed.outcome, ProbeOutcome::Well(_)), "{probed:?}");
        assert!(probed.connection.is_none(), "{answer}");
    }
    let region =
        Region::answering("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 0\r\n\r\n");
    let probed = prober().probe(&region.await.check("http"), None).await;
    assert!(probed.connection.is_some(), "{probed:?}");
}

#[tokio::test]
async fn a_dropped_connection_is_closed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for scheme in ["http", "tcp"] {
        let check = check(&format!("{scheme}://{}/", listener.local_addr().unwrap()));
        let probing = tokio::spawn(async move { prober().probe(&check, None).await });
        let (mut stream, _) = listener.accept().await.unwrap();
        if scheme == "http" {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                stream.read_buf(&mut request).await.unwrap();
            }
            stream.write_all(WELL.as_bytes()).await.unwrap();
        }
        let probed = probing.await.unwrap();
        drop(probed.connection.expect("it is kept"));
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "{scheme}");
    }
}

#[tokio::test]
async fn what_is_wrong_is_told() {
    let broken = Region::answering("HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n").await;
    let moved =
        Region::answering("HTTP/1.1 302 There\r\nlocation: /\r\ncontent-length: 0\r\n\r\n").await;
    let nonsense = Region::answering("220 mail.example.com ESMTP\r\n").await;
    let prober = prober();
    for (region, expected) in [
        (&broken, ProbeFailure::Status(500)),
        (&moved, ProbeFailure::Status(302)),
        (&nonsense, ProbeFailure::Protocol),
    ] {
        assert_eq!(failure(&prober.probe(&region.check("http"), None).await), Some(expected));
    }
    let gone = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}/", listener.local_addr().unwrap())
    };
    assert_eq!(failure(&prober.probe(&check(&gone), None).await), Some(ProbeFailure::Refused));
    // Name servers may be asked twice.
    let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
    let timing = CheckTiming::new(second, minute, 5, 3, second).unwrap();
    let nowhere = HealthCheck { timing, ..check("http://no-such-host.invalid/") };
    assert_eq!(failure(&prober.probe(&nowhere, None).await), Some(ProbeFailure::Name));
}

#[tokio::test]
async fn a_body_is_looked_into() {
    let region = Region::answering(WELL).await;
    let prober = prober();
    let holding = |text: &str| HealthCheck {
        body: Some(text.parse::<Line>().unwrap()),
        ..region.check("http")
    };
    assert_eq!(failure(&prober.probe(&holding("ok"), None).await), None);
    assert_eq!(
        failure(&prober.probe(&holding("maintenance"), None).await),
        Some(ProbeFailure::Body)
    );
}

#[tokio::test]
async fn silence_ends_with_the_timeout() {
    let region = Region::silent().await;
    let second = Duration::from_secs(1);
    let timing = CheckTiming::new(second, second / 10, 5, 3, second).unwrap();
    let check = HealthCheck { timing, ..region.check("http") };
    let prober = prober();
    let probed = loop {
        let probed = prober.probe(&check, None).await;
        // It was itself too busy.
        if probed.outcome != ProbeOutcome::NotAsked {
            break probed;
        }
    };
    assert_eq!(failure(&probed), Some(ProbeFailure::Timeout));
}

#[tokio::test]
async fn who_is_too_busy_to_listen_learns_nothing() {
    let region = Region::silent().await;
    let second = Duration::from_secs(1);
    let timing = CheckTiming::new(second, second / 10, 5, 3, second).unwrap();
    let check = HealthCheck { timing, ..region.check("http") };
    let probing = tokio::spawn(async move { prober().probe(&check, None).await.outcome });
    tokio::task::yield_now().await;
    let busy = tokio::time::Instant::now();
    while busy.elapsed() < second / 2 {
        std::hint::spin_loop();
    }
    assert_eq!(probing.await.unwrap(), ProbeOutcome::NotAsked);
}

#[tokio::test]
async fn addresses_of_ones_own_network_are_left_alone() {
    let region = Region::answering(WELL).await;
    let careful = HttpProber::new(PermittedNetworks::default(), None).unwrap();
    let port = region.address.port();
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "[::1]", "0.0.0.0"] {
        let probed = careful.probe(&check(&format!("http://{host}:{port}/")), None).await;
        assert_eq!(failure(&probed), Some(ProbeFailure::Forbidden), "{host}");
    }
    assert_eq!(region.connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_certificate_that_runs_out_is_noticed_by_the_next_probe() {
    let key = rcgen::KeyPair::generate().unwrap();
    let [valid, expired] = [2999, 2001].map(|year| certificate(&key, year));
    let file = std::env::temp_dir().join(format!("geostream-probe-{}.pem", std::process::id()));
    std::fs::write(&file, valid.pem()).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let key = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
    let certified = |certificate: rcgen::Certificate| {
        Arc::new(CertifiedKey::new(vec![certificate.der().clone()], Arc::clone(&key)))
    };
    let presented = Arc::new(Presented(Mutex::new(certified(valid))));
    let address = serve_tls(Arc::clone(&presented)).await;

    let loopback = [("127.0.0.0".parse().unwrap(), 8)];
    let prober = HttpProber::new(PermittedNetworks::new(loopback), Some(&file)).unwrap();
    let check = check(&format!("https://{address}/"));
    for _ in 0..3 {
        assert_eq!(failure(&prober.probe(&check, None).await), None);
    }
    *presented.0.lock().unwrap() = certified(expired);
    assert_eq!(failure(&prober.probe(&check, None).await), Some(ProbeFailure::Tls));
    assert_eq!(failure(&prober.probe(&check, None).await), Some(ProbeFailure::Tls));
    std::fs::remove_file(&file).unwrap();
}

/// Makes a certificate for the loopback address that runs out with the beginning of this year.
fn certificate(key: &rcgen::KeyPair, year: i32) -> rcgen::Certificate {
    let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2000, 1, 1);
    params.not_after = rcgen::date_time_ymd(year, 1, 1);
    params.self_signed(key).unwrap()
}

/// The certificate that a server presents; its sessions can be resumed under another one.
#[derive(Debug)]
struct Presented(Mutex<Arc<CertifiedKey>>);

impl ResolvesServerCert for Presented {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.lock().unwrap()))
    }
}

async fn serve_tls(presented: Arc<Presented>) -> SocketAddr {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(presented);
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(stream) = acceptor.accept(stream).await {
                tokio::spawn(converse(stream, WELL));
            }
        }
    });
    address
}

#[tokio::test]
async fn many_regions_behind_one_endpoint_do_not_ask_it_more_than_ten_times_a_second() {
    let region = Region::answering(WELL).await;
    let prober = prober();
    let mut asked = 0;
    let began = tokio::time::Instant::now();
    for _ in 0..50 {
        let probed = prober.probe(&region.check("http"), None).await;
        asked += u32::from(probed.outcome != ProbeOutcome::NotAsked);
    }
    // The burst, and what has come back while they were asked.
    let most = 11.0 + began.elapsed().as_secs_f64() * 10.0;
    assert!(asked >= 10 && f64::from(asked) <= most, "{asked} in {:?}", began.elapsed());
}
