//! The built CLI against the built server, and against a database.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod nodes;
mod transfer;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use geostream_testbed::Postgres;
use serde_json::Value;
use tempfile::TempDir;

/// A server with the sample configuration, and a CLI that finds its token.
struct Setup {
    directory: TempDir,
    process: Child,
    url: String,
}

impl Setup {
    fn new() -> Self {
        Self::with(&[])
    }

    /// Starts a server that declares the sample, with more arguments.
    fn with(arguments: &[&str]) -> Self {
        let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../xtask/sample/sample.toml");
        Self::start(&[&["--bootstrap", &sample.to_string_lossy()], arguments].concat())
    }

    /// Starts a server with arguments of its own.
    fn start(arguments: &[&str]) -> Self {
        Self::with_environment(arguments, |_command| {})
    }

    /// Starts a server with arguments and an environment of its own.
    fn with_environment(arguments: &[&str], prepare: impl FnOnce(&mut Command)) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), arguments, prepare)
    }

    /// Starts a server on a backup, with the admin token of the server that it is of.
    fn on_backup(file: &Path, token: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::copy(file, directory.path().join("config.redb")).unwrap();
        fs::write(directory.path().join("admin.token"), token).unwrap();
        Self::start_in(directory, &[], |_command| {})
    }

    fn start_in(
        directory: TempDir,
        arguments: &[&str],
        prepare: impl FnOnce(&mut Command),
    ) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let geoip = root.join("crates/geostream-geoip/testdata/dbip-city-flat-sample.mmdb");
        fs::create_dir(directory.path().join("geoip")).unwrap();
        fs::copy(geoip, directory.path().join("geoip/dbip-sample.mmdb")).unwrap();
        let server =
            Path::new(env!("CARGO_BIN_EXE_geostream-admin")).with_file_name("geostream-server");
        assert!(server.exists(), "build the server first: cargo build -p geostream-server");
        let mut command = Command::new(server);
        prepare(&mut command);
        let mut process = command
            .args(["--listen", "127.0.0.1:0", "--log-format", "json", "--data-dir"])
            .arg(directory.path())
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = lines.map_while(Result::ok).find_map(|line| {
            let event: Value = serde_json::from_str(&line).ok()?;
            event["address"].as_str().map(str::to_owned)
        });
        let url = format!("http://{}", address.expect("the server starts"));
        Self { directory, process, url }
    }

    fn token(&self) -> String {
        let token = fs::read_to_string(self.directory.path().join("admin.token"));
        token.unwrap().trim().to_owned()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_geostream-admin"));
        command.env_remove("GEOSTREAM_TOKEN").stdin(Stdio::null());
        command.args(["--server", &self.url, "--data-dir"]).arg(self.directory.path());
        command.args(arguments);
        command
    }

    /// Runs a line and returns what it says, after checking how it ends.
    #[track_caller]
    fn ends(&self, code: i32, line: &str) -> String {
        let arguments: Vec<&str> = line.split_whitespace().collect();
        said(&self.command(&arguments).output().unwrap(), code, line)
    }

    #[track_caller]
    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.ends(0, &format!("{line} --output json"))).unwrap()
    }
}

#[track_caller]
fn said(output: &Output, code: i32, line: &str) -> String {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let said = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{line}: {said}");
    said
}

