//! Checks of addresses that the server may not probe.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::server::{Answer, Home, Request, Server, wait_for};

/// A region that is checked at this URL.
fn region(url: &str, capacity: u32) -> Value {
    json!({ "latitude": 0, "longitude": 0, "capacity": capacity, "check": { "url": url } })
}

fn put(server: &Server, home: &Home, revision: u64, path: &str, body: &Value) -> Answer {
    let request = Request::new("PUT", path).token(&home.token()).revision(revision);
    server.send(&request.json(&body.to_string()))
}

fn get(server: &Server, home: &Home, path: &str) -> Value {
    server.send(&Request::new("GET", path).token(&home.token())).json()
}

/// A server that may probe the loopback network.
fn permissive(home: &Home) -> Server {
    Server::start(home.command().args(["--probe-network", "127.0.0.0/8"]))
}

/// Declares `r0`, whose check names a loopback address, and a service of it, as revision 2.
fn declare(server: &Server, home: &Home) {
    let config = json!({
        "regions": { "r0": region("tcp://127.0.0.1:1", 1) },
        "services": { "api": { "members": { "r0": {} } } },
        "settings": { "default_service": "api" },
    });
    let declared = put(server, home, 1, "/api/v1/config", &config);
    assert_eq!(declared.status, 200, "{declared:?}");
}

/// Stops a server, and returns its warnings that name these regions.
fn warnings_of(server: Server, regions: &str) -> usize {
    server.signal("TERM");
    let (status, log) = server.wait();
    assert!(status.success(), "{log}");
    let events = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let warnings = events.filter(|event| event["level"] == "WARN" && event["regions"] == regions);
    warnings.filter(|event| event["message"].as_str().unwrap().contains("probe.networks")).count()
}

