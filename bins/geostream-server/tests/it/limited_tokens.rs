//! Tokens that expire or are limited to services and regions; the files that keep them.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::{Value, json};

use crate::postgres::get;
use crate::server::{Answer, Home, Request, Server, wait_for};

/// Makes a token, and returns its text and its id.
fn make(node: &Server, maker: &str, request: &Value) -> (String, String) {
    let made = ask_for(node, maker, request);
    assert_eq!(made.status, 201, "{made:?}");
    let text = |field: &str| made.json()[field].as_str().unwrap().to_owned();
    (text("token"), text("id"))
}

fn ask_for(node: &Server, maker: &str, request: &Value) -> Answer {
    let request = Request::new("POST", "/api/v1/tokens").token(maker).json(&request.to_string());
    node.send(&request)
}

/// Sends a write that expects the latest revision; `null` is no body.
fn write(node: &Server, token: &str, method: &str, path: &str, body: &Value) -> Answer {
    let revision = get(node, token, "/api/v1/status").json()["revision"].as_u64().unwrap();
    let request = Request::new(method, path).token(token).revision(revision);
    node.send(&if body.is_null() { request } else { request.json(&body.to_string()) })
}

/// Names of the members of an object.
fn keys(document: &Value) -> Vec<&str> {
    document.as_object().unwrap().keys().map(String::as_str).collect()
}

const EU: [&str; 2] = ["eu-central-1", "eu-west-1"];

