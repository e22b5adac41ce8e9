//! Clients that hold or flood what they do not need.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpSocket;

use crate::server::{Answer, Home, PATIENCE, Request, Server, now, wait_for};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// As many questions as a batch may have.
fn batch() -> String {
    format!(r#"{{"requests":[{}]}}"#, ["{}"; 1000].join(","))
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Writes headers as HPACK literals that are not indexed (RFC 7541, section 6.2.2).
fn hpack(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(text.as_bytes());
        }
    }
    block
}

fn post(path: &str) -> Vec<u8> {
    hpack(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "x"),
        (":path", path),
        ("content-type", "application/json"),
    ])
}

/// Begins HTTP/2 with an initial window of this size.
fn begin_http2(server: &Server, window: u32) -> TcpStream {
    let mut stream = server.connect();
    let [a, b, c, d] = window.to_be_bytes();
    stream.write_all(PREFACE).unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, &[0, 4, a, b, c, d])).unwrap();
    stream
}

/// Reads the next frame: its type, flags, stream and payload.
fn read_frame(stream: &mut TcpStream) -> (u8, u8, u32, Vec<u8>) {
    let mut head = [0; 9];
    stream.read_exact(&mut head).unwrap();
    let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
    stream.read_exact(&mut payload).unwrap();
    (head[3], head[4], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload)
}

fn metric(server: &Server, name: &str) -> f64 {
    let metrics = server.get("/metrics").body;
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} is missing in {metrics}")).parse().unwrap()
}

#[test]
fn a_client_that_takes_nothing_has_few_answers_made() {
    let home = Home::new();
    let server = home.start();
    let mut stalled = begin_http2(&server, 0);
    // Then the server takes in as much as is sent now.
    while read_frame(&mut stalled).0 != WINDOW_UPDATE {}
    for request in 0..60 {
        let id = 2 * request + 1;
        let begun = frame(HEADERS, END_HEADERS, id, &post("/api/v1/route/batch"));
        stalled.write_all(&begun).unwrap();
        stalled.write_all(&frame(DATA, END_STREAM, id, batch().as_bytes())).unwrap();
    }
    // The client asks for other things meanwhile, which shows nothing of the first answers.
    let small = hpack(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "x"),
        (":path", "/nowhere"),
    ]);
    stalled.write_all(&frame(HEADERS, END_STREAM | END_HEADERS, 121, &small)).unwrap();
    // As soon as another waits, the first answer is given up: it has not moved.
    let given_up = loop {
        let (kind, _, id, payload) = read_frame(&mut stalled);
        if kind == RST_STREAM {
            assert_eq!(payload, 8_u32.to_be_bytes(), "CANCEL");
            break id;
        }
    };
    assert!(given_up < 120, "{given_up}");
    let whole = Request::new("POST", "/api/v1/route/batch").json(&batch());
    let whole = server.send(&whole);
    assert_eq!(whole.status, 200);
    let held = metric(&server, "connections_held_bytes");
    let all = whole.body.len() * 60;
    assert!(held > 0.0 && held < all as f64 / 8.0, "{held} of {all} bytes are held");
    assert!(metric(&server, r#"requests_reset_total{reason="stalled"}"#) >= 1.0);
}

#[test]
fn a_slow_client_gets_all_of_many_large_answers() {
    let home = Home::new();
    let server = home.start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
        let mut client = http2::Builder::new(TokioExecutor::new());
        client.initial_stream_window_size(16 << 10).initial_connection_window_size(64 << 10);
        let (sender, connection) = client.handshake(TokioIo::new(stream)).await.unwrap();
        let _connection = tokio::spawn(connection);
        let answers: Vec<_> = (0..24)
            .map(|_| {
                let uri = format!("http://{}/api/v1/route/batch", server.address);
                let request = hyper::Request::post(uri).header("content-type", "application/json");
                let request = request.body(Full::new(Bytes::from(batch()))).unwrap();
                let mut sender = sender.clone();
                tokio::spawn(async move {
                    let answer = sender.send_request(request).await.unwrap();
                    assert_eq!(answer.status(), 200);
                    answer.into_body().collect().await.unwrap().to_bytes().len()
                })
            })
            .collect();
        for answer in answers {
            assert!(answer.await.unwrap() > 100_000);
        }
    });
}

/// Connects from an address of this machine.
fn connect_from(from: [u8; 4], server: &Server) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let stream = runtime.block_on(async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((Ipv4Addr::from(from), 0))).unwrap();
        socket.connect(server.address).await.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Asks on a kept connection, and tells whether it is answered.
