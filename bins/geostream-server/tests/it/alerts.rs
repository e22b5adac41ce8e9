//! Each alert that ships, caused for real: it fires while its cause lasts, and resolves after it.
//!
//! Prometheus reads the shipped rules and alerts, in which only the durations are shorter.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use geostream_testbed::{Postgres, Prometheus, Redis};
use serde_json::{Value, json};

use crate::health::{BROKEN, Region, WELL};
use crate::postgres::{prepared, put_region, revision};
use crate::server::{Answer, Home, PATIENCE, Request, Server, now, wait_for};
use crate::tls;
use crate::watched::read;

/// What `nodes_and_what_they_share_fail` causes.
const OF_NODES: &[&str] = &[
    "GeoStreamNodeDown",
    "GeoStreamNoTargets",
    "GeoStreamNodeNotReady",
    "GeoStreamConfigDiffers",
    "GeoStreamConfigNotCurrent",
    "GeoStreamStoreErrors",
    "GeoStreamNodesUnheard",
    "GeoStreamWarning",
];
/// What `a_node_cannot_tell_dead_regions_from_a_dead_network` causes.
const OF_DOUBTS: &[&str] =
    &["GeoStreamNodeCutOff", "GeoStreamNothingAnswers", "GeoStreamRegionAbstained"];
/// What `regions_fail_and_clients_are_misplaced` causes.
const OF_REGIONS: &[&str] = &[
    "GeoStreamAllDown",
    "GeoStreamCanaryLost",
    "GeoStreamClientsWithoutPlace",
    "GeoStreamErrors",
    "GeoStreamOverrideForgotten",
    "GeoStreamRegionFlapping",
    "GeoStreamRegionFull",
    "GeoStreamRegionProbesFail",
    "GeoStreamRegionUnhealthy",
    "GeoStreamRemovalBudgetSpent",
    "GeoStreamRetainedRegionServes",
    "GeoStreamShareOff",
];
/// What `clients_ask_too_much_and_data_grows_old` causes.
const OF_CLIENTS: &[&str] = &[
    "GeoStreamCertificateExpires",
    "GeoStreamClientsCutOff",
    "GeoStreamFilesRunOut",
    "GeoStreamGeoIpOld",
    "GeoStreamRateLimited",
    "GeoStreamSlow",
];

#[test]
fn every_alert_is_caused_by_one_of_these_tests() {
    let alerts = read("prometheus/alerts.yml");
    let names = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    let shipped: BTreeSet<&str> = names.collect();
    let caused: BTreeSet<&str> =
        [OF_NODES, OF_DOUBTS, OF_REGIONS, OF_CLIENTS].into_iter().flatten().copied().collect();
    assert_eq!(shipped, caused);
}

