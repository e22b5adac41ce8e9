//! Starting and stopping a node while clients ask: alone, and behind the documented load balancers.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use geostream_testbed::Balancer;
use http_body_util::Empty;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::server::{Answer, Home, PATIENCE, Server, wait_for};

const HAPROXY: &str = include_str!("../../../../deploy/haproxy/haproxy.cfg");
const NGINX: &str = include_str!("../../../../deploy/nginx/geostream.conf");

/// Longer than any test: the delay ends by another signal.
const UNTIL_TOLD_AGAIN: [&str; 2] = ["--shutdown-delay-seconds", "3600"];

const HEALTH: &str = "GET /health HTTP/1.1\r\nhost: x\r\n\r\n";

/// A request on a connection that stays open, unlike those of [`Server::send`].
fn ask(stream: &mut TcpStream) -> std::io::Result<String> {
    let body = r#"{"client_ip": "165.100.97.15"}"#;
    let length = body.len();
    let request = format!(
        "POST /api/v1/route HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes())?;
    read_answer(stream)
}

/// Reads one answer, and returns its head; an answer that is not complete is an error.
fn read_answer(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut received = Vec::new();
    loop {
        let mut part = [0; 4096];
        let read = stream.read(&mut part)?;
        if read == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        received.extend_from_slice(&part[..read]);
        let text = String::from_utf8_lossy(&received).to_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if length.is_some_and(|length| length == body.len().to_string()) {
            return Ok(head.to_owned());
        }
    }
}

fn is_ended(stream: &mut TcpStream) -> bool {
    stream.read(&mut [0]).unwrap() == 0
}

#[test]
fn a_node_that_is_told_to_stop_says_not_ready_and_serves_on() {
    let home = Home::new();
    let own = ["--control-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"];
    let server = Server::start(home.command().args(own).args(UNTIL_TOLD_AGAIN));
    let [mut busy, mut idle] = [server.connect(), server.connect()];
    for kept in [&mut busy, &mut idle] {
        assert!(!ask(kept).unwrap().contains("connection: close"), "it is kept");
    }
    server.signal("TERM");
    let addresses = [server.address, server.control.unwrap(), server.metrics.unwrap()];
    for address in addresses {
        let ready = || server.send_to(address, &crate::server::Request::new("GET", "/ready"));
        wait_for(|| ready().status == 503);
        assert!(ready().body.contains("about to stop"), "{:?}", ready());
        let mut stream = server.connect_to(address);
        stream.write_all(HEALTH.as_bytes()).unwrap();
        let alive = Answer::read(&mut stream);
        assert_eq!((alive.status, alive.header("connection")), (200, Some("close")));
    }
    assert!(ask(&mut busy).unwrap().contains("connection: close"), "the client is told");
    assert!(is_ended(&mut busy));
    assert!(ask(&mut server.connect()).unwrap().contains("200 ok"), "new clients are served");
    idle.set_nonblocking(true).unwrap();
    let quiet = idle.read(&mut [0]).unwrap_err();
    assert_eq!(quiet.kind(), ErrorKind::WouldBlock, "an idle connection is not cut");
    idle.set_nonblocking(false).unwrap();
    server.signal("TERM");
    assert!(is_ended(&mut idle), "it ends with the delay");
    let (status, log) = server.wait();
    assert!(status.success(), "{log}");
    let steps =
        ["not ready from now on", "delay is skipped", "no connection is accepted", "stopped"];
    let found = steps.map(|step| log.find(step).unwrap_or_else(|| panic!("{step}: {log}")));
    assert!(found.is_sorted(), "{log}");
}

#[test]
fn http2_requests_that_are_sent_while_a_node_stops_are_answered() {
    let home = Home::new();
    let server = Server::start(home.command().args(UNTIL_TOLD_AGAIN));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let connect = || async {
            let stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
            let client = http2::Builder::new(TokioExecutor::new());
            let (sender, connection) = client.handshake(TokioIo::new(stream)).await.unwrap();
            (sender, tokio::spawn(connection))
        };
        let get = || {
            let uri = format!("http://{}/api/v1/route?client_ip=8.8.8.8", server.address);
            hyper::Request::get(uri).body(Empty::<&[u8]>::new()).unwrap()
        };
        let (mut kept, kept_ended) = connect().await;
        assert_eq!(kept.send_request(get()).await.unwrap().status(), 200);
        server.signal("TERM");
        wait_for(|| server.get("/ready").status == 503);
        let (new, new_ended) = connect().await;
        for (mut sender, ended) in [(kept, kept_ended), (new, new_ended)] {
            // All are sent before the client has read that the connection is to end.
            let together = (0..20).map(|_| sender.send_request(get())).collect::<Vec<_>>();
            for answer in together {
                assert_eq!(answer.await.unwrap().status(), 200);
            }
            let ended = tokio::time::timeout(PATIENCE, ended).await;
            ended.unwrap().unwrap().expect("GOAWAY says that there is no error");
        }
    });
}

#[test]
fn an_interrupt_skips_the_delay() {
    let home = Home::new();
    let server = Server::start(home.command().args(UNTIL_TOLD_AGAIN));
    server.signal("INT");
    let (status, log) = server.wait();
    assert!(status.success() && log.contains("SIGINT"), "{log}");
}

#[test]
fn no_client_that_is_connected_is_reset_when_a_node_stops() {
    let home = Home::new();
    for _ in 0..5 {
        let server = home.start();
        let address = server.address;
        let answered = AtomicUsize::new(0);
        thread::scope(|scope| {
            let clients: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        // A client is answered, or it is refused before it has sent anything.
                        while let Ok(mut stream) = TcpStream::connect(address) {
                            stream.set_read_timeout(Some(PATIENCE)).unwrap();
                            ask(&mut stream).expect("a connected client is answered");
                            answered.fetch_add(1, Ordering::Relaxed);
                        }
                    })
                })
                .collect();
            wait_for(|| answered.load(Ordering::Relaxed) > 200);
            server.signal("TERM");
            clients.into_iter().for_each(|client| client.join().unwrap());
        });
        assert!(server.wait().0.success());
    }
}

