//! Probes of real servers, well and broken.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod requests;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use geostream_domain::{
    CheckTiming, HealthCheck, Line, Load, PermittedNetworks, ProbeFailure, ProbeOutcome,
    ProbeTarget, TlsFailure,
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

/// A server that answers with these bytes and then closes each connection, or stays silent on it.
async fn answering_once(answer: Vec<u8>, stays_open: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                stream.read_buf(&mut request).await.unwrap();
            }
            // A prober that has read enough closes the connection.
            drop(stream.write_all(&answer).await);
            if stays_open {
                open.push(stream);
            }
        }
    });
    address
}

async fn outcome_of(answer: Vec<u8>, stays_open: bool, text: Option<&str>) -> Option<ProbeFailure> {
    let address = answering_once(answer, stays_open).await;
    let body = text.map(|text| text.parse::<Line>().unwrap());
    let check = HealthCheck { body, ..check(&format!("http://{address}/")) };
    failure(&prober().probe(&check, None).await)
}

fn answer(head: &str, body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 200 OK\r\n{head}\r\n").as_bytes(), body].concat()
}

#[tokio::test]
async fn a_text_is_looked_for_in_the_first_64_kib_of_a_page_of_any_length() {
    for length in [65_536, 65_537, 200_000] {
        let mut page = vec![b'.'; length];
        page[10..12].copy_from_slice(b"ok");
        let whole = answer(&format!("content-length: {length}\r\n"), &page);
        assert_eq!(outcome_of(whole, false, Some("ok")).await, None, "{length}");
        let mut late = vec![b'.'; length];
        late[length - 2..].copy_from_slice(b"ok");
        let whole = answer(&format!("content-length: {length}\r\n"), &late);
        let expected = (length > 65_536).then_some(ProbeFailure::Body);
        assert_eq!(outcome_of(whole, false, Some("ok")).await, expected, "{length}");
        let mut chunked = format!("{length:x}\r\n").into_bytes();
        chunked.extend_from_slice(&page);
        chunked.extend_from_slice(b"\r\n0\r\n\r\n");
        let chunked = answer("transfer-encoding: chunked\r\n", &chunked);
        assert_eq!(outcome_of(chunked, false, Some("ok")).await, None, "{length}, in chunks");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_a_failure() {
    for (head, body) in [
        ("content-length: 1000\r\n", "ok"),
        ("transfer-encoding: chunked\r\n", "2\r\nok\r\n"),
        ("transfer-encoding: chunked\r\n", "20\r\nok"),
    ] {
        for text in [None, Some("ok")] {
            let broken = answer(head, body.as_bytes());
            let outcome = outcome_of(broken, false, text).await;
            assert_eq!(outcome, Some(ProbeFailure::Incomplete), "{head:?} {text:?}");
        }
    }
    let until_the_end = answer("connection: close\r\n", b"ok");
    assert_eq!(outcome_of(until_the_end.clone(), false, Some("ok")).await, None);
    assert_eq!(outcome_of(until_the_end, false, None).await, None);
}

#[tokio::test]
async fn a_stream_of_events_is_read_until_its_text_is_found() {
    let events = answer("content-type: text/event-stream\r\n", b"data: ok\n\n");
    assert_eq!(outcome_of(events.clone(), true, None).await, None);
    assert_eq!(outcome_of(events, true, Some("ok")).await, None);
}

#[tokio::test]
async fn a_head_has_256_fields_at_most_and_the_limit_is_named() {
    let of = |fields: usize| {
        let head: String = (0..fields).map(|field| format!("x-{field}: 1\r\n")).collect();
        answer(&format!("{head}content-length: 2\r\n"), b"ok")
    };
    assert_eq!(outcome_of(of(150), false, None).await, None);
    let refused = outcome_of(of(300), false, None).await.unwrap();
    assert_eq!(refused, ProbeFailure::HeadTooLarge);
    assert!(refused.to_string().contains("256 fields"), "{refused}");
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
    assert_eq!(
        failure(&prober.probe(&check, None).await),
        Some(ProbeFailure::Tls(TlsFailure::Expired))
    );
    assert_eq!(
        failure(&prober.probe(&check, None).await),
        Some(ProbeFailure::Tls(TlsFailure::Expired))
    );
    std::fs::remove_file(&file).unwrap();
}

/// Makes a key, a certificate for this name, and what a server presents.
fn identity(name: &str, years: [i32; 2]) -> (rcgen::Certificate, Arc<Presented>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    [params.not_before, params.not_after] = years.map(|year| rcgen::date_time_ymd(year, 1, 1));
    let certificate = params.self_signed(&key).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let key = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
    let presented = CertifiedKey::new(vec![certificate.der().clone()], key);
    (certificate, Arc::new(Presented(Mutex::new(Arc::new(presented)))))
}

#[tokio::test]
async fn what_is_wrong_with_tls_is_told() {
    let directory = tempfile::tempdir().unwrap();
    for (name, years, is_trusted, expected) in [
        ("127.0.0.1", [2000, 2999], true, None),
        ("127.0.0.1", [2000, 2001], true, Some(TlsFailure::Expired)),
        ("127.0.0.1", [2998, 2999], true, Some(TlsFailure::NotYetValid)),
        ("api.example.com", [2000, 2999], true, Some(TlsFailure::WrongName)),
        ("127.0.0.1", [2000, 2999], false, Some(TlsFailure::UnknownAuthority)),
    ] {
        let (certificate, presented) = identity(name, years);
        let file = directory.path().join("authority.pem");
        std::fs::write(&file, certificate.pem()).unwrap();
        let address = serve_tls(presented).await;
        let loopback = [("127.0.0.0".parse().unwrap(), 8)];
        let trusted = is_trusted.then_some(file.as_path());
        let prober = HttpProber::new(PermittedNetworks::new(loopback), trusted).unwrap();
        let probed = prober.probe(&check(&format!("https://{address}/")), None).await;
        assert_eq!(failure(&probed), expected.map(ProbeFailure::Tls), "{name} {years:?}");
    }
    let address = answering_hello(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let check = check(&format!("https://{address}/"));
    let probed = prober().probe(&check, None).await;
    assert_eq!(failure(&probed), Some(ProbeFailure::Tls(TlsFailure::NotTls)));
}

/// A server that answers whatever comes first.
async fn answering_hello(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.read_buf(&mut Vec::new()).await.unwrap();
            drop(stream.write_all(answer).await);
        }
    });
    address
}

