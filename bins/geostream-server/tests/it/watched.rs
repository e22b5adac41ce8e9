//! What Prometheus sees of nodes that answer, and what rules and dashboards make of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use geostream_testbed::{Postgres, Prometheus, Redis, check_metrics, promtool_in};
use serde_json::{Value, json};

use crate::health::{BROKEN, Region};
use crate::postgres::{prepared, revision};
use crate::server::{Home, PATIENCE, Request, Server, now, wait_for};

/// Two nodes with everything that there are metrics of, and a Prometheus that watches them as
/// `deploy/` says.
struct Watched {
    nodes: Vec<Server>,
    token: String,
    regions: Vec<Region>,
    prometheus: Prometheus,
    _redis: Redis,
    _canary: TcpListener,
    _homes: Vec<Home>,
}

impl Watched {
    fn new() -> Self {
        let (url, redis) = (prepared(Postgres::shared()), Redis::start(&[]));
        let canary = TcpListener::bind("127.0.0.1:0").unwrap();
        let canary_address = canary.local_addr().unwrap().to_string();
        let homes: Vec<_> = (0..2).map(|_| Home::new()).collect();
        let start = |home: &Home| {
            let config = home.path("geostream.toml");
            fs::write(&config, LIMITS).unwrap();
            let mut command = home.command();
            command.arg("--config").arg(config).args(["--store", &url, "--cache", &redis.url()]);
            command.args(["--probe-network", "127.0.0.0/8", "--probe-canary", &canary_address]);
            // Spans are counted where they are to be sent somewhere, even if nobody is there.
            command.args(["--trace-endpoint", "http://127.0.0.1:1"]);
            Server::start(&mut command)
        };
        let nodes: Vec<_> = homes.iter().map(start).collect();
        let prometheus = watch(&nodes);
        let token = homes[0].token();
        let regions = (0..3).map(|_| Region::at("127.0.0.1")).collect();
        let watched = Self {
            nodes,
            token,
            regions,
            prometheus,
            _redis: redis,
            _canary: canary,
            _homes: homes,
        };
        watched.declare();
        watched
    }

