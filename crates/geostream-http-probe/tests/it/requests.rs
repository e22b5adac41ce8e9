//! What a probe asks: its host, its header fields, its method, and where redirects lead.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use geostream_domain::{
    HealthCheck, PermittedNetworks, ProbeFailure, ProbeHeaders, ProbeMethod, ProbeRequest,
    StatusCodes, StatusRange, TlsFailure,
};
use geostream_http_probe::HttpProber;
use geostream_ports::Prober as _;
use http::header::{HOST, LOCATION};
use http::request::Parts;
use http::{Request, Response, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::{Presented, answering_hello, check, failure, identity, prober};

/// A server of HTTP that notes what it is asked.
struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Parts>>>,
}

/// What a server answers to a path: a status, where to go, and a body.
type Answers = Arc<dyn Fn(&str) -> (u16, Option<String>, &'static str) + Send + Sync>;

impl Server {
    async fn plain(answers: Answers) -> Self {
        Self::with(None, answers).await
    }

    /// Speaks TLS with this certificate, and these protocols by ALPN.
    async fn secure(presented: Arc<Presented>, alpn: &[&[u8]], answers: Answers) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(presented);
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Self::with(Some(TlsAcceptor::from(Arc::new(config))), answers).await
    }

    async fn with(acceptor: Option<TlsAcceptor>, answers: Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let noted = Arc::clone(&noted);
                let answers = Arc::clone(&answers);
                match &acceptor {
                    None => drop(tokio::spawn(converse(stream, false, answers, noted))),
                    Some(acceptor) => {
                        let Ok(stream) = acceptor.accept(stream).await else { continue };
                        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                        drop(tokio::spawn(converse(stream, is_http2, answers, noted)));
                    }
                }
            }
        });
        Self { address, asked }
    }

    /// Returns what was asked since this was last looked at.
    fn asked(&self) -> Vec<Parts> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

async fn converse<T: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: T,
    is_http2: bool,
    answers: Answers,
    noted: Arc<Mutex<Vec<Parts>>>,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let (head, _body) = request.into_parts();
        let (status, location, body) = answers(head.uri.path());
        noted.lock().unwrap().push(head);
        let mut response = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
        *response.status_mut() = status.try_into().unwrap();
        if let Some(location) = location {
            response.headers_mut().insert(LOCATION, location.parse().unwrap());
        }
        async { Ok::<_, Infallible>(response) }
    });
    let stream = TokioIo::new(stream);
    // The prober ends the connection when it has seen enough.
    if is_http2 {
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        builder.serve_connection(stream, service).await.ok();
    } else {
        let builder = hyper::server::conn::http1::Builder::new();
        builder.serve_connection(stream, service).await.ok();
    }
}

fn ok() -> Answers {
    Arc::new(|_path| (200, None, "ok"))
}

fn headers(fields: &[(&str, &str)]) -> ProbeHeaders {
    let fields = fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
    ProbeHeaders::new(fields.collect::<BTreeMap<_, _>>()).unwrap()
}

/// Trusts the authority in a file.
fn trusting(file: &Path) -> HttpProber {
    let loopback = [("127.0.0.0".parse().unwrap(), 8)];
    HttpProber::new(PermittedNetworks::new(loopback), Some(file)).unwrap()
}

