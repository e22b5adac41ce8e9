//! What clients are answered.

use std::collections::BTreeMap;
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::server::{Home, Request, Server, wait_for};

fn region(server: &Server, body: &Value) -> String {
    let answer = server.route(&body.to_string());
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["region"].as_str().unwrap().to_owned()
}

#[test]
fn an_address_goes_in_and_the_right_region_comes_out() {
    let home = Home::new();
    let server = home.start();
    let answer = server.route(r#"{"client_ip": "165.100.97.15", "service": "api"}"#);
    let answer = answer.json();
    assert_eq!(answer["region"], "ap-northeast-1", "Tokyo");
    assert_eq!(answer["reason"], "lowest_latency");
    assert_eq!(answer["endpoint"], "https://ap-northeast-1.api.example.com");
    assert_eq!(answer["client"]["country"], "JP");
    assert_eq!(answer["client"]["source"], "geoip");
    assert_eq!(answer["latency_source"], "distance");
    assert_eq!(answer["alternatives"].as_array().unwrap().len(), 3);
    assert_eq!(answer["revision"], 1);
    let latency = answer["latency_ms"].as_f64().unwrap();
    assert!((10.0..15.0).contains(&latency), "{latency} ms within a city");
    let by_query = server.get("/api/v1/route?client_ip=165.100.97.15&service=api").json();
    assert_eq!(by_query, answer, "a query is answered the same");
    let mapped = server.route(r#"{"client_ip": "::ffff:165.100.97.15"}"#).json();
    assert_eq!(mapped["region"], answer["region"], "and without a service, the default one's");
}

#[test]
fn answers_are_spoken_in_the_apis_words() {
    let home = Home::new();
    let server = home.start();
    for question in [
        json!({}),
        json!({ "client_ip": "165.100.97.15", "service": "api", "explain": true }),
        json!({ "client_ip": "2001:db8::1", "key": "user-1" }),
        json!({ "location": { "latitude": 48.9, "longitude": 2.4, "country": "FR" } }),
    ] {
        let written = server.route(&question.to_string()).json();
        let read: geostream_api::RouteAnswer = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), written, "{question}");
    }
}

#[test]
fn private_and_unknown_addresses_follow_the_order_without_a_location() {
    let home = Home::new();
    let server = home.start();
    for address in ["10.0.0.1", "127.0.0.1", "192.0.2.1", "::1", "0.0.0.0", "255.255.255.255"] {
        let answer = server.route(&json!({ "client_ip": address }).to_string()).json();
        assert_eq!(answer["region"], "us-east-1", "{address}: the first in the policy's order");
        assert_eq!(answer["reason"], "priority", "{address}");
        assert_eq!(answer["latency_ms"], Value::Null, "{address}");
        assert_eq!(answer["client"]["precision"], "unknown", "{address}");
    }
}

#[test]
fn a_caller_may_say_where_the_client_is() {
    let home = Home::new();
    let server = home.start();
    let paris = json!({ "location": { "latitude": 48.9, "longitude": 2.4, "country": "FR" } });
    assert_eq!(region(&server, &paris), "eu-central-1");
    let answer = server.get("/api/v1/route?latitude=-33.9&longitude=18.4").json();
    assert_eq!(
        (&answer["region"], &answer["client"]["source"]),
        (&"af-south-1".into(), &"caller".into())
    );
}

#[test]
fn a_batch_is_answered_in_order_and_a_bad_question_spoils_no_other() {
    let home = Home::new();
    let server = home.start();
    let requests = json!({ "requests": [
        { "client_ip": "165.100.97.15" },
        { "client_ip": "nowhere" },
        { "servce": "api" },
        7,
        { "service": "web" },
        { "explain": true },
    ] });
    let batch = Request::new("POST", "/api/v1/route/batch").json(&requests.to_string());
    let answers = server.send(&batch).json()["answers"].clone();
    assert_eq!(answers[0]["region"], "ap-northeast-1");
    for (position, kind, pointer) in [
        (1, "invalid-request", "/client_ip"),
        (2, "invalid-request", "/servce"),
        (3, "invalid-request", ""),
        (4, "unknown-service", "/service"),
        (5, "invalid-request", "/explain"),
    ] {
        assert_eq!(answers[position]["type"], format!("urn:geostream:problem:{kind}"));
        assert_eq!(answers[position]["errors"][0]["pointer"], pointer, "{}", answers[position]);
    }
    let thousand = json!({ "requests": vec![json!({ "client_ip": "165.100.97.15" }); 1000] });
    let batch = Request::new("POST", "/api/v1/route/batch").json(&thousand.to_string());
    assert_eq!(server.send(&batch).json()["answers"].as_array().unwrap().len(), 1000);
}

