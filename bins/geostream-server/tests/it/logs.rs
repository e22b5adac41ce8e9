//! What is logged, and what never is.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::server::{Answer, Home, Request, Server, wait_for};

const TRACEPARENT: &str = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn put(server: &Server, home: &Home, body: &Value) -> Answer {
    let request = Request::new("PUT", "/api/v1/log-level").token(&home.token());
    server.send(&request.json(&body.to_string()))
}

fn log_level(server: &Server, home: &Home) -> Value {
    server.send(&Request::new("GET", "/api/v1/log-level").token(&home.token())).json()
}

/// Stops a server and returns the events that it has logged.
fn events(server: Server) -> Vec<Value> {
    server.signal("TERM");
    let (status, log) = server.wait();
    assert!(status.success(), "{log}");
    log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn decisions_are_logged_while_somebody_wants_them_to_be() {
    let home = Home::new();
    let server = home.start();
    let ask = |client: &str| {
        let question = json!({"client_ip": client, "service": "api"}).to_string();
        let request = Request::new("POST", "/api/v1/route").json(&question);
        let answer = server.send(&request.header(TRACEPARENT));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer
    };
    assert_eq!(ask("8.8.8.1").header("traceresponse"), None);
    let wanted = json!({"filter": "info,decision=trace"});
    let set = put(&server, &home, &wanted);
    assert_eq!(
        set.json(),
        json!({"filter": "info,decision=trace", "usual": "info", "until": null})
    );
    assert_eq!(log_level(&server, &home), set.json());
    let answer = ask("8.8.8.8");
    let told = answer.header("traceresponse").unwrap().to_owned();
    assert_eq!(put(&server, &home, &json!({"filter": "info"})).status, 200);
    assert_eq!(ask("8.8.8.2").header("traceresponse"), None);

    let events = events(server);
    let decisions: Vec<_> = events.iter().filter(|event| event["target"] == "decision").collect();
    let [decision] = decisions[..] else { panic!("{decisions:?}") };
    let id = decision["decision_id"].as_str().unwrap();
    assert_eq!(told, format!("00-{TRACE_ID}-{id}-00"));
    for (field, expected) in [
        ("level", json!("TRACE")),
        ("message", json!("decided")),
        ("trace_id", json!(TRACE_ID)),
        ("revision", json!(1)),
        ("service", json!("api")),
        ("region", answer.json()["region"].clone()),
        ("reason", json!("lowest_latency")),
        ("client", json!("8.8.8.8")),
    ] {
        assert_eq!(decision[field], expected, "{field} in {decision}");
    }
}

#[test]
fn what_is_logged_for_a_while_ends_by_itself() {
    let home = Home::new();
    let server = home.start();
    let set = put(&server, &home, &json!({"filter": "debug", "duration_seconds": 1})).json();
    assert_eq!((&set["filter"], &set["usual"]), (&json!("debug"), &json!("info")));
    assert!(set["until"].is_string(), "{set}");
    wait_for(|| log_level(&server, &home)["filter"] != "debug");
    let usual = json!({"filter": "info", "usual": "info", "until": null});
    assert_eq!(log_level(&server, &home), usual);
    let events = events(server);
    let is_logged = |message: &str| events.iter().any(|event| event["message"] == message);
    assert!(is_logged("log level") && is_logged("log level as usual"));
}

#[test]
fn what_cannot_be_logged_is_refused() {
    let home = Home::new();
    let server = home.start();
    let refused = |body: Value, pointer: &str| {
        put(&server, &home, &body).expect_problem(400, "invalid-request", pointer);
    };
    refused(json!({"filter": "inof"}), "/filter");
    refused(json!({"filter": "info", "duration_seconds": 0}), "/duration_seconds");
    refused(json!({"filter": "info", "duration_seconds": 86_401}), "/duration_seconds");
    let viewer = token(&server, &home, "viewer");
    let request = Request::new("PUT", "/api/v1/log-level").token(&viewer);
    server.send(&request.json(r#"{"filter": "trace"}"#)).expect_problem(403, "forbidden", "");
    assert_eq!(log_level(&server, &home)["filter"], "info");
}

fn token(server: &Server, home: &Home, scope: &str) -> String {
    let wanted = json!({"name": "ci", "scope": scope}).to_string();
    let request = Request::new("POST", "/api/v1/tokens").token(&home.token()).json(&wanted);
    let made = server.send(&request.header(TRACEPARENT)).json();
    made["token"].as_str().unwrap().to_owned()
}

#[test]
fn a_control_request_is_logged_with_its_trace() {
    let home = Home::new();
    let server = home.start();
    token(&server, &home, "viewer");
    let events = events(server);
    let made = events.iter().rfind(|event| event["message"] == "token made").unwrap();
    let request = json!({"name": "request", "operation": "createToken", "trace_id": TRACE_ID});
    assert_eq!(made["span"], request, "{made}");
}

#[test]
fn no_log_has_a_clients_address_or_a_secret() {
    let home = Home::new();
    fs::write(home.path("server.toml"), "[http]\ntrusted_proxies = ['127.0.0.0/8']\n").unwrap();
    let server = Server::start(home.command().arg("--config").arg(home.path("server.toml")));
    let clients = ["203.0.113.77", "2001:db8::77", "198.51.100.99"];
    let (admin, reporter) = (home.token(), token(&server, &home, "reporter"));
    let (kept, last) = admin.split_at(admin.len() - 1);
    let wrong = format!("{kept}{}", if last == "0" { 1 } else { 0 });
    for client in clients {
        let forwarded = format!("x-forwarded-for: {client}");
        let send = |method: &str, path: &str, token: &str, body: &str| {
            let request = Request::new(method, path).header(&forwarded).token(token);
            server.send(&if body.is_empty() { request } else { request.json(body) })
        };
        let named = json!({"client_ip": client}).to_string();
        let explained = json!({"client_ip": client, "explain": true}).to_string();
        let outcome = json!({"region": "us-west-2", "outcome": "timeout", "client_ip": client});
        let outcomes = json!({"outcomes": [outcome]}).to_string();
        let batch = json!({"requests": [{"client_ip": client}, {"client_ip": 7}]}).to_string();
        for (method, path, token, body, status) in [
            ("POST", "/api/v1/route", "", "{}", 200),
            ("POST", "/api/v1/route", "", &named, 200),
            ("POST", "/api/v1/route", &admin, &explained, 200),
            ("POST", "/api/v1/route", "", &named[1..], 400),
            ("POST", "/api/v1/route/batch", "", &batch, 200),
            ("POST", "/api/v1/outcomes", &reporter, &outcomes, 200),
            ("GET", &format!("/api/v1/geoip/{client}"), &admin, "", 200),
            ("GET", &format!("/nothing/{client}"), &admin, "", 404),
            ("GET", "/api/v1/status", &wrong, "", 401),
            ("PUT", "/api/v1/flags/public_explain", &admin, r#"{"on": true}"#, 428),
            ("DELETE", "/api/v1/tokens/0000000000000000", &admin, "", 404),
        ] {
            let answer = send(method, path, token, body);
            assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        }
    }
    server.signal("TERM");
    let (_, log) = server.wait();
    assert!(log.contains("token made"), "at this level, things are logged: {log}");
    let secrets = [admin.as_str(), &reporter, &wrong];
    for never in clients.into_iter().chain(secrets).chain(secrets.map(secret)) {
        assert!(!log.contains(never), "{never} in {log}");
    }
}

#[test]
fn what_ends_a_start_is_logged_as_everything_else_is() {
    let home = Home::new();
    let server = home.start();
    let address = server.address.to_string();
    let other = Home::new();
    fs::write(other.path("bad.toml"), "workers = 2\nwhat = 1\n[log]\nformat = 'json'\n").unwrap();
    fs::write(other.path("no.toml"), "[log\n").unwrap();
    let file = |name: &str| other.path(name).to_str().unwrap().to_owned();
    let cases: [(&[&str], &str, i32); 5] = [
        (&["--listen", &address], "Address already in use", 1),
        (&["--config", &file("no.toml")], "no.toml", 2),
        (&["--trusted-proxy", "anywhere"], "--trusted-proxy", 2),
        (&["--bootstrap", "/no/where.toml"], "/no/where.toml", 2),
        (&["--geoip-file", "/no/where.mmdb", "--data-dir", "/proc/nothing"], "/proc/nothing", 1),
    ];
    for (arguments, expected, code) in cases {
        let output = other.command().args(arguments).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        let events: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let last = events.last().unwrap();
        assert_eq!(last["level"], "ERROR", "{arguments:?}: {last}");
        assert!(last["error"].as_str().unwrap().contains(expected), "{arguments:?}: {last}");
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {last}");
    }
    // The format is taken from where it can be read.
    let bare = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_geostream-server"));
        let output = command.env_remove("GEOSTREAM_LOG_FORMAT").args(arguments).output().unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    let of_file: Value = serde_json::from_str(&bare(&["--config", &file("bad.toml")])).unwrap();
    assert!(of_file["error"].as_str().unwrap().contains("what"), "{of_file}");
    let plain = bare(&["--config", &file("no.toml")]);
    assert!(plain.starts_with("geostream-server: in "), "{plain}");
    let checked = bare(&["--check-config", "--config", &file("bad.toml")]);
    assert!(checked.starts_with("geostream-server: in "), "{checked}");
    assert!(bare(&["--workers", "0"]).contains("For more information, try '--help'"));
}

#[test]
fn revisions_are_logged_as_numbers() {
    let home = Home::new();
    let events = events(home.start());
    let revisions: Vec<_> = events.iter().filter_map(|event| event.get("revision")).collect();
    assert!(!revisions.is_empty());
    assert!(revisions.iter().all(|revision| revision.is_u64()), "{revisions:?}");
}

/// Returns the part of a token that is secret.
fn secret(token: &str) -> &str {
    token.rsplit('_').next().unwrap()
}
