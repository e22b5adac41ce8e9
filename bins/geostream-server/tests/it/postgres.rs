//! Nodes over one PostgreSQL, which is there, away, and there again.

use std::collections::BTreeMap;
use std::time::Duration;

use geostream_pg::{Target, migrate};
use geostream_testbed::Postgres;
use serde_json::{Value, json};

use crate::server::{Answer, Home, Request, Server, now, wait_for};
use crate::store_state::{is_well, warns};

/// Longer than a control request may take, and the machine is shared.
const BOUND: Duration = Duration::from_secs(15);

pub(crate) const TOKYO: &str = r#"{"client_ip": "165.100.97.15"}"#;

#[test]
fn a_node_decides_by_what_another_commits() {
    let url = prepared(Postgres::shared());
    let (home, other) = (Home::new(), Home::new());
    let (node, peer) = (start(&home, &url), start(&other, &url));
    let token = home.token();
    assert!(!other.path("admin.token").exists(), "one token is made for all");
    assert_eq!(put_region(&node, &token, "r1", 1).status, 200);
    wait_for(|| revision(&peer) == 2);
    let committed = |node: &Server| get(node, &token, "/api/v1/regions/r1").status;
    wait_for(|| committed(&peer) == 200);
    assert_eq!(put_region(&peer, &token, "r2", 1).status, 412, "it knows what came between");
    assert_eq!(put_region(&peer, &token, "r2", 2).status, 200);
    wait_for(|| revision(&node) == 3);
}