#[test]
fn a_limited_token_sees_and_changes_what_it_names_and_nothing_else() {
    let home = Home::new();
    let node = home.start();
    let admin = home.token();
    let limits =
        json!({ "name": "eu", "scope": "admin", "services": ["api"], "regions": ["eu-*"] });
    let (eu, _) = make(&node, &admin, &limits);
    let read = |path: &str| {
        let answer = get(&node, &eu, path);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.json()
    };
    let refused = |answer: Answer, names: &str| {
        answer.expect_problem(403, "forbidden", "authorization");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("limited to services api and regions eu-*"), "{detail}");
        assert!(detail.contains(names), "{detail}");
    };

    // Another service, an override elsewhere, and a setting: nothing of them is seen.
    let web = json!({ "members": { "us-west-2": {}, "us-east-1": {} } });
    assert_eq!(write(&node, &admin, "PUT", "/api/v1/services/web", &web).status, 200);
    let drain = json!({ "action": "drain", "reason": "storm" });
    let drain_of = |region: &str| format!("/api/v1/overrides/{region}");
    assert_eq!(write(&node, &admin, "PUT", &drain_of("us-west-2"), &drain).status, 200);
    let flag = json!({ "on": false });
    assert_eq!(write(&node, &admin, "PUT", "/api/v1/flags/public_explain", &flag).status, 200);
    assert_eq!(keys(&read("/api/v1/regions")["regions"]), EU);
    assert_eq!(keys(&read("/api/v1/services")["services"]), ["api"]);
    assert_eq!(read("/api/v1/overrides"), json!({ "overrides": {} }));
    let config = read("/api/v1/config");
    assert_eq!((keys(&config["regions"]), keys(&config["services"])), (EU.into(), vec!["api"]));
    assert_eq!(config.get("flags"), None);
    let status = read("/api/v1/status");
    assert_eq!((&status["regions"], &status["services"]), (&2.into(), &1.into()));
    assert_eq!((&status["overrides"], &status["limits"]), (&json!({}), &Value::Null));
    let health = read("/api/v1/health/regions");
    let told: Vec<_> = health["regions"].as_array().unwrap().iter().collect();
    assert_eq!(told.len(), 2, "{health}");
    let history = read("/api/v1/config/history");
    assert_eq!(history["commits"].as_array().unwrap().len(), 1, "{history}");
    let diff = read("/api/v1/config/diff?from=0&to=4");
    let paths = diff["changes"].as_array().unwrap().iter().map(|change| change["path"].as_str());
    let expected = ["regions/eu-central-1", "regions/eu-west-1", "services/api"].map(Some);
    assert_eq!(paths.collect::<Vec<_>>(), expected);
    assert_eq!(read("/api/v1/config/history/3")["changes"], json!([]));

    // What it names, it changes.
    assert_eq!(write(&node, &eu, "PUT", &drain_of("eu-west-1"), &drain).status, 200);
    assert_eq!(keys(&read("/api/v1/overrides")["overrides"]), ["eu-west-1"]);
    let api = read("/api/v1/services/api");
    assert_eq!(write(&node, &eu, "PUT", "/api/v1/services/api", &api).status, 200);
    assert_eq!(read("/api/v1/health/history?region=eu-west-1")["changes"], json!([]));
    let report = |region: &str| json!({ "outcomes": [{ "region": region, "outcome": "ok" }] });
    let send = |region: &str| write(&node, &eu, "POST", "/api/v1/outcomes", &report(region));
    assert_eq!(send("eu-west-1").status, 200);

    // What it does not name, it neither reads nor changes, whether it exists or not.
    for region in ["us-west-2", "nowhere"] {
        let path = format!("/api/v1/regions/{region}");
        refused(get(&node, &eu, &path), region);
        refused(write(&node, &eu, "DELETE", &path, &Value::Null), region);
        refused(write(&node, &eu, "PUT", &drain_of(region), &drain), region);
        refused(send(region), region);
        refused(get(&node, &eu, &format!("/api/v1/health/history?region={region}")), region);
    }
    refused(get(&node, &eu, "/api/v1/services/web"), "service web");
    refused(write(&node, &eu, "PUT", "/api/v1/services/web", &web), "service web");
    let mut more = api.clone();
    assert_eq!(write(&node, &admin, "PUT", "/api/v1/services/api", &more).status, 200);
    more["members"].as_object_mut().unwrap().remove("us-west-2");
    assert_eq!(write(&node, &eu, "PUT", "/api/v1/services/api", &more).status, 200);
    refused(write(&node, &eu, "PUT", "/api/v1/services/api", &api), "region us-west-2");
    let whole = "this operation cannot be limited";
    refused(get(&node, &eu, "/api/v1/health/history"), whole);
    for (method, path) in [
        ("PUT", "/api/v1/config"),
        ("GET", "/api/v1/config/log"),
        ("GET", "/api/v1/config/log/1"),
        ("POST", "/api/v1/config/log"),
        ("POST", "/api/v1/config/rollback"),
        ("GET", "/api/v1/flags"),
        ("PUT", "/api/v1/flags/public_explain"),
        ("GET", "/api/v1/settings"),
        ("PUT", "/api/v1/settings"),
        ("GET", "/api/v1/backup"),
        ("GET", "/api/v1/log-level"),
        ("PUT", "/api/v1/log-level"),
    ] {
        refused(node.send(&Request::new(method, path).token(&eu).json("{}")), whole);
    }

    // A region that another service uses is not removed, and that service is not named.
    let web = json!({ "members": { "us-west-2": {}, "eu-central-1": {} } });
    assert_eq!(write(&node, &admin, "PUT", "/api/v1/services/web", &web).status, 200);
    let alone = json!({ "members": { "eu-west-1": {} } });
    assert_eq!(write(&node, &eu, "PUT", "/api/v1/services/api", &alone).status, 200);
    let in_use = write(&node, &eu, "DELETE", "/api/v1/regions/eu-central-1", &Value::Null);
    assert_eq!(in_use.status, 409);
    assert!(!in_use.body.contains("web"), "{}", in_use.body);

    // The trail tells what was done to what it names, and what was done with itself.
    let mut entries = Value::Null;
    wait_for(|| {
        entries = read("/api/v1/audit?limit=100")["entries"].clone();
        entries.to_string().contains("cannot be limited")
    });
    for entry in entries.as_array().unwrap() {
        let target = entry["target"].as_str().unwrap();
        let named = ["regions/eu-", "overrides/eu-", "services/api"];
        let is_named = named.iter().any(|name| target.contains(name));
        assert!(is_named || entry["who"] == "eu", "{entry}");
        let changes = entry["outcome"]["done"]["changes"].as_array().cloned();
        for change in changes.unwrap_or_default() {
            let path = change["path"].as_str().unwrap();
            assert!(path.starts_with("services/api") || path.contains("/eu-"), "{entry}");
        }
    }
}