#[test]
fn nodes_and_what_they_share_fail() {
    let mut causes = Causes::of(OF_NODES);
    let mut database = Postgres::start(&[]);
    let mut redis = Redis::start(&[]);
    let url = prepared(&database);
    // A role of its own, so that one node alone can be kept from the database.
    database.sql(&url, "CREATE ROLE second LOGIN");
    database.sql(&url, RIGHTS);
    let homes = [Home::new(), Home::new()];
    let first = start_node(&homes[0], "127.0.0.1:0", &url, &redis);
    let second_url = url.replace("geostream@", "second@");
    let second = start_node(&homes[1], "127.0.0.1:0", &second_url, &redis);
    let second_address = second.address.to_string();
    let lone_home = Home::new();
    let mut command = lone_home.command();
    let city = lone_home.path("geoip/dbip-sample.mmdb");
    let later = lone_home.path("later.mmdb");
    command.arg("--geoip-file").arg(&later).args(["--geoip-refresh-seconds", "1"]);
    let lone = Server::start(&mut command);
    let token = homes[0].token();
    let prometheus = watch(&[("geostream-eu", &[&first, &second]), ("edge", &[&lone])]);

    causes.fires(&prometheus, "GeoStreamNodeNotReady", || {});
    fs::copy(&city, &later).unwrap();
    causes.resolves(&prometheus, "GeoStreamNodeNotReady", || {});

    redis.stop();
    causes.fires(&prometheus, "GeoStreamNodesUnheard", || {});
    redis.start_again();
    causes.resolves(&prometheus, "GeoStreamNodesUnheard", || {});

    database.sql(&url, "ALTER ROLE second NOLOGIN");
    database.end_connections("second");
    assert_eq!(put_region(&first, &token, "new", revision_of(&first)).status, 200);
    causes.fires(&prometheus, "GeoStreamConfigDiffers", || {});
    causes.fires(&prometheus, "GeoStreamStoreErrors", || {});
    database.sql(&url, "ALTER ROLE second LOGIN");
    causes.resolves(&prometheus, "GeoStreamConfigDiffers", || {});
    causes.resolves(&prometheus, "GeoStreamStoreErrors", || {});

    second.kill();
    causes.fires(&prometheus, "GeoStreamNodeDown", || {});
    database.stop();
    let second = start_node(&homes[1], &second_address, &second_url, &redis);
    causes.resolves(&prometheus, "GeoStreamNodeDown", || {});
    causes.fires(&prometheus, "GeoStreamConfigNotCurrent", || {});
    causes.fires(&prometheus, "GeoStreamWarning", || {});
    database.start_again();
    causes.resolves(&prometheus, "GeoStreamConfigNotCurrent", || {});
    causes.resolves(&prometheus, "GeoStreamWarning", || {});

    let without_edge = configuration(&[("geostream-eu", &[&first, &second]), ("edge", &[])]);
    prometheus.reload(&[("prometheus.yml", &without_edge)]);
    causes.fires(&prometheus, "GeoStreamNoTargets", || {});
    let with_edge = configuration(&[("geostream-eu", &[&first, &second]), ("edge", &[&lone])]);
    prometheus.reload(&[("prometheus.yml", &with_edge)]);
    causes.resolves(&prometheus, "GeoStreamNoTargets", || {});
    causes.end();
}

#[test]
fn a_node_cannot_tell_dead_regions_from_a_dead_network() {
    let mut causes = Causes::of(OF_DOUBTS);
    // Two nodes of one job, of which each has regions of its own behind the same names.
    let scenes = [Scene::new(), Scene::new()];
    for scene in &scenes {
        scene.set_targets(&json!([]));
    }
    let prometheus = watch(&[("geostream", &[&scenes[0].node, &scenes[1].node])]);

    scenes[0].regions.iter().for_each(|region| region.set(BROKEN));
    causes.fires(&prometheus, "GeoStreamNodeCutOff", || {});
    scenes[1].regions.iter().for_each(|region| region.set(BROKEN));
    causes.fires(&prometheus, "GeoStreamNothingAnswers", || {});
    causes.fires(&prometheus, "GeoStreamRegionAbstained", || {});
    causes.resolves(&prometheus, "GeoStreamNodeCutOff", || {});
    for scene in &scenes {
        scene.regions.iter().for_each(|region| region.set(WELL));
    }
    causes.resolves(&prometheus, "GeoStreamNothingAnswers", || {});
    causes.resolves(&prometheus, "GeoStreamRegionAbstained", || {});
    causes.end();
}