fn is_answered(stream: &mut TcpStream) -> bool {
    let asked = stream.write_all(b"HEAD /health HTTP/1.1\r\nhost: x\r\n\r\n");
    let mut answer = [0; 1024];
    asked.is_ok() && stream.read(&mut answer).is_ok_and(|read| answer[..read].starts_with(b"HTTP"))
}

#[test]
fn a_network_that_has_its_connections_keeps_no_other_out() {
    let home = Home::new();
    let server = Server::start(home.command().args(["--max-connections-per-network", "4"]));
    let mut first: Vec<_> = (0..4).map(|_| connect_from([127, 1, 0, 1], &server)).collect();
    assert!(first.iter_mut().all(is_answered));
    for _ in 0..3 {
        let mut surplus = connect_from([127, 1, 0, 9], &server);
        assert!(!is_answered(&mut surplus), "one more of the same network");
        // The idle connection that was closed for it makes room as soon as it is gone.
        wait_for(|| {
            let mut next = connect_from([127, 1, 0, 1], &server);
            let is_answered = is_answered(&mut next);
            first.extend(is_answered.then_some(next));
            is_answered
        });
    }
    let mut other = connect_from([127, 2, 0, 1], &server);
    assert!(is_answered(&mut other), "another network");
    wait_for(|| metric(&server, r#"connections_refused_total{reason="network"}"#) >= 3.0);
    server.signal("TERM");
    let (_, log) = server.wait();
    assert_eq!(log.matches("has too many connections").count(), 1, "{log}");
    assert!(!log.contains("127.1.0"), "no address of a client is logged: {log}");
}

#[test]
fn a_full_server_takes_in_clients_in_place_of_idle_ones() {
    let home = Home::new();
    let limited = ["--workers", "1", "--max-connections", "4"];
    let server = Server::start(home.command().args(limited));
    let mut idle: Vec<_> = (0..4).map(|_| server.connect()).collect();
    assert!(idle.iter_mut().all(is_answered));
    for number in 0..8 {
        assert_eq!(server.get("/health").status, 200, "client {number}");
    }
    let mut closed = [0];
    assert_eq!(idle[0].read(&mut closed).unwrap(), 0, "the longest idle one is closed");
    // Those that stand still in the middle of a request have their time, and then go too.
    let _slow: Vec<_> = (0..4)
        .map(|_| {
            let mut slow = server.connect();
            let head = "POST /api/v1/route HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                        expect: 100-continue\r\ncontent-length: 2\r\n\r\n";
            slow.write_all(head.as_bytes()).unwrap();
            let mut go_on = [0; 25];
            slow.read_exact(&mut go_on).unwrap();
            slow
        })
        .collect();
    assert_eq!(server.get("/health").status, 200);
}

#[test]
fn a_connection_that_is_told_to_close_holds_its_place_no_longer() {
    const GOAWAY: u8 = 7;
    let home = Home::new();
    let limited = ["--workers", "1", "--max-connections", "4"];
    let server = Server::start(home.command().args(limited));
    let server = &server;
    let asked = hpack(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "x"),
        (":path", "/nowhere"),
    ]);
    let holders: Vec<_> = (0..4)
        .map(|_| {
            let mut holder = begin_http2(server, 65_535);
            holder.write_all(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &asked)).unwrap();
            while read_frame(&mut holder).0 != HEADERS {}
            holder
        })
        .collect();
    std::thread::scope(|scope| {
        for mut holder in holders {
            // It answers the farewell by a request without an end, and no PING.
            scope.spawn(move || {
                let unended = frame(HEADERS, END_HEADERS, 3, &post("/api/v1/route"));
                let mut bytes = [0; 4096];
                while holder.read(&mut bytes).is_ok_and(|read| read > 0) {
                    if bytes.windows(5).any(|part| part == [0, 0, 8, GOAWAY, 0]) {
                        holder.write_all(&unended).ok();
                    }
                }
            });
        }
        let began = now();
        for client in 0..4 {
            assert_eq!(server.get("/health").status, 200, "client {client}");
        }
        let took = now() - began;
        server.signal("KILL");
        assert!(took < Duration::from_secs(30), "a place is held for 70 s otherwise: {took:?}");
    });
}

