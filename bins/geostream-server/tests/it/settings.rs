//! Limits and reachability targets of the configuration, which hold for all nodes.

use std::fs;

use serde_json::{Value, json};

use crate::server::{Answer, Home, Request, Server, wait_for};

/// Sets all settings, on whatever revision is the latest; a limit may refuse that for a while.
pub(crate) fn put_settings(server: &Server, token: &str, settings: &Value) -> Answer {
    let read = once_let_through(server, &Request::new("GET", "/api/v1/settings").token(token));
    let revision = read.header("etag").unwrap().trim_matches('"').parse().unwrap();
    let request = Request::new("PUT", "/api/v1/settings").token(token).revision(revision);
    once_let_through(server, &request.json(&settings.to_string()))
}

/// Returns what is in force, as the status tells it.
pub(crate) fn limits(server: &Server, token: &str) -> Value {
    let status = Request::new("GET", "/api/v1/status").token(token);
    once_let_through(server, &status).json()["limits"].clone()
}

/// Waits until the metrics, which are rendered once a second, show this limit of client networks.
#[track_caller]
pub(crate) fn wait_for_limit(server: &Server, per_second: u32) {
    let line = format!("rate_limit_per_second{{limit=\"client\"}} {per_second}\n");
    wait_for(|| server.get("/metrics").body.contains(&line));
}

/// Sends a request until no limit refuses it any more.
fn once_let_through(server: &Server, request: &Request) -> Answer {
    let mut answer = server.send(request);
    wait_for(|| {
        if answer.status == 429 {
            answer = server.send(request);
        }
        answer.status != 429
    });
    answer
}

fn set(server: &Server, token: &str, settings: &Value) {
    let answer = put_settings(server, token, settings);
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// Tells whether so many requests in a row are let through.
fn passes(server: &Server, number: usize) -> bool {
    (0..number).all(|_| server.get("/nothing").status == 404)
}

/// Starts a server whose own limit is three requests a second.
fn limited(home: &Home) -> Server {
    let config = home.path("server.toml");
    fs::write(&config, "[http]\nrequests_per_second = 3\n").unwrap();
    Server::start(home.command().arg("--config").arg(config))
}

#[test]
fn the_configuration_goes_over_the_limits_of_the_node_at_once_and_for_as_long_as_it_says_any() {
    let home = Home::new();
    let server = limited(&home);
    let token = home.token();
    let expected = |value: u32, source: &str| json!({ "value": value, "source": source });
    assert_eq!(limits(&server, &token)["requests_per_second"], expected(3, "node"));
    wait_for_limit(&server, 3);
    assert!(!passes(&server, 10_000));

    set(&server, &token, &json!({ "default_service": "api", "requests_per_second": 0 }));
    assert!(passes(&server, 1_000), "the limit is lifted before the write is answered");
    let in_force = limits(&server, &token);
    assert_eq!(in_force["requests_per_second"], expected(0, "configuration"));
    assert_eq!(in_force["requests_per_second_per_token"], expected(0, "node"));
    assert_eq!(in_force["max_connections"], 10_000);
    assert_eq!(in_force["max_connections_per_network"], 1_000);
    wait_for_limit(&server, 0);

    set(&server, &token, &json!({ "requests_per_second_per_token": 2 }));
    let ask = || server.send(&Request::new("GET", "/api/v1/regions").token(&token)).status;
    assert!((0..10_000).any(|_| ask() == 429), "the limit of tokens holds as well");
    wait_for_limit(&server, 3);
    let metrics = server.get("/metrics").body;
    assert!(metrics.contains("rate_limit_per_second{limit=\"token\"} 2\n"), "{metrics}");
    let in_force = limits(&server, &token);
    assert_eq!(in_force["requests_per_second"], expected(3, "node"));
    assert_eq!(in_force["requests_per_second_per_token"], expected(2, "configuration"));
}

#[test]
fn limits_of_the_configuration_hold_after_a_start_and_are_rolled_back() {
    let home = Home::new();
    let server = limited(&home);
    let token = home.token();
    set(&server, &token, &json!({ "default_service": "api", "requests_per_second": 900 }));
    server.kill();
    let server = limited(&home);
    wait_for_limit(&server, 900);
    let back = Request::new("POST", "/api/v1/config/rollback").token(&token).revision(2);
    let back = server.send(&back.json(r#"{ "revision": 1 }"#));
    assert_eq!(back.status, 200, "{back:?}");
    let changed = back.json()["changes"].clone();
    let path = "settings/requests_per_second";
    assert_eq!(changed, json!([{ "path": path, "before": 900, "after": null }]));
    wait_for_limit(&server, 3);
}

#[test]
fn limits_of_the_last_good_table_hold_while_the_store_cannot_be_read() {
    let home = Home::new();
    let server = limited(&home);
    let token = home.token();
    set(&server, &token, &json!({ "default_service": "api", "requests_per_second": 900 }));
    server.signal("TERM");
    server.wait();
    fs::write(home.path("config.redb"), "no database").unwrap();
    let server = limited(&home);
    assert!(server.get("/ready").body.contains("store-unreadable"));
    wait_for_limit(&server, 900);
}

#[test]
fn bad_settings_are_told_by_their_names() {
    let home = Home::new();
    let server = home.start();
    let token = home.token();
    for (field, value, pointer) in [
        ("requests_per_second", json!(1_000_000_001), "/requests_per_second"),
        ("requests_per_second", json!(-1), "/requests_per_second"),
        ("requests_per_second", json!(null), "/requests_per_second"),
        ("requests_per_second_per_token", json!("many"), "/requests_per_second_per_token"),
        ("reachability_targets", json!("8.8.8.8:53"), "/reachability_targets"),
        ("reachability_targets", json!(["8.8.8.8:53", "8.8.8.8"]), "/reachability_targets/1"),
        ("reachability_targets", json!(["8.8.8.8:53", "8.8.8.8:53"]), "/reachability_targets/1"),
        ("reachability_targets", json!(["8.8.8.8:0"]), "/reachability_targets/0"),
    ] {
        let mut settings = json!({ "default_service": "api" });
        settings[field] = value;
        let refused = put_settings(&server, &token, &settings);
        refused.expect_problem(400, "invalid-request", pointer);
        let config = Request::new("PUT", "/api/v1/config").token(&token).revision(1);
        let refused = server.send(&config.json(&json!({ "settings": settings }).to_string()));
        refused.expect_problem(400, "invalid-request", &format!("/settings{pointer}"));
    }
}
