//! Geofences hold for whom they say, whatever callers say of themselves.

use serde_json::{Value, json};

use crate::server::{Answer, Home, Request, Server};

/// Two regions, and a service whose clients in Japan stay in `home`.
fn fenced(clients: &Value) -> Value {
    json!({
        "regions": {
            "home": { "latitude": 35, "longitude": 139, "labels": { "at": "home" } },
            "away": { "latitude": 40, "longitude": -74 },
        },
        "services": { "api": {
            "members": { "home": {}, "away": {} },
            "geofence": [{ "clients": clients, "allow": ["at=home"] }],
        } },
        "settings": { "default_service": "api" },
    })
}

fn put(server: &Server, home: &Home, revision: u64, config: &Value) -> Answer {
    let request = Request::new("PUT", "/api/v1/config").token(&home.token());
    server.send(&request.revision(revision).json(&config.to_string()))
}

/// Starts a server with this geofence.
fn start(home: &Home, clients: &Value) -> Server {
    let server = home.start();
    let declared = put(&server, home, 1, &fenced(clients));
    assert_eq!(declared.status, 200, "{declared:?}");
    server
}

#[test]
fn a_caller_without_a_token_does_not_choose_its_country() {
    let home = Home::new();
    // The tests ask from loopback, of which no country is known.
    let server = start(&home, &json!({ "countries": ["JP"], "unknown": true }));
    let new_york = json!({ "latitude": 40, "longitude": -74, "country": "US" });
    for question in [
        json!({ "location": new_york }),
        json!({ "location": new_york, "client_ip": "165.100.97.15" }),
        json!({ "client_ip": "165.100.97.15" }),
    ] {
        let answer = server.route(&question.to_string()).json();
        assert_eq!(answer["region"], "home", "{question}");
        assert_ne!(answer["client"]["country"], "US", "{question}");
    }
    let by_query = "/api/v1/route?latitude=40&longitude=-74&country=US";
    assert_eq!(server.get(by_query).json()["region"], "home");
    let batch = json!({ "requests": [{ "location": new_york }] }).to_string();
    let ask = |token: Option<&str>, path: &str, body: &str| {
        let request = Request::new("POST", path).json(body);
        server.send(&token.iter().fold(request, |request, token| request.token(token))).json()
    };
    let answers = ask(None, "/api/v1/route/batch", &batch);
    assert_eq!(answers["answers"][0]["region"], "home");
    let question = json!({ "location": new_york }).to_string();
    assert_eq!(ask(Some("gst_unknown"), "/api/v1/route", &question)["region"], "home");

    let token = home.token();
    let answer = ask(Some(&token), "/api/v1/route", &question);
    assert_eq!((&answer["region"], &answer["client"]["country"]), (&"away".into(), &"US".into()));
    let answers = ask(Some(&token), "/api/v1/route/batch", &batch);
    assert_eq!(answers["answers"][0]["region"], "away");
}

#[test]
fn a_code_that_no_country_has_is_refused_with_what_is_meant() {
    let home = Home::new();
    let server = home.start();
    for (code, meant) in
        [("UK", "GB"), ("EL", "GR"), ("EU", "groups = [\"EU\"]"), ("XX", "unknown = true")]
    {
        let refused = put(&server, &home, 1, &fenced(&json!({ "countries": ["DE", code] })));
        let pointer = "/services/api/geofence/0/clients/countries/1";
        refused.expect_problem(422, "invalid-configuration", pointer);
        let detail = refused.json()["errors"][0]["detail"].to_string().replace("\\\"", "\"");
        assert!(detail.contains(code) && detail.contains(meant), "{detail}");
    }
    let taken = put(&server, &home, 1, &fenced(&json!({ "countries": ["XK", "GB"] })));
    assert_eq!((taken.status, taken.json()["warnings"].clone()), (200, Value::Null));
    let group = put(&server, &home, 2, &fenced(&json!({ "groups": ["EU", "EEA"] })));
    assert_eq!(group.status, 200, "{group:?}");
    let unknown = put(&server, &home, 3, &fenced(&json!({ "groups": ["DACH"] })));
    unknown.expect_problem(400, "invalid-request", "/services/api/geofence/0/clients/groups/0");
}

#[test]
fn a_selector_that_matches_no_member_is_told() {
    let home = Home::new();
    let server = home.start();
    let mut config = fenced(&json!({ "countries": ["JP"] }));
    config["services"]["api"]["geofence"][0]["allow"] = json!(["at=hom", "at=home"]);
    let taken = put(&server, &home, 1, &config);
    assert_eq!(
        taken.json()["warnings"],
        json!(["the geofence of api, rule 1: at=hom matches no member"])
    );
}