#[test]
fn floods_of_frames_that_ask_for_nothing_are_cut_off() {
    let home = Home::new();
    let server = home.start();
    let open = frame(HEADERS, END_HEADERS, 1, &post("/api/v1/route"));
    let unended = frame(HEADERS, 0, 1, &post("/api/v1/route"));
    let window = |size: u32| [&[0, 4][..], &size.to_be_bytes()].concat();
    let toggled =
        [frame(SETTINGS, 0, 0, &window(0)), frame(SETTINGS, 0, 0, &window(1 << 20))].concat();
    let floods = [
        ("PRIORITY", Vec::new(), frame(2, 0, 1, &[0, 0, 0, 0, 1])),
        ("PING", Vec::new(), frame(6, 0, 0, &[7; 8])),
        ("SETTINGS", open.clone(), toggled),
        ("WINDOW_UPDATE", open.clone(), frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("empty DATA", open.clone(), frame(DATA, 0, 1, &[])),
        ("DATA of one byte", open, frame(DATA, 0, 1, b" ")),
        ("CONTINUATION", unended, frame(9, 0, 1, &[])),
        ("an unknown type", Vec::new(), frame(0xfa, 0, 0, &[])),
    ];
    let number = floods.len();
    for (name, begin, flooded) in floods {
        let mut stream = begin_http2(&server, 65_535);
        let bytes = [begin, flooded.repeat(10_000)].concat();
        // The server may close before everything is written.
        let _written = stream.write_all(&bytes);
        let mut said = Vec::new();
        if let Err(error) = stream.read_to_end(&mut said) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{name}: {error}");
        }
    }
    let closed = metric(&server, r#"connections_closed_total{reason="frames"}"#);
    // h2 itself ends a flood of CONTINUATION frames, unless the budget is spent before.
    assert!(closed >= (number - 1) as f64, "{closed} of {number}");
    assert_eq!(server.get("/health").status, 200, "the server still answers");
}

#[test]
fn a_preface_may_come_byte_by_byte() {
    let home = Home::new();
    let server = home.start();
    let mut stream = server.connect();
    stream.set_nodelay(true).unwrap();
    for byte in PREFACE {
        stream.write_all(&[*byte]).unwrap();
        assert_eq!(server.get("/health").status, 200, "others are answered meanwhile");
    }
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).unwrap();
    assert_eq!(read_frame(&mut stream).0, SETTINGS);
}

#[test]
fn heads_that_can_be_read_in_two_ways_are_refused() {
    let home = Home::new();
    let server = home.start();
    let json = "content-type: application/json\r\n";
    for (head, pointer) in [
        ("GET /health HTTP/1.1\r\n", "host"),
        ("GET /health HTTP/1.1\r\nhost: a\r\nhost: a\r\n", "host"),
        ("GET /health HTTP/1.1\r\nhost:\r\n", "host"),
        ("GET /health HTTP/1.1\r\nhost: a b\r\n", "host"),
        ("GET /health HTTP/1.1\r\nhost: user@a\r\n", "host"),
        ("GET /health HTTP/1.1\r\nhost: a:99999\r\n", "host"),
        ("GET /health HTTP/1.1\r\nhost: http://a/\r\n", "host"),
        (
            "POST /api/v1/route HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n",
            "transfer-encoding",
        ),
        (
            "POST /api/v1/route HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\
             transfer-encoding: chunked\r\n",
            "transfer-encoding",
        ),
    ] {
        let mut stream = server.connect();
        let next = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
        stream.write_all(format!("{head}{json}\r\n0\r\n\r\n{next}").as_bytes()).unwrap();
        // It reads to the end: the connection is closed, and nothing behind the request is
        // answered.
        let answer = Answer::read(&mut stream);
        answer.expect_problem(400, "invalid-request", pointer);
        assert!(!answer.body.contains("HTTP/1.1 404"), "{head}: {answer:?}");
    }
    for head in [
        "GET /health HTTP/1.0\r\n",
        "GET /health HTTP/1.1\r\nhost: [::1]:80\r\nconnection: close\r\n",
    ] {
        let mut stream = server.connect();
        stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
        assert_eq!(Answer::read(&mut stream).status, 200, "{head}");
    }
}

#[test]
fn in_http2_a_host_is_what_the_authority_is() {
    let home = Home::new();
    let server = home.start();
    for (headers, status) in [
        (&[(":authority", "a"), ("host", "A")][..], "200"),
        (&[(":authority", "a")], "200"),
        (&[("host", "a")], "200"),
        (&[(":authority", "a"), ("host", "b")], "400"),
        (&[], "400"),
    ] {
        let mut stream = begin_http2(&server, 65_535);
        let mut block = hpack(&[(":method", "GET"), (":scheme", "http"), (":path", "/health")]);
        block.extend(hpack(headers));
        stream.write_all(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &block)).unwrap();
        let answer = loop {
            let (kind, _, _, payload) = read_frame(&mut stream);
            if kind == HEADERS {
                break payload;
            }
        };
        // The static table has `:status 200` at 8 and `:status 400` at 12 (RFC 7541, appendix A).
        let expected = if status == "200" { 0x88 } else { 0x8c };
        assert_eq!(answer[0], expected, "{headers:?}");
    }
}
