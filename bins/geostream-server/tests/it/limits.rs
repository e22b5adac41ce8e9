//! Clients that send too much, or too slowly, or stop in the middle.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::client::conn::http2;
use hyper::header::HeaderName;
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::server::{Answer, Home, PATIENCE, Request, Server, wait_for};

/// A server that has a second's patience.
fn impatient(home: &Home) -> Server {
    let config = home.path("geostream.toml");
    let text = "[http]\nheader_timeout_seconds = 1\nbody_timeout_seconds = 1\n";
    fs::write(&config, text).unwrap();
    Server::start(home.command().arg("--config").arg(config))
}

/// Waits until the server closes a connection, and returns what it said before.
fn until_closed(mut stream: TcpStream) -> String {
    let mut said = Vec::new();
    // A reset closes as well as an end; a server that goes on waiting runs into the read timeout.
    if let Err(error) = stream.read_to_end(&mut said) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
    }
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
fn slow_clients_are_not_waited_for() {
    let home = Home::new();
    let server = impatient(&home);
    for begin in [
        "",
        "P",
        "PRI * HT",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "POST /api/v1/route HTTP/1.1\r\n",
        "POST /api/v1/route HTTP/1.1\r\nhost: x\r\nx-slow: ",
        "GET /health HTTP/1.1\r\nhost: x\r\n\r\n",
    ] {
        let mut stream = server.connect();
        stream.write_all(begin.as_bytes()).unwrap();
        until_closed(stream);
    }
    let mut stream = server.connect();
    let head = "POST /api/v1/route HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    stream.write_all(format!("{head}content-length: 10\r\n\r\n{{").as_bytes()).unwrap();
    Answer::read(&mut stream).expect_problem(408, "request-timeout", "");
    assert_eq!(server.route("{}").status, 200, "the server still answers");
}

#[test]
fn bodies_and_headers_have_their_limits() {
    let home = Home::new();
    let server = home.start();
    let huge = format!(r#"{{"key": "{}"}}"#, "x".repeat(1 << 20));
    server.route(&huge).expect_problem(413, "payload-too-large", "");
    // A body of unknown length is not waited for to its end.
    let mut stream = server.connect();
    let head = "POST /api/v1/route HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    stream.write_all(format!("{head}transfer-encoding: chunked\r\n\r\n").as_bytes()).unwrap();
    let chunk = format!("8000\r\n{}\r\n", "x".repeat(0x8000));
    for _ in 0..8 {
        stream.write_all(chunk.as_bytes()).unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    Answer::read(&mut stream).expect_problem(413, "payload-too-large", "");

    let with = |headers: u32| {
        let request = Request::new("GET", "/health");
        // A request has two anyway: host and connection.
        (2..headers).fold(request, |request, number| request.header(&format!("x-{number}: 1")))
    };
    assert_eq!(server.send(&with(100)).status, 200);
    assert_eq!(server.send(&with(101)).status, 431);
    let long = Request::new("GET", "/health").header(&format!("x: {}", "x".repeat(64 << 10)));
    assert_eq!(server.send(&long).status, 431);
    let body = Request::new("GET", "/health").json("{}");
    server.send(&body).expect_problem(413, "payload-too-large", "");
    assert_eq!(server.route("{}").status, 200, "the server still answers");
}

#[test]
fn http2_has_the_same_limits_of_headers() {
    let home = Home::new();
    let server = home.start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (mut sender, _connection) = speak_http2(&server, WIDE).await;
        for (headers, value, expected) in
            [(100, "1".to_owned(), 200), (101, "1".to_owned(), 431), (1, "x".repeat(24 << 10), 431)]
        {
            let mut request = get(&server, "/health");
            for number in 0..headers {
                let name: HeaderName = format!("x-{number}").parse().unwrap();
                request.headers_mut().insert(name, value.parse().unwrap());
            }
            let answer = sender.send_request(request).await.unwrap();
            assert_eq!(answer.status(), expected, "{headers} headers");
        }
    });
}

#[test]
fn what_is_under_way_is_finished_before_the_server_stops() {
    let home = Home::new();
    let server = home.start();
    let mut idle = server.connect();
    idle.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut first = [0; 16];
    idle.read_exact(&mut first).unwrap();
    let mut begun = server.connect();
    let head = "POST /api/v1/route HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                expect: 100-continue\r\ncontent-length: 2\r\n\r\n";
    begun.write_all(head.as_bytes()).unwrap();
    let mut go_on = [0; 25];
    begun.read_exact(&mut go_on).unwrap();
    assert!(go_on.starts_with(b"HTTP/1.1 100"), "its headers have been read");
    server.signal("TERM");
    until_closed(idle);
    begun.write_all(b"{}").unwrap();
    assert_eq!(Answer::read(&mut begun).status, 200);
    let (status, log) = server.wait();
    assert!(status.success(), "{log}");
}

/// How many bytes a client takes before it has read them.
const WIDE: u32 = 1 << 20;
const NARROW: u32 = 16 << 10;

type Nothing = http_body_util::Empty<&'static [u8]>;
type Conversation = tokio::task::JoinHandle<hyper::Result<()>>;

/// Connects to a server, and returns how the connection ends as well.
async fn speak_http2(server: &Server, window: u32) -> (http2::SendRequest<Nothing>, Conversation) {
    let stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let mut client = http2::Builder::new(TokioExecutor::new());
    client.initial_stream_window_size(window).initial_connection_window_size(window);
    let (sender, connection) = client.handshake(TokioIo::new(stream)).await.unwrap();
    (sender, tokio::spawn(connection))
}

fn get(server: &Server, path: &str) -> hyper::Request<Nothing> {
    let request = hyper::Request::get(format!("http://{}{path}", server.address));
    request.body(Nothing::new()).unwrap()
}

#[test]
fn an_idle_http2_connection_is_closed_though_its_client_is_alive() {
    let home = Home::new();
    let server = impatient(&home);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (mut sender, ended) = speak_http2(&server, WIDE).await;
        // One that is in use outlives the server's patience.
        let until = tokio::time::Instant::now() + Duration::from_millis(1_500);
        while tokio::time::Instant::now() < until {
            assert_eq!(sender.send_request(get(&server, "/health")).await.unwrap().status(), 200);
        }
        // The client answers every PING by itself.
        tokio::time::timeout(PATIENCE, ended).await.unwrap().unwrap().unwrap();
        assert!(sender.is_closed());
    });
}

