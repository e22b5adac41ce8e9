//! Changing the configuration.

use serde_json::{Value, json};

use crate::server::{Answer, Home, Request, Server, wait_for};

struct Operated {
    home: Home,
    server: Server,
}

impl Operated {
    fn new() -> Self {
        let home = Home::new();
        let server = home.start();
        Self { home, server }
    }

    fn get(&self, path: &str) -> Answer {
        self.server.send(&Request::new("GET", path).token(&self.home.token()))
    }

    fn write(&self, method: &str, path: &str, revision: u64, body: Option<Value>) -> Answer {
        let request = Request::new(method, path).token(&self.home.token()).revision(revision);
        match body {
            Some(body) => self.server.send(&request.json(&body.to_string())),
            None => self.server.send(&request),
        }
    }

    /// Reports loads, and waits until decisions know of the last one.
    fn report_loads(&self, loads: &[(&str, f64)]) {
        let outcome = |(region, load): &(&str, f64)| json!({ "region": region, "load": load });
        let outcomes = json!({ "outcomes": loads.iter().map(outcome).collect::<Vec<_>>() });
        let report = Request::new("POST", "/api/v1/outcomes").token(&self.home.token());
        let taken_in = self.server.send(&report.json(&outcomes.to_string())).json();
        assert_eq!(taken_in, json!({ "accepted": loads.len(), "unknown": [] }));
        let (region, load) = loads.last().unwrap();
        wait_for(|| self.load_known_of(region) == *load);
    }

    /// Returns the load of a region that decisions are made by.
    fn load_known_of(&self, region: &str) -> Value {
        let answer = self.get("/api/v1/route?service=api&explain=true").json();
        let regions = answer["explanation"]["regions"].as_array().unwrap();
        let found = regions.iter().find(|seen| seen["region"] == region).unwrap();
        found["observed"]["load"].clone()
    }

