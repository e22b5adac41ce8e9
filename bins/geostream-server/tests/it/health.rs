//! Regions that die, and where their clients go.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use serde_json::{Value, json};

use crate::server::{Answer, Home, PATIENCE, Request, Server, now};
use crate::settings::{limits, put_settings};

/// A region's server, which does what it is told.
pub(crate) struct Region {
    pub(crate) address: SocketAddr,
    manner: Arc<AtomicU8>,
}

pub(crate) const WELL: u8 = 0;
pub(crate) const BROKEN: u8 = 1;
const SILENT: u8 = 2;
/// It accepts no connection any more, and ends those that it has at the next request.
const DEAD: u8 = 3;

impl Region {
    fn new() -> Self {
        Self::at("127.0.0.1")
    }

    /// Starts one on a free port of this address.
    pub(crate) fn at(address: &str) -> Self {
        let listener = TcpListener::bind((address, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let region = Self { address, manner: Arc::new(AtomicU8::new(WELL)) };
        region.serve(listener);
        region
    }

    fn serve(&self, listener: TcpListener) {
        let manners = Arc::clone(&self.manner);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if manners.load(Ordering::SeqCst) == DEAD {
                    return;
                }
                let manner = Arc::clone(&manners);
                std::thread::spawn(move || converse(&stream, &manner));
            }
        });
    }

    /// Has its address refuse connections from now on.
    pub(crate) fn kill(&self) {
        self.set(DEAD);
        // Whichever connection comes first ends the listener.
        while TcpStream::connect(self.address).is_ok() {}
    }

    /// Starts it again at its address.
    pub(crate) fn revive(&self) {
        self.set(WELL);
        self.serve(TcpListener::bind(self.address).unwrap());
    }

    pub(crate) fn set(&self, manner: u8) {
        self.manner.store(manner, Ordering::SeqCst);
    }
}

fn converse(mut stream: &TcpStream, manner: &AtomicU8) {
    let lines = BufReader::new(stream.try_clone().unwrap()).lines();
    for line in lines.map_while(Result::ok) {
        if !line.is_empty() {
            continue;
        }
        let status = match manner.load(Ordering::SeqCst) {
            WELL => "200 OK",
            BROKEN => "503 Not now",
            DEAD => return,
            _ => continue,
        };
        if write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").is_err() {
            return;
        }
    }
}

/// A server, and three regions: the first is the nearest to the client, then the second.
struct Scene {
    home: Home,
    server: Server,
    token: String,
    regions: Vec<Region>,
}

impl Scene {
    fn new() -> Self {
        Self::with(&[])
    }

    fn with(arguments: &[&str]) -> Self {
        let home = Home::new();
        let mut command = home.command();
        command.args(["--probe-network", "127.0.0.0/8"]).args(arguments);
        let server = Server::start(&mut command);
        let token = home.token();
        let regions: Vec<Region> = (0..3).map(|_| Region::new()).collect();
        let mut declared = serde_json::Map::new();
        for (number, region) in regions.iter().enumerate() {
            let check = json!({ "url": format!("http://{}/", region.address), "ramp_seconds": 0 });
            let longitude = number * 10;
            let region = json!({ "latitude": 0, "longitude": longitude, "check": check });
            declared.insert(format!("r{number}"), region);
        }
        let service = json!({ "members": { "r0": {}, "r1": {}, "r2": {} } });
        let config = json!({
            "regions": declared,
            "services": { "api": service },
            "settings": { "default_service": "api" },
        });
        let request = Request::new("PUT", "/api/v1/config").token(&token).revision(1);
        let answer = server.send(&request.json(&config.to_string()));
        assert_eq!(answer.status, 200, "{answer:?}");
        let scene = Self { home, server, token, regions };
        for region in ["r0", "r1", "r2"] {
            scene.wait_until(&format!("{region} is healthy"), |scene| {
                scene.health(region)["health"] == "healthy"
            });
        }
        scene
    }

    /// Asks for a client who is nearest to the first region.
    fn decision(&self) -> Value {
        self.decision_near(0)
    }