#[test]
fn regions_fail_and_clients_are_misplaced() {
    let mut causes = Causes::of(OF_REGIONS);
    let scene = Scene::new();
    let prometheus = watch(&[("geostream", &[&scene.node])]);
    let route = || scene.route();

    scene.regions[0].set(BROKEN);
    causes.fires(&prometheus, "GeoStreamRegionUnhealthy", || {});
    // A region that is configured anew has a new breaker, which opens without a cooldown.
    causes.fires(&prometheus, "GeoStreamRegionFlapping", || {
        scene.configure(&["r1", "r2"]);
        scene.configure(&["r0", "r1", "r2"]);
        wait_for(|| scene.is("r0", "unhealthy"));
    });
    scene.configure(&["r1", "r2"]);
    scene.regions[0].set(WELL);
    scene.configure(&["r0", "r1", "r2"]);
    causes.resolves(&prometheus, "GeoStreamRegionUnhealthy", || {});
    causes.resolves(&prometheus, "GeoStreamRegionFlapping", || {});

    causes.fires(&prometheus, "GeoStreamShareOff", || scene.ask_for("even", &[1]));
    let many: Vec<u8> = (0..200).collect();
    causes.resolves(&prometheus, "GeoStreamShareOff", || scene.ask_for("even", &many));
    causes.fires(&prometheus, "GeoStreamClientsWithoutPlace", || scene.ask_for("even", &many));
    causes.resolves(&prometheus, "GeoStreamClientsWithoutPlace", route);

    let drain = json!({ "action": "drain", "reason": "power work", "force": true });
    scene.write("PUT", "/api/v1/overrides/r2", &drain);
    causes.fires(&prometheus, "GeoStreamOverrideForgotten", || {});
    scene.write("DELETE", "/api/v1/overrides/r2", &Value::Null);
    causes.resolves(&prometheus, "GeoStreamOverrideForgotten", || {});

    // Above all capacity, 503 is the answer of an overloaded region, which is not removed for it.
    let overload = || ["r0", "r1", "r2"].iter().for_each(|region| scene.report(region, 300));
    causes.fires(&prometheus, "GeoStreamRegionFull", overload);
    scene.regions[0].set(BROKEN);
    causes.fires(&prometheus, "GeoStreamRegionProbesFail", overload);
    scene.regions[0].set(WELL);
    let relief = || ["r0", "r1", "r2"].iter().for_each(|region| scene.report(region, 10));
    causes.resolves(&prometheus, "GeoStreamRegionProbesFail", overload);
    causes.resolves(&prometheus, "GeoStreamRegionFull", relief);

    scene.regions[0].set(BROKEN);
    scene.regions[1].set(BROKEN);
    causes.fires(&prometheus, "GeoStreamRemovalBudgetSpent", || {});
    causes.fires(&prometheus, "GeoStreamRetainedRegionServes", || {
        scene.report("r2", 300);
        scene.route();
    });
    scene.regions[0].set(WELL);
    scene.regions[1].set(WELL);
    let light = || {
        scene.report("r2", 10);
        scene.route();
    };
    causes.resolves(&prometheus, "GeoStreamRemovalBudgetSpent", light);
    causes.resolves(&prometheus, "GeoStreamRetainedRegionServes", light);

    scene.regions.iter().for_each(Region::kill);
    causes.fires(&prometheus, "GeoStreamAllDown", route);
    causes.fires(&prometheus, "GeoStreamErrors", || scene.ask_for("closed", &[1]));
    scene.regions.iter().for_each(Region::revive);
    causes.resolves(&prometheus, "GeoStreamAllDown", route);
    causes.resolves(&prometheus, "GeoStreamErrors", route);

    scene.canary.kill();
    causes.fires(&prometheus, "GeoStreamCanaryLost", || {});
    scene.canary.revive();
    causes.resolves(&prometheus, "GeoStreamCanaryLost", || {});
    causes.end();
}