/// Returns an address on which nothing listens.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn a_node_listens_when_it_can_answer() {
    let home = Home::new();
    let address = free_address();
    // A pipe in the place of a file is one whose reading takes as long as the test wants.
    let last_good = home.path("last-good.json");
    let first = home.start();
    wait_for(|| last_good.exists());
    drop(first);
    let kept = std::fs::read(&last_good).unwrap();
    std::fs::remove_file(&last_good).unwrap();
    assert!(Command::new("mkfifo").arg(&last_good).status().unwrap().success());
    let mut command = home.command();
    command.args(["--listen", &address.to_string()]);
    thread::scope(|scope| {
        let server = scope.spawn(|| Server::start(&mut command));
        // This waits until the server has opened the other end, to read.
        let mut pipe = File::options().write(true).open(&last_good).unwrap();
        let refused = TcpStream::connect(address).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        pipe.write_all(&kept).unwrap();
        drop(pipe);
        let server = server.join().unwrap();
        assert_eq!(server.get("/health").status, 200);
    });
}

#[test]
fn the_documentation_shows_the_files_that_the_tests_run() {
    let documented = include_str!("../../../../docs/operating.md");
    assert!(documented.contains(&format!("\n{HAPROXY}```")), "deploy/haproxy/haproxy.cfg");
    assert!(documented.contains(&format!("\n{NGINX}```")), "deploy/nginx/geostream.conf");
}

/// Nodes that stop as in operation, behind a balancer, on addresses that they keep.
struct Cluster {
    homes: Vec<Home>,
    nodes: Vec<Server>,
}

impl Cluster {
    fn start(count: usize) -> Self {
        let homes: Vec<_> = (0..count).map(|_| Home::new()).collect();
        let nodes = homes.iter().map(|home| Self::node(home, free_address())).collect();
        Self { homes, nodes }
    }

    /// Starts a node whose delay is longer than the documented balancers take to notice.
    fn node(home: &Home, address: SocketAddr) -> Server {
        let address = address.to_string();
        let further = ["--listen", &address, "--shutdown-delay-seconds", "3"];
        Server::start(home.command().args(further).args(["--trusted-proxy", "127.0.0.1/32"]))
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|node| node.address).collect()
    }

    fn start_again(&mut self, number: usize, address: SocketAddr) {
        self.nodes.insert(number, Self::node(&self.homes[number], address));
    }
}

/// Asks through a balancer without pause, on kept and on new connections, while something happens,
/// and expects that every request is answered with 200.
fn answered_throughout(balancer: &Balancer, happens: impl FnOnce(&dyn Fn())) {
    let is_over = AtomicBool::new(false);
    let answered = AtomicUsize::new(0);
    thread::scope(|scope| {
        let client = |is_kept: bool| {
            let is_over = &is_over;
            let answered = &answered;
            move || {
                let connect = || TcpStream::connect(balancer.address()).unwrap();
                let mut stream = connect();
                while !is_over.load(Ordering::Relaxed) {
                    let head = ask(&mut stream).expect("an answer");
                    assert!(head.starts_with("http/1.1 200"), "{head}");
                    answered.fetch_add(1, Ordering::Relaxed);
                    if !is_kept || head.contains("connection: close") {
                        stream = connect();
                    }
                }
            }
        };
        let clients: Vec<_> =
            [true, true, false, false].map(|is_kept| scope.spawn(client(is_kept))).into();
        let some_are_answered = || {
            let before = answered.load(Ordering::Relaxed);
            let is_failed = || clients.iter().any(thread::ScopedJoinHandle::is_finished);
            wait_for(|| answered.load(Ordering::Relaxed) > before + 100 || is_failed());
        };
        some_are_answered();
        happens(&some_are_answered);
        is_over.store(true, Ordering::Relaxed);
        clients.into_iter().for_each(|client| client.join().unwrap());
    });
}

#[test]
fn behind_haproxy_no_request_fails_while_a_node_is_restarted_and_another_is_killed() {
    no_request_fails(&|nodes| Balancer::haproxy(HAPROXY, nodes));
}

#[test]
fn behind_nginx_no_request_fails_while_a_node_is_restarted_and_another_is_killed() {
    no_request_fails(&|nodes| Balancer::nginx(NGINX, nodes));
}

fn no_request_fails(balance: &dyn Fn(&[SocketAddr]) -> Balancer) {
    let mut cluster = Cluster::start(3);
    let balancer = balance(&cluster.addresses());
    answered_throughout(&balancer, |some_are_answered| {
        let node = cluster.nodes.remove(0);
        let address = node.address;
        node.signal("TERM");
        wait_for(|| node.get("/ready").status == 503);
        assert!(ask(&mut node.connect()).unwrap().contains("200 ok"), "it serves on");
        let (status, log) = node.wait();
        assert!(status.success(), "{log}");
        some_are_answered();
        cluster.start_again(0, address);
        some_are_answered();
        cluster.nodes.remove(1).kill();
        some_are_answered();
    });
    let status = |path: &str| {
        let mut stream = TcpStream::connect(balancer.address()).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        Answer::read(&mut stream).status
    };
    for path in ["/metrics", "/api/v1/config", "/api/v1/status"] {
        assert_eq!(status(path), 404, "{path} is not shown to clients");
    }
}
