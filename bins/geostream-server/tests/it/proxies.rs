//! Whom a request comes from, behind real proxies and by what they write.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use geostream_testbed::Balancer;
use serde_json::Value;

use crate::server::{Answer, Home, Request, Server, wait_for};

const HAPROXY: &str = include_str!("../../../../deploy/haproxy/haproxy.cfg");
const NGINX: &str = include_str!("../../../../deploy/nginx/geostream.conf");

/// Only the proxy is trusted, and the client has another address of loopback.
const TRUSTED: [&str; 2] = ["--trusted-proxy", "127.0.0.1/32"];
const CLIENT: &str = "127.0.0.2";

/// Asks from the client's address, with these headers, and returns whom the server took for the
/// client.
fn client_behind(proxy: SocketAddr, headers: &[&str]) -> Value {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--fail", "--interface", CLIENT]);
    for header in headers {
        curl.args(["--header", header]);
    }
    let output = curl.arg(format!("http://{proxy}/api/v1/route")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice::<Value>(&output.stdout).unwrap()["client"]["ip"].clone()
}

#[test]
fn what_a_client_writes_to_the_left_of_its_proxy_changes_nothing() {
    let home = Home::new();
    let server = Server::start(home.command().args(TRUSTED));
    for proxy in
        [Balancer::haproxy(HAPROXY, &[server.address]), Balancer::nginx(NGINX, &[server.address])]
    {
        for written in ["", "6.6.6.6", "nonsense", "\u{e9}", "\u{1f1e9}\u{1f1ea}", "6.6.6.6,", "\""]
        {
            let header = format!("X-Forwarded-For: {written}");
            let headers = if written.is_empty() { vec![] } else { vec![header.as_str()] };
            assert_eq!(client_behind(proxy.address(), &headers), CLIENT, "{written:?}");
        }
    }
}

#[test]
fn haproxy_names_its_clients_by_the_proxy_protocol() {
    for version in ["send-proxy", "send-proxy-v2"] {
        let home = Home::new();
        let server = Server::start(home.command().args(TRUSTED).arg("--proxy-protocol"));
        let configuration =
            HAPROXY.replace("default-server ", &format!("default-server {version} "));
        assert_ne!(configuration, HAPROXY);
        let configuration = configuration.replace("option forwardfor", "");
        let proxy = Balancer::haproxy(&configuration, &[server.address]);
        assert_eq!(client_behind(proxy.address(), &["X-Forwarded-For: 6.6.6.6"]), CLIENT);
    }
}

#[test]
fn the_proxy_protocol_is_read_from_trusted_proxies_alone() {
    let home = Home::new();
    let other = ["--trusted-proxy", "127.0.0.3/32", "--proxy-protocol"];
    let wary = Server::start(home.command().args(other));
    let header = b"PROXY TCP4 198.51.100.9 10.0.0.1 4711 80\r\n";
    let request = b"GET /api/v1/route HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let ask = |server: &Server, first: &[u8]| {
        let mut stream = server.connect();
        stream.write_all(&[first, request].concat()).unwrap();
        stream
    };
    assert_eq!(Answer::read(&mut ask(&wary, header)).status, 400, "it is no HTTP");
    let direct = Answer::read(&mut ask(&wary, b"")).json();
    assert_eq!(direct["client"]["ip"], "127.0.0.1", "who is no proxy is the client");
    drop(wary);

    let home = Home::new();
    let trusting = Server::start(home.command().args(TRUSTED).arg("--proxy-protocol"));
    let introduced = Answer::read(&mut ask(&trusting, header)).json();
    assert_eq!(introduced["client"]["ip"], "198.51.100.9");
    let own = Answer::read(&mut ask(&trusting, b"PROXY UNKNOWN\r\n")).json();
    assert_eq!(own["client"]["ip"], "127.0.0.1", "a check of the proxy itself");
    let mut without = ask(&trusting, b"");
    let mut rest = Vec::new();
    // The rest of what was sent is lost with the connection.
    drop(without.read_to_end(&mut rest));
    assert_eq!(rest, b"", "a trusted proxy has to send it");
}

#[test]
fn connections_count_for_the_client_that_the_proxy_protocol_names() {
    let home = Home::new();
    let limits = ["--proxy-protocol", "--max-connections-per-network", "2"];
    let server = Server::start(home.command().args(TRUSTED).args(limits));
    let open = |client: &str| {
        let mut stream = server.connect();
        let header = format!("PROXY TCP4 {client} 10.0.0.1 4711 80\r\n");
        let request = "GET /health HTTP/1.1\r\nhost: x\r\n\r\n";
        stream.write_all((header + request).as_bytes()).unwrap();
        stream.set_nonblocking(true).unwrap();
        stream
    };
    let is_open = |stream: &mut TcpStream| loop {
        match stream.read(&mut [0; 512]) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    };
    let mut of_one: Vec<_> = (1..=5).map(|host| open(&format!("198.51.100.{host}"))).collect();
    wait_for(|| of_one.iter_mut().filter_map(|stream| is_open(stream).then_some(())).count() <= 2);
    let mut other = open("203.0.113.1");
    let mut answer = Vec::new();
    wait_for(|| {
        drop(other.read_to_end(&mut answer));
        answer.starts_with(b"HTTP/1.1 200")
    });
    assert!(is_open(&mut other), "another network has its own part");
}

#[test]
fn each_source_of_addresses_is_read_alone() {
    for (source, line) in [
        ("forwarded", "forwarded: for=6.6.6.6, for=\"165.100.97.15:4711\""),
        ("header:CF-Connecting-IP", "cf-connecting-ip: 165.100.97.15"),
    ] {
        let home = Home::new();
        let server = Server::start(home.command().args(TRUSTED).args(["--client-address", source]));
        let request = Request::new("POST", "/api/v1/route").json("{}");
        let named = server.send(&request.clone().header(line).header("x-forwarded-for: 6.6.6.6"));
        assert_eq!(named.json()["client"]["ip"], "165.100.97.15", "{source}");
        let other = server.send(&request.header("x-forwarded-for: 6.6.6.6")).json();
        assert_eq!(other["client"]["ip"], "127.0.0.1", "{source}: it is not asked for");
    }
}
