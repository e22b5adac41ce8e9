//! Nodes that share over Redis what they see of the regions, and what they let through.

use std::fs;
use std::time::Duration;

use geostream_testbed::{Postgres, Redis};
use serde_json::{Value, json};

use crate::health::{BROKEN, Region, WELL};
use crate::postgres::{get, prepared};
use crate::server::{Home, Request, Server, now, wait_for};
use crate::settings::{limits, put_settings, wait_for_limit};

/// Three nodes, of which the first does not trust the certificate of the first of three regions.
struct Peers {
    nodes: Vec<Server>,
    token: String,
    /// A server of its own, since it speaks TLS, and the others.
    secure: Server,
    regions: Vec<Region>,
    redis: Redis,
    _homes: Vec<Home>,
}

impl Peers {
    fn new() -> Self {
        let (url, redis) = (prepared(Postgres::shared()), Redis::start(&[]));
        let mut homes: Vec<_> = (0..3).map(|_| Home::new()).collect();
        let home = Home::new();
        let secure = secure(&home);
        let certificate = home.path("cert.pem");
        homes.push(home);
        let regions: Vec<_> = ["127.0.0.1", "127.0.0.1"].map(Region::at).into();
        let start = |number: usize| {
            let mut command = homes[number].command();
            command.args(["--store", &url, "--cache", &redis.url()]);
            command.args(["--node", &format!("n{number}"), "--probe-network", "127.0.0.0/8"]);
            if number != 0 {
                command.arg("--probe-authorities").arg(&certificate);
            }
            Server::start(&mut command)
        };
        let nodes: Vec<_> = (0..3).map(start).collect();
        let token = homes[0].token();
        let peers = Self { nodes, token, secure, regions, redis, _homes: homes };
        peers.declare();
        peers
    }

