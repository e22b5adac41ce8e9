//! Who wanted what, and what came of it: over HTTP, with one node and with two.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;

use geostream_testbed::Postgres;
use serde_json::{Value, json};

use crate::postgres::{get, prepared, put_region};
use crate::server::{Home, Request, Server, wait_for};

/// Reads the trail, newest first.
fn trail(node: &Server, token: &str, query: &str) -> Vec<Value> {
    let page = get(node, token, &format!("/api/v1/audit?limit=100{query}"));
    assert_eq!(page.status, 200, "{page:?}");
    page.json()["entries"].as_array().unwrap().clone()
}

/// Returns what is told of an attempt that was refused, as soon as it is.
fn refusal(node: &Server, token: &str, status: u16, action: &str) -> Value {
    let mut found = Value::Null;
    wait_for(|| {
        let entries = trail(node, token, &format!("&what={action}"));
        let of_status = |entry: &&Value| entry["outcome"]["refused"]["status"] == status;
        found = entries.iter().find(of_status).cloned().unwrap_or_default();
        !found.is_null()
    });
    found
}

/// Makes a token, and returns its text and its id.
fn make_token(node: &Server, admin: &str, scope: &str) -> (String, String) {
    let request = Request::new("POST", "/api/v1/tokens").token(admin);
    let made = node.send(&request.json(&json!({ "name": scope, "scope": scope }).to_string()));
    let text = |field: &str| made.json()[field].as_str().unwrap().to_owned();
    (text("token"), text("id"))
}