#[test]
fn clients_ask_too_much_and_data_grows_old() {
    let mut causes = Causes::of(OF_CLIENTS);
    let homes = [Home::new(), Home::new()];
    for home in &homes {
        build_at(&home.path("geoip/dbip-sample.mmdb"), "100 days ago");
    }
    let [home, small_home] = &homes;
    let mut command = home.command();
    command.args(["--requests-per-second", "5", "--max-connections-per-network", "20"]);
    command.args(["--geoip-refresh-seconds", "1"]);
    let node = Server::start(&mut command);
    let mut command = Command::new("/bin/sh");
    let script = "ulimit -n 150; exec \"$0\" \"$@\"";
    command.args(["-c", script, env!("CARGO_BIN_EXE_geostream-server")]);
    let small = Server::start(command.args(small_home.arguments()));
    let secure_home = Home::new();
    tls::write_identity(&secure_home, [2020, 2021]);
    let secure = Server::start(&mut tls::command(&secure_home));
    let prometheus =
        watch(&[("geostream", &[&node]), ("geostream-small", &[&small]), (SECURE, &[&secure])]);

    causes.fires(&prometheus, "GeoStreamCertificateExpires", || {});
    let warned = prometheus.query("server_warning{warning='certificate-expires'} == 1");
    assert!(warned.contains(SECURE), "{warned}");
    tls::write_identity(&secure_home, [2020, 2999]);
    causes.resolves(&prometheus, "GeoStreamCertificateExpires", || {});

    causes.fires(&prometheus, "GeoStreamGeoIpOld", || {});
    for home in &homes {
        build_at(&home.path("geoip/dbip-sample.mmdb"), "now");
    }
    small.signal("HUP");
    causes.resolves(&prometheus, "GeoStreamGeoIpOld", || {});

    causes.fires(&prometheus, "GeoStreamRateLimited", || {
        for _ in 0..20 {
            node.route(TOKYO);
        }
    });
    causes.resolves(&prometheus, "GeoStreamRateLimited", || {});

    let mut held = Vec::new();
    causes.fires(&prometheus, "GeoStreamClientsCutOff", || {
        held = (0..40).filter_map(|_| TcpStream::connect(node.address).ok()).collect();
    });
    held.clear();
    causes.resolves(&prometheus, "GeoStreamClientsCutOff", || {});

    causes.fires(&prometheus, "GeoStreamFilesRunOut", || {
        // The server closes idle connections after ten seconds.
        held.retain(is_open);
        while held.len() < 115 {
            held.push(small.connect());
        }
    });
    held.clear();
    causes.resolves(&prometheus, "GeoStreamFilesRunOut", || {});

    let head = format!(
        "POST /api/v1/route HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        small.address,
        TOKYO.len()
    );
    let slow = || {
        let mut stream = small.connect();
        stream.write_all(head.as_bytes()).unwrap();
        // The body follows after a question to Prometheus, which takes some tens of milliseconds.
        assert!(prometheus.query("up").contains("value"));
        stream.write_all(TOKYO.as_bytes()).unwrap();
        assert_eq!(Answer::read(&mut stream).status, 200);
    };
    causes.fires(&prometheus, "GeoStreamSlow", slow);
    causes.resolves(&prometheus, "GeoStreamSlow", || {
        small.route(TOKYO);
    });
    causes.end();
}

/// Follows which of a test's alerts have fired and resolved.
struct Causes {
    awaited: BTreeSet<&'static str>,
}