    fn declare(&self) {
        let secure = format!("https://{}/health", self.secure.address);
        let others = self.regions.iter().map(|region| format!("http://{}/", region.address));
        let declare = |(number, url): (usize, String)| {
            let check = json!({ "url": url, "ramp_seconds": 0 });
            let region = json!({ "latitude": 0, "longitude": number * 10, "check": check });
            (format!("r{number}"), region)
        };
        let regions = [secure].into_iter().chain(others).enumerate().map(declare);
        let config = json!({
            "regions": regions.collect::<serde_json::Map<_, _>>(),
            "services": { "api": { "members": { "r0": {}, "r1": {}, "r2": {} } } },
            "settings": { "default_service": "api" },
        });
        let request = Request::new("PUT", "/api/v1/config").token(&self.token).revision(1);
        let answer = self.nodes[0].send(&request.json(&config.to_string()));
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// Waits until a region has this health on each node, by so many votes of so many.
    #[track_caller]
    fn wait_until(&self, region: &str, healths: [&str; 3], votes: &Value) {
        wait_for(|| {
            // Whatever happens, clients are answered.
            let decides = |node: &Server| decision(node, 0)["region"].is_string();
            assert!(self.nodes.iter().all(decides));
            let is_so = |(node, health): (&Server, &str)| {
                let seen = self.of(node, region);
                seen["health"] == health && &seen["votes"] == votes
            };
            self.nodes.iter().zip(healths).all(is_so)
        });
    }

    fn of(&self, node: &Server, region: &str) -> Value {
        let report = get(node, &self.token, "/api/v1/health/regions").json();
        let regions = report["regions"].as_array().unwrap();
        regions.iter().find(|seen| seen["region"] == region).cloned().unwrap_or_default()
    }

    fn status(&self, node: &Server) -> Value {
        get(node, &self.token, "/api/v1/status").json()
    }
}

/// Starts a server that answers over TLS, with a certificate of its own in its home.
fn secure(home: &Home) -> Server {
    let identity = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let certificate = home.path("cert.pem");
    let key = home.path("key.pem");
    fs::write(&certificate, identity.cert.pem()).unwrap();
    fs::write(&key, identity.signing_key.serialize_pem()).unwrap();
    let mut command = home.command();
    command.arg("--tls-certificate").arg(certificate).arg("--tls-key").arg(key);
    Server::start(&mut command)
}

/// Returns the decision for a client who is nearest to the region of this number.
fn decision(node: &Server, number: u32) -> Value {
    let location = json!({ "latitude": 1, "longitude": number * 10 });
    let answer = node.route(&json!({ "location": location, "explain": true }).to_string());
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

const ALL_WELL: [&str; 3] = ["healthy"; 3];

#[test]
fn a_region_that_one_node_cannot_reach_stays_and_one_that_dies_is_removed_by_all() {
    let peers = Peers::new();
    let one_of_three = json!({ "down": 1, "nodes": 3 });
    peers.wait_until("r0", ALL_WELL, &one_of_three);
    peers.wait_until("r1", ALL_WELL, &json!({ "down": 0, "nodes": 3 }));
    assert_eq!(peers.of(&peers.nodes[0], "r0")["seen_here"], "unhealthy");
    for node in &peers.nodes {
        assert_eq!(decision(node, 0)["region"], "r0");
        assert_eq!(peers.status(node)["peers"]["nodes"].as_array().unwrap().len(), 2);
    }
    let died = now();
    peers.regions[0].set(BROKEN);
    for node in &peers.nodes {
        wait_for(|| decision(node, 1)["reason"] == "failover");
    }
    println!("removed by all after {:?}", now() - died);
    let path = "/api/v1/route?latitude=1&longitude=10&explain=true";
    let explained = get(&peers.nodes[0], &peers.token, path).json();
    let regions = explained["explanation"]["regions"].as_array().unwrap();
    let votes = &regions.iter().find(|seen| seen["region"] == "r1").unwrap()["observed"]["votes"];
    assert!(votes["down"].as_u64() >= Some(2) && votes["nodes"] == 3, "{explained}");
    let evidence = peers.of(&peers.nodes[0], "r1")["evidence"].to_string();
    let is_told = |down: u32| evidence.contains(&format!("seen down by {down} of 3 nodes"));
    assert!(is_told(2) || is_told(3), "{evidence}");
    peers.regions[0].set(WELL);
    peers.wait_until("r1", ALL_WELL, &json!({ "down": 0, "nodes": 3 }));
    peers.wait_until("r0", ALL_WELL, &one_of_three);
}

#[test]
fn without_redis_each_node_goes_on_by_what_it_sees_itself() {
    let mut peers = Peers::new();
    let one_of_three = json!({ "down": 1, "nodes": 3 });
    let faults: [(Fault, Fault); 2] =
        [(|redis| redis.freeze(), |redis| redis.thaw()), (Redis::kill, Redis::start_again)];
    for (begin, end) in faults {
        peers.wait_until("r0", ALL_WELL, &one_of_three);
        begin(&mut peers.redis);
        peers.wait_until("r0", ["unhealthy", "healthy", "healthy"], &Value::Null);
        let status = peers.status(&peers.nodes[0]);
        assert!(status["peers"]["error"].to_string().contains("Redis"), "{status}");
        let metrics = peers.nodes[0].get("/metrics").body;
        assert!(metrics.contains("shared_views_available 0"), "{metrics}");
        end(&mut peers.redis);
    }
    peers.wait_until("r0", ALL_WELL, &one_of_three);
    wait_for(|| peers.status(&peers.nodes[0])["peers"]["error"] == Value::Null);
    // Whoever is killed is forgotten.
    peers.nodes.pop().unwrap().kill();
    wait_for(|| peers.of(&peers.nodes[0], "r1")["votes"] == json!({ "down": 0, "nodes": 2 }));
}

/// Begins or ends a fault.
type Fault = fn(&mut Redis);

const RATE: u32 = 40;

#[test]
fn nodes_let_through_a_limit_together_and_without_redis_each_its_share() {
    let (url, mut redis) = (prepared(Postgres::shared()), Redis::start(&[]));
    let homes: Vec<_> = (0..3).map(|_| Home::new()).collect();
    let start = |home: &Home| {
        let config = home.path("geostream.toml");
        fs::write(&config, format!("[http]\nrequests_per_second = {RATE}\n")).unwrap();
        let mut command = home.command();
        command.arg("--config").arg(config).args(["--store", &url, "--cache", &redis.url()]);
        Server::start(&mut command)
    };
    let nodes: Vec<_> = homes.iter().map(start).collect();
    let knows_all = |node: &Server| node.get("/metrics").body.contains("shared_views_nodes 3");
    wait_for(|| nodes.iter().all(knows_all));
    let before = unanswered(&nodes);
    let (passed, took) = ask_all(&nodes, Duration::from_secs(6));
    let unanswered = unanswered(&nodes) - before;
    println!("with Redis, {passed} have passed in {took:?}; {unanswered} leases not answered");
    // What Redis does not hear of in time, on a busy machine, it takes for left over.
    let unheard = unanswered * f64::from(RATE) / 30.0;
    assert_within(passed, took, 0.95, unheard);
    redis.kill();
    wait_for(|| nodes.iter().all(|node| node.get("/metrics").body.contains("available 0")));
    let (passed, took) = ask_all(&nodes, Duration::from_secs(4));
    println!("without it, {passed} in {took:?}");
    assert_within(passed, took, 0.9, 0.0);
}

#[test]
fn a_limit_that_is_set_through_one_node_holds_at_all_together_until_it_is_lifted() {
    let (url, redis) = (prepared(Postgres::shared()), Redis::start(&[]));
    let homes: Vec<_> = (0..2).map(|_| Home::new()).collect();
    let start = |home: &Home| {
        let mut command = home.command();
        command.args(["--store", &url, "--cache", &redis.url()]);
        Server::start(&mut command)
    };
    let nodes: Vec<_> = homes.iter().map(start).collect();
    let token = homes[0].token();
    let knows_all = |node: &Server| node.get("/metrics").body.contains("shared_views_nodes 2");
    wait_for(|| nodes.iter().all(knows_all));
    let set = |limit: Value| {
        let settings = json!({ "default_service": "api", "requests_per_second": limit });
        let answer = put_settings(&nodes[0], &token, &settings);
        assert_eq!(answer.status, 200, "{answer:?}");
        now()
    };
    let in_force = |node: &Server| limits(node, &token)["requests_per_second"].clone();
    let set_at = set(json!(RATE));
    wait_for(|| nodes[1].get("/nothing").status == 429);
    println!("the other node refuses {:?} after the write", now() - set_at);
    for node in &nodes {
        wait_for_limit(node, RATE);
        assert_eq!(in_force(node), json!({ "value": RATE, "source": "configuration" }));
    }
    let before = unanswered(&nodes);
    let (passed, took) = ask_all(&nodes, Duration::from_secs(4));
    let unanswered = unanswered(&nodes) - before;
    println!("{passed} have passed in {took:?}; {unanswered} leases not answered");
    assert_within(passed, took, 0.9, unanswered * f64::from(RATE) / 20.0);

    let lifted_at = set(json!(0));
    wait_for(|| in_force(&nodes[1])["value"] == 0);
    println!("the other node has no limit {:?} after the write", now() - lifted_at);
    for node in &nodes {
        wait_for_limit(node, 0);
        assert!((0..10 * RATE).all(|_| node.get("/nothing").status == 404));
        assert_eq!(in_force(node), json!({ "value": 0, "source": "configuration" }));
    }
}

/// Asks all nodes as often as they answer, and returns how many requests were let through.
fn ask_all(nodes: &[Server], duration: Duration) -> (u32, Duration) {
    let began = now();
    let ask = |node: &Server| {
        let mut passed = 0;
        while now() - began < duration {
            match node.get("/nothing").status {
                404 => passed += 1,
                status => assert_eq!(status, 429),
            }
        }
        passed
    };
    let passed = std::thread::scope(|scope| {
        let asking: Vec<_> = nodes.iter().map(|node| scope.spawn(|| ask(node))).collect();
        asking.into_iter().map(|node| node.join().unwrap()).sum()
    });
    (passed, now() - began)
}

/// Counts the requests for leases that nobody has answered.
fn unanswered(nodes: &[Server]) -> f64 {
    let failed = |node: &Server| {
        let mut metrics = node.get("/metrics");
        wait_for(|| {
            metrics = node.get("/metrics");
            metrics.status == 200
        });
        let line = "rate_limit_leases_total{result=\"failed\"} ";
        let count = metrics.body.lines().find_map(|text| text.strip_prefix(line));
        count.map_or(0.0, |count| count.parse::<f64>().unwrap())
    };
    nodes.iter().map(failed).sum()
}

/// Checks that as many have passed as the rate allows, and at most a burst and so many beside.
#[track_caller]
fn assert_within(passed: u32, took: Duration, least: f64, beside: f64) {
    let allowed = f64::from(RATE) * took.as_secs_f64();
    let most = (allowed + f64::from(RATE)) * 1.1 + beside;
    assert!(f64::from(passed) >= allowed * least, "{passed} of {allowed}");
    assert!(f64::from(passed) <= most, "{passed} of {allowed}, and {beside} beside");
}