#[test]
fn what_is_done_is_told_with_what_it_changed() {
    let home = Home::new();
    let node = home.start();
    let admin = home.token();
    let write = |method: &str, path: &str, revision: u64, body: Value| {
        let request = Request::new(method, path).token(&admin).revision(revision);
        let answer = node.send(&request.json(&body.to_string()));
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    let (_, operator) = make_token(&node, &admin, "operator");
    let drain = json!({ "action": "drain", "reason": "power work" });
    write("PUT", "/api/v1/overrides/us-west-2?reason=storm", 1, drain);
    write("PUT", "/api/v1/flags/public_explain", 2, json!({ "on": false }));
    write("PUT", "/api/v1/flags/public_explain", 3, json!({ "on": false }));
    write("POST", "/api/v1/config/rollback", 3, json!({ "revision": 1 }));
    let revoke = format!("/api/v1/tokens/{operator}");
    assert_eq!(node.send(&Request::new("DELETE", &revoke).token(&admin)).status, 204);
    let entries = trail(&node, &admin, "");
    let actions: Vec<_> = entries.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    let expected = [
        "deleteToken",
        "rollBack",
        "putFlag",
        "putOverride",
        "createToken",
        "createToken",
        "putConfig",
    ];
    assert_eq!(actions, expected, "a write that changes nothing is none");
    let drained = &entries[3];
    assert_eq!(drained["who"], "first-admin");
    assert_eq!((&drained["scope"], &drained["address"]), (&"admin".into(), &"127.0.0.1".into()));
    assert_eq!(drained["target"], "/api/v1/overrides/us-west-2");
    assert!(admin.starts_with(&format!("gs_{}_", drained["token"].as_str().unwrap())));
    let done = &drained["outcome"]["done"];
    assert_eq!((&done["revision"], &done["reason"]), (&2.into(), &"storm".into()));
    let [change] = &done["changes"].as_array().unwrap()[..] else { panic!("{done}") };
    assert_eq!((&change["path"], &change["before"]), (&"overrides/us-west-2".into(), &Value::Null));
    assert_eq!(change["after"]["reason"], "power work");
    let rolled_back = &entries[1]["outcome"]["done"]["changes"];
    let flag = json!({ "path": "flags/public_explain", "before": false, "after": true });
    assert_eq!(*rolled_back, json!([flag]), "overrides stay");
    let of_token = |entry: &Value| entry["outcome"]["done"]["changes"][0].clone();
    let (made, revoked) = (of_token(&entries[4]), of_token(&entries[0]));
    assert_eq!(made["path"], format!("tokens/{operator}"));
    assert_eq!((&made["after"], &made["before"]), (&revoked["before"], &revoked["after"]));
    assert_eq!(made["after"]["scope"], "operator");
    let (first, bootstrap) = (&entries[5], &entries[6]);
    assert_eq!((&first["who"], &first["token"]), (&"first-admin".into(), &Value::Null));
    assert_eq!((&bootstrap["who"], &bootstrap["address"]), (&"bootstrap".into(), &Value::Null));
    assert_eq!(bootstrap["outcome"]["done"]["revision"], 1);
}

#[test]
fn what_a_node_is_to_log_is_told() {
    let home = Home::new();
    let node = home.start();
    let admin = home.token();
    let request = Request::new("PUT", "/api/v1/log-level").token(&admin);
    assert_eq!(node.send(&request.json(r#"{"filter": "debug"}"#)).status, 200);
    let mut entries = Vec::new();
    wait_for(|| {
        entries = trail(&node, &admin, "&what=putLogLevel");
        !entries.is_empty()
    });
    let change = &entries[0]["outcome"]["done"]["changes"][0];
    assert_eq!(
        (&change["path"], &change["after"]["filter"]),
        (&"log-level".into(), &"debug".into())
    );
    assert_ne!(change["before"]["filter"], "debug");
}

#[test]
fn what_is_refused_is_told_and_no_secret_is() {
    let home = Home::new();
    let node = Server::start(home.command().args(["--trusted-proxy", "127.0.0.0/8"]));
    let admin = home.token();
    let (viewer, id) = make_token(&node, &admin, "viewer");
    let region = |token: &str, revision: u64, body: &str| {
        let request = Request::new("PUT", "/api/v1/regions/eu-west-9").token(token);
        node.send(&request.revision(revision).json(body).header("x-forwarded-for: 203.0.113.9"))
    };
    let good = r#"{"latitude": 1, "longitude": 2}"#;
    assert_eq!(region("gs_0000000000000000_not-a-token", 1, good).status, 401);
    assert_eq!(region(&viewer, 1, good).status, 403);
    assert_eq!(region(&admin, 7, good).status, 412);
    assert_eq!(region(&admin, 1, r#"{"latitude": 91, "longitude": 2}"#).status, 400);
    let delete = Request::new("DELETE", "/api/v1/regions/us-west-2").token(&admin).revision(1);
    assert_eq!(node.send(&delete).status, 409);
    let strange = Request::new("PUT", "/api/v1/services/api").token(&admin).revision(1);
    let members = r#"{"members": {"no-such-region": {}}}"#;
    assert_eq!(node.send(&strange.json(members)).status, 422);
    let mistaken = Request::new("DELETE", &format!("/api/v1/tokens/{admin}")).token(&admin);
    assert_eq!(node.send(&mistaken).status, 404);
    assert_eq!(get(&node, &viewer, "/api/v1/audit").status, 403);
    get(&node, &admin, "/api/v1/audit?since=yesterday").expect_problem(
        400,
        "invalid-request",
        "?since",
    );
    get(&node, &admin, "/api/v1/audit?below=x").expect_problem(400, "invalid-request", "?below");
    get(&node, &admin, "/api/v1/regions/none").expect_problem(404, "not-found", "");

    let stranger = refusal(&node, &admin, 401, "putRegion");
    assert_eq!((&stranger["who"], &stranger["token"]), (&Value::Null, &Value::Null));
    assert_eq!(stranger["address"], "203.0.113.9");
    assert_eq!(stranger["outcome"]["refused"]["problem"], "unauthorized");
    let forbidden = refusal(&node, &admin, 403, "putRegion");
    assert_eq!((&forbidden["who"], &forbidden["token"]), (&"viewer".into(), &id.into()));
    let stale = refusal(&node, &admin, 412, "putRegion");
    assert!(stale["outcome"]["refused"]["detail"].as_str().unwrap().contains("revision 1"));
    refusal(&node, &admin, 400, "regions/eu-west-9");
    refusal(&node, &admin, 409, "deleteRegion");
    refusal(&node, &admin, 422, "putService");
    refusal(&node, &admin, 404, "deleteToken");
    assert_eq!(refusal(&node, &admin, 403, "listAudit")["who"], "viewer");
    let all = trail(&node, &admin, "");
    let reads = ["getRegion", "listAudit"];
    let is_read = |entry: &&Value| reads.iter().any(|action| entry["action"] == *action);
    assert_eq!(all.iter().filter(is_read).count(), 1, "what may be read is nobody's business");
    let text = Value::from(all).to_string();
    for secret in [&admin, &viewer, &"not-a-token".to_owned()] {
        let secret = secret.rsplit('_').next().unwrap();
        assert!(!text.contains(secret), "{text}");
    }
    wait_for(|| node.get("/metrics").body.contains("audit_notes_total{result=\"kept\"} 8"));
}

#[test]
fn the_trail_is_paged_and_survives_a_restart() {
    let home = Home::new();
    let node = home.start();
    let admin = home.token();
    for revision in 1..6 {
        assert_eq!(put_region(&node, &admin, &format!("r{revision}"), revision).status, 200);
    }
    assert_eq!(node.get("/api/v1/config").status, 401);
    node.signal("TERM");
    node.wait();
    let node = home.start();
    let mut below = String::new();
    let mut told = Vec::new();
    loop {
        let page = get(&node, &admin, &format!("/api/v1/audit?limit=3{below}")).json();
        let entries = page["entries"].as_array().unwrap();
        told.extend(entries.iter().map(|entry| entry["number"].as_u64().unwrap()));
        let Some(next) = page["next_below"].as_u64() else { break };
        below = format!("&below={next}");
    }
    assert_eq!(told, [8, 7, 6, 5, 4, 3, 2, 1], "a token, a declaration, five regions, a refusal");
    assert_eq!(trail(&node, &admin, "&who=first-admin&what=putRegion").len(), 5);
    let since = trail(&node, &admin, "")[2]["at"].as_str().unwrap().to_owned();
    let later = trail(&node, &admin, &format!("&since={since}"));
    assert!((3..8).contains(&later.len()), "{later:?}");
}

#[test]
fn every_node_tells_what_all_have_done() {
    let server = Postgres::shared();
    let url = prepared(server);
    let (home, other) = (Home::new(), Home::new());
    let start = |home: &Home, name: &str| {
        Server::start(home.command().args(["--store", &url, "--node", name]))
    };
    let (node, peer) = (start(&home, "one"), start(&other, "two"));
    let admin = home.token();
    assert_eq!(put_region(&node, &admin, "r1", 1).status, 200);
    wait_for(|| put_region(&peer, &admin, "r2", 2).status == 200);
    assert_eq!(put_region(&peer, &admin, "r3", 1).status, 412);
    refusal(&node, &admin, 412, "regions/r3");
    let told: Vec<_> = trail(&node, &admin, "&what=putRegion&who=first-admin")
        .into_iter()
        .filter(|entry| entry["outcome"]["done"].is_object())
        .map(|entry| entry["node"].as_str().unwrap().split('-').next().unwrap().to_owned())
        .collect();
    assert_eq!(told, ["two", "one"]);
    let rows = "SELECT string_agg(action || ' ' || target, ', ' ORDER BY number) FROM audit
                WHERE status = 412";
    assert_eq!(server.sql(&url, rows), "putRegion /api/v1/regions/r3");
}

#[test]
fn what_cannot_be_recorded_is_not_done() {
    let server = Postgres::shared();
    let url = prepared(server);
    let home = Home::new();
    let node = Server::start(home.command().args(["--store", &url]));
    let admin = home.token();
    server.sql(&url, "ALTER TABLE audit RENAME TO audit_gone");
    put_region(&node, &admin, "r1", 1).expect_problem(503, "store-unavailable", "");
    let token = Request::new("POST", "/api/v1/tokens").token(&admin);
    let token = node.send(&token.json(r#"{"name": "ci", "scope": "viewer"}"#));
    token.expect_problem(503, "store-unavailable", "");
    assert_eq!(get(&node, &admin, "/api/v1/tokens").json()["tokens"].as_array().unwrap().len(), 1);
    assert_eq!(server.sql(&url, "SELECT revision FROM config_head"), "1");
    server.sql(&url, "ALTER TABLE audit_gone RENAME TO audit");
    wait_for(|| put_region(&node, &admin, "r1", 1).status == 200);
    let lost = refusal(&node, &admin, 503, "regions/r1");
    assert!(lost["outcome"]["refused"]["detail"].as_str().unwrap().contains("audit"), "{lost}");
}

#[test]
fn a_flood_without_a_token_is_counted_and_displaces_no_other_refusal() {
    const FLOOD: usize = 5_000;
    let home = Home::new();
    let node = Server::start(home.command().args(["--audit-records", "20"]));
    let admin = home.token();
    let (viewer, _) = make_token(&node, &admin, "viewer");
    assert_eq!(get(&node, &viewer, "/api/v1/audit").status, 403);
    refusal(&node, &admin, 403, "listAudit");
    let mut stream = node.connect();
    let mut sender = stream.try_clone().unwrap();
    let flood = std::thread::spawn(move || {
        let request = "GET /api/v1/config HTTP/1.1\r\nhost: x\r\nauthorization: Bearer x\r\n\r\n";
        (0..FLOOD / 100).for_each(|_| sender.write_all(request.repeat(100).as_bytes()).unwrap());
        sender.shutdown(Shutdown::Write).unwrap();
    });
    let mut answers = Vec::new();
    stream.read_to_end(&mut answers).unwrap();
    flood.join().unwrap();
    let counted = || {
        let entries = trail(&node, &admin, "&what=getConfig");
        let refused = |entry: &Value| entry["outcome"]["refused"]["count"].as_u64();
        let counts: Vec<_> = entries.iter().filter_map(refused).collect();
        (counts.len(), counts.iter().sum::<u64>())
    };
    wait_for(|| counted().1 == FLOOD as u64);
    assert!(counted().0 <= 12, "a note each ten seconds, of {counted:?}", counted = counted());
    assert_eq!(refusal(&node, &admin, 403, "listAudit")["who"], "viewer");
}
