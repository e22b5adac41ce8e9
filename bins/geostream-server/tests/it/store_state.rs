//! What a node says of its store and of its data directory, while they fail and afterwards.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use geostream_testbed::Postgres;
use serde_json::{Value, json};

use crate::postgres::{TOKYO, get, prepared, put_region, revision};
use crate::server::{Home, Request, Server, wait_for};

/// Begins or ends a fault.
type Fault = fn(&mut Postgres);

#[test]
fn a_database_that_is_away_is_said_and_taken_back_without_a_write() {
    let mut server = Postgres::start(&[]);
    let home = Home::new();
    let node = start(&home, &prepared(&server));
    let token = home.token();
    let faults: [(Fault, Fault); 2] = [
        (Postgres::stop, Postgres::start_again),
        (|server| server.freeze(), |server| server.thaw()),
    ];
    for (begin, end) in faults {
        is_well(&node);
        begin(&mut server);
        warns(&node, "store-unreadable", "since 2");
        let status = get(&node, &token, "/api/v1/status").json();
        let error = status["store_error"].as_str().unwrap_or_default();
        assert!(error.contains("the store cannot be read"), "{status}");
        shows(&node, "store_available{operation=\"read\"} 0");
        shows(&node, "store_available{operation=\"write\"} 0");
        assert_eq!(node.route(TOKYO).status, 200);
        end(&mut server);
        is_well(&node);
        assert_eq!(get(&node, &token, "/api/v1/status").json()["store_error"], Value::Null);
    }
    shows(&node, "store_available{operation=\"write\"} 1");
}

#[test]
fn a_database_that_takes_no_writes_is_said_without_a_write() {
    let server = Postgres::shared();
    let url = prepared(server);
    server.sql(&url, "CREATE ROLE looker LOGIN");
    server
        .sql(&url, "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO looker");
    server.sql(&url, "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO looker");
    let home = Home::new();
    let node = start(&home, &url.replace("geostream@", "looker@"));
    let cases = [
        (
            "ALTER ROLE looker SET default_transaction_read_only = on",
            "ALTER ROLE looker RESET default_transaction_read_only",
            "default_transaction_read_only",
        ),
        (
            "REVOKE INSERT ON config_log FROM looker",
            "GRANT INSERT ON config_log TO looker",
            "the role looker lacks the right to write config_log",
        ),
    ];
    for (begin, end, reason) in cases {
        is_well(&node);
        server.sql(&url, begin);
        server.end_connections("looker");
        warns(&node, "store-read-only", reason);
        shows(&node, "store_available{operation=\"read\"} 1");
        shows(&node, "store_available{operation=\"write\"} 0");
        server.sql(&url, end);
        is_well(&node);
    }
}

#[test]
fn a_replica_is_read_only_until_it_is_promoted() {
    let primary = Postgres::start(&[]);
    let url = prepared(&primary);
    let home = Home::new();
    let node = start(&home, &url);
    assert_eq!(put_region(&node, &home.token(), "r1", 1).status, 200);
    stop(node);
    let mut replica = primary.replica();
    let address = |server: &Postgres| format!("127.0.0.1:{}", server.port());
    let node = start(&home, &url.replace(&address(&primary), &address(&replica)));
    warns(&node, "store-read-only", "it is a read-only replica");
    assert_eq!(revision(&node), 2);
    replica.promote();
    is_well(&node);
    assert_eq!(put_region(&node, &home.token(), "r2", 2).status, 200);
}

#[test]
fn an_embedded_file_that_is_removed_is_said() {
    let home = Home::new();
    let node = home.start();
    is_well(&node);
    let database = home.path("config.redb");
    let aside = home.path("aside.redb");
    fs::rename(&database, &aside).unwrap();
    warns(&node, "store-unreadable", "No such file");
    fs::write(&database, "").unwrap();
    warns(&node, "store-unreadable", "removed or replaced");
    fs::rename(&aside, &database).unwrap();
    is_well(&node);
    assert_eq!(put_region(&node, &home.token(), "r1", 1).status, 200);
}

