//! `status --all` over three nodes with one PostgreSQL and one Redis, of which each fault strikes one.

use std::process::Command;

use geostream_pg::{Target, migrate};
use geostream_testbed::{Postgres, Proxy, Redis, WallClock};
use serde_json::Value;

use crate::{Setup, said};

/// Three nodes, of which the last has a clock that can be set, and the way of the second to the
/// database can be held up.
struct Nodes {
    nodes: Vec<Setup>,
    way: Proxy,
    clock: WallClock,
    _cache: Redis,
}

impl Nodes {
    fn new() -> Self {
        let cache = Redis::start(&[]);
        let clock = WallClock::off_by("+0");
        let server = Postgres::shared();
        let store = server.database();
        let target = Target::parse(&store, None).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(migrate::up(&target)).unwrap();
        let url = cache.url();
        let way = Proxy::start(server.port());
        let late = store.replace(&format!(":{}/", server.port()), &format!(":{}/", way.port()));
        assert_ne!(late, store);
        let start = |number: usize| {
            let node = format!("n{number}");
            let store = if number == 1 { &late } else { &store };
            let shared = ["--store", store, "--cache", &url, "--node", &node];
            let limit = ["--requests-per-second", "1000"];
            Setup::with_environment(&[&shared[..], &limit].concat(), |command| {
                if number == 2 {
                    clock.give_to(command);
                }
            })
        };
        let nodes = (0..3).map(start).collect();
        Self { nodes, way, clock, _cache: cache }
    }

    /// Asks the servers of these URLs, with the token of the first node.
    fn command(&self, servers: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_geostream-admin"));
        command.env_remove("GEOSTREAM_TOKEN").env("GEOSTREAM_SERVER", servers.join(","));
        command.arg("--data-dir").arg(self.nodes[0].directory.path()).args(["status", "--all"]);
        command
    }

    /// Asks until it ends with this code, and returns what it says then.
    fn ends(&self, code: i32, servers: &[&str], is_it: impl Fn(&str) -> bool) -> String {
        let started = now();
        loop {
            let output = self.command(servers).output().unwrap();
            let text = String::from_utf8(output.stdout.clone()).unwrap();
            if output.status.code() == Some(code) && is_it(&text) {
                return text;
            }
            assert!(now() - started < PATIENCE, "it does not come: {output:?}");
        }
    }
}

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

#[expect(clippy::disallowed_methods, reason = "a test that never ends is to fail")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

#[test]
fn any_node_tells_of_all_and_each_fault_is_found() {
    let mut nodes = Nodes::new();
    let urls: Vec<String> = nodes.nodes.iter().map(|node| node.url.clone()).collect();
    let one = [urls[1].as_str()];
    let all: Vec<&str> = urls.iter().map(String::as_str).collect();
    let is_whole = |text: &str| ["n0-", "n1-", "n2-"].iter().all(|node| text.contains(node));
    let told = nodes.ends(0, &one, is_whole);
    assert!(told.contains("all nodes agree"), "{told}");
    assert!(told.contains("requests_per_second=1000") && told.contains("right"), "{told}");
    println!("{told}");
    nodes.ends(0, &all, is_whole);

    let output = nodes.command(&all).args(["--output", "json"]).output().unwrap();
    let report: Value = serde_json::from_str(&said(&output, 0, "status --all")).unwrap();
    assert_eq!((&report["well"], &report["findings"]), (&true.into(), &Value::Array(vec![])));
    let listed = report["nodes"].as_array().unwrap();
    assert_eq!(listed.len(), 3);
    assert!(listed.iter().all(|node| node["state"] == "answers"), "{report}");
    assert!(listed.iter().all(|node| node["summary"]["store"] == "current"), "{report}");

    nodes.clock.set("+2h");
    let told = nodes.ends(7, &one, |text| text.contains("has warnings: clock-skew"));
    // A slow round trip moves the reading by up to half of it.
    let is_told = ["7199.", "7200."].iter().any(|seconds| told.contains(seconds));
    assert!(is_told && told.contains(" s ahead"), "{told}");
    let right = ["n0-", "n1-"].map(|node| told.matches(node).count());
    assert_eq!(right, [1, 1], "nothing is wrong with the others: {told}");
    nodes.clock.set("+0");
    nodes.ends(0, &one, is_whole);

    nodes.way.hold();
    nodes.nodes[0].ends(0, "region add r1 --latitude 1 --longitude 2");
    let told = nodes.ends(7, &one, |text| text.contains("revision 0, where most have 1"));
    assert!(told.trim().lines().last().unwrap().starts_with("n1-"), "{told}");
    println!("{told}");
    nodes.way.release();
    nodes.ends(0, &one, is_whole);

    let mut killed = nodes.nodes.pop().unwrap();
    killed.process.kill().unwrap();
    let told = nodes.ends(7, &one, |text| text.contains("is missing: it was last heard"));
    assert!(told.contains("missing for"), "{told}");
    println!("{told}");
    let told = nodes.ends(7, &all, |text| text.contains("is missing"));
    assert!(
        told.contains(&format!("{}: the server {} cannot be reached", urls[2], urls[2])),
        "{told}"
    );
    let output = nodes.command(&[&urls[2]]).output().unwrap();
    said(&output, 3, "status --all where no server answers");
}

#[test]
fn nodes_that_share_nothing_are_compared_by_asking_each() {
    let nodes = [Setup::new(), Setup::new()];
    let command = |arguments: &[&str]| {
        let mut command = nodes[0].command(&["--server", &nodes[1].url]);
        command.env("GEOSTREAM_TOKEN", nodes[1].token()).args(arguments);
        command
    };
    // The other node has tokens of its own.
    let output = command(&["status", "--all"]).output().unwrap();
    let told = said(&output, 7, "status --all");
    assert!(told.contains("no answer"), "{told}");
    let output = command(&["status"]).output().unwrap();
    said(&output, 0, "status asks the server that was named last");
}