#[test]
fn a_new_check_of_an_address_that_may_not_be_probed_is_refused() {
    let home = Home::new();
    let server = home.start();
    for host in ["127.0.0.1", "localhost", "[::1]", "10.1.2.3", "169.254.169.254", "127.1"] {
        let new = region(&format!("tcp://{host}:80"), 1);
        let refused = put(&server, &home, 1, "/api/v1/regions/r0", &new);
        refused.expect_problem(422, "probe-forbidden", "/check/url");
        let detail = refused.json()["errors"][0]["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("probe.networks"), "{detail}");
        assert!(detail.contains(host.trim_matches(['[', ']'])), "{detail}");

        let config = json!({ "regions": { "r0": new } });
        for path in ["/api/v1/config", "/api/v1/config?dry_run=true"] {
            let refused = put(&server, &home, 1, path, &config);
            refused.expect_problem(422, "probe-forbidden", "/regions/r0/check/url");
        }
    }
    let endpoint = json!({
        "latitude": 0, "longitude": 0, "endpoint": "http://192.168.0.1", "check": {}
    });
    let refused = put(&server, &home, 1, "/api/v1/regions/r0", &endpoint);
    refused.expect_problem(422, "probe-forbidden", "/check/url");
    let is_as_it_was = get(&server, &home, "/api/v1/config/history");
    assert_eq!(is_as_it_was["commits"].as_array().unwrap().len(), 1);

    let named = region("http://r0.internal.example/", 1);
    let accepted = put(&server, &home, 1, "/api/v1/regions/r0", &named);
    assert_eq!(accepted.status, 200, "names are judged when they are probed: {accepted:?}");
}

#[test]
fn a_stored_check_that_may_not_be_probed_is_kept_with_a_warning_and_its_region_is_unknown() {
    let home = Home::new();
    let server = permissive(&home);
    declare(&server, &home);
    server.kill();

    let server = home.start();
    let health = || get(&server, &home, "/api/v1/health/regions")["regions"][0].clone();
    wait_for(|| health()["probe_forbidden"] == true);
    assert_eq!(health()["health"], "unknown");
    assert!(health()["evidence"].as_str().unwrap().contains("probe.networks"), "{}", health());
    assert_eq!(get(&server, &home, "/api/v1/status")["probe_forbidden"], json!(["r0"]));
    let question = json!({ "location": { "latitude": 1, "longitude": 0 }, "explain": true });
    let ask = Request::new("POST", "/api/v1/route").json(&question.to_string());
    let stranger = server.send(&ask);
    assert!(!stranger.body.contains("probe.networks"), "{}", stranger.body);
    let answer = server.send(&ask.token(&home.token())).json();
    assert_eq!(answer["region"], "r0", "what is unknown goes on to serve");
    let detail = answer["explanation"]["regions"][0]["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("probe.networks"), "{detail}");
    wait_for(|| {
        let metrics = server.get("/metrics").body;
        metrics.contains(r#"region_probe_failures_total{region="r0",reason="forbidden"}"#)
    });

    let is_warned = |answer: &Answer| {
        let warning = answer.json()["warnings"][0].as_str().unwrap_or_default().to_owned();
        answer.status == 200 && warning.contains("probe.networks")
    };
    let same_check = region("tcp://127.0.0.1:1", 2);
    let kept = put(&server, &home, 2, "/api/v1/regions/r0", &same_check);
    assert!(is_warned(&kept), "the check is not new: {kept:?}");
    let other_check = region("tcp://127.0.0.1:2", 2);
    let refused = put(&server, &home, 3, "/api/v1/regions/r0", &other_check);
    refused.expect_problem(422, "probe-forbidden", "/check/url");

    let public = region("tcp://192.0.2.1.example.com:1", 2);
    assert_eq!(put(&server, &home, 3, "/api/v1/regions/r0", &public).status, 200);
    let request = Request::new("POST", "/api/v1/config/rollback").token(&home.token()).revision(4);
    let restored = server.send(&request.json(r#"{ "revision": 2 }"#));
    assert!(is_warned(&restored), "what was stored is restored: {restored:?}");
    // At the start and with the rollback; not with the write that left the check as it was.
    assert_eq!(warnings_of(server, "r0"), 2);
}

#[test]
fn a_declared_file_with_a_check_that_may_not_be_probed_is_loaded_with_a_warning() {
    let home = Home::new();
    let file = home.path("regions.toml");
    let text = "[regions.r0]\nlatitude = 1\nlongitude = 2\ncheck = { url = \"tcp://10.0.0.1:1\" }\n\
                [regions.r1]\nlatitude = 1\nlongitude = 2\ncheck = { url = \"http://localhost/\" }\n";
    fs::write(&file, text).unwrap();
    let server = start_with(&home, &["--bootstrap", file.to_str().unwrap()]);
    let regions = get(&server, &home, "/api/v1/regions");
    assert_eq!(regions["regions"]["r0"]["check"]["url"], "tcp://10.0.0.1:1");
    assert_eq!(warnings_of(server, "r0, r1"), 1);
}

#[test]
fn an_imported_check_that_may_not_be_probed_is_loaded_with_a_warning() {
    let from = Home::new();
    let to = Home::new();
    let server = permissive(&from);
    declare(&server, &from);
    let base = get(&server, &from, "/api/v1/config/log/1");
    let commits = get(&server, &from, "/api/v1/config/log?after=1")["commits"].clone();
    drop(server);

    let server = start_with(&to, &[]);
    for part in [json!({ "begin": base }), json!({ "commits": commits }), json!({ "end": 2 })] {
        let body = json!({ "import": "0123456789abcdef0123456789abcdef", "part": part });
        let request = Request::new("POST", "/api/v1/config/log").token(&to.token());
        let answer = server.send(&request.json(&body.to_string()));
        assert!((200..300).contains(&answer.status), "{answer:?}");
    }
    wait_for(|| {
        let report = get(&server, &to, "/api/v1/health/regions");
        report["regions"][0]["probe_forbidden"] == true
    });
    assert_eq!(warnings_of(server, "r0"), 1);
}

#[test]
fn a_reachability_target_that_may_not_be_probed_is_refused_and_a_stored_one_is_left_out() {
    let home = Home::new();
    let server = permissive(&home);
    let token = home.token();
    let settings =
        |targets: &[&str]| json!({ "default_service": "api", "reachability_targets": targets });
    let refused = put(&server, &home, 1, "/api/v1/settings", &settings(&["10.1.2.3:443"]));
    refused.expect_problem(422, "probe-forbidden", "/reachability_targets");
    let detail = refused.json()["errors"][0]["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("10.1.2.3:443") && detail.contains("probe.networks"), "{detail}");
    let config = json!({ "settings": { "reachability_targets": ["10.1.2.3:443"] } });
    for path in ["/api/v1/config", "/api/v1/config?dry_run=true"] {
        let refused = put(&server, &home, 1, path, &config);
        refused.expect_problem(422, "probe-forbidden", "/settings/reachability_targets");
    }
    let taken = put(&server, &home, 1, "/api/v1/settings", &settings(&["127.0.0.1:1"]));
    assert_eq!(taken.status, 200, "{taken:?}");
    wait_for(|| server.get("/metrics").body.contains(r#"canary_healthy{canary="127.0.0.1:1"}"#));
    assert!(!server.get("/ready").body.contains("warnings"));
    server.kill();

    let server = home.start();
    let ready = server.get("/ready").json();
    assert_eq!(ready["warnings"][0]["code"], "reachability-targets-forbidden", "{ready}");
    assert!(ready["warnings"][0]["detail"].as_str().unwrap().contains("127.0.0.1:1"), "{ready}");
    let metrics = server.get("/metrics").body;
    assert!(metrics.contains(r#"server_warning{warning="reachability-targets-forbidden"} 1"#));
    assert!(!metrics.contains("canary_healthy{"), "it is not asked: {metrics}");
    let status = server.send(&Request::new("GET", "/api/v1/status").token(&token)).json();
    assert_eq!(status["limits"]["reachability_targets"]["value"], json!(["127.0.0.1:1"]));
    assert_eq!(status["limits"]["reachability_targets_forbidden"], json!(["127.0.0.1:1"]));
    let kept = put(
        &server,
        &home,
        2,
        "/api/v1/settings",
        &json!({
            "default_service": "api", "alternatives": 1, "reachability_targets": ["127.0.0.1:1"]
        }),
    );
    assert_eq!(kept.status, 200, "it is as it was: {kept:?}");
    assert!(kept.json()["warnings"][0].as_str().unwrap().contains("127.0.0.1:1"), "{kept:?}");
}

/// Starts a server that declares nothing but what the arguments say.
fn start_with(home: &Home, arguments: &[&str]) -> Server {
    let mut command = Command::new(env!("CARGO_BIN_EXE_geostream-server"));
    command.arg("--data-dir").arg(home.path("")).args(["--listen", "127.0.0.1:0"]);
    command.args(["--log-format", "json", "--workers", "1"]).args(arguments);
    Server::start(&mut command)
}