impl Causes {
    fn of(alerts: &[&'static str]) -> Self {
        Self { awaited: alerts.iter().copied().collect() }
    }

    /// Repeats this until the alert fires.
    #[track_caller]
    fn fires(&self, prometheus: &Prometheus, alert: &'static str, repeat: impl FnMut()) {
        assert!(self.awaited.contains(alert), "{alert} is not awaited");
        await_alert(prometheus, alert, true, repeat);
    }

    /// Repeats this until the alert, which has fired, does not any more.
    #[track_caller]
    fn resolves(&mut self, prometheus: &Prometheus, alert: &'static str, repeat: impl FnMut()) {
        await_alert(prometheus, alert, false, repeat);
        self.awaited.remove(alert);
    }

    fn end(self) {
        assert_eq!(self.awaited, BTreeSet::new(), "these were not caused");
    }
}

#[track_caller]
fn await_alert(prometheus: &Prometheus, alert: &str, fires: bool, mut repeat: impl FnMut()) {
    let question = format!(r#"ALERTS{{alertname="{alert}", alertstate="firing"}}"#);
    let started = now();
    loop {
        repeat();
        let answer: Value = serde_json::from_str(&prometheus.query(&question)).unwrap();
        if answer.as_array().is_some_and(|series| series.is_empty() != fires) {
            return;
        }
        let firing = || prometheus.query(r#"ALERTS{alertstate="firing"}"#);
        assert!(now() - started < PATIENCE, "{alert} fires: not {fires}; {}", firing());
    }
}

/// The job whose nodes are asked by TLS.
const SECURE: &str = "geostream-secure";

/// Watches jobs of nodes by the shipped files, every second and with short durations.
fn watch(jobs: &[(&str, &[&Server])]) -> Prometheus {
    let configuration = configuration(jobs);
    let rules = hastened(&read("prometheus/rules.yml"));
    let alerts = hastened(&read("prometheus/alerts.yml"));
    Prometheus::start(&[
        ("prometheus.yml", &configuration),
        ("rules.yml", &rules),
        ("alerts.yml", &alerts),
    ])
}

fn configuration(jobs: &[(&str, &[&Server])]) -> String {
    let shipped = read("prometheus/prometheus.yml").replace("interval: 15s", "interval: 1s");
    let (general, _) = shipped.split_once("scrape_configs:").unwrap();
    let mut configuration = format!("{general}scrape_configs:\n");
    for (job, nodes) in jobs {
        let targets: Vec<String> = nodes.iter().map(|node| node.address.to_string()).collect();
        configuration.push_str(&format!(
            "  - job_name: {job}\n    static_configs:\n      - targets: [{}]\n",
            targets.join(", ")
        ));
        if *job == SECURE {
            let trusting = "    scheme: https\n    tls_config: {insecure_skip_verify: true}\n";
            configuration.push_str(trusting);
        }
    }
    configuration
}

/// Shortens what alerts wait for and look back on.
fn hastened(rules: &str) -> String {
    let mut hastened = rules.to_owned();
    let shorter = [
        ("[2m]", "[4s]"),
        ("[5m]", "[6s]"),
        ("[1h]", "[20s]"),
        ("[1d]", "[2m]"),
        ("offset 2w", "offset 3s"),
        ("for: 1m", "for: 1s"),
        ("for: 2m", "for: 2s"),
        ("for: 5m", "for: 3s"),
        ("for: 10m", "for: 4s"),
        ("for: 15m", "for: 5s"),
        ("for: 1h", "for: 5s"),
        ("for: 1d", "for: 6s"),
    ];
    for (long, short) in shorter {
        hastened = hastened.replace(long, short);
    }
    let durations = hastened.lines().filter(|line| line.contains("for: "));
    let mut waits = durations.map(|line| line.trim());
    assert!(waits.all(|wait| wait.ends_with('s')), "each wait is shortened: {hastened}");
    hastened
}

fn start_node(home: &Home, address: &str, store: &str, cache: &Redis) -> Server {
    let mut command = Command::new(env!("CARGO_BIN_EXE_geostream-server"));
    let listen = |argument: String| match &*argument {
        "127.0.0.1:0" => address.to_owned(),
        _ => argument,
    };
    command.args(home.arguments().into_iter().map(listen));
    Server::start(command.args(["--store", store, "--cache", &cache.url()]))
}

fn revision_of(node: &Server) -> u64 {
    revision(node).as_u64().unwrap()
}

/// A node with three regions and a canary, and three services over them.
struct Scene {
    node: Server,
    token: String,
    regions: Vec<Region>,
    canary: Region,
    _home: Home,
}

impl Scene {
    fn new() -> Self {
        let canary = Region::at("127.0.0.1");
        let home = Home::new();
        let mut command = home.command();
        command.args(["--probe-network", "127.0.0.0/8", "--probe-canary"]);
        command.arg(canary.address.to_string());
        let node = Server::start(&mut command);
        let token = home.token();
        let regions = (0..3).map(|_| Region::at("127.0.0.1")).collect();
        let scene = Self { node, token, regions, canary, _home: home };
        scene.configure(&["r0", "r1", "r2"]);
        wait_for(|| ["r0", "r1", "r2"].iter().all(|region| scene.is(region, "healthy")));
        scene
    }

    fn configure(&self, members: &[&str]) {
        let region = |&name: &&str| {
            let number: usize = name[1..].parse().unwrap();
            let address = self.regions[number].address;
            let check = json!({ "url": format!("http://{address}/"), "ramp_seconds": 0 });
            let region = json!({
                "latitude": 0, "longitude": number * 10, "capacity": 100, "check": check
            });
            (name.to_owned(), region)
        };
        let regions: serde_json::Map<_, _> = members.iter().map(region).collect();
        let members: serde_json::Map<_, _> =
            members.iter().map(|name| ((*name).to_owned(), json!({}))).collect();
        let config = json!({
            "regions": regions,
            "services": {
                "api": { "members": members },
                "closed": { "members": members, "all_down": { "rule": "closed" } },
                "even": { "members": members, "policy": { "objective": "weighted" } },
            },
            "settings": { "default_service": "api" },
        });
        self.write("PUT", "/api/v1/config", &config);
    }

    fn set_targets(&self, targets: &Value) {
        let settings = json!({ "default_service": "api", "reachability_targets": targets });
        self.write("PUT", "/api/v1/settings", &settings);
    }

    fn write(&self, method: &str, path: &str, body: &Value) {
        let request = Request::new(method, path).token(&self.token);
        let request = request.revision(revision_of(&self.node));
        let request = if body.is_null() { request } else { request.json(&body.to_string()) };
        let answer = self.node.send(&request);
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    fn is(&self, region: &str, health: &str) -> bool {
        let request = Request::new("GET", "/api/v1/health/regions").token(&self.token);
        let report = self.node.send(&request).json();
        let regions = report["regions"].as_array().unwrap();
        regions.iter().any(|seen| seen["region"] == region && seen["health"] == health)
    }

    /// Asks for clients who are nearest to each of the regions.
    fn route(&self) {
        for longitude in [0, 10, 20] {
            let question = json!({ "location": { "latitude": 1, "longitude": longitude } });
            assert_eq!(self.node.route(&question.to_string()).status, 200);
        }
    }

    /// Asks for clients of these networks.
    fn ask_for(&self, service: &str, networks: &[u8]) {
        for network in networks {
            let question = json!({ "service": service, "client_ip": format!("203.0.{network}.1") });
            self.node.route(&question.to_string());
        }
    }

    fn report(&self, region: &str, load: u32) {
        let outcome = json!({ "region": region, "outcome": "ok", "load": load });
        let outcomes = json!({ "outcomes": [outcome] }).to_string();
        let report = Request::new("POST", "/api/v1/outcomes").token(&self.token);
        assert_eq!(self.node.send(&report.json(&outcomes)).status, 200);
    }
}

fn is_open(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let is_open = !matches!(stream.peek(&mut [0]), Ok(0));
    stream.set_nonblocking(false).unwrap();
    is_open
}

/// Gives a GeoIP file another time at which it was built, in the words of `date`.
fn build_at(path: &Path, time: &str) {
    let mut bytes = fs::read(path).unwrap();
    let key = b"build_epoch";
    let at = bytes.windows(key.len()).rposition(|window| window == key).unwrap() + key.len();
    // An unsigned 64-bit number is of extended type: its size, then two bytes less than its type.
    let size = usize::from(bytes[at]);
    assert!(size <= 8 && bytes[at + 1] == 2, "a number of 64 bits follows");
    let stamp = Command::new("date").args(["+%s", "--date", time]).output().unwrap().stdout;
    let seconds: u64 = String::from_utf8(stamp).unwrap().trim().parse().unwrap();
    bytes[at + 2..at + 2 + size].copy_from_slice(&seconds.to_be_bytes()[8 - size..]);
    let new = path.with_extension("new");
    fs::write(&new, bytes).unwrap();
    fs::rename(new, path).unwrap();
}

const RIGHTS: &str = "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO second; \
                      GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO second";
const TOKYO: &str = r#"{"client_ip": "165.100.97.15"}"#;