    /// Returns who serves a client in Tokyo, and why.
    fn tokyo(&self) -> (String, String) {
        let answer = self.server.route(r#"{"client_ip": "165.100.97.15"}"#).json();
        let text = |field: &str| answer[field].as_str().unwrap().to_owned();
        (text("region"), text("reason"))
    }
}

#[test]
fn writes_demand_the_right_revision_and_answer_the_new_one() {
    let operated = Operated::new();
    let path = "/api/v1/regions/eu-north-1";
    let stockholm = json!({ "latitude": 59.3, "longitude": 18.1 });
    let without = Request::new("PUT", path).token(&operated.home.token());
    let answer = operated.server.send(&without.clone().json(&stockholm.to_string()));
    answer.expect_problem(428, "revision-required", "if-match");
    for tag in ["1", "\"one\"", "w/\"1\"", "*", "\"-1\""] {
        let header = format!("if-match: {tag}");
        let answer =
            operated.server.send(&without.clone().header(&header).json(&stockholm.to_string()));
        answer.expect_problem(400, "invalid-request", "if-match");
    }
    let stale = operated.write("PUT", path, 0, Some(stockholm.clone()));
    stale.expect_problem(412, "revision-conflict", "if-match");
    let written = operated.write("PUT", path, 1, Some(stockholm.clone()));
    assert_eq!((written.status, written.header("etag")), (200, Some("\"2\"")));
    assert_eq!(written.json()["changes"][0]["path"], "regions/eu-north-1");
    assert_eq!(written.json()["changes"][0]["before"], Value::Null);
    let weak = without.header("if-match: W/\"2\"").json(&stockholm.to_string());
    let same = operated.server.send(&weak);
    assert_eq!(same.status, 200, "a proxy has compressed what was read");
    assert_eq!(same.json(), json!({ "revision": 2, "changes": [] }), "nothing to change");
    let read = operated.get(path);
    assert_eq!(read.header("etag"), Some("\"2\""));
    assert_eq!(read.json()["latitude"], 59.3);
    assert_eq!(operated.write("DELETE", path, 2, None).status, 200);
    operated.get(path).expect_problem(404, "not-found", "{region}");
}

#[test]
fn a_drain_moves_clients_until_it_ends() {
    let operated = Operated::new();
    let path = "/api/v1/overrides/ap-northeast-1";
    assert_eq!(operated.tokyo().0, "ap-northeast-1");
    let drain = json!({ "action": "drain", "reason": "power work", "duration_seconds": 3600 });
    assert_eq!(operated.write("PUT", path, 1, Some(drain)).status, 200);
    assert_ne!(operated.tokyo().0, "ap-northeast-1");
    assert_eq!(operated.tokyo().1, "lowest_latency", "nothing has failed");
    let last = operated.get("/api/v1/config/history?limit=1").json()["commits"][0].clone();
    assert_eq!(last["reason"], "power work");
    assert_eq!(last["summary"], json!(["override region ap-northeast-1: drain"]));
    let overrides = operated.get("/api/v1/overrides").json();
    assert_eq!(overrides["overrides"]["ap-northeast-1"]["owner"], "first-admin");
    assert!(overrides["overrides"]["ap-northeast-1"]["expires"].is_string());
    assert_eq!(operated.write("DELETE", path, 2, None).status, 200);
    assert_eq!(operated.tokyo().0, "ap-northeast-1");
    operated.write("DELETE", path, 3, None).expect_problem(404, "not-found", "{region}");
    let down = json!({ "action": "down", "reason": "it is broken" });
    assert_eq!(operated.write("PUT", path, 3, Some(down)).status, 200);
    assert_eq!(operated.tokyo().1, "failover");
    let short = json!({ "action": "drain", "reason": "a moment", "duration_seconds": 1 });
    assert_eq!(operated.write("PUT", path, 4, Some(short)).status, 200);
    wait_for(|| operated.tokyo().0 == "ap-northeast-1");
}

#[test]
fn a_drain_that_leaves_nobody_needs_force_and_one_that_leaves_little_room_is_warned_of() {
    let operated = Operated::new();
    let region = |capacity: u32| json!({ "latitude": 0, "longitude": 0, "capacity": capacity });
    let config = json!({
        "regions": { "r0": region(100), "r1": region(50) },
        "services": { "api": { "members": { "r0": {}, "r1": {} } } },
    });
    assert_eq!(operated.write("PUT", "/api/v1/config", 1, Some(config)).status, 200);
    operated.report_loads(&[("r0", 60.0)]);
    let drain = json!({ "action": "drain", "reason": "work" });
    let drained = operated.write("PUT", "/api/v1/overrides/r0", 2, Some(drain.clone())).json();
    assert_eq!(
        drained["warnings"],
        json!([
            "api: the regions that are left have room for 50, and the drained one has a load of 60"
        ])
    );
    let last =
        |revision, drain| operated.write("PUT", "/api/v1/overrides/r1", revision, Some(drain));
    last(2, drain.clone()).expect_problem(412, "revision-conflict", "if-match");
    let refused = last(3, drain);
    refused.expect_problem(409, "last-region", "{region}");
    assert!(refused.json()["detail"].as_str().unwrap().contains("the clients of api"));
    let forced = last(3, json!({ "action": "drain", "reason": "work", "force": true })).json();
    assert_eq!(forced["warnings"], json!(["api: no region is left that can serve its clients"]));
}

#[test]
fn a_drained_regions_clients_are_spread_by_what_it_had() {
    let operated = Operated::new();
    let region = |east: u32| json!({ "latitude": 0, "longitude": east, "capacity": 100 });
    let config = json!({
        "regions": { "r0": region(0), "r1": region(10), "r2": region(20) },
        "services": { "api": { "members": { "r0": {}, "r1": {}, "r2": {} } } },
    });
    assert_eq!(operated.write("PUT", "/api/v1/config", 1, Some(config)).status, 200);
    operated.report_loads(&[("r2", 0.0), ("r0", 60.0), ("r1", 80.0)]);
    let drain = json!({ "action": "drain", "reason": "work" });
    assert_eq!(operated.write("PUT", "/api/v1/overrides/r0", 2, Some(drain)).status, 200);
    let question = |key: u32| {
        let home = json!({ "latitude": 1, "longitude": 0 });
        json!({ "service": "api", "location": home, "key": key.to_string() })
    };
    let batch = json!({ "requests": (0..1000).map(question).collect::<Vec<_>>() }).to_string();
    let batch = Request::new("POST", "/api/v1/route/batch").json(&batch);
    let answers = operated.server.send(&batch).json();
    let count = |region: &str, reason: &str| {
        let answers = answers["answers"].as_array().unwrap().iter();
        answers.filter(|answer| answer["region"] == region && answer["reason"] == reason).count()
    };
    let (next, last) = (count("r1", "lowest_latency"), count("r2", "overflow"));
    // Up to 95 % of its capacity: 15 of 60.
    assert!((200..300).contains(&next) && next + last == 1000, "{next} and {last}");
    // Its clients leave, and are still to be placed.
    operated.report_loads(&[("r0", 0.0), ("r2", 10.0)]);
    assert_eq!(operated.load_known_of("r0"), 60.0);
    let health = operated.get("/api/v1/health/regions").json();
    assert_eq!(health["regions"][0]["load"], 0.0, "and whoever drains it sees them leave");
}

#[test]
fn when_all_are_down_the_services_rule_decides() {
    let operated = Operated::new();
    let put = |revision, rule: Value| {
        let service = json!({
            "members": { "ap-northeast-1": {}, "eu-west-1": {} },
            "all_down": rule,
        });
        let answer = operated.write("PUT", "/api/v1/services/api", revision, Some(service));
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    put(1, json!({ "rule": "fail_open" }));
    for (revision, region) in [(2, "eu-west-1"), (3, "ap-northeast-1")] {
        let down = json!({ "action": "down", "reason": "broken" });
        let path = format!("/api/v1/overrides/{region}");
        assert_eq!(operated.write("PUT", &path, revision, Some(down)).status, 200);
    }
    let is = |region: &str, reason: &str| (region.to_owned(), reason.to_owned());
    assert_eq!(operated.tokyo(), is("ap-northeast-1", "fail_open"));
    put(4, json!({ "rule": "last_good" }));
    assert_eq!(operated.tokyo(), is("ap-northeast-1", "last_good"), "Dublin went down first");
    put(5, json!({ "rule": "static", "region": "us-west-2" }));
    assert_eq!(operated.tokyo(), is("us-west-2", "static"));
    put(6, json!({ "rule": "closed" }));
    operated.server.route("{}").expect_problem(503, "no-region", "");
}

#[test]
fn a_geofence_beats_everything() {
    let operated = Operated::new();
    let fence = |deny: &str| {
        json!({
            "members": { "ap-northeast-1": {}, "eu-west-1": {} },
            "geofence": [{ "clients": { "countries": ["JP"] }, "deny": [deny] }],
        })
    };
    operated.write("PUT", "/api/v1/services/api", 1, Some(fence("country=JP")));
    assert_eq!(operated.tokyo().0, "eu-west-1");
    operated.write("PUT", "/api/v1/services/api", 2, Some(fence("*")));
    let nowhere = operated.server.route(r#"{"client_ip": "165.100.97.15"}"#);
    nowhere.expect_problem(403, "geofenced", "");
    let claimed = r#"{"client_ip": "165.100.97.15", "location": {"latitude": 50, "longitude": 8}}"#;
    operated.server.route(claimed).expect_problem(403, "geofenced", "");
    let explained = operated.server.get("/api/v1/route?client_ip=165.100.97.15&explain=true");
    explained.expect_problem(403, "geofenced", "");
    let regions = explained.json()["explanation"]["regions"].clone();
    assert!(regions.as_array().unwrap().iter().any(|region| region["fate"] == "fenced"));
    assert!(nowhere.json().get("explanation").is_none());
}

#[test]
fn history_diff_and_rollback_tell_and_undo() {
    let operated = Operated::new();
    let region =
        |capacity: u32| json!({ "latitude": 53.3, "longitude": -6.3, "capacity": capacity });
    operated.write("PUT", "/api/v1/regions/eu-west-1?reason=more%20power", 1, Some(region(5)));
    operated.write("PUT", "/api/v1/regions/eu-west-1", 2, Some(region(6)));
    let history = operated.get("/api/v1/config/history?limit=2").json();
    assert_eq!(history["commits"][0]["summary"][0], "put region eu-west-1");
    assert_eq!(history["commits"][1]["reason"], "more power");
    assert_eq!(history["commits"][1]["author"], "first-admin");
    assert_eq!(history["next_below"], 2);
    let diff = operated.get("/api/v1/config/diff?from=2&to=3").json();
    assert_eq!(diff["changes"][0]["before"]["capacity"], 5);
    assert_eq!(diff["changes"][0]["after"]["capacity"], 6);
    assert_eq!(operated.get("/api/v1/config/history/3").json(), diff);
    let back = operated.write("POST", "/api/v1/config/rollback", 3, Some(json!({ "revision": 1 })));
    assert_eq!(back.json()["revision"], 4, "{back:?}");
    let now = operated.get("/api/v1/config/diff?from=1&to=4").json();
    assert_eq!(now["changes"], json!([]));
    let missing =
        operated.write("POST", "/api/v1/config/rollback", 4, Some(json!({ "revision": 9 })));
    missing.expect_problem(404, "not-found", "/revision");
    let diff = operated.get("/api/v1/config/diff?from=1&to=9");
    diff.expect_problem(404, "not-found", "?to");
}

#[test]
fn a_declaration_can_be_tried_first() {
    let operated = Operated::new();
    let mut config = operated.get("/api/v1/config").json();
    config["regions"]["eu-west-1"]["capacity"] = 7.into();
    let path = "/api/v1/config?dry_run=true";
    let tried = operated.write("PUT", path, 1, Some(config.clone())).json();
    assert_eq!(tried["revision"], 1);
    assert_eq!(tried["changes"].as_array().unwrap().len(), 1);
    assert_eq!(operated.get("/api/v1/config").header("etag"), Some("\"1\""), "nothing happened");
    let done = operated.write("PUT", "/api/v1/config", 1, Some(config)).json();
    assert_eq!((&done["revision"], &done["changes"]), (&2.into(), &tried["changes"]));
}

#[test]
fn ten_thousand_regions_are_declared_at_once() {
    let operated = Operated::new();
    let regions: serde_json::Map<String, Value> = (0..10_000)
        .map(|number: u32| {
            let latitude = f64::from(number % 170) - 85.0;
            let longitude = f64::from(number % 359) - 179.0;
            let region = json!({ "latitude": latitude, "longitude": longitude });
            (format!("edge-{number}"), region)
        })
        .collect();
    let members: serde_json::Map<String, Value> =
        regions.keys().map(|id| (id.clone(), json!({}))).collect();
    let config = json!({
        "regions": regions,
        "services": { "api": { "members": members } },
        "settings": { "default_service": "api" },
    });
    let declared = operated.write("PUT", "/api/v1/config", 1, Some(config));
    assert_eq!(declared.status, 200, "{}", &declared.body[..declared.body.len().min(500)]);
    assert!(operated.tokyo().0.starts_with("edge-"));
    let explained = operated.server.route(r#"{"client_ip": "165.100.97.15", "explain": true}"#);
    assert_eq!(explained.json()["explanation"]["regions"].as_array().unwrap().len(), 10_000);
}

#[test]
fn flags_and_settings_take_effect() {
    let operated = Operated::new();
    let off = Some(json!({ "on": false }));
    assert_eq!(operated.write("PUT", "/api/v1/flags/public_explain", 1, off.clone()).status, 200);
    let explain = Request::new("POST", "/api/v1/route").json(r#"{"explain": true}"#);
    operated.server.send(&explain).expect_problem(401, "unauthorized", "authorization");
    assert_eq!(operated.server.send(&explain.token(&operated.home.token())).status, 200);
    operated.write("PUT", "/api/v1/flags/caller_location", 2, off);
    let claim = r#"{"location": {"latitude": 1, "longitude": 2}}"#;
    operated.server.route(claim).expect_problem(403, "forbidden", "/location");
    let asked = operated.server.get("/api/v1/route?latitude=1&longitude=2");
    asked.expect_problem(403, "forbidden", "?latitude");
    let settings = Some(json!({ "default_service": "api", "alternatives": 0 }));
    operated.write("PUT", "/api/v1/settings", 3, settings);
    assert_eq!(operated.server.route("{}").json()["alternatives"], json!([]));
    operated.write("PUT", "/api/v1/flags/magic", 4, None).expect_problem(
        415,
        "unsupported-media-type",
        "",
    );
}