#[tokio::test]
async fn a_region_is_probed_at_its_own_address_by_the_name_that_all_regions_share() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("authority.pem");
    let (certificate, presented) = identity("api.example.com", [2000, 2999]);
    std::fs::write(&file, certificate.pem()).unwrap();
    let prober = trusting(&file);
    for (alpn, version) in [
        (&[][..], Version::HTTP_11),
        (&[&b"http/1.1"[..]][..], Version::HTTP_11),
        (&[&b"h2"[..]][..], Version::HTTP_2),
        (&[&b"h2"[..], b"http/1.1"][..], Version::HTTP_2),
    ] {
        let server = Server::secure(Arc::clone(&presented), alpn, ok()).await;
        let url = format!("https://{}/healthz?q", server.address);
        let host = Some("api.example.com".parse().unwrap());
        let request = ProbeRequest { host, ..ProbeRequest::default() };
        let body = Some("ok".parse().unwrap());
        let named = HealthCheck { request, body, ..check(&url) };
        let probed = prober.probe(&named, None).await;
        assert_eq!(failure(&probed), None, "{alpn:?}");
        assert!(probed.connection.is_some(), "{alpn:?}");
        let asked = server.asked().remove(0);
        assert_eq!(asked.version, version);
        let host = asked.uri.host().map(str::as_bytes);
        let host = host.or_else(|| asked.headers.get(HOST).map(|host| host.as_bytes()));
        assert_eq!(host, Some(&b"api.example.com"[..]), "{alpn:?}");
        assert_eq!(asked.uri.path_and_query().unwrap(), "/healthz?q");
        let unnamed = prober.probe(&check(&url), None).await;
        assert_eq!(failure(&unnamed), Some(ProbeFailure::Tls(TlsFailure::WrongName)), "{alpn:?}");
    }
}

#[tokio::test]
async fn a_request_has_the_method_and_the_header_fields_of_its_check() {
    let server = Server::plain(ok()).await;
    let fields = headers(&[("authorization", "Bearer s3cret"), ("user-agent", "probe/1")]);
    let request =
        ProbeRequest { method: ProbeMethod::Head, headers: fields, ..ProbeRequest::default() };
    let check = HealthCheck { request, ..check(&format!("http://{}/", server.address)) };
    let probed = prober().probe(&check, None).await;
    assert_eq!(failure(&probed), None);
    assert!(probed.connection.is_some(), "the answer to HEAD ends with its head");
    let asked = server.asked().remove(0);
    assert_eq!(asked.method, "HEAD");
    assert_eq!(asked.headers["authorization"], "Bearer s3cret");
    assert_eq!(asked.headers["user-agent"], "probe/1");
    assert_eq!(asked.headers[HOST], server.address.to_string());
}

#[tokio::test]
async fn any_of_several_status_codes_is_well() {
    let server = Server::plain(Arc::new(|path| (path[1..].parse().unwrap(), None, ""))).await;
    let prober = prober();
    let range = |from, to| StatusRange::new(from, to).unwrap();
    let status = StatusCodes::new([range(200, 204), range(401, 401), range(300, 399)]).unwrap();
    for (code, is_well) in [(200, true), (301, true), (401, true), (205, false), (503, false)] {
        let check = check(&format!("http://{}/{code}", server.address));
        let check = HealthCheck { status: status.clone(), ..check };
        let expected = (!is_well).then_some(ProbeFailure::Status(code));
        assert_eq!(failure(&prober.probe(&check, None).await), expected, "{code}");
    }
}

/// Moves from `/N` to `/N-1`, and from `/1` to `/`.
fn countdown(path: &str) -> (u16, Option<String>, &'static str) {
    match path[1..].parse::<u8>() {
        Ok(1) => (307, Some("/".to_owned()), "moved"),
        Ok(left) => (301, Some(format!("/{}", left - 1)), "moved"),
        Err(_) => (200, None, "ok"),
    }
}

#[tokio::test]
async fn redirects_are_followed_where_the_check_says_so_and_five_at_most() {
    let server = Server::plain(Arc::new(countdown)).await;
    let prober = prober();
    for (redirects, follows, expected) in [
        (0, true, None),
        (1, false, Some(ProbeFailure::Status(307))),
        (1, true, None),
        (5, true, None),
        (6, true, Some(ProbeFailure::Redirect)),
    ] {
        let path = if redirects == 0 { String::new() } else { redirects.to_string() };
        let request = ProbeRequest {
            headers: headers(&[("x-key", "1")]),
            follows_redirects: follows,
            ..ProbeRequest::default()
        };
        let body = Some("ok".parse().unwrap());
        let check = check(&format!("http://{}/{path}", server.address));
        let check = HealthCheck { request, body, ..check };
        let probed = prober.probe(&check, None).await;
        assert_eq!(failure(&probed), expected, "{redirects} {follows}");
        assert_eq!(probed.connection.is_some(), expected.is_none(), "{redirects}");
        let asked = server.asked();
        assert!(asked.len() <= 6, "{} requests", asked.len());
        assert!(asked.iter().all(|asked| asked.headers["x-key"] == "1"), "the origin is the same");
    }
}

