//! Nodes of which one has a wrong clock.

use geostream_testbed::{Postgres, Redis, WallClock};
use serde_json::{Value, json};

use crate::postgres::{TOKYO, get, prepared, put_region, revision};
use crate::server::{Home, Request, Server, wait_for};

/// Two nodes with the right time, and one with another, over one PostgreSQL and one Redis.
struct Nodes {
    nodes: Vec<Server>,
    token: String,
    clock: WallClock,
    homes: Vec<Home>,
    store: String,
    cache: Redis,
}

/// Which of them has the wrong clock.
const WRONG: usize = 2;

impl Nodes {
    fn new(store: &str, offset: &str) -> Self {
        let cache = Redis::start(&[]);
        let homes: Vec<_> = (0..3).map(|_| Home::new()).collect();
        let clock = WallClock::off_by(offset);
        let start = |number: usize| {
            Server::start(&mut command(&homes[number], number, store, &cache, &clock))
        };
        let nodes: Vec<_> = (0..3).map(start).collect();
        let token = homes[0].token();
        Self { nodes, token, clock, homes, store: store.to_owned(), cache }
    }

    /// Overrides a region at one node, for so many seconds if it is not for ever.
    fn drain(&self, number: usize, region: &str, seconds: Option<u32>) {
        let node = &self.nodes[number];
        let mut body = json!({ "action": "drain", "reason": "power" });
        if let Some(seconds) = seconds {
            body["duration_seconds"] = seconds.into();
        }
        let path = format!("/api/v1/overrides/{region}");
        let expected = revision(node).as_u64().unwrap();
        let request = Request::new("PUT", &path).token(&self.token).revision(expected);
        let answer = node.send(&request.json(&body.to_string()));
        assert_eq!(answer.status, 200, "{answer:?}");
        wait_for(|| self.nodes.iter().all(|node| revision(node) == expected + 1));
    }

    /// Returns the override of a region at each node; null where none holds.
    fn overrides(&self, region: &str) -> Vec<Value> {
        let of =
            |node| get(node, &self.token, "/api/v1/overrides").json()["overrides"][region].clone();
        self.nodes.iter().map(of).collect()
    }

    fn regions(&self) -> Vec<Value> {
        self.nodes.iter().map(|node| node.route(TOKYO).json()["region"].clone()).collect()
    }
}

fn command(
    home: &Home,
    number: usize,
    store: &str,
    cache: &Redis,
    clock: &WallClock,
) -> std::process::Command {
    let mut command = home.command();
    command.args(["--store", store, "--cache", &cache.url(), "--node", &format!("n{number}")]);
    if number == WRONG {
        clock.give_to(&mut command);
    }
    command
}

/// Returns the value of a series of a node.
fn metric(node: &Server, series: &str) -> Option<f64> {
    let metrics = node.get("/metrics").body;
    let prefix = format!("{series} ");
    metrics.lines().find_map(|line| line.strip_prefix(&prefix)).map(|value| value.parse().unwrap())
}

/// Returns what a node warns of its clock.
fn warning(node: &Server) -> Option<String> {
    let ready = node.get("/ready").json();
    let warnings = ready["warnings"].as_array().cloned().unwrap_or_default();
    let clock = warnings.into_iter().find(|warning| warning["code"] == "clock-skew");
    clock.map(|warning| warning["detail"].as_str().unwrap().to_owned())
}

fn seconds(time: &Value) -> i64 {
    let time: geostream_api::Time = time.as_str().unwrap().parse().unwrap();
    i64::try_from(time.0.unix_millis() / 1000).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "what nodes say is compared with the right time")]
fn right_now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

