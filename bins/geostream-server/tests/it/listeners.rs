//! Listeners of their own for control requests and metrics.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;

use crate::server::{Answer, Home, Request, Server, wait_for};

const ANY: &str = "127.0.0.1:0";

/// Asks by GET at one of the server's addresses, with a token.
fn get(server: &Server, address: SocketAddr, path: &str, token: &str) -> Answer {
    server.send_to(address, &Request::new("GET", path).token(token))
}

#[test]
fn operations_are_answered_where_they_are_listened_for() {
    let home = Home::new();
    let own = ["--control-listen", ANY, "--metrics-listen", ANY];
    let server = Server::start(home.command().args(own));
    let control = server.control.unwrap();
    let metrics = server.metrics.unwrap();
    let token = home.token();
    let route = "/api/v1/route?client_ip=165.100.97.15";
    for (path, at_clients, at_control, at_metrics) in [
        ("/health", 200, 200, 200),
        ("/ready", 200, 200, 200),
        (route, 200, 200, 404),
        ("/metrics", 404, 404, 200),
        ("/openapi.yaml", 404, 200, 404),
        ("/api/v1/status", 404, 200, 404),
        ("/api/v1/config", 404, 200, 404),
        ("/api/v1/audit", 404, 200, 404),
        ("/nothing", 404, 404, 404),
    ] {
        for (address, expected) in
            [(server.address, at_clients), (control, at_control), (metrics, at_metrics)]
        {
            assert_eq!(get(&server, address, path, &token).status, expected, "{path} {address}");
        }
    }
    let drain = Request::new("PUT", "/api/v1/overrides/us-west-2").token(&token).revision(1);
    let drain = drain.json(r#"{"action": "drain", "reason": "power work"}"#);
    server.send(&drain).expect_problem(404, "not-found", "");
    server.send_to(metrics, &drain).expect_problem(404, "not-found", "");
    assert_eq!(server.send_to(control, &drain).status, 200);
    server.signal("TERM");
    let (status, log) = server.wait();
    assert!(status.success(), "{log}");
}

#[test]
fn metrics_stay_with_clients_where_only_control_has_a_listener() {
    let home = Home::new();
    let server = Server::start(home.command().args(["--control-listen", ANY]));
    let control = server.control.unwrap();
    assert!(server.get("/metrics").body.contains("geostream_build_info"));
    assert_eq!(get(&server, control, "/metrics", &home.token()).status, 200);
    assert_eq!(server.get("/openapi.yaml").status, 404);
}

#[test]
fn clients_that_hold_all_connections_lock_out_neither_operators_nor_prometheus() {
    let home = Home::new();
    let own = ["--control-listen", ANY, "--metrics-listen", ANY, "--max-connections", "2"];
    let server = Server::start(home.command().args(own));
    let control = server.control.unwrap();
    let metrics = server.metrics.unwrap();
    // Each of the two workers takes one; the kernel may give several to the same.
    let mut held: Vec<_> = (0..64).map(|_| server.connect()).collect();
    // A connection whose request has begun is not idle, so none is closed to make room.
    let ask = b"POST /api/v1/route HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                content-length: 2\r\n\r\n{";
    held.iter_mut().for_each(|client| client.write_all(ask).unwrap());
    assert_eq!(get(&server, control, "/api/v1/status", &home.token()).status, 200);
    assert_eq!(get(&server, control, "/health", &home.token()).status, 200);
    assert_eq!(get(&server, metrics, "/metrics", &home.token()).status, 200);
    assert_eq!(get(&server, metrics, "/ready", &home.token()).status, 200);
}

#[test]
fn settings_that_name_one_address_twice_are_refused() {
    let home = Home::new();
    let config = home.path("server.toml");
    let text = "[metrics]\nlisten = \"127.0.0.1:18099\"\n";
    fs::write(&config, text).unwrap();
    let mut command = home.command();
    command.arg("--config").arg(config).args(["--control-listen", "0.0.0.0:18099"]);
    let output = command.arg("--check-config").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8(output.stderr).unwrap();
    let expected = "line 2: metrics.listen and control.listen are both";
    assert!(error.contains(expected), "{error}");
}

#[test]
fn a_taken_address_is_named_by_its_setting() {
    let home = Home::new();
    let server = home.start();
    let other = Home::new();
    let mut command = other.command();
    let output = command.args(["--metrics-listen", &server.address.to_string()]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("metrics.listen"), "{error}");
    wait_for(|| server.get("/health").status == 200);
}
