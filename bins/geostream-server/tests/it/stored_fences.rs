//! Geofences of an earlier version that name codes which no country has.

use std::path::{Path, PathBuf};
use std::process::Command;

use geostream_testbed::Postgres;
use serde_json::{Value, json};

use crate::postgres::prepared;
use crate::server::{Answer, Home, Request, Server, wait_for};

/// What an earlier version wrote; a file beside it tells how.
fn stored(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stored_with_uk").join(file)
}

fn service(clients: &Value, allow: &str) -> Value {
    json!({
        "members": { "eu": {}, "us": { "weight": 3 } },
        "geofence": [{ "clients": clients, "allow": [allow] }],
    })
}

fn put(server: &Server, token: &str, revision: u64, path: &str, body: &Value) -> Answer {
    let request = Request::new("PUT", path).token(token).revision(revision);
    server.send(&request.json(&body.to_string()))
}

fn warning_codes(server: &Server) -> Vec<String> {
    let ready = server.get("/ready").json();
    let warnings = ready["warnings"].as_array().cloned().unwrap_or_default();
    warnings.iter().map(|warning| warning["code"].as_str().unwrap().to_owned()).collect()
}

/// Checks that a stored rule for `UK` is told, can be kept, corrected and gone back to.
#[track_caller]
fn check_stored(server: &Server, token: &str) {
    wait_for(|| warning_codes(server) == ["unassigned-countries"]);
    let status = server.send(&Request::new("GET", "/api/v1/status").token(token)).json();
    let detail = status["warnings"][0]["detail"].as_str().unwrap();
    assert!(detail.contains("the geofence of api: UK is no country code"), "{detail}");
    let metrics = server.get("/metrics").body;
    assert!(metrics.contains(r#"server_warning{warning="unassigned-countries"} 1"#), "{metrics}");
    let path = "/api/v1/services/api";

    let kept = service(&json!({ "countries": ["UK", "DE"] }), "residency=eu");
    let kept = put(server, token, 2, path, &kept);
    assert_eq!(kept.status, 200, "the rule is as it was: {kept:?}");
    let right = service(&json!({ "countries": ["GB", "DE"] }), "residency=eu");
    assert_eq!(put(server, token, 3, path, &right).status, 200);
    assert!(warning_codes(server).is_empty());
    let back = Request::new("POST", "/api/v1/config/rollback").token(token).revision(4);
    let back = server.send(&back.json(r#"{ "revision": 2 }"#));
    assert_eq!(back.status, 200, "{back:?}");
    assert!(back.json()["warnings"][0].as_str().unwrap().contains("GB"), "{back:?}");
    assert_eq!(warning_codes(server), ["unassigned-countries"]);
}

#[test]
fn a_data_directory_with_a_code_that_is_refused_now_loads_and_can_be_corrected() {
    let home = Home::new();
    let archive = stored("data-directory.tar.gz");
    let mut tar = Command::new("tar");
    let unpacked = tar.arg("-xzf").arg(archive).arg("-C").arg(home.path("")).status();
    assert!(unpacked.unwrap().success());
    let server = home.start();
    check_stored(&server, &home.token());
}

#[test]
fn a_postgresql_log_with_a_code_that_is_refused_now_loads_and_can_be_corrected() {
    let database = Postgres::shared();
    let url = prepared(database);
    database.sql(&url, &std::fs::read_to_string(stored("postgresql.sql")).unwrap());
    let home = Home::new();
    let server = Server::start(home.command().args(["--store", &url]));
    let token = std::fs::read_to_string(stored("postgresql.token")).unwrap();
    check_stored(&server, token.trim());
}

#[test]
fn an_export_with_a_code_that_is_refused_now_is_imported() {
    let home = Home::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_geostream-server"));
    let directory = home.path("");
    command.args(["--data-dir", directory.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    let server = Server::start(command.args(["--log-format", "json", "--workers", "2"]));
    let log = std::fs::read_to_string(stored("export.log")).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [head, first, second, _] = &lines[..] else { panic!("{log}") };
    let parts = [
        json!({ "begin": head["base"] }),
        json!({ "commits": [first, second] }),
        json!({ "end": 2 }),
    ];
    for part in parts {
        let body = json!({ "import": "0123456789abcdef0123456789abcdef", "part": part });
        let request = Request::new("POST", "/api/v1/config/log").token(&home.token());
        let answer = server.send(&request.json(&body.to_string()));
        assert!((200..300).contains(&answer.status), "{answer:?}");
    }
    check_stored(&server, &home.token());
}