#[test]
fn a_full_disk_under_the_embedded_store_is_said_until_there_is_room() {
    let home = Home::new();
    stop(home.start());
    // A limit on the size of files stands for a full disk: writes fail in the same place.
    let script = "trap '' XFSZ; ulimit -S -f 2200; exec \"$@\"";
    let mut limited = Command::new("bash");
    limited.args(["-c", script, "bash", env!("CARGO_BIN_EXE_geostream-server")]);
    let node = Server::start(limited.args(home.arguments()));
    let token = home.token();
    let mut revision = 1;
    while put_region(&node, &token, &format!("r{revision}"), revision).status == 200 {
        revision += 1;
        assert!(revision < 5_000, "the disk is never full");
    }
    warns(&node, "store-read-only", "");
    shows(&node, "store_available{operation=\"write\"} 0");
    let raised = Command::new("prlimit")
        .args(["--pid", &node.id().to_string(), "--fsize=unlimited:"])
        .status();
    assert!(raised.unwrap().success());
    is_well(&node);
    assert_eq!(put_region(&node, &token, "after", revision).status, 200);
}

#[test]
fn commits_that_a_failover_has_lost_are_named_and_kept() {
    let mut primary = Postgres::start(&[]);
    let url = prepared(&primary);
    let mut replica = primary.replica();
    let address = |server: &Postgres| format!("127.0.0.1:{}", server.port());
    let spare = url.replace(&address(&primary), &address(&replica));
    let both = format!("{},{}", address(&primary), address(&replica));
    let url = url.replace(&address(&primary), &both);
    let home = Home::new();
    let other = Home::new();
    let node = start(&home, &url);
    let token = home.token();
    assert_eq!(put_region(&node, &token, "kept", 1).status, 200);
    while replica.sql(&spare, "SELECT revision FROM config_head") != "2" {}
    replica.stop();
    let peer = start(&other, &url);
    assert_eq!(put_region(&node, &token, "lost", 2).status, 200);
    wait_for(|| revision(&peer) == 3);
    wait_for(|| last_good_revision(&other) == Some(3));
    primary.kill();
    replica.start_again();
    replica.promote();
    for (node, home) in [(&node, &home), (&peer, &other)] {
        warns(node, "store-behind", "the store is at revision 2");
        warns(node, "commits-lost", "lost-commits-3-3.json");
        shows(node, "lost_commits_total 1");
        let lost = document(home, "lost-commits-3-3.json");
        assert_eq!((&lost["first"], &lost["last"]), (&json!(3), &json!(3)), "{lost}");
        assert_eq!(lost["commits"][0]["author"], "first-admin", "{lost}");
        assert!(lost["changes"].to_string().contains("\"lost\""), "{lost}");
    }
    // A node that has seen nothing of it writes, and so the others take that branch.
    let third = Home::new();
    let newcomer = start(&third, &url);
    assert_eq!(put_region(&newcomer, &token, "instead", 2).status, 200);
    for node in [&node, &peer] {
        wait_for(|| get(node, &token, "/api/v1/regions/instead").status == 200);
        assert_eq!(get(node, &token, "/api/v1/regions/lost").status, 404);
        wait_for(|| codes(node) == ["commits-lost"]);
    }
    shows(&node, "lost_commits_total 1");
    let config = document(&home, "lost-config-3-3.json");
    let put = Request::new("PUT", "/api/v1/config").token(&token).revision(3);
    assert_eq!(node.send(&put.json(&config.to_string())).status, 200);
    assert_eq!(get(&node, &token, "/api/v1/regions/lost").status, 200, "it is made again");
    for home in [&home, &other] {
        fs::remove_file(home.path("lost-commits-3-3.json")).unwrap();
    }
    is_well(&node);
    is_well(&peer);
    node.signal("TERM");
    let (_, log) = node.wait();
    assert_eq!(log.matches("\"message\":\"a lost commit\"").count(), 1, "{log}");
    assert!(log.contains("now decides without the commits"), "{log}");
}

