//! The header fields of checks: their values reach the region, and no reader of the configuration.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::server::{Answer, Home, Request, Server, wait_for};

const SECRET: &str = "Bearer s3cret-of-the-check";

/// A region that answers its probes, and keeps the last of them.
struct Probed {
    address: String,
    last: Arc<Mutex<String>>,
}

impl Probed {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let last = Arc::new(Mutex::new(String::new()));
        let kept = Arc::clone(&last);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let mut request = [0; 4096];
                let Ok(length) = stream.read(&mut request) else { continue };
                *kept.lock().unwrap() = String::from_utf8_lossy(&request[..length]).into_owned();
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").ok();
            }
        });
        Self { address, last }
    }

    fn document(&self) -> Value {
        let url = format!("http://{}/healthz", self.address);
        let check = json!({ "url": url, "headers": { "authorization": SECRET } });
        json!({ "latitude": 0, "longitude": 0, "check": check })
    }

    /// Forgets the last probe, and waits until the next one has the secret.
    fn gets_the_secret(&self) {
        self.last.lock().unwrap().clear();
        wait_for(|| self.last.lock().unwrap().contains(SECRET));
    }
}

fn put(server: &Server, token: &str, path: &str, revision: u64, body: &Value) -> Answer {
    let request = Request::new("PUT", path).token(token).revision(revision);
    server.send(&request.json(&body.to_string()))
}

fn get(server: &Server, token: &str, path: &str) -> Value {
    let answer = server.send(&Request::new("GET", path).token(token));
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer.json()
}

fn make_token(server: &Server, admin: &str, scope: &str) -> String {
    let body = json!({ "name": scope, "scope": scope }).to_string();
    let made = server.send(&Request::new("POST", "/api/v1/tokens").token(admin).json(&body));
    made.json()["token"].as_str().unwrap().to_owned()
}

#[test]
fn the_value_of_a_header_field_is_sent_and_not_shown() {
    let home = Home::new();
    let server = Server::start(home.command().args(["--probe-network", "127.0.0.0/8"]));
    let admin = home.token();
    let [viewer, operator] = ["viewer", "operator"].map(|scope| make_token(&server, &admin, scope));
    let region = Probed::new();
    let path = "/api/v1/regions/eu-north-1";
    let written = put(&server, &admin, path, 1, &region.document());
    assert_eq!(written.status, 200, "{written:?}");
    assert!(!written.json().to_string().contains("s3cret"));
    region.gets_the_secret();

    for path in [
        "/api/v1/config",
        "/api/v1/config/diff?from=1&to=2",
        "/api/v1/config/history",
        "/api/v1/config/history/2",
        "/api/v1/config/log",
        "/api/v1/config/log/2",
        "/api/v1/health/history",
        "/api/v1/health/regions",
        "/api/v1/regions",
        path,
        "/api/v1/status",
    ] {
        for token in [&viewer, &operator] {
            let shown = get(&server, token, path).to_string();
            assert!(!shown.contains("s3cret"), "{path}: {shown}");
        }
        let to_admin = get(&server, &admin, path).to_string();
        let is_of_export = path.starts_with("/api/v1/config/log");
        assert_eq!(to_admin.contains("s3cret"), is_of_export, "{path}: {to_admin}");
    }
    assert!(!get(&server, &admin, "/api/v1/audit").to_string().contains("s3cret"));

    server.signal("TERM");
    let (_, log) = server.wait();
    assert!(!log.contains("s3cret"), "{log}");
}

#[test]
fn what_is_not_shown_is_kept_by_a_write_that_asks_the_same_server() {
    let home = Home::new();
    let server = Server::start(home.command().args(["--probe-network", "127.0.0.0/8"]));
    let admin = home.token();
    let [region, other] = [Probed::new(), Probed::new()];
    let path = "/api/v1/regions/eu-north-1";
    assert_eq!(put(&server, &admin, path, 1, &region.document()).status, 200);

    let mut read = get(&server, &admin, path);
    assert_eq!(read["check"]["headers"]["authorization"], "[redacted]");
    read["name"] = "Stockholm".into();
    read["check"]["url"] = format!("http://{}/other", region.address).into();
    let written = put(&server, &admin, path, 2, &read);
    assert_eq!(written.status, 200, "{written:?}");
    region.gets_the_secret();

    let mut elsewhere = read.clone();
    elsewhere["check"]["url"] = format!("http://{}/healthz", other.address).into();
    let refused = put(&server, &admin, path, 3, &elsewhere);
    refused.expect_problem(400, "invalid-request", "/check/headers/authorization");
    let another = put(&server, &admin, "/api/v1/regions/another", 3, &read);
    another.expect_problem(400, "invalid-request", "/check/headers/authorization");
    put(&server, &admin, path, 7, &read).expect_problem(412, "revision-conflict", "if-match");

    let whole = get(&server, &admin, "/api/v1/config");
    let dry = put(&server, &admin, "/api/v1/config?dry_run=true", 3, &whole);
    assert_eq!(dry.json()["changes"], json!([]), "{dry:?}");
    let mut changed = region.document();
    changed["check"]["headers"]["authorization"] = "another".into();
    let written = put(&server, &admin, path, 3, &changed);
    let after = &written.json()["changes"][0]["after"]["check"]["headers"]["authorization"];
    assert_eq!(after, "[redacted, changed]");
}