    /// Asks for a client who is nearest to this region.
    fn decision_near(&self, region: u32) -> Value {
        let question = json!({ "location": { "latitude": 1, "longitude": region * 10 } });
        let answer = self.server.route(&question.to_string());
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    fn report(&self) -> Value {
        let request = Request::new("GET", "/api/v1/health/regions").token(&self.token);
        self.server.send(&request).json()
    }

    fn history(&self, query: &str) -> Answer {
        let path = format!("/api/v1/health/history?{query}");
        self.server.send(&Request::new("GET", &path).token(&self.token))
    }

    fn health(&self, region: &str) -> Value {
        let report = self.report();
        let regions = report["regions"].as_array().unwrap();
        regions.iter().find(|seen| seen["region"] == region).cloned().unwrap_or_default()
    }

    /// Looks again and again; each look waits for an answer.
    fn wait_until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let began = now();
        while !is_so(self) {
            assert!(now() - began < PATIENCE, "{what}: {:#}", self.report());
        }
    }
}

#[test]
fn a_region_that_fails_is_avoided_and_comes_back() {
    let scene = Scene::new();
    assert_eq!(scene.decision()["region"], "r0");
    for manner in [BROKEN, SILENT] {
        scene.regions[0].set(manner);
        scene.wait_until("r0 is avoided", |scene| scene.decision()["region"] == "r1");
        assert_eq!(scene.decision()["reason"], "failover");
        let health = scene.health("r0");
        assert_eq!(health["health"], "unhealthy", "{health}");
        assert_eq!(health["breaker"], "open", "{health}");
        assert!(!health["evidence"].as_str().unwrap().is_empty(), "{health}");
        if manner == BROKEN {
            scene.regions[0].set(WELL);
            scene.wait_until("r0 is back", |scene| scene.decision()["region"] == "r0");
            assert_eq!(scene.decision()["reason"], "lowest_latency");
        }
    }
    scene.wait_until("the metrics say so", |scene| {
        let metrics = scene.server.get("/metrics").body;
        metrics.contains(r#"region_healthy{region="r0"} 0"#)
            && metrics.contains(r#"circuit_breaker_state{region="r0"} 1"#)
    });
}

#[test]
fn an_explanation_tells_how_old_the_last_evidence_is() {
    let scene = Scene::new();
    let request = Request::new("PUT", "/api/v1/regions/r3").token(&scene.token).revision(2);
    let answer = scene.server.send(&request.json(r#"{ "latitude": 0, "longitude": 30 }"#));
    assert_eq!(answer.status, 200, "{answer:?}");
    let observed = |scene: &Scene, region: &str| {
        let path = "/api/v1/route?latitude=1&longitude=0&explain=true";
        let answer = scene.server.send(&Request::new("GET", path).token(&scene.token)).json();
        let regions = answer["explanation"]["regions"].as_array().unwrap();
        let found = regions.iter().find(|explained| explained["region"] == region);
        found.unwrap()["observed"].clone()
    };
    assert_eq!(observed(&scene, "r3"), Value::Null, "nobody has ever seen it");
    assert_eq!(scene.health("r3")["seen"], Value::Null);
    let age = |scene: &Scene| observed(scene, "r0")["age_ms"].as_u64().unwrap();
    // A probe a second tells anew that all is as it was, and no table is made for that.
    for _ in 0..2 {
        scene.wait_until("it is half a second old", |scene| age(scene) >= 500);
        scene.wait_until("it is new", |scene| age(scene) < 300);
    }
    let outcome = json!({ "outcomes": [{ "region": "r3", "outcome": "ok" }] }).to_string();
    let request = Request::new("POST", "/api/v1/outcomes").token(&scene.token).json(&outcome);
    assert_eq!(scene.server.send(&request).status, 200);
    scene.wait_until("r3 was seen", |scene| observed(scene, "r3")["health"] == "healthy");
}

#[test]
fn a_region_that_is_gone_takes_its_gauges_along() {
    let scene = Scene::new();
    let metrics = |scene: &Scene| scene.server.get("/metrics").body;
    let before = metrics(&scene);
    let service = json!({ "members": { "r0": {}, "r1": {} } }).to_string();
    for (method, path, body) in
        [("PUT", "/api/v1/services/api", service.as_str()), ("DELETE", "/api/v1/regions/r2", "")]
    {
        let request = Request::new(method, path).token(&scene.token);
        let revision = if method == "PUT" { 2 } else { 3 };
        let answer = scene.server.send(&request.revision(revision).json(body));
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    for gauge in ["region_healthy", "circuit_breaker_state", "region_share"] {
        let of = |region: &str| format!("{gauge}{{region=\"{region}\"}}");
        assert!(before.contains(&of("r2")), "{before}");
        scene.wait_until("they are gone", |scene| !metrics(scene).contains(&of("r2")));
        assert!(metrics(&scene).contains(&of("r1")), "and no others");
    }
    assert!(metrics(&scene).contains("config_revision 4"));
}

#[test]
fn what_happens_is_told_as_it_happens() {
    let scene = Scene::new();
    let mut stream = scene.server.connect();
    let token = &scene.token;
    let request = format!(
        "GET /api/v1/events HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    assert_eq!(lines.next().unwrap(), "HTTP/1.1 200 OK");
    assert!(lines.by_ref().any(|line| line == ":"), "somebody listens");
    let mut next = |event: &str| -> Value {
        assert!(lines.by_ref().any(|line| line == format!("event: {event}")), "{event}");
        serde_json::from_str(lines.next().unwrap().strip_prefix("data: ").unwrap()).unwrap()
    };
    // Whatever was told first tells that the stream is listened to.
    let wish = json!({ "action": "drain", "reason": "work" }).to_string();
    let drain = Request::new("PUT", "/api/v1/overrides/r2").token(token).revision(2).json(&wish);
    assert_eq!(scene.server.send(&drain).status, 200);
    let commit = next("config");
    assert_eq!((&commit["revision"], &commit["author"]), (&3.into(), &"first-admin".into()));
    assert_eq!(commit["reason"], "work");
    // A burst of writes is told of one by one.
    for revision in 3..43 {
        let wish = json!({ "action": "drain", "reason": revision.to_string() }).to_string();
        let drain = Request::new("PUT", "/api/v1/overrides/r2").token(token).revision(revision);
        assert_eq!(scene.server.send(&drain.json(&wish)).status, 200);
    }
    for revision in 4..44 {
        assert_eq!(next("config")["revision"], revision);
    }
    scene.regions[0].set(BROKEN);
    let change = next("health");
    assert_eq!((&change["region"], &change["to"]), (&"r0".into(), &"unhealthy".into()));
    assert!(change["evidence"].as_str().unwrap().contains("status 503"), "{change}");
    let wish = json!({ "action": "drain", "reason": "work", "duration_seconds": 1 }).to_string();
    let drain = Request::new("PUT", "/api/v1/overrides/r2").token(token).revision(43);
    assert_eq!(scene.server.send(&drain.json(&wish)).status, 200);
    let end = next("override_ended");
    assert_eq!((&end["region"], &end["override"]["reason"]), (&"r2".into(), &"work".into()));
    let overrides = scene.server.send(&Request::new("GET", "/api/v1/overrides").token(token));
    assert_eq!(overrides.json()["overrides"], json!({}), "what has ended is not listed");
}

#[test]
fn a_restart_goes_on_from_what_was_known() {
    let scene = Scene::new();
    scene.regions[0].set(BROKEN);
    scene.wait_until("r0 is avoided", |scene| scene.decision()["region"] == "r1");
    let Scene { home, server, token, regions } = scene;
    server.signal("TERM");
    assert!(server.wait().0.success());
    let server = Server::start(home.command().args(["--probe-network", "127.0.0.0/8"]));
    let scene = Scene { home, server, token, regions };
    assert_eq!(scene.decision()["region"], "r1", "from the first answer on");
    let why = scene.health("r0")["evidence"].clone();
    assert!(why.as_str().unwrap().contains("status 503"), "{why}");
    scene.regions[0].set(WELL);
    scene.wait_until("r0 is back", |scene| scene.decision()["region"] == "r0");
    scene.wait_until("its history has both lives", |scene| {
        let history = scene.history("region=r0").json();
        let changes = history["changes"].as_array().unwrap();
        let healths: Vec<_> = changes.iter().map(|change| &change["health"]).collect();
        healths == ["healthy", "unhealthy", "healthy"]
    });
    let newest = scene.history("limit=1").json()["changes"].clone();
    assert_eq!(newest.as_array().unwrap().len(), 1);
    let changes = scene.history("region=r0").json()["changes"].clone();
    assert_eq!((&newest[0]["region"], &newest[0]["at"]), (&"r0".into(), &changes[0]["at"]));
    assert!(changes[1]["evidence"].as_str().unwrap().contains("status 503"), "{changes}");
    assert_eq!(changes[1]["errors"], 5);
    assert!(changes[1]["response_time_ms"].as_f64().unwrap() > 0.0, "{changes}");
}

#[test]
fn the_history_of_health_refuses_what_it_cannot_mean() {
    let scene = Scene::new();
    for (query, pointer) in [
        ("limit=0", "?limit"),
        ("limit=501", "?limit"),
        ("limit=many", "?limit"),
        ("region=R 0", "?region"),
        ("region=r0&region=r1", "?region"),
        ("since=yesterday", "?since"),
    ] {
        let answer = scene.history(&query.replace(' ', "%20"));
        answer.expect_problem(400, "invalid-request", pointer);
    }
    scene.history("region=atlantis").expect_problem(404, "not-found", "?region");
    let unasked = scene.server.get("/api/v1/health/history");
    unasked.expect_problem(401, "unauthorized", "authorization");
}

#[test]
fn a_node_that_reaches_no_canary_removes_nobody() {
    let canary = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = canary.local_addr().unwrap();
    let scene = Scene::with(&["--probe-canary", &address.to_string()]);
    let canary_is = |state: u8| {
        let line = format!("canary_healthy{{canary=\"{address}\"}} {state}");
        move |scene: &Scene| scene.server.get("/metrics").body.contains(&line)
    };
    scene.wait_until("the canary is seen", canary_is(1));
    drop(canary);
    scene.wait_until("the canary is missed", canary_is(0));
    scene.regions[0].set(BROKEN);
    scene.wait_until("the node abstains", |scene| scene.health("r0")["abstains"] == true);
    assert_eq!(scene.decision()["region"], "r0");
    let _canary = TcpListener::bind(address).unwrap();
    scene.wait_until("r0 is avoided", |scene| scene.decision()["region"] == "r1");
}

/// Returns the codes of the warnings that `/ready` tells.
fn warnings(scene: &Scene) -> Vec<String> {
    let ready = scene.server.get("/ready");
    assert_eq!(ready.status, 200, "{ready:?}");
    let told = ready.json()["warnings"].as_array().cloned().unwrap_or_default();
    told.iter().map(|warning| warning["code"].as_str().unwrap().to_owned()).collect()
}

fn metric(scene: &Scene, name: &str) -> Option<f64> {
    let metrics = scene.server.get("/metrics").body;
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map(|value| value.parse().unwrap())
}

#[test]
fn a_total_loss_without_reachability_targets_is_told_until_regions_answer_again() {
    let scene = Scene::new();
    let abstains = |state: f64| {
        move |scene: &Scene| {
            ["r0", "r1", "r2"].iter().all(|region| {
                metric(scene, &format!("region_abstains{{region=\"{region}\"}}")) == Some(state)
            })
        }
    };
    assert_eq!(scene.decision().get("unconfirmed"), None);
    scene.wait_until("no region is abstained from", abstains(0.0));
    assert_eq!(metric(&scene, "probes_unanswered_seconds"), Some(0.0));
    scene.regions.iter().for_each(|region| region.set(BROKEN));
    scene.wait_until("the answer is unconfirmed", |scene| scene.decision()["unconfirmed"] == true);
    scene.wait_until("all are abstained from", abstains(1.0));
    assert_eq!(metric(&scene, "region_healthy{region=\"r0\"}"), Some(1.0), "nothing is removed");
    assert_eq!(scene.decision()["reason"], "lowest_latency");
    let expected = ["nothing-answers", "regions-abstained"];
    scene.wait_until("it is told", |scene| warnings(scene) == expected);
    let named = "probes fail at r0, r1, r2, and nothing corroborates that they are dead";
    scene.wait_until("all are named", |scene| scene.server.get("/ready").body.contains(named));
    assert!(metric(&scene, "probes_unanswered_seconds").is_some_and(|seconds| seconds > 8.0));
    let get = |path: &str| scene.server.send(&Request::new("GET", path).token(&scene.token));
    let status = get("/api/v1/status").json();
    assert_eq!(status["abstaining"], json!(["r0", "r1", "r2"]));
    let told = status["warnings"].to_string();
    assert!(told.contains("nothing-answers") && told.contains(named), "{told}");
    let explained = get("/api/v1/route?latitude=1&longitude=0&explain=true").json();
    assert_eq!(explained["unconfirmed"], true);
    let chosen = &explained["explanation"]["regions"][0];
    assert_eq!(
        (&chosen["fate"], &chosen["observed"]["unconfirmed"]),
        (&json!("chosen"), &json!(true))
    );
    assert!(chosen["detail"].as_str().unwrap().contains("nothing corroborates"), "{chosen}");
    let read: geostream_api::RouteAnswer = serde_json::from_value(explained.clone()).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), explained, "in the words of the API");

    scene.regions.iter().for_each(|region| region.set(WELL));
    scene.wait_until("it is over", |scene| scene.decision().get("unconfirmed").is_none());
    scene.wait_until("no region is abstained from", abstains(0.0));
    scene.wait_until("no warning is left", |scene| warnings(scene).is_empty());
    scene.wait_until("something answers", |scene| {
        metric(scene, "probes_unanswered_seconds") == Some(0.0)
    });
}

#[test]
fn a_total_loss_with_a_reachability_target_removes_all_regions() {
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = target.local_addr().unwrap().to_string();
    let scene = Scene::with(&["--probe-canary", &address]);
    scene.regions.iter().for_each(|region| region.set(BROKEN));
    for region in ["r0", "r1", "r2"] {
        scene.wait_until(&format!("{region} is removed"), |scene| {
            scene.health(region)["health"] == "unhealthy"
        });
        scene.wait_until(&format!("{region} is not abstained from"), |scene| {
            metric(scene, &format!("region_abstains{{region=\"{region}\"}}")) == Some(0.0)
        });
    }
    assert_eq!(scene.decision().get("unconfirmed"), None);
    assert_eq!(metric(&scene, "probes_unanswered_seconds"), Some(0.0), "the target answers");
    assert_eq!(warnings(&scene), Vec::<String>::new());
}

#[test]
fn a_reachability_target_that_is_added_at_run_time_makes_a_total_loss_visible() {
    let scene = Scene::new();
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = target.local_addr().unwrap().to_string();
    let metric = format!("canary_healthy{{canary=\"{address}\"}} 1");
    let shows_target = |scene: &Scene| scene.server.get("/metrics").body.contains(&metric);
    let set = |targets: &[&str]| {
        let settings = json!({ "default_service": "api", "reachability_targets": targets });
        let answer = put_settings(&scene.server, &scene.token, &settings);
        assert_eq!(answer.status, 200, "{answer:?}");
        limits(&scene.server, &scene.token)["reachability_targets"].clone()
    };
    let all_are = |scene: &Scene, health: &str| {
        ["r0", "r1", "r2"].iter().all(|region| scene.health(region)["health"] == health)
    };
    for region in &scene.regions {
        region.set(BROKEN);
    }
    scene.wait_until("the node abstains from all", |scene| {
        ["r0", "r1", "r2"].iter().all(|region| scene.health(region)["abstains"] == true)
    });
    assert!(all_are(&scene, "healthy"), "no other endpoint vouches for it");
    assert!(!shows_target(&scene));

    let in_force = set(&[&address]);
    assert_eq!(in_force, json!({ "value": [address], "source": "configuration" }));
    scene.wait_until("all are unhealthy", |scene| all_are(scene, "unhealthy"));
    scene.wait_until("the target is reached", shows_target);
    scene.wait_until("the budget is spent", |scene| scene.report()["budget_spent"] != json!([]));

    let in_force = set(&[]);
    assert_eq!(in_force, json!({ "value": [], "source": "configuration" }));
    scene.wait_until("the target has no metric any more", |scene| {
        !scene.server.get("/metrics").body.contains("canary_healthy{")
    });
}

#[test]
fn a_budget_that_is_spent_is_said() {
    let scene = Scene::new();
    scene.regions[0].set(BROKEN);
    scene.wait_until("r0 is avoided", |scene| scene.decision()["region"] == "r1");
    scene.regions[1].set(BROKEN);
    scene.wait_until("r1 is unhealthy", |scene| scene.health("r1")["health"] == "unhealthy");
    scene.wait_until("the budget is spent", |scene| scene.report()["budget_spent"] != json!([]));
    let report = scene.report();
    assert_eq!(report["budget_spent"], json!([{ "service": "api", "retained": ["r1"] }]));
    let status = scene.server.send(&Request::new("GET", "/api/v1/status").token(&scene.token));
    assert_eq!(status.json()["budget_spent"], report["budget_spent"]);
    assert_eq!(status.json()["abstaining"], json!([]));
    assert_eq!(scene.health("r1")["removal"], "unproven", "one wrong check would do the same");
    for place in [0, 1] {
        let decision = scene.decision_near(place);
        assert_eq!(decision["removal_budget_spent"], true);
        assert_eq!(
            decision["region"], "r2",
            "a retained region is behind an eligible one with room"
        );
        assert_eq!(decision["reason"], "failover");
    }
    let metrics = scene.server.get("/metrics").body;
    assert!(metrics.contains(r#"removal_budget_spent{service="api"} 1"#), "{metrics}");
}

#[test]
fn two_of_three_sites_that_die_leave_all_clients_to_the_third() {
    let scene = Scene::new();
    let at = |scene: &Scene| -> Vec<_> {
        (0..3).map(|place| scene.decision_near(place)["region"].clone()).collect()
    };
    assert_eq!(at(&scene), ["r0", "r1", "r2"]);
    scene.regions[0].kill();
    scene.regions[1].kill();
    scene.wait_until("all are at the third", |scene| at(scene) == ["r2", "r2", "r2"]);
    for (place, reason) in [(0, "failover"), (1, "failover"), (2, "lowest_latency")] {
        assert_eq!(scene.decision_near(place)["reason"], reason);
    }
    for region in ["r0", "r1"] {
        assert_eq!(scene.health(region)["removal"], "proven");
    }
    assert_eq!(
        scene.report()["budget_spent"],
        json!([]),
        "the default budget retains no dead region"
    );
    scene.regions[0].revive();
    scene.wait_until("the first is back", |scene| at(scene)[0] == "r0");
}

#[test]
fn a_region_that_is_held_back_serves_before_dead_ones_and_can_be_forced_up() {
    let scene = Scene::new();
    let is = |health: &'static str| move |scene: &Scene| scene.health("r0")["health"] == health;
    for _ in 0..2 {
        scene.wait_until("r0 is healthy", is("healthy"));
        scene.regions[0].kill();
        scene.wait_until("r0 is unhealthy", is("unhealthy"));
        scene.regions[0].revive();
    }
    scene.wait_until("r0 is held back", |scene| scene.health("r0")["removal"] == "held");
    let held = scene.health("r0");
    assert!(held["held_until"].as_str().is_some_and(|until| until.ends_with('Z')), "{held}");
    let status = scene.server.send(&Request::new("GET", "/api/v1/status").token(&scene.token));
    assert_eq!(status.json()["held"][0]["region"], "r0");
    let decision = scene.decision();
    assert_eq!((&decision["region"], &decision["reason"]), (&"r1".into(), &"failover".into()));
    scene.regions[1].kill();
    scene.regions[2].kill();
    for place in 0..3 {
        scene.wait_until("r0 serves all", |scene| {
            let decision = scene.decision_near(place);
            decision["region"] == "r0" && decision["reason"] == "held"
        });
    }
    let wish = json!({ "action": "up", "reason": "mended" }).to_string();
    let forced = Request::new("PUT", "/api/v1/overrides/r0").token(&scene.token).revision(2);
    assert_eq!(scene.server.send(&forced.json(&wish)).status, 200);
    assert_eq!(scene.decision()["reason"], "lowest_latency");
    assert_eq!(scene.decision_near(1)["reason"], "failover");
}

#[test]
fn clients_reports_remove_a_region_that_probes_call_well() {
    let scene = Scene::new();
    let request = json!({ "name": "gateway", "scope": "reporter" }).to_string();
    let made = scene
        .server
        .send(&Request::new("POST", "/api/v1/tokens").token(&scene.token).json(&request));
    let reporter = made.json()["token"].as_str().unwrap().to_owned();
    let report = |outcome: &str| {
        let outcomes: Vec<_> = (0..20)
            .map(|_| json!({ "region": "r0", "outcome": outcome, "rtt_ms": 12.5 }))
            .collect();
        let outcomes = json!({ "outcomes": outcomes }).to_string();
        let request = Request::new("POST", "/api/v1/outcomes").token(&reporter).json(&outcomes);
        let answer = scene.server.send(&request);
        assert_eq!(answer.json(), json!({ "accepted": 20, "unknown": [] }), "{answer:?}");
    };
    report("ok");
    assert_eq!(scene.decision()["region"], "r0");
    scene.wait_until("r0 is avoided", |scene| {
        report("timeout");
        scene.decision()["region"] == "r1"
    });
    let health = scene.health("r0");
    assert_eq!((&health["breaker"], &health["health"]), (&"closed".into(), &"unhealthy".into()));
    let metrics = scene.server.get("/metrics").body;
    let count = metrics.lines().find_map(|line| {
        line.strip_prefix(r#"region_reported_rtt_seconds_count{region="r0"} "#)?.parse().ok()
    });
    assert!(count.is_some_and(|count: u32| count >= 40), "{metrics}");
    assert!(
        metrics.contains(r#"region_reported_rtt_seconds_bucket{region="r0",le="0.01"} 0"#),
        "all took 12.5 ms: {metrics}"
    );

    let config = scene.server.send(&Request::new("GET", "/api/v1/config").token(&reporter));
    assert_eq!(config.status, 403, "a reporter reports, and nothing else");
    let viewer = json!({ "name": "screen", "scope": "viewer" }).to_string();
    let made = scene
        .server
        .send(&Request::new("POST", "/api/v1/tokens").token(&scene.token).json(&viewer));
    let viewer = made.json()["token"].as_str().unwrap().to_owned();
    let outcomes = json!({ "outcomes": [{ "region": "r0", "load": 3 }] }).to_string();
    let refused =
        scene.server.send(&Request::new("POST", "/api/v1/outcomes").token(&viewer).json(&outcomes));
    assert_eq!(refused.status, 403, "and a viewer does not");
}

#[test]
fn one_client_network_does_not_remove_a_region_and_three_do() {
    let scene = Scene::new();
    let report = |addresses: &[&str]| {
        let failed =
            |address| json!({ "region": "r0", "outcome": "connect", "client_ip": address });
        let outcomes: Vec<_> = addresses.repeat(20).into_iter().map(failed).collect();
        let body = json!({ "outcomes": outcomes }).to_string();
        let request = Request::new("POST", "/api/v1/outcomes").token(&scene.token).json(&body);
        assert_eq!(scene.server.send(&request).json()["accepted"], outcomes.len());
    };
    // Five clients, of one /24 and one /48.
    for _ in 0..100 {
        report(&["192.0.2.1", "192.0.2.99", "::ffff:192.0.2.7", "2001:db8::1", "2001:db8:0:1::1"]);
        assert_eq!(scene.decision()["region"], "r0");
    }
    scene.wait_until("r0 is avoided", |scene| {
        report(&["192.0.2.1", "198.51.100.1", "2001:db8::1"]);
        scene.decision()["region"] == "r1"
    });
    let health = scene.health("r0");
    assert!(health["evidence"].as_str().unwrap().contains("reported outcomes"), "{health}");
}

#[test]
fn wrong_reports_are_refused_by_their_fields() {
    let scene = Scene::new();
    let send = |body: &Value| {
        let request = Request::new("POST", "/api/v1/outcomes").token(&scene.token);
        scene.server.send(&request.json(&body.to_string()))
    };
    let one = |outcome: Value| json!({ "outcomes": [outcome] });
    for (body, pointer) in [
        (json!({ "outcomes": [] }), "/outcomes"),
        (one(json!({ "region": "R 0", "outcome": "ok" })), "/outcomes/0/region"),
        (one(json!({ "region": "r0" })), "/outcomes/0/outcome"),
        (one(json!({ "region": "r0", "outcome": "fine" })), "/outcomes/0/outcome"),
        (one(json!({ "region": "r0", "load": -1 })), "/outcomes/0/load"),
        (one(json!({ "region": "r0", "outcome": "ok", "rtt_ms": -1 })), "/outcomes/0/rtt_ms"),
        (
            one(json!({ "region": "r0", "outcome": "ok", "client_ip": "me" })),
            "/outcomes/0/client_ip",
        ),
    ] {
        send(&body).expect_problem(400, "invalid-request", pointer);
    }
    let unknown = send(&one(json!({ "region": "atlantis", "outcome": "ok" })));
    assert_eq!(unknown.json(), json!({ "accepted": 0, "unknown": ["atlantis"] }));
}