    fn declare(&self) {
        let declare = |(number, region): (usize, &Region)| {
            let check = json!({ "url": format!("http://{}/", region.address) });
            let region = json!({
                "latitude": 0, "longitude": number * 10, "capacity": 1_000_000, "check": check
            });
            (format!("r{number}"), region)
        };
        let regions = self.regions.iter().enumerate().map(declare);
        let config = json!({
            "regions": regions.collect::<serde_json::Map<_, _>>(),
            "services": {
                "api": { "members": { "r0": {}, "r1": {}, "r2": {} } },
                "web": {
                    "members": { "r1": { "weight": 9 }, "r2": { "weight": 1 } },
                    "policy": { "objective": "weighted" },
                },
            },
            "settings": { "default_service": "api" },
        });
        self.commit("/api/v1/config", &config);
        let knows_all = |node: &Server| node.route(r#"{"service": "web"}"#).status == 200;
        wait_for(|| self.nodes.iter().all(knows_all));
    }

    fn commit(&self, path: &str, body: &Value) {
        let revision = revision(&self.nodes[0]).as_u64().unwrap();
        let request = Request::new("PUT", path).token(&self.token).revision(revision);
        let answer = self.nodes[0].send(&request.json(&body.to_string()));
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// Has clients ask, regions report, and an operator change something.
    fn live_on(&self) {
        for node in &self.nodes {
            for service in ["api", "web"] {
                for client in 0..100 {
                    let location = json!({ "latitude": 1, "longitude": client % 20 });
                    let question = json!({ "service": service, "location": location });
                    assert_eq!(node.route(&question.to_string()).status, 200);
                }
            }
            let outcome = json!({ "region": "r1", "outcome": "ok", "rtt_ms": 20, "load": 1_000 });
            let outcomes = json!({ "outcomes": [outcome] }).to_string();
            let report = Request::new("POST", "/api/v1/outcomes").token(&self.token);
            assert_eq!(node.send(&report.json(&outcomes)).status, 200);
        }
        let wish = json!({ "action": "drain", "reason": "work", "force": true });
        self.commit("/api/v1/overrides/r2", &wish);
    }

    /// Tells whether something comes of an expression that is a number.
    fn has(&self, expression: &str) -> bool {
        let answer: Value = serde_json::from_str(&self.prometheus.query(expression)).unwrap();
        let series = answer.as_array().unwrap();
        series.iter().any(|series| series["value"][1].as_str().unwrap() != "NaN")
    }
}

const RUNBOOK: &str = "runbook_url: \"{{ $externalLabels.geostream_docs }}/operating.md#";

/// So high that nobody is refused.
const LIMITS: &str =
    "[http]\nrequests_per_second = 1000000\nrequests_per_second_per_token = 1000000\n";

/// Watches nodes by the configuration in `deploy/`, every second.
fn watch(nodes: &[Server]) -> Prometheus {
    let [configuration, rules, alerts] = ["prometheus.yml", "rules.yml", "alerts.yml"]
        .map(|name| read(&format!("prometheus/{name}")));
    let targets: Vec<_> = nodes.iter().map(|node| node.address.to_string()).collect();
    let declared = "[node1:8080, node2:8080]";
    assert!(configuration.contains(declared) && configuration.contains("interval: 15s"));
    let configuration = configuration
        .replace(declared, &format!("[{}]", targets.join(", ")))
        .replace("interval: 15s", "interval: 1s");
    Prometheus::start(&[
        ("prometheus.yml", &configuration),
        ("rules.yml", &rules),
        ("alerts.yml", &alerts),
    ])
}

#[test]
fn metrics_are_as_documented_and_no_panel_is_empty() {
    let watched = Watched::new();
    watched.live_on();
    watched.regions[0].set(BROKEN);
    let mut missing = panels();
    missing.extend(variables());
    missing.extend(tested_series());
    missing.push(r#"ALERTS{alertname="GeoStreamRegionUnhealthy"}"#.to_owned());
    println!("{} expressions", missing.len());
    let started = now();
    while !missing.is_empty() {
        assert!(now() - started < PATIENCE, "nothing comes of {missing:#?}");
        watched.live_on();
        missing.retain(|expression| !watched.has(expression));
    }
    println!("something came of each after {:?}", now() - started);
    for node in &watched.nodes {
        let metrics = node.get("/metrics").body;
        assert_eq!(check_metrics(&metrics), "", "{metrics}");
        let documented = documented().into_iter().filter(|(name, _)| !is_of_tls(name)).collect();
        let differing: Vec<_> =
            shown(&metrics).symmetric_difference(&documented).cloned().collect();
        assert_eq!(differing, [], "{metrics}");
    }
}

#[test]
fn rules_are_right_and_each_alert_is_tested_and_explained() {
    let place = deploy("prometheus");
    promtool_in(&place, &["check", "config", "prometheus.yml"]);
    promtool_in(
        &place,
        &["check", "rules", "--lint=all", "--lint-fatal", "rules.yml", "alerts.yml"],
    );
    promtool_in(&place, &["test", "rules", "tests.yml", "tests_of_days.yml"]);
    let alerts = read("prometheus/alerts.yml");
    let tests = read("prometheus/tests.yml") + &read("prometheus/tests_of_days.yml");
    let anchors = anchors(&read("../docs/operating.md"));
    let mut used = BTreeSet::new();
    for alert in alerts.split("- alert: ").skip(1) {
        let name = alert.lines().next().unwrap();
        assert!(tests.contains(&format!("alertname=\"{name}\"")), "{name} is not tested");
        for annotation in ["summary: ", "description: "] {
            assert!(alert.contains(annotation), "{name} has no {annotation}");
        }
        let runbook = alert.split(RUNBOOK).nth(1);
        let runbook = runbook.unwrap_or_else(|| panic!("{name} has no runbook"));
        let runbook = runbook.split('"').next().unwrap();
        assert!(anchors.contains(runbook), "{name}: operating.md has no {runbook}");
        used.insert(runbook.to_owned());
    }
    assert!(used.len() > 5, "the runbooks were found");
}

/// Returns the expression of each panel, as Grafana would ask it.
fn panels() -> Vec<String> {
    let mut expressions = Vec::new();
    for dashboard in dashboards() {
        let panels = dashboard["panels"].as_array().unwrap();
        let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
        assert_eq!(ids.len(), panels.len(), "{}: each panel has its own id", dashboard["title"]);
        for panel in panels {
            let targets = panel["targets"].as_array().unwrap();
            assert!(!targets.is_empty(), "{} asks nothing", panel["title"]);
            expressions.extend(targets.iter().map(|target| filled_in(&target["expr"])));
        }
    }
    expressions
}

/// Returns what the variables of the dashboards are chosen from.
fn variables() -> BTreeSet<String> {
    let mut expressions = BTreeSet::new();
    for dashboard in dashboards() {
        for variable in dashboard["templating"]["list"].as_array().unwrap() {
            let query = filled_in(&variable["query"]["query"]);
            // A variable of another kind has no such query.
            let values =
                query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
            if let Some((series, label)) = values.and_then(|values| values.rsplit_once(", ")) {
                expressions.insert(format!("count by ({label}) ({series})"));
            }
        }
    }
    assert!(expressions.len() >= 3, "{expressions:?}");
    expressions
}

fn filled_in(query: &Value) -> String {
    let mut filled = query.as_str().unwrap_or_default().to_owned();
    let values =
        [("$job", "geostream"), ("$service", ".*"), ("$region", ".*"), ("$__rate_interval", "30s")];
    for (name, value) in values {
        filled = filled.replace(name, value);
    }
    assert!(!filled.contains('$'), "{filled}");
    filled
}

fn dashboards() -> Vec<Value> {
    let files = fs::read_dir(deploy("grafana/dashboards")).unwrap();
    let read = |file: std::io::Result<fs::DirEntry>| {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    let dashboards: Vec<Value> = files.map(read).collect();
    let ids: BTreeSet<_> = dashboards.iter().map(|board| board["uid"].as_str().unwrap()).collect();
    assert_eq!((ids.len(), dashboards.len()), (4, 4), "each has its own uid");
    dashboards
}

/// Returns a question for each series that the alerts are tested with: whether nodes have series of
/// that name with those labels.
fn tested_series() -> BTreeSet<String> {
    let tests = read("prometheus/tests.yml");
    let series = tests.lines().filter_map(|line| line.trim().strip_prefix("- {series: '"));
    let question = |line: &str| {
        let (name, rest) = line.split_once('{').unwrap();
        let (labels, _) = rest.split_once('}').unwrap();
        let has = |label: &str| format!("{}!=\"\"", label.split_once('=').unwrap().0);
        let labels: Vec<_> = labels.split(", ").map(has).collect();
        format!("{name}{{{}}}", labels.join(", "))
    };
    let questions: BTreeSet<_> = series.filter(|line| !is_of_tls(line)).map(question).collect();
    assert!(questions.len() > 10, "{questions:?}");
    questions
}

/// Tells whether nodes without TLS lack a metric; the tests of TLS and of the alerts ask for it.
fn is_of_tls(metric: &str) -> bool {
    metric.starts_with("tls_certificate_")
}

/// The name of a metric, and the labels that it has.
type Family = (String, BTreeSet<String>);

/// Reads the table of metrics in the documentation.
fn documented() -> BTreeSet<Family> {
    let text = read("../docs/operating.md");
    let (_, table) = text.split_once("| metric | unit |").expect("there is a table of metrics");
    let rows = table.lines().skip(2).take_while(|line| !line.is_empty());
    let family = |row: &str| {
        let mut cells = row.trim_matches('|').split(" | ").map(str::trim);
        let metric = cells.next().unwrap().trim_matches('`').to_owned();
        let unit = cells.next().unwrap();
        let (name, labels) = metric.split_once('{').unwrap_or((&metric, "}"));
        for (suffix, expected) in [("_seconds", "s"), ("_bytes", "bytes")] {
            let is_of_unit = name.trim_end_matches("_total").ends_with(suffix);
            assert_eq!(is_of_unit, unit == expected, "the unit of {name} is {unit:?}");
        }
        let labels = labels.trim_end_matches('}').split(',').filter(|label| !label.is_empty());
        (name.to_owned(), labels.map(str::to_owned).collect())
    };
    rows.map(family).collect()
}

/// Reads what a node shows.
fn shown(metrics: &str) -> BTreeSet<Family> {
    let types = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let names: Vec<_> = types.map(|line| line.split_once(' ').unwrap().0).collect();
    let mut families = BTreeMap::<String, BTreeSet<String>>::new();
    for line in metrics.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let sample = line.split([' ', '{']).next().unwrap();
        let parts = ["_bucket", "_sum", "_count"].map(|part| sample.trim_end_matches(part));
        let of = |name: &&&str| **name == sample || parts.contains(*name);
        let name = names.iter().find(of).unwrap_or_else(|| panic!("{line} has no type"));
        let labels = families.entry((*name).to_owned()).or_default();
        let Some((_, rest)) = line.split_once('{') else { continue };
        for label in rest.split("=\"").filter_map(|text| text.rsplit([',', '"']).next()) {
            if label != "le" && label.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
                labels.insert(label.to_owned());
            }
        }
    }
    families.into_iter().collect()
}

/// Returns how the sections of a document can be linked to.
fn anchors(document: &str) -> BTreeSet<String> {
    let headings = document.lines().filter_map(|line| line.strip_prefix('#'));
    let anchor = |heading: &str| {
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -".contains(*c));
        kept.collect::<String>().replace(' ', "-")
    };
    headings.map(anchor).collect()
}

pub(crate) fn read(name: &str) -> String {
    let path = deploy(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(name)
}