#[test]
fn an_explanation_tells_every_regions_fate() {
    let home = Home::new();
    let server = home.start();
    let answer = server.route(r#"{"client_ip": "165.100.97.15", "explain": true}"#).json();
    let explanation = &answer["explanation"];
    assert_eq!(explanation["objective"], "latency");
    let regions = explanation["regions"].as_array().unwrap();
    assert_eq!(regions.len(), 10);
    assert_eq!((&regions[0]["fate"], &regions[0]["region"]), (&"chosen".into(), &answer["region"]));
    assert!(regions[1..].iter().all(|region| region["fate"] == "outranked"));
    let bands: Vec<_> = regions.iter().map(|r| r["terms"]["band"].as_u64().unwrap()).collect();
    assert!(bands.is_sorted(), "{bands:?}");
}

#[test]
fn strangers_are_not_told_who_forced_a_region_and_what_was_observed() {
    let home = Home::new();
    let server = home.start();
    let admin = home.token();
    let drain = Request::new("PUT", "/api/v1/overrides/ap-northeast-1").token(&admin).revision(1);
    let drain = drain.json(r#"{"action": "drain", "reason": "secret plans"}"#);
    assert_eq!(server.send(&drain).status, 200);
    let report = Request::new("POST", "/api/v1/outcomes").token(&admin);
    let report = report.json(r#"{"outcomes": [{"region": "us-west-2", "load": 41}]}"#);
    assert_eq!(server.send(&report).status, 200);
    let make = |scope: &str| {
        let wanted = json!({ "name": scope, "scope": scope }).to_string();
        let made = server.send(&Request::new("POST", "/api/v1/tokens").token(&admin).json(&wanted));
        made.json()["token"].as_str().unwrap().to_owned()
    };
    let viewer = make("viewer");
    let reporter = make("reporter");
    let body = r#"{"client_ip": "165.100.97.15", "explain": true}"#;
    let by_document = Request::new("POST", "/api/v1/route").json(body);
    let by_query = Request::new("GET", "/api/v1/route?client_ip=165.100.97.15&explain=true");
    wait_for(|| server.send(&by_query.clone().token(&viewer)).body.contains("\"load\":41"));
    for request in [by_document, by_query] {
        let strangers = [request.clone(), request.clone().token(&reporter)];
        let invalid = request.clone().token("gs_0000000000000000_0");
        for stranger in strangers.into_iter().chain([invalid]) {
            let answer = server.send(&stranger);
            assert_eq!(answer.status, 200, "{answer:?}");
            for hidden in ["secret plans", "first-admin", "\"load\"", "age_ms", "\"votes\""] {
                assert!(!answer.body.contains(hidden), "{hidden}: {}", answer.body);
            }
            let explanation = &answer.json()["explanation"];
            assert_eq!(explanation["complete"], false);
            let fates = explanation["regions"].as_array().unwrap();
            assert!(fates.iter().all(|told| told["terms"].is_object()), "{explanation}");
            assert!(fates.iter().any(|told| told["fate"] == "drained"), "{explanation}");
        }
        let answer = server.send(&request.token(&viewer));
        assert_eq!(answer.json()["explanation"]["complete"], true);
        let told = "override drain by first-admin: secret plans";
        assert!(answer.body.contains(told) && answer.body.contains("age_ms"), "{}", answer.body);
    }
}

#[test]
fn strangers_are_not_told_the_load_by_which_regions_are_ranked() {
    let home = Home::new();
    let server = home.start();
    let admin = home.token();
    let policy = json!({ "objective": "load", "allowance_ms": 200 });
    let service = json!({ "members": { "us-west-2": {} }, "policy": policy });
    let put = Request::new("PUT", "/api/v1/services/busy").token(&admin).revision(1);
    let put = server.send(&put.json(&service.to_string()));
    assert_eq!(put.status, 200, "{put:?}");
    let region = json!({ "latitude": 45, "longitude": -120, "capacity": 100 });
    let put = Request::new("PUT", "/api/v1/regions/us-west-2").token(&admin).revision(2);
    let put = server.send(&put.json(&region.to_string()));
    assert_eq!(put.status, 200, "{put:?}");
    let report = Request::new("POST", "/api/v1/outcomes").token(&admin);
    let report = report.json(r#"{"outcomes": [{"region": "us-west-2", "load": 41}]}"#);
    assert_eq!(server.send(&report).status, 200);
    let ask = Request::new("GET", "/api/v1/route?service=busy&explain=true");
    let term = |request: &Request| {
        let answer = server.send(request).json();
        answer["explanation"]["regions"][0]["terms"]["term"].clone()
    };
    wait_for(|| term(&ask.clone().token(&admin)) == json!(4));
    assert_eq!(term(&ask), json!(null));
}

#[test]
fn strangers_are_told_no_more_where_no_region_can_serve() {
    let home = Home::new();
    let server = home.start();
    let admin = home.token();
    let write = |path: &str, revision: u64, body: Value| {
        let request = Request::new("PUT", path).token(&admin).revision(revision);
        let answer = server.send(&request.json(&body.to_string()));
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    write("/api/v1/services/one", 1, json!({ "members": { "us-west-2": {} } }));
    let drain = json!({ "action": "drain", "reason": "secret plans", "force": true });
    write("/api/v1/overrides/us-west-2", 2, drain);
    let request = Request::new("GET", "/api/v1/route?service=one&explain=true");
    let answer = server.send(&request);
    answer.expect_problem(503, "no-region", "");
    assert_eq!(answer.json()["explanation"]["complete"], false);
    assert!(!answer.body.contains("secret plans"), "{}", answer.body);
    let answer = server.send(&request.token(&admin));
    answer.expect_problem(503, "no-region", "");
    assert!(answer.body.contains("secret plans"), "{}", answer.body);
}

#[test]
fn equal_regions_share_clients_and_one_client_stays() {
    let home = Home::new();
    let server = home.start();
    let place = |key: usize| json!({ "location": { "latitude": 51.8, "longitude": 1.2 }, "key": format!("player-{key}") });
    let mut shares = BTreeMap::new();
    for key in 0..50 {
        let first = region(&server, &place(key));
        assert_eq!(region(&server, &place(key)), first, "one client, one region");
        *shares.entry(first).or_insert(0) += 1;
    }
    assert_eq!(shares.len(), 2, "Dublin and Frankfurt are equally near: {shares:?}");
}

#[test]
fn a_trusted_proxy_speaks_for_its_clients() {
    let home = Home::new();
    let trusting = Server::start(home.command().args(["--trusted-proxy", "127.0.0.0/8"]));
    let forwarded = Request::new("POST", "/api/v1/route")
        .header("x-forwarded-for: 6.6.6.6, 165.100.97.15")
        .json("{}");
    assert_eq!(trusting.send(&forwarded).json()["client"]["ip"], "165.100.97.15");
    drop(trusting);
    let home = Home::new();
    let wary = home.start();
    assert_eq!(wary.send(&forwarded).json()["client"]["ip"], "127.0.0.1");
}

#[test]
fn a_proxy_that_is_not_trusted_is_told_once() {
    let home = Home::new();
    let server = home.start();
    let forwarded = |body: &str| {
        let request = Request::new("POST", "/api/v1/route").header("x-forwarded-for: 203.0.113.9");
        assert_eq!(server.send(&request.json(body)).status, 200);
        server.get("/ready").json()["warnings"].clone()
    };
    assert_eq!(server.route("{}").status, 200);
    assert_eq!(server.get("/ready").json(), json!({ "status": "ready" }));
    for named in
        [r#"{"client_ip": "165.100.97.15"}"#, r#"{"location": {"latitude": 1, "longitude": 2}}"#]
    {
        assert_eq!(forwarded(named), Value::Null, "{named}: the connection's address is not used");
    }
    for _ in 0..3 {
        let warnings = forwarded("{}");
        assert_eq!(warnings[0]["code"], "proxy-not-trusted", "{warnings}");
        let detail = warnings[0]["detail"].as_str().unwrap();
        assert!(detail.contains("127.0.0.1"), "{detail}");
        assert!(detail.contains("http.trusted_proxies"), "{detail}");
    }
    server.signal("TERM");
    let (_, log) = server.wait();
    let lines = log.lines().filter(|line| line.contains("http.trusted_proxies"));
    assert_eq!(lines.count(), 1, "{log}");
    assert!(!log.contains("203.0.113.9"), "no client's address: {log}");
}

#[test]
fn decisions_are_counted_by_where_the_clients_place_came_from() {
    let home = Home::new();
    let server = home.start();
    let paris = r#"{"location": {"latitude": 48.9, "longitude": 2.4}}"#;
    let tokyo = r#"{"client_ip": "165.100.97.15"}"#;
    for (question, times) in [(tokyo, 3), (paris, 2), (r#"{"client_ip": "10.0.0.1"}"#, 1)] {
        for _ in 0..times {
            assert_eq!(server.route(question).status, 200);
        }
    }
    let batch = json!({ "requests": [{ "client_ip": "165.100.97.15" }, { "service": "web" }] });
    let batch = Request::new("POST", "/api/v1/route/batch").json(&batch.to_string());
    assert_eq!(server.send(&batch).status, 200);
    let expected = [("geoip", 4), ("caller", 2), ("none", 1)]
        .map(|(source, count)| format!("route_locations_total{{source=\"{source}\"}} {count}\n"));
    wait_for(|| {
        let metrics = server.get("/metrics").body;
        expected.iter().all(|line| metrics.contains(line))
    });
}

#[test]
fn http_2_is_spoken_on_the_same_port() {
    let home = Home::new();
    let server = home.start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let body = runtime.block_on(async {
        use http_body_util::BodyExt as _;
        let stream = TcpStream::connect(server.address).unwrap();
        stream.set_nonblocking(true).unwrap();
        let stream = tokio::net::TcpStream::from_std(stream).unwrap();
        let io = hyper_util::rt::TokioIo::new(stream);
        let executor = hyper_util::rt::TokioExecutor::new();
        let (mut client, connection) =
            hyper::client::conn::http2::handshake(executor, io).await.unwrap();
        tokio::spawn(connection);
        let request = hyper::Request::post(format!("http://{}/api/v1/route", server.address))
            .header("content-type", "application/json")
            .body(r#"{"client_ip": "165.100.97.15"}"#.to_owned())
            .unwrap();
        let response = client.send_request(request).await.unwrap();
        assert_eq!(response.version(), hyper::Version::HTTP_2);
        response.into_body().collect().await.unwrap().to_bytes()
    });
    let answer: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(answer["region"], "ap-northeast-1");
}

#[test]
fn the_node_shows_how_it_is() {
    let home = Home::new();
    let server = home.start();
    assert_eq!(server.get("/health").json()["status"], "alive");
    assert_eq!(server.get("/ready").json()["status"], "ready");
    server.route("{}");
    let metrics = server.get("/metrics").body;
    for line in [
        "route_decisions_total{service=\"api\",region=\"us-east-1\",reason=\"priority\"} 1",
        "http_request_duration_seconds_count{method=\"POST\",endpoint=\"/api/v1/route\",status=\"200\"} 1",
        "config_revision 1",
        "geoip_build_age_seconds ",
        "geoip_files_refused 0",
        "routing_table_age_seconds ",
    ] {
        assert!(metrics.contains(line), "{line} in\n{metrics}");
    }
    let openapi = server.get("/openapi.yaml");
    assert!(openapi.body.starts_with("openapi: 3.1.0"));
    let head = server.send(&Request::new("HEAD", "/health"));
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    let status = server.send(&Request::new("GET", "/api/v1/status").token(&home.token())).json();
    assert_eq!((&status["regions"], &status["store_error"]), (&10.into(), &Value::Null));
    assert_eq!(status["geo"][0]["attribution"], "IP Geolocation by DB-IP (https://db-ip.com)");
}

#[test]
fn a_web_page_asks_if_its_origin_is_allowed() {
    let home = Home::new();
    let server = Server::start(home.command().args(["--cors-origin", "https://play.example.com"]));
    let preflight = |path, origin| {
        let request = Request::new("OPTIONS", path).header(&format!("origin: {origin}"));
        server.send(&request.header("access-control-request-method: POST"))
    };
    let origin = "https://play.example.com";
    let answer = preflight("/api/v1/route", origin);
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-allow-origin"), Some(origin));
    assert_eq!(answer.header("access-control-allow-methods"), Some("get, post"));
    for (path, origin) in [
        ("/api/v1/route", "https://evil.example"),
        ("/api/v1/config", origin),
        ("/api/v1/tokens", origin),
    ] {
        let answer = preflight(path, origin);
        assert_eq!(answer.status, 405, "{path} {origin}");
        assert_eq!(answer.header("access-control-allow-origin"), None, "{path} {origin}");
    }
    let ask = |origin: &str| {
        let request = Request::new("POST", "/api/v1/route").json("{}");
        server.send(&request.header(&format!("origin: {origin}")))
    };
    let answer = ask(origin);
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, Some(origin)));
    assert_eq!(answer.header("vary"), Some("origin"));
    let answer = ask("https://evil.example");
    assert_eq!(answer.header("access-control-allow-origin"), None);
}
