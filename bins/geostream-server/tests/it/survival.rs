//! Crashes, full disks, damaged files, and configuration that is wrong.

use std::fs;
use std::process::Command;

use serde_json::json;

use crate::server::{Home, Request, Server, wait_for};
use crate::store_state::is_well;

fn put_region(server: &Server, token: &str, revision: u64) -> crate::server::Answer {
    let body = json!({ "latitude": 1, "longitude": 2, "name": "x".repeat(150) }).to_string();
    let path = format!("/api/v1/regions/r{revision}");
    server.send(&Request::new("PUT", &path).token(token).revision(revision).json(&body))
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let home = Home::new();
    let mut acknowledged = 1;
    for round in 0..10 {
        let server = home.start();
        let token = home.token();
        for _ in 0..round {
            let answer = put_region(&server, &token, acknowledged);
            assert_eq!(answer.status, 200, "{answer:?}");
            acknowledged += 1;
        }
        let status = server.send(&Request::new("GET", "/api/v1/status").token(&token)).json();
        assert_eq!(status["revision"], acknowledged, "{status}");
        server.kill();
    }
}

#[test]
fn a_full_disk_is_said_and_nothing_is_lost() {
    let home = Home::new();
    home.start().kill();
    // A limit on the size of files stands for a full disk: writes fail in the same place.
    let script = "trap '' XFSZ; ulimit -f 2200; exec \"$@\"";
    let mut limited = Command::new("bash");
    limited.args(["-c", script, "bash", env!("CARGO_BIN_EXE_geostream-server")]);
    let server = Server::start(limited.args(home.arguments()));
    let token = home.token();
    let mut revision = 1;
    let refused = loop {
        let answer = put_region(&server, &token, revision);
        if answer.status != 200 {
            break answer;
        }
        revision += 1;
        assert!(revision < 5_000, "the disk is never full");
    };
    refused.expect_problem(503, "store-unavailable", "");
    assert_eq!(server.route("{}").status, 200, "decisions go on");
    drop(server);

    let server = home.start();
    let status = server.send(&Request::new("GET", "/api/v1/status").token(&token)).json();
    assert_eq!(status["revision"], revision, "what was acknowledged, and nothing else");
    assert_eq!(put_region(&server, &token, revision).status, 200, "and writes work again");
}