#[test]
fn explanations_are_complete_for_what_a_token_names() {
    let home = Home::new();
    let node = home.start();
    let admin = home.token();
    let limited = |name: &str, list: &str, names: &[&str]| {
        make(&node, &admin, &json!({ "name": name, "scope": "viewer", list: names })).0
    };
    let explain = |token: &str| {
        let request = Request::new("POST", "/api/v1/route").token(token);
        node.send(&request.json(r#"{"client_ip": "192.0.2.1", "explain": true}"#))
    };
    let both = json!({ "name": "eu", "scope": "viewer", "services": ["a*"], "regions": ["eu-*"] });
    let (eu, _) = make(&node, &admin, &both);
    let told = |answer: Answer| {
        assert_eq!(answer.status, 200, "{answer:?}");
        let explanation = answer.json()["explanation"].clone();
        let regions = explanation["regions"].as_array().unwrap().clone();
        let observed = |region: &&Value| !region["observed"].is_null();
        let whole = regions.iter().filter(observed);
        let mut whole: Vec<_> = whole.map(|region| region["region"].to_string()).collect();
        whole.sort();
        (regions.len(), whole.join(" "), explanation["complete"].as_bool().unwrap())
    };
    wait_for(|| told(explain(&admin)).2);
    let (all, whole, complete) = told(explain(&eu));
    assert!(all > 2 && !complete);
    assert!(!whole.contains("us-") && !whole.contains("ap-"), "{whole}");
    let other_service = limited("web", "services", &["web"]);
    assert_eq!(told(explain(&other_service)).1, "", "as without a token");
    let flag = json!({ "on": false });
    assert_eq!(write(&node, &admin, "PUT", "/api/v1/flags/public_explain", &flag).status, 200);
    assert_eq!(told(explain(&eu)).0, 2, "the others are left out");
    explain(&other_service).expect_problem(403, "forbidden", "authorization");
}

#[test]
fn a_limited_token_makes_lists_and_revokes_nothing_wider() {
    let home = Home::new();
    let node = home.start();
    let admin = home.token();
    let end = "2999-01-01T00:00:00.000Z";
    let limits = json!({ "name": "eu", "scope": "admin", "regions": ["eu-*"], "expires": end });
    let (eu, id) = make(&node, &admin, &limits);
    for wider in [
        json!({ "name": "x", "scope": "viewer" }),
        json!({ "name": "x", "scope": "viewer", "regions": ["eu-1"] }),
        json!({ "name": "x", "scope": "viewer", "regions": ["e*"], "expires": end }),
        json!({ "name": "x", "scope": "viewer", "services": ["api"], "expires": end }),
        json!({ "name": "x", "scope": "viewer", "regions": ["eu-1"],
                "expires": "2999-01-01T00:00:01Z" }),
    ] {
        ask_for(&node, &eu, &wider).expect_problem(403, "forbidden", "authorization");
    }
    let narrow = json!({ "name": "x", "scope": "viewer", "regions": ["eu-1"], "expires": end });
    let (_, narrow) = make(&node, &eu, &narrow);
    let list = |token: &str| {
        let tokens = get(&node, token, "/api/v1/tokens").json()["tokens"].clone();
        tokens.as_array().unwrap().clone()
    };
    let ids = |tokens: &[Value]| -> Vec<String> {
        tokens.iter().map(|token| token["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(&list(&eu)), [id.clone(), narrow.clone()]);
    let all = list(&admin);
    assert_eq!(all.len(), 3);
    let told = all.iter().find(|token| token["id"] == id.as_str()).unwrap();
    assert_eq!((&told["regions"], &told["expires"]), (&json!(["eu-*"]), &end.into()));
    assert!(told["last_used"].as_str().unwrap().ends_with(":00.000Z"), "{told}");
    let unused = all.iter().find(|token| token["id"] == narrow.as_str()).unwrap();
    assert_eq!(unused.get("last_used"), None, "{unused}");
    let first = ids(&all)[0].clone();
    let revoke = |token: &str, id: &str| {
        node.send(&Request::new("DELETE", &format!("/api/v1/tokens/{id}")).token(token)).status
    };
    assert_eq!(revoke(&eu, &first), 404, "it is not seen");
    assert_eq!(revoke(&eu, &narrow), 204);
    assert_eq!(revoke(&admin, &first), 409, "a limited admin token is not the last admin's");
}

#[test]
fn requests_for_tokens_are_refused_by_their_fields() {
    let home = Home::new();
    let node = home.start();
    let admin = home.token();
    let many = vec!["a"; 33];
    for (field, value, status, kind, pointer) in [
        ("regions", json!([]), 400, "invalid-request", "/regions"),
        ("services", json!(["a", "*-1"]), 400, "invalid-request", "/services/1"),
        ("regions", json!(many), 400, "invalid-request", ""),
        ("expires", json!("tomorrow"), 400, "invalid-request", "/expires"),
        ("expires", json!("2020-01-01T00:00:00Z"), 422, "ends-in-past", "/expires"),
    ] {
        let mut request = json!({ "name": "x", "scope": "viewer" });
        request[field] = value;
        ask_for(&node, &admin, &request).expect_problem(status, kind, pointer);
    }
}

#[test]
fn an_expired_token_is_told_that_it_is() {
    let home = Home::new();
    let node = home.start();
    let admin = home.token();
    let now = get(&node, &admin, "/api/v1/status");
    let started = now.json()["started"].as_str().unwrap().parse::<geostream_api::Time>().unwrap();
    // Long enough for the request that makes it, and over soon after.
    let end = geostream_api::Time(started.0.after(std::time::Duration::from_secs(4)));
    let request = json!({ "name": "x", "scope": "viewer", "expires": end.to_string() });
    let (token, _) = make(&node, &admin, &request);
    let mut answer = get(&node, &token, "/api/v1/regions");
    wait_for(|| {
        answer = get(&node, &token, "/api/v1/regions");
        answer.status != 200
    });
    answer.expect_problem(401, "unauthorized", "authorization");
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("expired") && detail.contains(&end.to_string()), "{detail}");
    let tokens = get(&node, &admin, "/api/v1/tokens").json();
    assert_eq!(tokens["tokens"][1]["expired"], true, "{tokens}");
}

#[test]
fn every_file_of_the_data_directory_is_its_owners_alone() {
    let parent = tempfile::tempdir().unwrap();
    let home = Home::new();
    for umask in ["000", "277"] {
        let data = parent.path().join(umask);
        let arguments = home.arguments();
        let program = env!("CARGO_BIN_EXE_geostream-server");
        let mut command = Command::new("sh");
        command.args(["-c", r#"umask "$0"; exec "$@""#, umask, program]).args(arguments);
        // The last one given counts.
        command.args(["--data-dir", data.to_str().unwrap()]);
        fs::create_dir_all(&data).unwrap();
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
        // A file that a crash left readable for all is not taken over as it is.
        fs::write(data.join("last-good.new"), "").unwrap();
        fs::set_permissions(data.join("last-good.new"), fs::Permissions::from_mode(0o644)).unwrap();
        let node = Server::start(&mut command);
        let files = ["admin.token", "config.redb", "known-tokens.json", "last-good.json"];
        wait_for(|| files.iter().all(|file| data.join(file).exists()));
        drop(node);
        for entry in fs::read_dir(&data).unwrap() {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{} with umask {umask}", entry.path().display());
        }
    }
    let made = parent.path().join("made");
    let mut command = home.command();
    drop(Server::start(command.args(["--data-dir", made.to_str().unwrap()])));
    assert_eq!(fs::metadata(&made).unwrap().permissions().mode() & 0o777, 0o700);
    let config = made.join("config.redb");
    fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).unwrap();
    drop(Server::start(&mut command));
    assert_eq!(fs::metadata(&config).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_stream_of_events_ends_when_its_token_is_revoked() {
    let home = Home::new();
    let node = home.start();
    let admin = home.token();
    let (viewer, id) = make(&node, &admin, &json!({ "name": "page", "scope": "viewer" }));
    let mut streams: Vec<_> = [&viewer, &admin].map(|token| events(&node, token)).into();
    let revoked = write(&node, &admin, "DELETE", &format!("/api/v1/tokens/{id}"), &Value::Null);
    assert_eq!(revoked.status, 204);
    let mut admins = streams.pop().unwrap();
    let mut told = String::new();
    streams.pop().unwrap().read_to_string(&mut told).unwrap();
    assert!(told.ends_with("0\r\n\r\n"), "the answer ends in order: {told}");
    // That of another token goes on.
    assert_eq!(write(&node, &admin, "DELETE", "/api/v1/services/web", &Value::Null).status, 404);
    let drain = json!({ "action": "drain", "reason": "test" });
    let path = "/api/v1/overrides/eu-west-1";
    assert_eq!(write(&node, &admin, "PUT", path, &drain).status, 200);
    let mut heard = String::new();
    while !heard.contains("event: config") {
        let mut piece = [0; 512];
        let read = admins.read(&mut piece).unwrap();
        assert_ne!(read, 0, "the stream goes on: {heard}");
        heard.push_str(&String::from_utf8_lossy(&piece[..read]));
    }
}

/// Begins to listen to events.
fn events(node: &Server, token: &str) -> TcpStream {
    let mut stream = node.connect();
    let head = format!(
        "GET /api/v1/events HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {token}\r\n\
         connection: close\r\n\r\n",
        node.address
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut begin = [0; 15];
    stream.read_exact(&mut begin).unwrap();
    assert_eq!(&begin, b"HTTP/1.1 200 OK");
    stream
}