#[test]
fn commits_that_an_older_embedded_file_lacks_are_kept_for_the_next_start() {
    let home = Home::new();
    let node = home.start();
    let token = home.token();
    assert_eq!(put_region(&node, &token, "kept", 1).status, 200);
    stop(node);
    let backup = home.path("backup.redb");
    fs::copy(home.path("config.redb"), &backup).unwrap();
    let node = home.start();
    for (number, id) in [(2, "lost"), (3, "lost-too")] {
        assert_eq!(put_region(&node, &token, id, number).status, 200);
    }
    stop(node);
    fs::copy(&backup, home.path("config.redb")).unwrap();
    let node = home.start();
    assert_eq!(revision(&node), 4, "no node goes back by itself");
    warns(&node, "commits-lost", "lost-commits-3-4.json");
    stop(node);
    fs::remove_file(home.path("last-good.json")).unwrap();
    let node = home.start();
    assert_eq!(revision(&node), 2);
    assert_eq!(codes(&node), ["commits-lost"]);
    let commits = document(&home, "lost-commits-3-4.json")["commits"].clone();
    let revisions: Vec<_> = commits.as_array().unwrap().iter().map(|c| &c["revision"]).collect();
    assert_eq!(revisions, [3, 4]);
}

#[test]
fn commits_that_come_back_are_lost_no_more() {
    let server = Postgres::shared();
    let url = prepared(server);
    let home = Home::new();
    let node = start(&home, &url);
    assert_eq!(put_region(&node, &home.token(), "r1", 1).status, 200);
    wait_for(|| last_good_revision(&home) == Some(2));
    server.sql(&url, TAKE_BACK);
    warns(&node, "commits-lost", "lost-commits-2-2.json");
    server.sql(&url, BRING_BACK);
    is_well(&node);
    assert_eq!(put_region(&node, &home.token(), "r2", 2).status, 200);
    assert!(!home.path("lost-config-2-2.json").exists());
}

/// What a restored backup makes of a log whose second commit was to put the region `r1`.
const TAKE_BACK: &str = "
    CREATE TABLE kept_log AS SELECT * FROM config_log WHERE revision = 2;
    CREATE TABLE kept_regions AS SELECT * FROM regions WHERE id = 'r1';
    BEGIN;
    DELETE FROM config_log WHERE revision = 2;
    DELETE FROM regions WHERE id = 'r1';
    UPDATE config_head SET revision = 1, mark = (SELECT mark FROM config_log WHERE revision = 1);
    COMMIT";

const BRING_BACK: &str = "
    BEGIN;
    INSERT INTO config_log SELECT * FROM kept_log;
    INSERT INTO regions SELECT * FROM kept_regions;
    UPDATE config_head SET revision = 2, mark = (SELECT mark FROM kept_log);
    COMMIT";

#[test]
fn a_last_good_table_that_cannot_be_written_is_said_once_and_tried_again() {
    let home = Home::new();
    let node = home.start();
    let token = home.token();
    wait_for(|| last_good_revision(&home) == Some(1));
    // A directory of the new file's name stops root as well.
    let obstacle = home.path("last-good.new");
    fs::create_dir(&obstacle).unwrap();
    for number in 1..4 {
        assert_eq!(put_region(&node, &token, &format!("r{number}"), number).status, 200);
    }
    warns(&node, "last-good-not-written", "revision 1");
    shows(&node, "last_good_revision 1");
    let status = get(&node, &token, "/api/v1/status").json();
    assert!(status["warnings"].to_string().contains("Is a directory"), "{status}");
    fs::remove_dir(&obstacle).unwrap();
    is_well(&node);
    shows(&node, "last_good_revision 4");
    assert_eq!(last_good_revision(&home), Some(4));
    node.signal("TERM");
    let (_, log) = node.wait();
    assert_eq!(log.matches("the last good table cannot be written").count(), 1, "{log}");
    assert_eq!(log.matches("the last good table is written again").count(), 1, "{log}");
}