#[tokio::test]
async fn an_answer_that_ends_without_close_notify_is_whole_unless_its_length_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, presented) = identity("127.0.0.1", [2000, 2999]);
    let file = directory.path().join("authority.pem");
    std::fs::write(&file, certificate.pem()).unwrap();
    for (head, expected) in [
        ("connection: close\r\n", None),
        ("connection: close\r\ncontent-length: 1000\r\n", Some(ProbeFailure::Incomplete)),
    ] {
        let presented = Arc::clone(&presented);
        let answer: &'static str = String::leak(format!("HTTP/1.1 200 OK\r\n{head}\r\nstatus-ok"));
        let address = serve(presented, answer, false).await;
        for text in [None, Some("status-ok")] {
            let body = text.map(|text| text.parse::<Line>().unwrap());
            let check = HealthCheck { body, ..check(&format!("https://{address}/")) };
            let loopback = [("127.0.0.0".parse().unwrap(), 8)];
            let prober = HttpProber::new(PermittedNetworks::new(loopback), Some(&file)).unwrap();
            assert_eq!(failure(&prober.probe(&check, None).await), expected, "{head:?} {text:?}");
        }
    }
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
    serve(presented, WELL, true).await
}

/// A server of TLS that answers with this, and then goes on, or ends the connection below TLS.
async fn serve(presented: Arc<Presented>, answer: &'static str, goes_on: bool) -> SocketAddr {
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
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            if goes_on {
                tokio::spawn(converse(stream, answer));
            } else {
                stream.read_buf(&mut Vec::new()).await.unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
                stream.flush().await.unwrap();
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