#[test]
fn a_node_with_a_wrong_clock_obeys_drains_and_sets_them_right() {
    for (offset, ahead) in [("+2h", 7_200), ("-1d", -86_400)] {
        let nodes = Nodes::new(&prepared(Postgres::shared()), offset);
        let wrong = &nodes.nodes[WRONG];
        nodes.drain(0, "ap-northeast-1", Some(1800));
        assert!(nodes.regions().iter().all(|region| *region != "ap-northeast-1"));
        let told = nodes.overrides("ap-northeast-1");
        assert!(told.iter().all(|wish| wish.is_object() && *wish == told[0]), "{told:?}");
        let left = seconds(&told[0]["expires"]) - right_now();
        assert!((1700..=1800).contains(&left), "{left} s are left");

        nodes.drain(WRONG, "eu-west-1", Some(3));
        let ends = seconds(&nodes.nodes_history()[0]["at"]) + 3;
        assert!((ends - right_now()).abs() < 60, "it ends at the right time");
        wait_for(|| nodes.overrides("eu-west-1").iter().all(Value::is_null));
        assert!(right_now() >= ends, "it has not ended early");

        nodes.drain(WRONG, "us-east-1", None);
        let since = seconds(&nodes.overrides("us-east-1")[0]["since"]);
        assert!((since - right_now()).abs() < 60, "{since}");
        let history = nodes.nodes_history();
        let at: Vec<_> = history.iter().map(|commit| commit["at"].as_str().unwrap()).collect();
        assert!(at.is_sorted_by(|newer, older| newer > older), "{at:?}");
        let audit = get(wrong, &nodes.token, "/api/v1/audit").json();
        for entry in audit["entries"].as_array().unwrap() {
            assert!((seconds(&entry["at"]) - right_now()).abs() < 120, "{entry}");
        }

        for node in &nodes.nodes[..WRONG] {
            assert_eq!(warning(node), None);
            let skew = metric(node, "clock_skew_seconds{against=\"store\"}");
            assert!(skew.is_some_and(|skew| skew.abs() < 1.0), "{skew:?}");
            assert_eq!(metric(node, "server_warning{warning=\"clock-skew\"}"), Some(0.0));
        }
        wait_for(|| warning(wrong).is_some_and(|warning| warning.contains("cache's clock")));
        let told = warning(wrong).unwrap();
        let side = if ahead > 0 { "2 h ahead of the store's" } else { "24 h behind the store's" };
        assert!(told.contains(side), "{told}");
        for against in ["store", "cache"] {
            let series = format!("clock_skew_seconds{{against=\"{against}\"}}");
            let skew = metric(wrong, &series).unwrap();
            assert!((skew - f64::from(ahead)).abs() < 1.0, "{against}: {skew}");
        }
        wait_for(|| {
            let skew = metric(wrong, "clock_skew_seconds{against=\"peers\"}");
            skew.is_some_and(|skew| (skew - f64::from(ahead)).abs() < 1.0)
        });
        assert_eq!(metric(wrong, "server_warning{warning=\"clock-skew\"}"), Some(1.0));
    }
}

impl Nodes {
    /// Returns the commits, newest first.
    fn nodes_history(&self) -> Vec<Value> {
        let history = get(&self.nodes[0], &self.token, "/api/v1/config/history").json();
        history["commits"].as_array().unwrap().clone()
    }
}

#[test]
fn a_clock_that_is_set_while_the_node_runs_ends_no_drain() {
    let nodes = Nodes::new(&prepared(Postgres::shared()), "+0");
    let node = &nodes.nodes[WRONG];
    nodes.drain(0, "ap-northeast-1", Some(1800));
    for offset in ["+2h", "-1d"] {
        nodes.clock.set(offset);
        wait_for(|| {
            assert_ne!(node.route(TOKYO).json()["region"], "ap-northeast-1");
            warning(node).is_some()
        });
        // A table that is compiled by then goes by the store's time as well.
        let before = revision(node).as_u64().unwrap();
        assert_eq!(put_region(node, &nodes.token, "another", before).status, 200);
        assert_ne!(node.route(TOKYO).json()["region"], "ap-northeast-1");
        let remove = Request::new("DELETE", "/api/v1/regions/another").token(&nodes.token);
        assert_eq!(node.send(&remove.revision(before + 1)).status, 200);
        nodes.clock.set("+0");
        wait_for(|| {
            assert_ne!(node.route(TOKYO).json()["region"], "ap-northeast-1");
            warning(node).is_none()
        });
    }
}

#[test]
fn without_the_store_a_restarted_node_says_that_it_judges_by_its_own_clock() {
    let mut server = Postgres::start(&[]);
    let url = prepared(&server);
    let mut nodes = Nodes::new(&url, "+2h");
    nodes.drain(0, "ap-northeast-1", Some(1800));
    server.stop();
    // Those that run go on by what they know.
    wait_for(|| nodes.nodes.iter().all(|node| node.get("/ready").status == 200));
    assert!(nodes.regions().iter().all(|region| *region != "ap-northeast-1"));
    let stopped = nodes.nodes.pop().unwrap();
    stopped.signal("TERM");
    stopped.wait();
    let Nodes { homes, store, cache, clock, .. } = &nodes;
    let node = Server::start(&mut command(&homes[WRONG], WRONG, store, cache, clock));
    wait_for(|| warning(&node).is_some());
    let told = warning(&node).unwrap();
    assert!(told.contains("the store's clock has not been read since the start"), "{told}");
    server.start_again();
    wait_for(|| node.route(TOKYO).json()["region"] != "ap-northeast-1");
    assert!(!warning(&node).unwrap().contains("has not been read"));
}