#[test]
fn a_viewer_can_look_while_the_store_is_away() {
    let mut server = Postgres::start(&[]);
    let url = prepared(&server);
    let home = Home::new();
    let node = start(&home, &url);
    let admin = home.token();
    let make = |name: &str, scope: &str| {
        let request = Request::new("POST", "/api/v1/tokens").token(&admin);
        let body = json!({ "name": name, "scope": scope }).to_string();
        node.send(&request.json(&body)).json()
    };
    let viewer = make("eye", "viewer");
    let reporter = make("gateway", "reporter");
    let revoked = make("old", "admin");
    let path = format!("/api/v1/tokens/{}", revoked["id"].as_str().unwrap());
    let file = home.path("known-tokens.json");
    let known = || fs::read_to_string(&file).unwrap_or_default();
    wait_for(|| known().contains(revoked["id"].as_str().unwrap()));
    assert_eq!(node.send(&Request::new("DELETE", &path).token(&admin)).status, 204);
    wait_for(|| !known().contains(revoked["id"].as_str().unwrap()));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let secret = admin.rsplit('_').next().unwrap();
    assert!(!known().contains(secret), "no token is kept");
    stop(node);
    server.stop();

    let node = start(&home, &url);
    for token in [&admin, viewer["token"].as_str().unwrap()] {
        for path in
            ["/api/v1/status", "/api/v1/regions", "/api/v1/health/regions", "/api/v1/config"]
        {
            let answer = get(&node, token, path);
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
        }
    }
    let refused =
        |answer: crate::server::Answer| answer.expect_problem(503, "store-unavailable", "");
    refused(put_region(&node, &admin, "r1", 1));
    refused(get(&node, &admin, "/api/v1/tokens"));
    refused(get(&node, revoked["token"].as_str().unwrap(), "/api/v1/status"));
    refused(get(&node, reporter["token"].as_str().unwrap(), "/api/v1/status"));
    refused(get(&node, &format!("{admin}0"), "/api/v1/status"));
    stop(node);

    // What is older than a week says too little of what was revoked since.
    let mut document: Value = serde_json::from_str(&known()).unwrap();
    document["at"] = json!("2020-01-01T00:00:00Z");
    fs::write(&file, document.to_string()).unwrap();
    let node = start(&home, &url);
    refused(get(&node, &admin, "/api/v1/status"));
    server.start_again();
    wait_for(|| put_region(&node, &admin, "r1", 1).status == 200);
    let unknown = get(&node, revoked["token"].as_str().unwrap(), "/api/v1/status");
    unknown.expect_problem(401, "unauthorized", "");
}

fn start(home: &Home, url: &str) -> Server {
    Server::start(home.command().args(["--store", url]))
}

fn stop(node: Server) {
    node.signal("TERM");
    node.wait();
}

/// Waits until the node tells a warning that has this in its text, in `/ready` and as a metric.
#[track_caller]
pub(crate) fn warns(node: &Server, code: &str, text: &str) {
    wait_for(|| {
        let ready = node.get("/ready");
        assert_eq!(ready.status, 200, "{ready:?}");
        let warnings = ready.json()["warnings"].clone();
        let is_it = |warning: &Value| {
            warning["code"] == code && warning["detail"].as_str().unwrap().contains(text)
        };
        warnings.as_array().is_some_and(|warnings| warnings.iter().any(is_it))
    });
    shows(node, &format!("server_warning{{warning=\"{code}\"}} 1"));
}

/// Waits until the node tells no warning.
#[track_caller]
pub(crate) fn is_well(node: &Server) {
    wait_for(|| codes(node).is_empty());
}

fn codes(node: &Server) -> Vec<String> {
    let warnings = node.get("/ready").json()["warnings"].clone();
    let code = |warning: &Value| warning["code"].as_str().unwrap().to_owned();
    warnings.as_array().into_iter().flatten().map(code).collect()
}

/// Waits until the metrics have this line.
#[track_caller]
fn shows(node: &Server, line: &str) {
    wait_for(|| node.get("/metrics").body.lines().any(|shown| shown == line));
}

fn document(home: &Home, file: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(home.path(file)).unwrap()).unwrap()
}

fn last_good_revision(home: &Home) -> Option<u64> {
    let text = fs::read_to_string(home.path("last-good.json")).ok()?;
    serde_json::from_str::<Value>(&text).ok()?["revision"].as_u64()
}