#[test]
fn tokens_are_known_and_revoked_on_every_node() {
    let url = prepared(Postgres::shared());
    let (home, other) = (Home::new(), Home::new());
    let (node, peer) = (start(&home, &url), start(&other, &url));
    let admin = home.token();
    let request = Request::new("POST", "/api/v1/tokens").token(&admin);
    let made = node.send(&request.json(r#"{"name": "ci", "scope": "viewer"}"#)).json();
    let token = made["token"].as_str().unwrap();
    wait_for(|| get(&peer, token, "/api/v1/regions").status == 200);
    let path = format!("/api/v1/tokens/{}", made["id"].as_str().unwrap());
    assert_eq!(node.send(&Request::new("DELETE", &path).token(&admin)).status, 204);
    wait_for(|| get(&peer, token, "/api/v1/regions").status == 401);
}

#[test]
fn nodes_that_start_together_for_the_first_time_make_one_admin_token_and_one_commit() {
    for _ in 0..5 {
        let url = prepared(Postgres::shared());
        let homes = ["n1", "n2", "n3"].map(|name| (name, Home::new()));
        let starts = homes.each_ref().map(|(name, home)| {
            let mut command = home.command();
            command.args(["--store", &url, "--node", name]);
            std::thread::spawn(move || Server::start(&mut command))
        });
        let nodes = starts.map(|start| start.join().unwrap());
        let has_token = |home: &Home| home.path("admin.token").exists();
        wait_for(|| homes.iter().any(|(_, home)| has_token(home)));
        let holders = homes.iter().filter(|(_, home)| has_token(home)).collect::<Vec<_>>();
        let [(holder, home)] = holders[..] else { panic!("one file, not {}", holders.len()) };
        let token = home.token();
        for node in &nodes {
            let tokens = get(node, &token, "/api/v1/tokens").json()["tokens"].clone();
            assert_eq!(tokens.as_array().unwrap().len(), 1, "{tokens}");
            assert_eq!(tokens[0]["current"], true);
            assert!(tokens[0]["node"].as_str().unwrap().starts_with(&format!("{holder}-")));
            assert_eq!(
                get(node, &token, "/api/v1/config/history").json()["commits"][0]["revision"],
                1
            );
        }
        let made = get(&nodes[0], &token, "/api/v1/audit?what=createToken").json();
        assert_eq!(made["entries"].as_array().unwrap().len(), 1, "{made}");
        for (node, (name, home)) in nodes.into_iter().zip(&homes) {
            node.signal("TERM");
            let (_, log) = node.wait();
            let events = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            let told: Vec<_> = events.filter(|event| event["made_by"].is_string()).collect();
            assert_eq!(told.is_empty(), name == holder, "{name}: {told:?}");
            for event in told {
                assert_eq!(event["level"], "INFO");
                assert!(event["made_by"].as_str().unwrap().starts_with(&format!("{holder}-")));
            }
            assert_eq!(has_token(home), name == holder, "{name}");
        }
    }
}

#[test]
fn a_token_that_was_just_made_is_known_at_every_node() {
    let url = prepared(Postgres::shared());
    let (home, other) = (Home::new(), Home::new());
    let (node, peer) = (start(&home, &url), start(&other, &url));
    let admin = home.token();
    wait_for(|| get(&peer, &admin, "/api/v1/regions").status == 200);
    let invented = |number: usize| format!("gs_{number:016x}_{}", "a".repeat(64));
    for number in 0..20 {
        let request = Request::new("POST", "/api/v1/tokens").token(&admin);
        let made = node.send(&request.json(r#"{"name": "ci", "scope": "viewer"}"#)).json();
        let token = made["token"].as_str().unwrap();
        if number % 2 == 0 {
            assert_eq!(get(&peer, token, "/api/v1/regions").status, 200, "try {number}");
        } else {
            let question = r#"{"client_ip": "165.100.97.15", "explain": true}"#;
            let request = Request::new("POST", "/api/v1/route").token(token).json(question);
            let explanation = peer.send(&request).json()["explanation"].clone();
            assert_eq!(explanation["complete"], true, "try {number}: {explanation}");
        }
        assert_eq!(get(&peer, &invented(number), "/api/v1/regions").status, 401);
    }
}

#[test]
fn acts_and_changes_of_health_are_told_by_node() {
    let url = prepared(Postgres::shared());
    let start = |home: &Home, name: &str| {
        Server::start(home.command().args(["--store", &url, "--node", name]))
    };
    let (home, other) = (Home::new(), Home::new());
    let node = start(&home, "eu-1");
    let peer = start(&other, "us-1");
    let token = home.token();
    wait_for(|| revision(&peer) == 1);
    assert_eq!(put_region(&peer, &token, "r1", 1).status, 200);
    assert_eq!(put_region(&node, &token, "r2", 2).status, 200);
    node.signal("TERM");
    node.wait();
    let node = start(&home, "eu-1");
    assert_eq!(put_region(&node, &token, "r3", 3).status, 200);
    let targets = |query: &str| {
        let page = get(&peer, &token, &format!("/api/v1/audit?what=putRegion&{query}")).json();
        let entries = page["entries"].as_array().unwrap().clone();
        let target =
            |entry: &Value| entry["target"].as_str().unwrap().rsplit('/').next().map(str::to_owned);
        (entries.iter().filter_map(target).collect::<Vec<_>>().join(" "), entries)
    };
    assert_eq!(targets("node=us-1").0, "r1");
    let (of_both_starts, entries) = targets("node=eu-1");
    assert_eq!(of_both_starts, "r3 r2");
    let names = [0, 1].map(|place: usize| entries[place]["node"].as_str().unwrap());
    assert_ne!(names[0], names[1], "each start has a name of its own");
    assert_eq!(targets(&format!("node={}", names[1])).0, "r2");
    assert_eq!(targets("node=eu").0, "");
    let before_the_last = entries[0]["at"].as_str().unwrap();
    assert_eq!(targets(&format!("until={before_the_last}")).0, "r2 r1");
    let bad = get(&peer, &token, "/api/v1/audit?node=EU");
    bad.expect_problem(400, "invalid-request", "?node");

    let report = json!({"outcomes": [{"region": "r1", "outcome": "ok", "rtt_ms": 5}]}).to_string();
    let reporting = Request::new("POST", "/api/v1/outcomes").token(&token).json(&report);
    wait_for(|| {
        peer.send(&reporting);
        let history = get(&node, &token, "/api/v1/health/history?region=r1").json();
        let changes = history["changes"].as_array().unwrap().clone();
        changes
            .iter()
            .any(|change| change["node"].as_str().is_some_and(|name| name.starts_with("us-1-")))
    });
}

#[test]
fn decisions_go_on_while_the_database_is_stopped_killed_and_frozen() {
    let mut server = Postgres::start(&[]);
    let url = prepared(&server);
    let (home, other) = (Home::new(), Home::new());
    let (node, peer) = (start(&home, &url), start(&other, &url));
    let token = home.token();
    let mut revision = 1;
    let faults: [(Fault, Fault); 3] = [
        (Postgres::stop, Postgres::start_again),
        (Postgres::kill, Postgres::start_again),
        (|server| server.freeze(), |server| server.thaw()),
    ];
    for (begin, end) in faults {
        begin(&mut server);
        goes_on(&node, &token, revision, "PostgreSQL is unavailable");
        end(&mut server);
        let name = format!("r{revision}");
        wait_for(|| put_region(&node, &token, &name, revision).status == 200);
        revision += 1;
        wait_for(|| self::revision(&peer) == revision);
    }
    let regions = get(&peer, &token, "/api/v1/regions").json();
    assert!((1..revision).all(|n| regions["regions"].get(format!("r{n}")).is_some()), "{regions}");
}

#[test]
fn nodes_go_on_with_a_replica_that_is_promoted() {
    let mut primary = Postgres::start(&[]);
    let url = prepared(&primary);
    let mut replica = primary.replica();
    primary.wait_for_replica();
    let address = |server: &Postgres| format!("127.0.0.1:{}", server.port());
    let both = format!("{},{}", address(&primary), address(&replica));
    let url = url.replace(&address(&primary), &both);
    let (home, other) = (Home::new(), Home::new());
    let (node, peer) = (start(&home, &url), start(&other, &url));
    let token = home.token();
    assert_eq!(put_region(&node, &token, "before", 1).status, 200);
    wait_for(|| revision(&peer) == 2);
    primary.kill();
    goes_on(&node, &token, 2, "PostgreSQL is unavailable");
    replica.promote();
    wait_for(|| put_region(&node, &token, "after", 2).status == 200);
    wait_for(|| revision(&peer) == 3);
    assert_eq!(get(&peer, &token, "/api/v1/regions/before").status, 200);
}

#[test]
fn a_node_that_knows_more_than_its_store_goes_on_and_says_so() {
    let home = Home::new();
    let node = start(&home, &prepared(Postgres::shared()));
    let token = home.token();
    assert_eq!(put_region(&node, &token, "r1", 1).status, 200);
    node.signal("TERM");
    node.wait();
    let empty = prepared(Postgres::shared());
    let node = start(&home, &empty);
    assert_eq!(revision(&node), 2);
    let ready = node.get("/ready");
    assert_eq!(ready.status, 200);
    assert!(ready.body.contains("the store is at revision 0"), "{ready:?}");
    let token = home.token();
    let refused = put_region(&node, &token, "r2", 2);
    refused.expect_problem(503, "store-unavailable", "");
    assert!(refused.body.contains("remove last-good.json"), "{refused:?}");
    let status = get(&node, &token, "/api/v1/status").json();
    assert!(status["store_error"].as_str().unwrap().contains("revision 2"), "{status}");
    let metrics = node.get("/metrics").body;
    assert!(metrics.contains("config_current 0\n"), "{metrics}");
    node.signal("TERM");
    node.wait();
    std::fs::remove_file(home.path("last-good.json")).unwrap();
    let node = start(&home, &empty);
    assert_eq!(revision(&node), 1, "it has begun anew, with what it was to declare first");
    assert_eq!(put_region(&node, &token, "r2", 1).status, 200);
}

#[test]
fn a_first_start_is_finished_when_the_database_comes() {
    let mut server = Postgres::start(&[]);
    let url = prepared(&server);
    server.stop();
    let home = Home::new();
    let node = start(&home, &url);
    assert_eq!(node.get("/health").status, 200);
    node.get("/ready").expect_problem(503, "not-ready", "");
    assert!(!home.path("admin.token").exists());
    server.start_again();
    wait_for(|| node.get("/ready").status == 200);
    wait_for(|| home.path("admin.token").exists());
    assert_eq!(put_region(&node, &home.token(), "r1", 1).status, 200);
}

#[test]
fn a_node_starts_from_its_last_good_table_while_the_database_hangs() {
    let server = Postgres::start(&[]);
    let url = prepared(&server);
    let home = Home::new();
    let node = start(&home, &url);
    let token = home.token();
    assert_eq!(put_region(&node, &token, "r1", 1).status, 200);
    node.signal("TERM");
    node.wait();
    server.freeze();
    let node = start(&home, &url);
    let answer = node.route(TOKYO).json();
    assert_eq!((&answer["region"], &answer["revision"]), (&"ap-northeast-1".into(), &2.into()));
    let warning = node.get("/ready").json()["warnings"].to_string();
    assert!(warning.contains("saved"), "{warning}");
    let refused = put_region(&node, &token, "r2", 2);
    refused.expect_problem(503, "store-unavailable", "");
    server.thaw();
    wait_for(|| put_region(&node, &token, "r2", 2).status == 200);
    is_well(&node);
}

#[test]
fn decisions_go_on_without_writes_connections_or_a_schema_that_is_known() {
    let server = Postgres::shared();
    let url = prepared(server);
    server.sql(&url, "CREATE ROLE node LOGIN");
    server.sql(&url, RIGHTS);
    let home = Home::new();
    let node = start(&home, &url.replace("geostream@", "node@"));
    let token = home.token();
    let change_role = |change: &str| {
        server.sql(&url, &format!("ALTER ROLE node {change}"));
        server.end_connections("node");
    };
    let cases = [
        (
            "SET default_transaction_read_only = on",
            "RESET default_transaction_read_only",
            "read-only transaction",
        ),
        ("CONNECTION LIMIT 0", "CONNECTION LIMIT -1", "too many connections"),
    ];
    let mut revision = 1;
    for (begin, end, reason) in cases {
        change_role(begin);
        goes_on(&node, &token, revision, reason);
        change_role(end);
        wait_for(|| put_region(&node, &token, &format!("r{revision}"), revision).status == 200);
        revision += 1;
    }
    let ahead = "INSERT INTO geostream_migrations (number, name, checksum, oldest)
                 VALUES (99, 'later', 'x', 99)";
    server.sql(&url, ahead);
    goes_on(&node, &token, revision, "run a later version of GeoStream");
    server.sql(&url, "DELETE FROM geostream_migrations WHERE number = 99");
    wait_for(|| put_region(&node, &token, "after", revision).status == 200);
}

#[test]
fn decisions_go_on_while_the_databases_disk_is_full() {
    if !Postgres::may_have_room() {
        println!("not tested: this machine lets nobody mount a disk of their own");
        return;
    }
    let server = Postgres::with_room(100);
    let url = prepared(&server);
    let home = Home::new();
    let node = start(&home, &url);
    let token = home.token();
    server.fill_disk();
    // What fits into the pages that are there can still be written.
    let mut revision = 1;
    let refused = loop {
        let answer = put_large_region(&node, &token, revision);
        if answer.status != 200 {
            break answer;
        }
        revision += 1;
    };
    refused.expect_problem(503, "store-unavailable", "");
    assert!(refused.body.contains("No space left on device"), "{refused:?}");
    assert_eq!(node.route(TOKYO).json()["region"], "ap-northeast-1");
    assert_eq!(get(&node, &token, "/api/v1/config/history").status, 200, "it can be read");
    warns(&node, "store-read-only", "No space left on device");
    server.clear_disk();
    is_well(&node);
    wait_for(|| put_large_region(&node, &token, revision).status == 200);
}

#[test]
fn a_database_without_a_schema_is_said_and_waited_for() {
    let url = Postgres::shared().database();
    let home = Home::new();
    let node = start(&home, &url);
    let ready = node.get("/ready");
    ready.expect_problem(503, "not-ready", "");
    assert!(ready.body.contains("geostream-admin migrate up"), "{ready:?}");
    make_schema(&url);
    wait_for(|| node.get("/ready").status == 200);
}

#[test]
fn passwords_do_not_get_into_logs() {
    let url = Postgres::shared().database();
    let with_password = url.replace("geostream@", "geostream:very-secret@");
    let home = Home::new();
    let mut command = home.command();
    command.env("GEOSTREAM_STORE", with_password).args(["--log", "trace"]);
    let node = Server::start(&mut command);
    let status = node.get("/ready").body;
    node.signal("TERM");
    let (_, log) = node.wait();
    assert!(log.contains("127.0.0.1"), "it says where the database is to be");
    assert!(!log.contains("very-secret") && !status.contains("very-secret"));
}

/// The least that nodes need: `geostream-admin migrate up --grant` gives it, and more.
const RIGHTS: &str = "
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO node;
    GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO node";

/// Begins or ends a fault.
type Fault = fn(&mut Postgres);

/// Checks that clients are answered, and that a write is refused in time and for this reason.
fn goes_on(node: &Server, token: &str, revision: u64, reason: &str) {
    // A connection that was just ended is found out by the first who uses it.
    wait_for(|| {
        let started = now();
        let refused = put_region(node, token, "refused", revision);
        assert!(now() - started < BOUND, "it took {:?}", now() - started);
        refused.expect_problem(503, "store-unavailable", "");
        refused.body.contains(reason)
    });
    let answer = node.route(TOKYO).json();
    assert_eq!(answer["region"], "ap-northeast-1", "{answer}");
    assert_eq!(get(node, token, "/api/v1/regions").status, 200, "what is in use is shown");
    let metrics = node.get("/metrics").body;
    let mut errors = metrics.lines().filter(|line| line.starts_with("store_errors_total{"));
    assert!(errors.any(|line| !line.ends_with(" 0")), "{metrics}");
}

pub(crate) fn prepared(server: &Postgres) -> String {
    let url = server.database();
    make_schema(&url);
    url
}

fn make_schema(url: &str) {
    let target = Target::parse(url, None).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(migrate::up(&target)).unwrap();
}

fn start(home: &Home, url: &str) -> Server {
    Server::start(home.command().args(["--store", url]))
}

pub(crate) fn get(node: &Server, token: &str, path: &str) -> Answer {
    node.send(&Request::new("GET", path).token(token))
}

pub(crate) fn put_region(node: &Server, token: &str, id: &str, revision: u64) -> Answer {
    let path = format!("/api/v1/regions/{id}");
    let body = r#"{"latitude": 1, "longitude": 2}"#;
    node.send(&Request::new("PUT", &path).token(token).revision(revision).json(body))
}

/// Puts a region with as much in it as may be.
fn put_large_region(node: &Server, token: &str, revision: u64) -> Answer {
    let labels: BTreeMap<_, _> =
        (0..32).map(|n| (format!("l{revision}-{n}"), "x".repeat(60))).collect();
    let body = json!({ "latitude": 1, "longitude": 2, "labels": labels }).to_string();
    let path = format!("/api/v1/regions/large{revision}");
    node.send(&Request::new("PUT", &path).token(token).revision(revision).json(&body))
}

pub(crate) fn revision(node: &Server) -> Value {
    node.route(TOKYO).json()["revision"].clone()
}