#[test]
fn who_reads_slowly_is_not_idle() {
    let home = Home::new();
    let server = impatient(&home);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (mut sender, _connection) = speak_http2(&server, NARROW).await;
        let mut answer = sender.send_request(get(&server, "/openapi.yaml")).await.unwrap();
        let mut read = 0;
        while let Some(frame) = answer.frame().await {
            read += frame.unwrap().into_data().unwrap().len();
            // In all, that takes three times as long as a connection may be idle.
            let until = tokio::time::Instant::now() + Duration::from_millis(600);
            while tokio::time::Instant::now() < until {
                tokio::task::yield_now().await;
                assert_eq!(server.get("/health").status, 200);
            }
        }
        assert_eq!(read, include_str!("../../../../docs/openapi.yaml").len());
    });
}

#[test]
fn a_client_that_asks_too_often_is_told_when_to_come_back() {
    let home = Home::new();
    fs::write(home.path("server.toml"), "[http]\nrequests_per_second = 3\n").unwrap();
    let config = home.path("server.toml");
    let server = Server::start(home.command().arg("--config").arg(config));
    let mut answers = (0..10_000).map(|_| server.route("{}"));
    for _ in 0..3 {
        assert_eq!(answers.next().unwrap().status, 200);
    }
    let refused = answers.find(|answer| answer.status != 200).expect("so many are too many");
    refused.expect_problem(429, "too-many-requests", "");
    assert_eq!(refused.header("retry-after"), Some("1"));
    let mut elsewhere = (0..10_000).map(|_| server.get("/nowhere"));
    let refused = elsewhere.find(|answer| answer.status != 404).expect("what is not there counts");
    refused.expect_problem(429, "too-many-requests", "");
}