#[test]
fn a_damaged_store_leaves_the_last_good_table() {
    let home = Home::new();
    let server = home.start();
    assert_eq!(put_region(&server, &home.token(), 1).status, 200);
    server.signal("TERM");
    server.wait();
    let whole = home.path("whole.redb");
    fs::rename(home.path("config.redb"), &whole).unwrap();
    fs::write(home.path("config.redb"), "this is no database").unwrap();

    let server = home.start();
    let answer = server.route(r#"{"client_ip": "165.100.97.15"}"#).json();
    assert_eq!((&answer["region"], &answer["revision"]), (&"ap-northeast-1".into(), &2.into()));
    let ready = server.get("/ready");
    let warning = ready.json()["warnings"].to_string();
    assert!(ready.status == 200 && warning.contains("saved"), "{ready:?}");
    let refused = put_region(&server, &home.token(), 2);
    refused.expect_problem(503, "store-unavailable", "");
    let database = fs::read_to_string(home.path("config.redb")).unwrap();
    assert_eq!(database, "this is no database", "a damaged file is left for whoever mends it");

    fs::rename(whole, home.path("config.redb")).unwrap();
    wait_for(|| put_region(&server, &home.token(), 2).status != 503);
    assert_eq!(put_region(&server, &home.token(), 3).status, 200, "it goes on by itself");
    is_well(&server);
}

#[test]
fn wrong_bytes_in_the_store_do_not_end_the_server() {
    let home = Home::new();
    let server = home.start();
    for revision in 1..20 {
        assert_eq!(put_region(&server, &home.token(), revision).status, 200);
    }
    server.signal("TERM");
    server.wait();
    let database = home.path("config.redb");
    let mut bytes = fs::read(&database).unwrap();
    // Some are in pages that are not in use any more.
    let commits = (0..bytes.len() - 7).filter(|&at| &bytes[at..at + 7] == b"changes");
    for commit in commits.collect::<Vec<_>>() {
        bytes[commit] ^= 1;
    }
    fs::write(&database, &bytes).unwrap();

    let server = home.start();
    assert_eq!(server.route(r#"{"client_ip": "165.100.97.15"}"#).json()["revision"], 20);
    assert_ne!(put_region(&server, &home.token(), 20).status, 200);
    assert_eq!(server.get("/ready").status, 200);
    server.signal("TERM");
    let (status, log) = server.wait();
    assert!(status.success() && log.contains("store not opened"), "{log}");
}

#[test]
fn a_lost_store_leaves_the_last_good_table() {
    let home = Home::new();
    let server = home.start();
    let kept = || fs::read_to_string(home.path("last-good.json")).unwrap_or_default();
    wait_for(|| kept().contains("ap-northeast-1"));
    server.kill();
    let database = home.path("config.redb");
    let decides_by_last_good = || {
        let server = home.start();
        let answer = server.route(r#"{"client_ip": "165.100.97.15"}"#).json();
        assert_eq!((&answer["region"], &answer["revision"]), (&"ap-northeast-1".into(), &1.into()));
        assert!(kept().contains("ap-northeast-1"));
        server.kill();
    };
    let whole = home.path("whole.redb");
    fs::rename(&database, &whole).unwrap();
    decides_by_last_good();
    assert!(!database.exists(), "no empty store takes its place");
    fs::write(&database, "").unwrap();
    decides_by_last_good();
    fs::rename(whole, &database).unwrap();
    let server = home.start();
    assert_eq!(put_region(&server, &home.token(), 1).status, 200, "it is back");
}

#[test]
fn without_any_configuration_the_node_is_not_ready() {
    let home = Home::new();
    fs::write(home.path("config.redb"), "this is no database").unwrap();
    let server = home.start();
    assert_eq!(server.get("/health").status, 200);
    server.get("/ready").expect_problem(503, "not-ready", "");
    server.route("{}").expect_problem(503, "not-ready", "");
}

#[test]
fn a_node_without_a_declared_configuration_is_not_ready() {
    let home = Home::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_geostream-server"));
    let arguments = home.arguments();
    let server = Server::start(command.args(&arguments[..2]).args(&arguments[4..]));
    server.get("/ready").expect_problem(503, "not-ready", "");
    assert_eq!(put_region(&server, &home.token(), 0).status, 200);
    assert_eq!(server.get("/ready").status, 200);
}

#[test]
fn a_damaged_geoip_file_is_said_and_mended_on_the_fly() {
    let home = Home::new();
    let file = home.path("geoip/dbip-sample.mmdb");
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let server = home.start();
    server.get("/ready").expect_problem(503, "not-ready", "");
    let status = server.send(&Request::new("GET", "/api/v1/status").token(&home.token())).json();
    assert!(status["geo"][0]["refused"].as_str().unwrap().contains("damaged"), "{status}");
    let tokyo = || server.route(r#"{"client_ip": "165.100.97.15"}"#).json()["region"].clone();
    assert_eq!(tokyo(), "us-east-1", "an unknown place");
    let new = home.path("new.mmdb");
    fs::write(&new, &whole).unwrap();
    fs::rename(new, &file).unwrap();
    server.signal("HUP");
    wait_for(|| tokyo() == "ap-northeast-1");
    assert_eq!(server.get("/ready").status, 200);
}

#[test]
fn a_second_server_is_kept_away() {
    let home = Home::new();
    let server = home.start();
    let fails = |command: &mut Command| {
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let same_data = fails(&mut home.command());
    assert!(same_data.contains("is in use"), "{same_data}");
    let other = Home::new();
    let same_port = fails(other.command().args(["--listen", &server.address.to_string()]));
    assert!(same_port.contains("listening on"), "{same_port}");
    assert!(!other.path("config.redb").exists(), "it fails before it touches anything");
}

#[test]
fn a_wrong_configuration_is_refused_before_anything_starts() {
    let home = Home::new();
    let sample = fs::read_to_string(home.arguments()[3].clone()).unwrap();
    for (file, content, option, expected) in [
        ("half.toml", &sample[..sample.len() / 2], "--bootstrap", "half.toml"),
        (
            "nan.toml",
            "[regions.a]\nlatitude = nan\nlongitude = 1.0",
            "--bootstrap",
            "/regions/a/latitude",
        ),
        ("bad.toml", "listen = \"127.0.0.1:1\"\nport = 8080", "--config", "line 2"),
        ("log.toml", "[log]\nfilter = \"=====\"", "--config", "warn, info, debug"),
        ("tls.toml", "[tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"", "--config", "c.pem"),
    ] {
        fs::write(home.path(file), content).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_geostream-server"));
        command.args(["--data-dir", home.path("data").to_str().unwrap(), option]);
        let output = command.arg(home.path(file)).arg("--check-config").output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{file}: {error}");
        assert!(error.contains(expected), "{file}: {error}");
    }
    let checked = home.command().arg("--check-config").output().unwrap();
    assert!(checked.status.success());
}

#[test]
fn secrets_do_not_get_into_logs() {
    let home = Home::new();
    let server = Server::start(home.command().args(["--log", "trace"]));
    let token = home.token();
    server.send(&Request::new("GET", "/api/v1/regions").token(&token));
    server.send(&Request::new("GET", "/api/v1/regions").token(&format!("{token}x")));
    server.signal("TERM");
    let (_, log) = server.wait();
    let secret = token.rsplit('_').next().unwrap();
    assert!(!log.contains(secret));
}

#[test]
fn the_token_file_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = Home::new();
    let _server = home.start();
    let mode = fs::metadata(home.path("admin.token")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_lost_admin_token_is_replaced_on_request() {
    let home = Home::new();
    home.start().kill();
    let lost = home.token();
    home.start().kill();
    assert_eq!(home.token(), lost, "another start makes no other token");
    let server = Server::start(home.command().arg("--new-admin-token"));
    let new = home.token();
    assert_ne!(new, lost);
    let tokens = server.send(&Request::new("GET", "/api/v1/tokens").token(&new));
    assert_eq!(tokens.status, 200, "{tokens:?}");
}