#[tokio::test]
async fn another_origin_gets_no_header_fields_and_its_connection_is_not_kept() {
    let other = Server::plain(ok()).await;
    let to = format!("http://{}/", other.address);
    let server = Server::plain(Arc::new(move |_| (302, Some(to.clone()), ""))).await;
    let request = ProbeRequest {
        headers: headers(&[("authorization", "Bearer s3cret")]),
        follows_redirects: true,
        ..ProbeRequest::default()
    };
    let check = HealthCheck { request, ..check(&format!("http://{}/", server.address)) };
    let probed = prober().probe(&check, None).await;
    assert_eq!(failure(&probed), None);
    assert!(probed.connection.is_none());
    assert!(server.asked()[0].headers.contains_key("authorization"));
    assert!(!other.asked()[0].headers.contains_key("authorization"));
}

#[tokio::test]
async fn a_server_that_a_redirect_names_and_that_is_dead_is_no_proof_against_the_region() {
    let refusing = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    // It accepts, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for location in [
        format!("http://{refusing}/"),
        format!("http://{}/", silent.local_addr().unwrap()),
        "http://nowhere.invalid/".to_owned(),
    ] {
        let to = location.clone();
        let server = Server::plain(Arc::new(move |_| (302, Some(to.clone()), ""))).await;
        let request = ProbeRequest { follows_redirects: true, ..ProbeRequest::default() };
        let check = HealthCheck { request, ..check(&format!("http://{}/", server.address)) };
        let probed = prober().probe(&check, None).await;
        assert_eq!(failure(&probed), Some(ProbeFailure::Redirect), "{location}");
    }
}

#[tokio::test]
async fn a_redirect_does_not_lead_where_probes_are_not_permitted() {
    for location in [
        "http://127.0.0.2/",
        "http://0x7f000002/",
        "http://[::ffff:127.0.0.2]/",
        "http://[64:ff9b::7f00:2]/",
        "http://169.254.169.254/latest/meta-data/",
        "file:///etc/passwd",
    ] {
        let answers: Answers = Arc::new(|_| (302, Some(location.to_owned()), ""));
        let server = Server::plain(answers).await;
        let request = ProbeRequest { follows_redirects: true, ..ProbeRequest::default() };
        let check = HealthCheck { request, ..check(&format!("http://{}/", server.address)) };
        let only = PermittedNetworks::new([("127.0.0.1".parse().unwrap(), 32)]);
        let prober = HttpProber::new(only, None).unwrap();
        let probed = prober.probe(&check, None).await;
        assert_eq!(failure(&probed), Some(ProbeFailure::Redirect), "{location}");
    }
}

#[tokio::test]
async fn a_server_that_refuses_the_handshake_is_told_from_one_of_another_version() {
    for (alert, expected) in [
        // A fatal alert (RFC 8446, section 6): protocol_version, and handshake_failure.
        (&b"\x15\x03\x01\x00\x02\x02\x46"[..], TlsFailure::Version),
        (&b"\x15\x03\x03\x00\x02\x02\x28"[..], TlsFailure::Alert),
    ] {
        let address = answering_hello(alert).await;
        let probed = prober().probe(&check(&format!("https://{address}/")), None).await;
        assert_eq!(failure(&probed), Some(ProbeFailure::Tls(expected)));
    }
}