#[test]
fn what_watches_the_node_is_neither_refused_nor_counted() {
    let home = Home::new();
    fs::write(home.path("server.toml"), "[http]\nrequests_per_second = 1\n").unwrap();
    let config = home.path("server.toml");
    let server = Server::start(home.command().arg("--config").arg(config));
    let watch = || {
        for path in ["/health", "/ready", "/metrics"] {
            assert_eq!(server.get(path).status, 200, "{path}");
        }
    };
    (0..20).for_each(|_| watch());
    assert_eq!(server.route("{}").status, 200, "nothing was counted");
    let refused = (0..10_000).map(|_| server.route("{}")).find(|answer| answer.status != 200);
    refused.expect("so many are too many").expect_problem(429, "too-many-requests", "");
    (0..20).for_each(|_| watch());
}

#[test]
fn a_token_has_eight_streams_of_events_and_leaves_the_others_to_others() {
    let home = Home::new();
    let server = home.start();
    let admin = home.token();
    let wanted = r#"{"name": "ci", "scope": "viewer"}"#;
    let made = server.send(&Request::new("POST", "/api/v1/tokens").token(&admin).json(wanted));
    let other = made.json()["token"].as_str().unwrap().to_owned();
    let listen = |token: &str| {
        let mut stream = server.connect();
        let head = "GET /api/v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer";
        stream.write_all(format!("{head} {token}\r\n\r\n").as_bytes()).unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        (String::from_utf8(status.to_vec()).unwrap(), stream)
    };
    let mine: Vec<_> = (0..8).map(|_| listen(&admin)).collect();
    assert!(mine.iter().all(|(status, _)| status == "HTTP/1.1 200"));
    let refused = server.send(&Request::new("GET", "/api/v1/events").token(&admin));
    refused.expect_problem(429, "too-many-requests", "");
    assert!(refused.header("retry-after").is_some());
    assert!(refused.json()["detail"].as_str().unwrap().contains("8 streams of events"));
    assert_eq!(listen(&other).0, "HTTP/1.1 200", "the other places are for others");
    drop(mine);
    wait_for(|| listen(&admin).0 == "HTTP/1.1 200");
}

#[test]
fn a_token_that_asks_too_often_slows_down_no_other() {
    let home = Home::new();
    fs::write(home.path("server.toml"), "[http]\nrequests_per_second_per_token = 3\n").unwrap();
    let config = home.path("server.toml");
    let server = Server::start(home.command().arg("--config").arg(config));
    let ask = |token: &str| server.send(&Request::new("GET", "/api/v1/status").token(token));
    let admin = home.token();
    let wanted = r#"{"name": "ci", "scope": "viewer"}"#;
    let made = server.send(&Request::new("POST", "/api/v1/tokens").token(&admin).json(wanted));
    let other = made.json()["token"].as_str().unwrap().to_owned();
    let mut answers = (0..10_000).map(|_| ask(&admin));
    let refused = answers.find(|answer| answer.status != 200).expect("so many are too many");
    refused.expect_problem(429, "too-many-requests", "");
    assert_eq!(refused.header("retry-after"), Some("1"));
    let metrics = server.get("/metrics").body;
    assert!(metrics.contains("rate_limited_requests_total{limit=\"token\"} 1\n"), "{metrics}");
    assert_eq!(ask(&other).status, 200);
    assert_eq!(server.route("{}").status, 200, "decisions need no token");
    ask("gs_0_0").expect_problem(401, "unauthorized", "");
}