impl Drop for Setup {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

#[test]
fn clients_are_routed_and_explained() {
    let setup = Setup::new();
    let said = setup.ends(0, "route 165.100.97.15");
    assert!(said.contains("ap-northeast-1") && said.contains("lowest_latency"), "{said}");
    assert!(said.contains("IP Geolocation by DB-IP (https://db-ip.com)"), "{said}");
    let explained = setup.json("route --latitude -33.9 --longitude 18.4 --explain");
    assert_eq!(explained["explanation"]["regions"][0]["region"], "af-south-1");
    assert!(setup.ends(0, "geoip lookup 165.100.97.15").contains("JP"));
    assert!(setup.ends(0, "geoip info").contains("dbip-sample.mmdb"));
    assert!(setup.ends(1, "route nowhere").contains("/client_ip"));
}

#[test]
fn regions_come_change_and_go() {
    let setup = Setup::new();
    setup.ends(0, "region add eu-north-1 --latitude 59.3 --longitude 18.1 --label a=b");
    let again = setup.ends(1, "region add eu-north-1 --latitude 1 --longitude 1");
    assert!(again.contains("region set eu-north-1"), "{again}");
    setup.ends(0, "region set eu-north-1 --capacity 5 --label a= --label c=d --reason more");
    let region = setup.json("region show eu-north-1");
    assert_eq!((&region["capacity"], &region["labels"]["c"]), (&5.into(), &"d".into()));
    assert_eq!(region["labels"]["a"], Value::Null);
    setup.ends(0, "region set eu-north-1 --cost-per-gb 0.2 --check https://x.org --check-body ok --check-fall 3");
    let shown = setup.ends(0, "region show eu-north-1");
    assert!(
        shown.contains("$0.2") && shown.contains("https://x.org, body \"ok\", fall 3"),
        "{shown}"
    );
    setup.ends(0, "region set eu-north-1 --cost-per-gb none --check-fall none --check-rise 2");
    let region = setup.json("region show eu-north-1");
    assert_eq!(region["cost_per_gb"], Value::Null);
    let check = serde_json::json!({ "url": "https://x.org", "body": "ok", "rise": 2 });
    assert_eq!(region["check"], check);
    setup.ends(0, "region set eu-north-1 --check https://x.org --check-body= --check-host api.example.com --check-method HEAD --check-header X-Key=s3cret --check-header x-other=1 --check-follow-redirects --check-status 200-299,401");
    let shown = setup.ends(0, "region show eu-north-1");
    assert!(shown.contains("host api.example.com, HEAD, header x-key, header x-other"), "{shown}");
    assert!(shown.contains("follows redirects, status 200-299,401"), "{shown}");
    assert!(!shown.contains("s3cret"), "{shown}");
    setup.ends(0, "region set eu-north-1 --check-header x-other= --check-follow-redirects=false --check-fall 4");
    let region = setup.json("region show eu-north-1");
    assert_eq!(region["check"]["headers"], serde_json::json!({ "x-key": "[redacted]" }));
    assert_eq!(region["check"]["follow_redirects"], Value::Null);
    let refused = setup.ends(1, "region set eu-north-1 --check https://y.org");
    assert!(refused.contains("/check/headers/x-key"), "{refused}");
    setup.ends(0, "region set eu-north-1 --check none");
    assert!(setup.ends(2, "region add x --latitude nan --longitude 1").contains("a finite number"));
    setup.ends(
        0,
        "service set api --region eu-north-1,weight=3 --all-down closed --removal-budget 40",
    );
    assert!(setup.ends(0, "service show api").contains("40 %"));
    let service = setup.json("service show api");
    assert_eq!(service["members"]["eu-north-1"]["weight"], 3);
    let fence = ["service", "set", "api", "--geofence", "groups=EU unknown allow=continent=EU"];
    assert!(setup.command(&fence).status().unwrap().success());
    let service = setup.json("service show api");
    let rule = serde_json::json!({
        "clients": { "groups": ["EU"], "unknown": true }, "allow": ["continent=EU"]
    });
    assert_eq!(service["geofence"], serde_json::json!([rule]));
    setup.ends(0, "service set api --geofence none");
    assert_eq!(setup.json("service show api")["geofence"], Value::Null);
    assert!(setup.ends(2, "service set api --geofence EU").contains("groups=EU"));
    assert!(setup.ends(1, "region remove eu-north-1").contains("is used by service api"));
    setup.ends(0, "region drain eu-north-1 --for 30m --reason work");
    assert!(setup.ends(0, "region list").contains("drain"));
    assert!(setup.ends(0, "status").contains("work"));
    setup.ends(0, "region undrain eu-north-1 --reason repaired");
    let history = setup.json("history -n 2");
    assert_eq!(history["commits"][0]["reason"], "repaired");
    assert_eq!(history["commits"][1]["reason"], "work");
    for action in ["up", "down"] {
        setup.ends(0, &format!("region {action} eu-north-1 --for 30m --reason probes-are-wrong"));
        assert!(setup.ends(0, "region list").contains(action));
        let status = setup.ends(0, "status");
        assert!(status.contains(action) && status.contains("probes-are-wrong"), "{status}");
    }
    assert!(setup.ends(2, "region up eu-north-1").contains("--reason"), "a reason is needed");
    assert!(setup.ends(0, "region show eu-north-1").contains("health"));
    setup.ends(0, "region undrain eu-north-1");
    setup.ends(0, "service set api --without-region eu-north-1");
    setup.ends(0, "region remove eu-north-1");
    assert!(setup.ends(0, "history -n 3").contains("remove region eu-north-1"));
    assert!(setup.ends(1, "region show eu-north-1").contains("there is no region"));
}

#[test]
fn the_last_region_that_can_serve_is_not_drained_by_accident() {
    let setup = Setup::new();
    setup.ends(0, "service add pair --region us-east-1 --region us-west-2");
    setup.ends(0, "region drain us-east-1 --reason work");
    let refused = setup.ends(1, "region drain us-west-2 --reason work");
    assert!(refused.contains("no region is left that can serve the clients of pair"), "{refused}");
    let forced = setup.ends(0, "region drain us-west-2 --reason work --force");
    assert!(forced.contains("warning: pair: no region is left"), "{forced}");
    let health = setup.ends(0, "health");
    assert!(health.contains("unchecked") && health.contains("drain"), "{health}");
    let seen = setup.json("health");
    assert_eq!(seen["regions"].as_array().unwrap().len(), 10);
    assert_eq!(seen["regions"][0]["health"], "unknown");
}

#[test]
fn a_declared_file_is_compared_tried_applied_and_taken_back() {
    let setup = Setup::new();
    let sample =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../xtask/sample/sample.toml"));
    let file = setup.directory.path().join("declared.toml");
    let path = file.to_str().unwrap();
    let changed = sample.unwrap().replace("cost_per_gb = 0.154", "cost_per_gb = 0.2");
    fs::write(&file, changed).unwrap();
    assert!(
        setup
            .ends(6, &format!("diff --file {path} --exit-code"))
            .contains("cost_per_gb: 0.154 -> 0.2")
    );
    assert!(
        setup.ends(1, &format!("apply --file {path}")).contains("--yes"),
        "nobody can be asked"
    );
    setup.ends(0, &format!("apply --file {path} --dry-run"));
    setup.ends(0, &format!("apply --file {path} --yes --reason prices"));
    assert!(setup.ends(0, &format!("apply --file {path} --yes")).contains("nothing to change"));
    assert!(setup.ends(0, "diff 1 2").contains("0.154 -> 0.2"));
    setup.ends(0, "rollback 1 --yes");
    assert_eq!(setup.json("diff 1 3")["changes"], Value::Array(Vec::new()));
    fs::write(&file, "[regions.a]\nlatitude = 1.0\nlongtude = 2.0").unwrap();
    assert!(setup.ends(1, &format!("apply --file {path} --yes")).contains("line 3"));
    fs::write(&file, "[regions.a]\nlongitude = 2.0\nlatitude = 91.0").unwrap();
    let refused = setup.ends(1, &format!("apply --file {path} --yes"));
    assert!(refused.contains("line 3: latitude 91 is not"), "{refused}");
    fs::write(&file, "").unwrap();
    assert!(setup.ends(1, &format!("apply --file {path} --yes")).contains("remove everything"));
}

#[test]
fn the_documented_example_is_applied_whole() {
    let setup = Setup::with(&["--probe-network", "127.0.0.0/8"]);
    let document = include_str!("../../../../docs/Configuration.md");
    let (_, rest) = document.split_once("```toml\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    let file = setup.directory.path().join("example.toml");
    // Nothing is sent to other machines.
    let local =
        example.replace("192.0.2.1:443", "127.0.0.1:1").replace("198.51.100.7", "127.0.0.1");
    assert_ne!(local, example);
    fs::write(&file, local).unwrap();
    let apply = format!("apply --file {} --yes", file.to_str().unwrap());
    setup.ends(0, &apply);
    assert!(setup.ends(0, &apply).contains("nothing to change"), "all of it has come");
    let services = setup.json("service list");
    let objectives = services["services"].as_object().unwrap().values();
    let objectives: std::collections::BTreeSet<_> =
        objectives.map(|service| service["policy"]["objective"].as_str().unwrap()).collect();
    assert_eq!(objectives.len(), 6, "each objective is shown: {objectives:?}");
}

#[test]
fn the_catalog_brings_real_regions() {
    let setup = Setup::new();
    assert!(setup.ends(0, "catalog list gcp").contains("europe-west1"));
    setup.ends(0, "catalog import gcp --region europe-west1 --service web --endpoint https://{region}.x.org --yes");
    let region = setup.json("region show europe-west1");
    assert_eq!(region["endpoint"], "https://europe-west1.x.org");
    assert_eq!(region["labels"]["continent"], "EU");
    assert_eq!(
        setup.json("service list")["services"]["web"]["members"],
        serde_json::json!({ "europe-west1": {} })
    );
    assert!(setup.ends(1, "catalog import gcp --region nowhere --yes").contains("catalog list"));
    setup.ends(0, "catalog import azure --yes");
}

#[test]
fn the_history_of_health_is_told() {
    let setup = Setup::with(&["--probe-network", "127.0.0.0/8"]);
    assert_eq!(setup.json("health --history")["changes"], Value::Array(Vec::new()));
    assert!(setup.ends(1, "health --history atlantis").contains("no region atlantis"));
    setup.ends(2, "health --watch --history");
    // Nothing listens there, and there is no other region to doubt it.
    setup.ends(0, "region set eu-west-1 --check tcp://127.0.0.1:1");
    while setup.json("health --history eu-west-1 --limit 1")["changes"] == serde_json::json!([]) {}
    let said = setup.ends(0, "health --history");
    assert!(said.contains("eu-west-1") && said.contains("unhealthy"), "{said}");
    assert!(said.contains("5 probes in a row failed") && said.contains(" node-"), "{said}");
}

#[test]
fn a_region_that_may_not_be_probed_is_told_with_what_permits_it() {
    let setup = Setup::new();
    let refused = setup.ends(1, "region set eu-west-1 --check tcp://127.0.0.1:1");
    assert!(refused.contains("probe.networks") && refused.contains("/check/url"), "{refused}");

    let file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
    let region =
        "[regions.r0]\nlatitude = 1\nlongitude = 2\ncheck = { url = \"tcp://127.0.0.1:1\" }\n";
    fs::write(file.path(), region).unwrap();
    let setup = Setup::start(&["--bootstrap", &file.path().to_string_lossy()]);
    while !setup.ends(0, "health").contains("unknown, not permitted") {}
    let said = setup.ends(0, "health");
    assert!(said.contains("probe.networks does not permit it: r0"), "{said}");
    let status = setup.ends(0, "status");
    let line = status.lines().find(|line| line.starts_with("may not probe")).unwrap();
    assert!(line.ends_with("r0"), "{line}");
}

#[test]
fn tokens_flags_and_settings_are_managed() {
    let setup = Setup::new();
    let made = setup.ends(0, "token create ci --scope viewer");
    let (token, warning) = made.split_once('\n').unwrap();
    assert!(warning.contains("shown only now"), "{warning}");
    let as_viewer = |line: &str, code: i32| {
        let arguments: Vec<&str> = line.split_whitespace().collect();
        let mut command = setup.command(&arguments);
        said(&command.env("GEOSTREAM_TOKEN", token).output().unwrap(), code, line)
    };
    as_viewer("region list", 0);
    assert!(as_viewer("flag set public_explain off", 4).contains("admin"));
    setup.ends(0, "flag set public_explain off");
    assert!(setup.ends(0, "flag list").contains("off"));
    setup.ends(0, "setting set --alternatives 1");
    assert_eq!(setup.json("setting show")["default_service"], "api");
    let edge = setup.ends(0, "token add edge --scope reporter --region eu-* --expires 90d");
    assert_eq!(edge.lines().filter(|line| line.starts_with("gs_")).count(), 1, "{edge}");
    let told = setup.ends(0, "token list");
    let marked: Vec<_> = told.lines().filter(|line| line.trim_start().starts_with('*')).collect();
    let [marked] = marked[..] else { panic!("{told}") };
    assert!(marked.contains("first-admin") && marked.contains("just now"), "{told}");
    assert!(told.lines().all(|line| line.len() <= 80), "{told}");
    assert!(setup.ends(0, "token list -o wide").contains(" node-"));
    let as_ci = as_viewer("token list", 4);
    assert!(as_ci.contains("scope admin"), "{as_ci}");
    assert!(told.contains("reporter") && told.contains("regions eu-*"), "{told}");
    let tokens = setup.json("token list");
    let id = tokens["tokens"]
        .as_array()
        .unwrap()
        .iter()
        .find(|token| token["name"] == "ci")
        .unwrap()["id"]
        .clone();
    setup.ends(0, "token revoke edge");
    setup.ends(0, "token add ci --scope viewer");
    let ambiguous = setup.ends(1, "token revoke ci");
    assert!(ambiguous.contains(id.as_str().unwrap()), "{ambiguous}");
    setup.ends(0, &format!("token revoke {}", id.as_str().unwrap()));
    as_viewer("region list", 4);
    assert!(setup.ends(1, "token revoke nothing").contains("token list"));
    assert!(setup.ends(2, "token add x --scope viewer --expires soon").contains("90d"));
}

#[test]
fn limits_and_reachability_targets_are_set_shown_and_reset() {
    let setup = Setup::with(&["--requests-per-second", "700", "--probe-network", "127.0.0.0/8"]);
    let line_of = |command: &str, begins: &str| {
        let said = setup.ends(0, command);
        let line = said.lines().find(|line| line.starts_with(begins));
        line.unwrap_or_else(|| panic!("{begins}: {said}")).to_owned()
    };
    let status = line_of("status", "limits");
    assert!(status.contains("client network: 700 requests/s (node)"), "{status}");
    assert!(status.contains("token: no limit (node)"), "{status}");
    assert!(status.contains("connections: 10000; per network: 1000"), "{status}");
    assert!(line_of("status", "reachability targets").ends_with("none (node)"));
    assert!(line_of("settings show", "requests per second").ends_with("each node's own setting"));

    let set = "settings set requests_per_second=500 reachability_targets=127.0.0.1:1,127.0.0.1:2";
    let said = setup.ends(0, set);
    assert!(said.contains("settings/requests_per_second"), "{said}");
    assert!(line_of("setting show", "requests per second").ends_with(" 500"));
    let targets = line_of("setting show", "reachability targets");
    assert!(targets.ends_with("127.0.0.1:1, 127.0.0.1:2"), "{targets}");
    let status = line_of("status", "limits");
    assert!(status.contains("client network: 500 requests/s (configuration)"), "{status}");
    let targets = line_of("status", "reachability targets");
    assert!(targets.ends_with("127.0.0.1:1, 127.0.0.1:2 (configuration)"), "{targets}");
    let history = setup.ends(0, "history 2");
    assert!(history.contains("settings/reachability_targets"), "{history}");

    setup.ends(0, "setting set requests_per_second=0 reachability_targets= --reason lifted");
    assert!(line_of("status", "limits").contains("client network: no limit (configuration)"));
    assert!(line_of("status", "reachability targets").ends_with("none (configuration)"));
    assert_eq!(setup.json("setting show")["reachability_targets"], serde_json::json!([]));
    setup.ends(0, "setting reset requests_per_second reachability_targets");
    assert!(line_of("status", "limits").contains("client network: 700 requests/s (node)"));
    assert_eq!(setup.json("setting show")["requests_per_second"], Value::Null);
    assert_eq!(setup.json("setting show")["default_service"], "api", "the others stay");
    setup.ends(0, "rollback 2 --yes");
    assert_eq!(setup.json("setting show")["requests_per_second"], 500);

    assert!(setup.ends(2, "setting set colour=red").contains("the settings are default_service"));
    assert!(setup.ends(2, "setting set requests_per_second=many").contains("not a number"));
    assert!(setup.ends(2, "setting reset colour").contains("requests_per_second_per_token"));
    let refused = setup.ends(1, "setting set reachability_targets=10.1.2.3:443");
    assert!(refused.contains("(at /reachability_targets)"), "{refused}");
    assert!(refused.contains("10.1.2.3:443 is not a public address"), "{refused}");
    let refused = setup.ends(1, "setting set reachability_targets=127.0.0.1:1,nowhere:443");
    assert!(refused.contains("(at /reachability_targets/1)"), "{refused}");
}

#[test]
fn a_limit_that_is_too_low_is_lifted_by_the_command_line() {
    let setup = Setup::new();
    setup.ends(0, "setting set requests_per_second=1 requests_per_second_per_token=1");
    setup.ends(0, "setting reset requests_per_second requests_per_second_per_token");
    assert_eq!(setup.json("setting show")["requests_per_second"], Value::Null);
}

#[test]
fn a_refused_token_is_named_by_where_it_came_from() {
    let old = Setup::new();
    let setup = Setup::new();
    let of_another_store = fs::read(old.directory.path().join("admin.token")).unwrap();
    let file = setup.directory.path().join("admin.token");
    fs::write(&file, &of_another_store).unwrap();
    let told = setup.ends(4, "region list");
    let path = file.to_str().unwrap();
    assert!(told.contains("the token is not valid: it is that in"), "{told}");
    assert!(told.contains(path) && told.contains("--new-admin-token"), "{told}");
    let given = setup.directory.path().join("given.token");
    fs::write(&given, &of_another_store).unwrap();
    let told = setup.ends(4, &format!("region list --token-file {}", given.display()));
    assert!(told.contains("given.token") && told.contains("--token-file"), "{told}");
    let mut command = setup.command(&["region", "list"]);
    let output = command.env("GEOSTREAM_TOKEN", "gs_invented").output().unwrap();
    assert!(said(&output, 4, "region list").contains("GEOSTREAM_TOKEN"));
}

#[test]
fn programs_get_json_and_nothing_else() {
    let setup = Setup::new();
    let mut unsure = setup.command(&["catalog", "import", "gcp", "--output", "json"]);
    let output = unsure.output().unwrap();
    assert!(output.stdout.is_empty(), "nobody can be asked, and nothing is said");
    assert_eq!(setup.json("catalog import gcp --yes")["revision"], 2);
    assert_eq!(setup.json("rollback 1 --yes")["revision"], 3);
}

#[test]
fn the_token_of_this_machine_stays_on_it() {
    let setup = Setup::new();
    let refused = setup.ends(4, "status --server http://203.0.113.1:1");
    assert!(refused.contains("--token-file"), "{refused}");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    for (question, sends_token) in [("route 192.0.2.1", false), ("route --explain", true)] {
        let line = format!("{question} --server {server}");
        let mut asking = setup.command(&line.split(' ').collect::<Vec<_>>());
        let mut asking = asking.stderr(Stdio::null()).spawn().unwrap();
        let head = BufReader::new(listener.accept().unwrap().0).lines().map_while(Result::ok);
        let head: Vec<String> = head.take_while(|line| !line.is_empty()).collect();
        let has_token = head.iter().any(|line| line.starts_with("authorization"));
        assert_eq!(has_token, sends_token, "{question}: {head:?}");
        asking.wait().unwrap();
    }
}

#[test]
fn a_schema_is_made_listed_and_verified() {
    let server = Postgres::shared();
    let url = server.database();
    let migrate = |code: i32, line: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_geostream-admin"));
        command.env("GEOSTREAM_STORE", &url).arg("migrate").args(line.split(' '));
        said(&command.output().unwrap(), code, line)
    };
    assert!(migrate(1, "verify").contains("migrate up"));
    assert!(migrate(0, "status").contains("pending"));
    assert!(migrate(0, "up").contains("applied migration 1 (configuration)"));
    assert!(migrate(0, "up").contains("nothing to apply"));
    assert!(migrate(0, "verify").contains("as this version needs it"));
    let status: Value = serde_json::from_str(&migrate(0, "status --output json")).unwrap();
    assert_eq!(status["migrations"][0]["state"], "applied");
    assert!(migrate(1, "up --grant no-such-role").contains("no role \"no-such-role\""));
    server.sql(&url, "DROP ROLE IF EXISTS \"its-node\"; CREATE ROLE \"its-node\" LOGIN");
    for _ in 0..2 {
        assert!(migrate(0, "up --grant its-node").contains("the role its-node has the rights"));
    }
    let may_read = "SELECT has_table_privilege('its-node', 'tokens', 'SELECT')";
    assert_eq!(server.sql(&url, may_read), "t");
    migrate(3, "verify --store postgres://me@127.0.0.1:1/geostream");
    let several = "verify --store postgres://me:secret@127.0.0.1:1,127.0.0.1:2/geostream";
    let told = migrate(3, several);
    assert!(told.contains("127.0.0.1:1: Connection refused"), "{told}");
    assert!(told.contains("; 127.0.0.1:2: Connection refused"), "{told}");
    let wrong = migrate(1, "status --store postgres://me:secret@127.0.0.1/geostream?sslmode=allow");
    assert!(wrong.contains("verify-full") && !wrong.contains("secret"), "{wrong}");
    server.sql(&url, "UPDATE geostream_migrations SET checksum = 'x'");
    assert!(migrate(1, "verify").contains("another text"));
    assert!(migrate(0, "status").contains("changed"));
}

#[test]
fn the_audit_trail_is_told() {
    let setup = Setup::new();
    setup.ends(0, "region drain us-west-2 --for 30m --reason power-work");
    setup.ends(1, "region remove us-west-2");
    let mut looks = (0..1_000).map(|_| setup.ends(0, "audit --since 1h -o wide"));
    let told = looks.find(|told| told.contains("refused: 409 in-use")).expect("it is told soon");
    for part in ["putOverride", "/api/v1/overrides/us-west-2", "done: revision 2", "127.0.0.1"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let changes = setup.ends(0, "audit --who first-admin --what overrides/us-west-2 --changes");
    assert!(changes.contains("+ overrides/us-west-2") && changes.contains("drain"), "{changes}");
    assert!(!changes.contains("putConfig"), "{changes}");
    let all = setup.json("audit -n 600");
    let entries = all["entries"].as_array().unwrap();
    assert_eq!(entries.last().unwrap()["who"], "bootstrap");
    assert_eq!(setup.json("audit -n 1")["entries"].as_array().unwrap().len(), 1);
    setup.ends(2, "audit --since yesterday");
    let since = entries[0]["at"].as_str().unwrap();
    assert!(setup.ends(0, &format!("audit --since {since}")).contains("refused"));
    assert!(!setup.ends(0, &format!("audit --until {since}")).contains("refused"));
    assert!(setup.ends(0, "audit --until 0s --node node").contains("refused"));
    let start = entries[0]["node"].as_str().unwrap();
    assert!(setup.ends(0, &format!("audit --node {start} -o wide")).contains(start));
    assert_eq!(setup.json("audit --node other")["entries"], Value::Array(Vec::new()));
}

#[test]
fn readiness_is_told_without_a_token() {
    let setup = Setup::new();
    let told = Command::new(env!("CARGO_BIN_EXE_geostream-admin"))
        .args(["--server", &setup.url, "--data-dir", "/nonexistent", "ready"])
        .output()
        .unwrap();
    assert_eq!(said(&told, 0, "ready"), "ready\n");
    assert_eq!(setup.json("ready")["status"], "ready");
    let nothing_configured = Setup::start(&[]);
    nothing_configured.ends(1, "ready");
}

#[test]
fn mistakes_are_told_with_what_to_write() {
    let setup = Setup::new();
    let (_, authority) = setup.url.split_once("://").unwrap();
    setup.ends(0, &format!("status --server {authority}"));
    for (line, expected) in [
        ("status --server geo.example.com", "write https://geo.example.com"),
        ("region set eu-west-1 --capacity 1000/s", "'--capacity <CAPACITY>': write 1000"),
        ("region drain eu-west-1 --reason x --for 20", "20s, 20m, 20h or 20d"),
        ("service set api --removal-budget 5%", "write 5: a number of percent"),
        ("region add fra --latitude 50,1 --longitude 8", "write 50.1"),
    ] {
        let told = setup.ends(2, line);
        assert!(told.contains(expected), "{line}: {told}");
    }
    let file = setup.directory.path().join("regions.yaml");
    fs::write(&file, "regions:\n  fra: {latitude: 50, longitude: 8}\n").unwrap();
    let told = setup.ends(1, &format!("apply --yes -f {}", file.display()));
    assert!(told.contains("this is YAML") && told.contains("yq"), "{told}");
    let mut asking = setup.command(&["region", "list"]);
    let asked = asking.env("GEOSTREAM_TOKN", "x").env("GEOSTREAM_SERVICE_HOST", "y").output();
    let told = said(&asked.unwrap(), 0, "region list");
    assert_eq!(told.matches("warning:").count(), 1, "{told}");
    assert!(told.contains("GEOSTREAM_TOKN (the nearest name is GEOSTREAM_TOKEN)"), "{told}");
}

#[test]
fn writes_are_confirmed_by_sentences_that_tell_what_undoes_them() {
    let setup = Setup::new();
    let drained = setup.ends(0, "region drain us-west-2 --for 20m --reason kernel-upgrade");
    assert!(drained.starts_with("us-west-2 drained until "), "{drained}");
    for part in [
        " UTC (20 min): kernel-upgrade; clients near it go to us-east-1; ",
        "undo: geostream-admin region undrain us-west-2\nnow at revision 2\n",
    ] {
        assert!(drained.contains(part), "{drained}");
    }
    let health = setup.ends(0, "health");
    let row = health.lines().find(|line| line.starts_with("us-west-2")).unwrap();
    assert!(row.contains(" 0 %") && row.contains("drain"), "{row}");
    setup.ends(0, "region undrain us-west-2");
    let swapped = setup.ends(0, "region add fra --latitude 8.68 --longitude 50.11");
    assert!(swapped.contains("undo: geostream-admin region remove fra"), "{swapped}");
    assert!(swapped.contains("swapped, it would be Frankfurt, DE"), "{swapped}");
    let small = setup.ends(0, "service set api --region fra,weight=1 --region eu-west-1,weight=50");
    assert!(small.contains("warning: fra has weight 1 in service api"), "{small}");
    let flag = setup.ends(0, "flag set public_explain off");
    assert!(flag.contains("switched off (was on); undo: geostream-admin flag set"), "{flag}");
    let back = setup.ends(0, "rollback 1 --yes");
    assert!(back.contains("region fra removed") && back.contains("undo: geostream-admin rollback"));
}

#[test]
fn a_refusal_is_explained_and_has_an_exit_code_of_its_own() {
    let setup = Setup::new();
    let file = setup.directory.path().join("fenced.toml");
    let configuration = "[regions.a]\nlatitude = 1\nlongitude = 2\nlabels = { continent = \"NA\" }\n\
                         [services.api.members]\na = {}\n\
                         [[services.api.geofence]]\nclients.countries = [\"DE\"]\n\
                         allow = [\"continent=EU\"]\n[settings]\ndefault_service = \"api\"\n";
    fs::write(&file, configuration).unwrap();
    setup.ends(0, &format!("apply --yes -f {}", file.display()));
    let line = "route --latitude 50 --longitude 8 --country DE";
    let told = setup.ends(8, &format!("{line} --explain"));
    assert!(told.contains("FATE") && told.contains("fenced"), "{told}");
    let json = setup.command(&[line, "--explain -o json"].join(" ").split(' ').collect::<Vec<_>>());
    let refused = { json }.output().unwrap();
    let problem: Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert_eq!(problem["explanation"]["regions"][0]["fate"], "fenced");
    let told: Value = serde_json::from_slice(&refused.stderr).unwrap();
    assert_eq!((&told["exit_code"], &told["problem"]["status"]), (&8.into(), &403.into()));
    setup.ends(8, line);
    setup.ends(0, "service set api --all-down closed");
    setup.ends(0, "region drain a --reason work --force");
    let told = setup.ends(8, "route --latitude 50 --longitude 8 --explain");
    assert!(told.contains("drained"), "{told}");
}

#[test]
fn a_configuration_that_is_shown_is_taken_back_as_it_is() {
    let setup = Setup::new();
    let shown = setup.ends(0, "config show");
    assert!(shown.contains("[regions.eu-west-1]"), "{shown}");
    let file = setup.directory.path().join("shown.toml");
    fs::write(&file, shown).unwrap();
    let same = setup.ends(0, &format!("apply --dry-run -f {}", file.display()));
    assert!(same.contains("nothing to change"), "{same}");
    let json = setup.json("config show 1");
    assert_eq!(json["regions"]["eu-west-1"]["cost_per_gb"], 0.09);
}

#[test]
fn tables_fit_80_columns_and_empty_ones_say_what_to_do() {
    let setup = Setup::new();
    setup.ends(0, "region drain us-west-2 --for 20m --reason work");
    for line in ["region ls", "health", "service ls", "history", "audit", "catalog ls aws"] {
        for row in setup.ends(0, line).lines() {
            assert!(row.chars().count() <= 80, "{line}: {row}");
        }
    }
    assert!(setup.ends(0, "region ls -o wide").contains("45.5152, -122.6784"));
    let empty = Setup::start(&[]);
    for (line, expected) in
        [("region ls", "catalog import"), ("service ls", "service add"), ("history", "apply -f")]
    {
        let told = empty.ends(0, line);
        assert!(told.starts_with("no ") && told.contains(expected), "{line}: {told}");
    }
}

#[test]
fn colours_are_shown_where_they_are_asked_for() {
    let setup = Setup::new();
    let shown = |variables: &[(&str, &str)]| {
        let mut command = setup.command(&["region", "drain", "us-west-2", "--reason", "x"]);
        command.envs(variables.iter().copied()).output().unwrap();
        let mut command = setup.command(&["region", "list"]);
        said(&command.envs(variables.iter().copied()).output().unwrap(), 0, "region list")
    };
    assert!(!shown(&[]).contains('\x1b'));
    assert!(shown(&[("CLICOLOR_FORCE", "1")]).contains('\x1b'));
    assert!(!shown(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]).contains('\x1b'));
}

#[test]
fn exit_codes_tell_what_is_wrong() {
    let setup = Setup::new();
    setup.ends(2, "no-such-command");
    setup.ends(3, "status --server http://127.0.0.1:1");
    setup.ends(0, "completions bash");
    let mut nobody = setup.command(&["status"]);
    fs::remove_file(setup.directory.path().join("admin.token")).unwrap();
    let said = said(&nobody.output().unwrap(), 4, "status without a token");
    assert!(said.contains("GEOSTREAM_TOKEN"), "{said}");
}

#[test]
fn what_is_logged_changes_for_a_while() {
    let setup = Setup::new();
    let set = setup.json("log-level set warn,decision=trace --for 5m");
    assert_eq!((&set["filter"], &set["usual"]), (&"warn,decision=trace".into(), &"info".into()));
    assert!(set["until"].is_string(), "{set}");
    assert!(setup.ends(0, "log-level show").contains("warn,decision=trace"));
    let reset = setup.json("log-level reset");
    assert_eq!((&reset["filter"], &reset["until"]), (&"info".into(), &Value::Null));
    assert!(setup.ends(1, "log-level set inof").contains("off, error, warn, info, debug or trace"));
}

#[test]
fn who_has_seen_enough_is_not_told_of_a_panic() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_geostream-admin"));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ended = command.args(["completions", "bash"]).stdout(writer).output().unwrap();
    assert_eq!(ended.status.code(), Some(141), "as if by SIGPIPE: {ended:?}");
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "");
}

