//! Whatever is sent: a clear error, and the server still answers.

use serde_json::json;

use crate::server::{Home, Request};

#[test]
fn bad_questions_are_told_what_is_wrong() {
    let home = Home::new();
    let server = home.start();
    for (body, pointer) in [
        ("", ""),
        ("{", ""),
        ("[]", ""),
        ("null", ""),
        ("\"8.8.8.8\"", ""),
        (r#"{"client_ip": "8.8.8.8"} x"#, ""),
        (r#"{"client_ip": "8.8.8"}"#, "/client_ip"),
        (r#"{"client_ip": "8.8.8.8.8"}"#, "/client_ip"),
        (r#"{"client_ip": ""}"#, "/client_ip"),
        (r#"{"client_ip": 8}"#, "/client_ip"),
        (r#"{"client_ip": null}"#, "/client_ip"),
        (r#"{"client_ip": "fe80::1%eth0"}"#, "/client_ip"),
        (r#"{"service": ["api"]}"#, "/service"),
        (r#"{"explain": "yes"}"#, "/explain"),
        (r#"{"colour": "red"}"#, "/colour"),
        (r#"{"key": ""}"#, "/key"),
        (r#"{"location": {"latitude": 91, "longitude": 0}}"#, "/location/latitude"),
        (r#"{"location": {"latitude": 0, "longitude": -180.5}}"#, "/location/longitude"),
        (r#"{"location": {"latitude": NaN, "longitude": 0}}"#, "/location/latitude"),
        (r#"{"location": {"latitude": 1e999, "longitude": 0}}"#, "/location/latitude"),
        (r#"{"location": {"latitude": "1", "longitude": 0}}"#, "/location/latitude"),
        (r#"{"location": {"latitude": 1}}"#, "/location/longitude"),
        (r#"{"service": "api", "service": "api"}"#, "/service"),
        (r#"{"location": {"latitude": 1, "longitude": 2, "country": "Z"}}"#, "/location/country"),
    ] {
        server.route(body).expect_problem(400, "invalid-request", pointer);
    }
    server.route(r#"{"service": "web"}"#).expect_problem(404, "unknown-service", "/service");
    for (query, pointer) in [
        ("client_ip=nowhere", "?client_ip"),
        ("client=8.8.8.8", "?client"),
        ("latitude=1", "?longitude"),
        ("country=DE", "?latitude"),
        ("explain=yes", "?explain"),
        ("latitude=100&longitude=0", "?latitude"),
        ("service=a&service=b", "?service"),
    ] {
        let answer = server.get(&format!("/api/v1/route?{query}"));
        answer.expect_problem(400, "invalid-request", pointer);
    }
    let nowhere = server.get("/api/v1/route?service=nowhere");
    nowhere.expect_problem(404, "unknown-service", "?service");
    assert_eq!(server.route("{}").status, 200, "the server still answers");
}

#[test]
fn paths_methods_and_types_that_are_not_there_are_named() {
    let home = Home::new();
    let server = home.start();
    server.get("/").expect_problem(404, "not-found", "");
    server.get("/api/v1/route/").expect_problem(404, "not-found", "");
    let answer = server.send(&Request::new("DELETE", "/api/v1/route"));
    answer.expect_problem(405, "method-not-allowed", "");
    assert_eq!(answer.header("allow"), Some("post, get, head"));
    server.send(&Request::new("BREW", "/health")).expect_problem(405, "method-not-allowed", "");
    let plain = Request::new("POST", "/api/v1/route").header("content-type: text/plain");
    server.send(&plain).expect_problem(415, "unsupported-media-type", "content-type");
    let form = "content-type: application/x-www-form-urlencoded";
    let form = Request::new("POST", "/api/v1/route").header(form);
    server.send(&form).expect_problem(415, "unsupported-media-type", "content-type");
}

#[test]
fn tokens_are_needed_and_have_their_scope() {
    let home = Home::new();
    let server = home.start();
    let admin = home.token();
    let regions = Request::new("GET", "/api/v1/regions");
    let answer = server.send(&regions);
    answer.expect_problem(401, "unauthorized", "authorization");
    assert_eq!(answer.header("www-authenticate"), Some("bearer"));
    for position in [0, 3, 10, 19, 20, 50, admin.len() - 1] {
        let mut wrong = admin.clone().into_bytes();
        wrong[position] = if wrong[position] == b'a' { b'b' } else { b'a' };
        let wrong = String::from_utf8(wrong).unwrap();
        server.send(&regions.clone().token(&wrong)).expect_problem(
            401,
            "unauthorized",
            "authorization",
        );
    }
    let basic = regions.clone().header("authorization: Basic YTpi");
    server.send(&basic).expect_problem(401, "unauthorized", "authorization");
    assert_eq!(server.send(&regions.clone().token(&admin)).status, 200);

    let make = |scope: &str| {
        let body = json!({ "name": scope, "scope": scope }).to_string();
        let made = server.send(&Request::new("POST", "/api/v1/tokens").token(&admin).json(&body));
        assert_eq!(made.status, 201, "{made:?}");
        made.json()["token"].as_str().unwrap().to_owned()
    };
    let (viewer, operator) = (make("viewer"), make("operator"));
    let drain = Request::new("PUT", "/api/v1/overrides/eu-west-1")
        .revision(1)
        .json(r#"{"action": "drain", "reason": "test"}"#);
    let remove = Request::new("DELETE", "/api/v1/services/api").revision(1);
    assert_eq!(server.send(&regions.token(&viewer)).status, 200);
    server.send(&drain.clone().token(&viewer)).expect_problem(403, "forbidden", "authorization");
    server.send(&remove.clone().token(&operator)).expect_problem(403, "forbidden", "authorization");
    assert_eq!(server.send(&drain.token(&operator)).status, 200);
    let listed = server.send(&Request::new("GET", "/api/v1/tokens").token(&admin));
    assert!(!listed.body.contains(&viewer[20..]), "no token is ever shown again");
    assert_eq!(listed.json()["tokens"].as_array().unwrap().len(), 3);
}

#[test]
fn a_configuration_that_does_not_fit_is_refused_as_a_whole() {
    let home = Home::new();
    let server = home.start();
    let put = |body: &str| {
        let request = Request::new("PUT", "/api/v1/config").token(&home.token()).revision(1);
        server.send(&request.json(body))
    };
    let region = r#"{"latitude": 1, "longitude": 2}"#;
    for (body, status, kind, pointer) in [
        (
            r#"{"regions": {"A": {"latitude": 1, "longitude": 2}}}"#.to_owned(),
            400,
            "invalid-request",
            "/regions/A",
        ),
        (
            format!(r#"{{"regions": {{"a": {region}, "a": {region}}}}}"#),
            400,
            "invalid-request",
            "/regions/a",
        ),
        (
            r#"{"regions": {"a": {"latitude": 1}}}"#.to_owned(),
            400,
            "invalid-request",
            "/regions/a/longitude",
        ),
        (
            r#"{"regions": {"a": {"latitude": 99, "longitude": 2}}}"#.to_owned(),
            400,
            "invalid-request",
            "/regions/a/latitude",
        ),
        (
            r#"{"services": {"s": {"members": {"x": {}}}}}"#.to_owned(),
            422,
            "invalid-configuration",
            "/services/s/members",
        ),
        (
            r#"{"settings": {"default_service": "s"}}"#.to_owned(),
            422,
            "invalid-configuration",
            "/settings/default_service",
        ),
        (r#"{"flags": {"magic": true}}"#.to_owned(), 400, "invalid-request", "/flags/magic"),
    ] {
        put(&body).expect_problem(status, kind, pointer);
    }
    let token = home.token();
    let in_use = Request::new("DELETE", "/api/v1/regions/eu-west-1").token(&token).revision(1);
    server.send(&in_use).expect_problem(409, "in-use", "{region}");
    let default = Request::new("DELETE", "/api/v1/services/api").token(&token).revision(1);
    server.send(&default).expect_problem(409, "in-use", "{service}");
    let nowhere = Request::new("DELETE", "/api/v1/services/nowhere").token(&token).revision(1);
    server.send(&nowhere).expect_problem(404, "not-found", "{service}");
    let drain = Request::new("PUT", "/api/v1/overrides/eu-west-1").token(&token).revision(1);
    let drain = drain.json(r#"{"action": "drain"}"#);
    server.send(&drain).expect_problem(400, "invalid-request", "/reason");
    let missing = Request::new("GET", "/api/v1/regions/nowhere").token(&token);
    server.send(&missing).expect_problem(404, "not-found", "{region}");
    let history = Request::new("GET", "/api/v1/config/history").token(&token);
    assert_eq!(server.send(&history).json()["commits"].as_array().unwrap().len(), 1, "no trace");
}