#[test]
fn a_server_of_tls_is_trusted_by_the_authorities_that_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(path("cert.pem"), identity.cert.pem()).unwrap();
    fs::write(path("key.pem"), identity.signing_key.serialize_pem()).unwrap();
    let setup =
        Setup::with(&["--tls-certificate", &path("cert.pem"), "--tls-key", &path("key.pem")]);
    let url = setup.url.replace("http://127.0.0.1", "https://localhost");
    let run = |arguments: &[&str], variables: &[(&str, &str)]| {
        let mut command = setup.command(arguments);
        let output = command.args(["--server", &url]).envs(variables.iter().copied()).output();
        let output = output.unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let certificate = path("cert.pem");
    let (_, error) = run(&["ready"], &[]);
    assert!(error.contains("no authority") && error.contains("--ca-file"), "{error}");
    for (arguments, variables) in [
        (&["ready", "--ca-file", &certificate][..], &[][..]),
        (&["ready"], &[("GEOSTREAM_CA_FILE", &*certificate)]),
        (&["ready"], &[("SSL_CERT_FILE", &certificate)]),
        (&["region", "list", "--ca-file", &certificate], &[]),
    ] {
        let (is_ok, error) = run(arguments, variables);
        assert!(is_ok, "{arguments:?} {variables:?}: {error}");
    }
    let (_, error) = run(&["ready", "--ca-file", &path("key.pem")], &[]);
    assert!(error.contains("key.pem has no certificate"), "{error}");
    let other_name = ["ready", "--server", &url.replace("localhost", "127.0.0.1")];
    let output = setup.command(&other_name).args(["--ca-file", &certificate]).output().unwrap();
    assert!(!output.status.success(), "the certificate is for localhost");
    let plain = Setup::new();
    let url = plain.url.replace("http", "https");
    let output = plain.command(&["ready", "--server", &url]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("does not speak TLS: is http:// meant?"), "{error}");
}
