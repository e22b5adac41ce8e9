//! Documents: what is read, what is refused, and what is written back.

use geostream_api::{Config, Difference, HistoryEntry, Service};
use geostream_domain as domain;

const EVERYTHING: &str = r#"
[regions.us-west-2]
name = "Oregon"
latitude = 45.5152
longitude = -122.6784
endpoint = "https://us-west-2.example.com"
capacity = 1000
cost_per_gb = 0.09
labels = { residency = "us", "example.com/tier" = "1" }

[regions.eu-west-1]
latitude = 53.3498
longitude = -6.2603

[regions.eu-west-1.check]
url = "https://192.0.2.10/healthz"
host = "api.example.com:8443"
method = "HEAD"
headers = { authorization = "Bearer s3cret", x-probe = "1" }
follow_redirects = true
status = [200, 204, "300-399"]

[services.api]
members = { us-west-2 = { weight = 9, priority = 1, bias_km = -300 }, eu-west-1 = {} }
policy = { objective = "cost", allowance_ms = 80.5, band_ms = 2.5, without_location = ["eu-west-1"] }
geofence = [
    { clients = { countries = ["DE"], continents = ["EU"], unknown = true }, allow = ["residency=eu"] },
    { deny = ["retired", "*"] },
]
all_down = { rule = "static", region = "eu-west-1" }

[services.near]
members = { eu-west-1 = {} }
policy = { objective = "proximity", band_km = 100.0 }

[flags]
public_explain = false

[settings]
default_service = "api"
alternatives = 5
requests_per_second = 50
requests_per_second_per_token = 0
reachability_targets = ["192.0.2.1:443", "[2001:db8::1]:53"]
"#;

fn read(text: &str) -> Result<domain::Config, String> {
    let document: Config = toml::from_str(text).map_err(|error| error.to_string())?;
    document.to_domain().map_err(|error| error.to_string())
}

#[test]
fn everything_that_can_be_said_is_read_and_written_back() {
    let config = read(EVERYTHING).unwrap();
    assert_eq!(config.regions().len(), 2);
    let written = Config::from(&config);
    assert_eq!(written.to_domain().unwrap(), config);
    let json = serde_json::to_string(&written).unwrap();
    assert_eq!(serde_json::from_str::<Config>(&json).unwrap(), written);
    let toml = toml::to_string(&written).unwrap();
    assert_eq!(toml::from_str::<Config>(&toml).unwrap(), written);
}

#[test]
fn a_service_of_which_nothing_is_said_is_the_default_one() {
    let service: Service = serde_json::from_str(r#"{ "members": {} }"#).unwrap();
    assert_eq!(service, Service::default());
    let budget = domain::RemovalBudget::default();
    assert_eq!(service.removal_budget_percent, budget.percent(), "the domain knows it");
}

#[test]
fn every_change_survives_being_kept() {
    let config = read(EVERYTHING).unwrap();
    let mut changes = domain::Config::default().changes_to(&config);
    changes.extend(config.changes_to(&domain::Config::default()));
    changes.push(domain::Change::SetOverride(domain::Override {
        region: "eu-west-1".parse().unwrap(),
        action: domain::OverrideAction::Drain,
        owner: "ops".parse().unwrap(),
        reason: "maintenance".parse().unwrap(),
        since: domain::Timestamp::from_unix_millis(1_700_000_000_001),
        expires: Some(domain::Timestamp::from_unix_millis(1_700_000_000_002)),
    }));
    changes.push(domain::Change::ClearOverride("eu-west-1".parse().unwrap()));
    for change in changes {
        let json = serde_json::to_string(&geostream_api::Change::from(&change)).unwrap();
        let kept: geostream_api::Change = serde_json::from_str(&json).unwrap();
        assert_eq!(kept.to_domain().unwrap(), change, "{json}");
    }
}

#[test]
fn every_bad_field_is_pointed_at() {
    let region = |line: &str| format!("[regions.a]\nlatitude = 1.0\nlongitude = 2.0\n{line}\n");
    let service =
        |line: &str| format!("{}[services.api]\nmembers = {{ a = {{}} }}\n{line}\n", region(""));
    for (text, expected) in [
        ("[regions.A]\nlatitude = 1.0\nlongitude = 2.0", "/regions/A: 'A' at position 0"),
        ("[regions.a]\nlatitude = 91.0\nlongitude = 2.0", "/regions/a/latitude: latitude 91"),
        ("[regions.a]\nlatitude = nan\nlongitude = 2.0", "/regions/a/latitude: latitude NaN"),
        ("[regions.a]\nlatitude = 1.0\nlongitude = -inf", "/regions/a/longitude: longitude -inf"),
        (&region("endpoint = 'x'"), "/regions/a/endpoint: the URL has no scheme"),
        (&region("capacity = 0"), "/regions/a/capacity: a capacity is at least 1"),
        (&region("cost_per_gb = -1.0"), "/regions/a/cost_per_gb: -1 is not a price"),
        (&region("labels = { 'a/b' = 'x y' }"), "/regions/a/labels/a~1b: ' ' at position 1"),
        (&region("color = 1"), "unknown field `color`"),
        (&region("check = { url = 'http://a', status = '600' }"), "/regions/a/check/status: 600"),
        (&region("check = { url = 'http://a', status = [] }"), "/regions/a/check/status: \"\" is"),
        (&region("check = { url = 'http://a', status = '2,' }"), "/regions/a/check/status: 2 to 2"),
        (&region("check = { url = 'http://a', host = 'a/b' }"), "/regions/a/check/host: a DNS na"),
        (&region("check = { url = 'tcp://a:1', host = 'b' }"), "/regions/a/check/host: a check of"),
        (&region("check = { url = 'grpc://a:1', method = 'HEAD' }"), "/regions/a/check/method: on"),
        (
            &region("check = { url = 'http://a', method = 'HEAD', body = 'x' }"),
            "/regions/a/check/body",
        ),
        (&region("check = { url = 'http://a', method = 'get' }"), "unknown variant `get`"),
        (
            &region("check = { url = 'http://a', headers = { host = 'b' } }"),
            "/regions/a/check/headers/host: the check's own key",
        ),
        (
            &region("check = { url = 'http://a', headers = { X-A = 'b' } }"),
            "/regions/a/check/headers/X-A: the name",
        ),
        (
            &region("check = { url = 'http://a', headers = { a = '[redacted]' } }"),
            "/regions/a/check/headers/a: the value is redacted",
        ),
        (
            &region("check = { url = 'tcp://a:1', follow_redirects = true }"),
            "/regions/a/check/follow_redirects",
        ),
        (&region("latitude = 2.0"), "duplicate key"),
        ("[services.api]\nmembers = {}", "/services/api/members: at least one region"),
        (
            "[services.api]\nmembers = { b = {} }",
            "/services/api/members: service api lists region b",
        ),
        (&service("policy = { objective = 'cost' }"), "/services/api/policy/allowance_ms: the obj"),
        (&service("policy = { band_km = 5.0 }"), "/services/api/policy/band_km: the objective lat"),
        (&service("policy = { band_ms = 0.0 }"), "/services/api/policy/band_ms: 0 is not a width"),
        (&service("policy = { objective = 'best' }"), "unknown variant `best`"),
        (
            &service("policy = { without_location = ['b'] }"),
            "/services/api/policy/without_location: ",
        ),
        (
            &service("geofence = [{}]"),
            "/services/api/geofence/0: the rule allows and denies nothing",
        ),
        (
            &service("geofence = [{ clients = { countries = ['DEU'] }, deny = ['*'] }]"),
            "/services/api/geofence/0/clients/countries/0: \"DEU\" is not a country code",
        ),
        (&service("all_down = { rule = 'static', region = 'b' }"), "/services/api/all_down/region"),
        (
            &service("all_down = { rule = 'static' }"),
            "/services/api/all_down/region: the rule static",
        ),
        (
            &service("all_down = { rule = 'closed', region = 'a' }"),
            "all_down/region: only the rule",
        ),
        ("[flags]\nmagic = true", "/flags/magic: there is no such flag"),
        ("[settings]\nalternatives = 9", "/settings/alternatives: 9 is not a number"),
        ("[settings]\ndefault_service = 'api'", "/settings/default_service: there is no service"),
        (
            "[settings]\nrequests_per_second = 1000000001",
            "/settings/requests_per_second: 1000000001 is not a number of requests a second from 0",
        ),
        (
            "[settings]\nrequests_per_second_per_token = 5000000000",
            "/settings/requests_per_second_per_token: 5000000000 is not a number of requests",
        ),
        (
            "[settings]\nreachability_targets = ['192.0.2.1:1', 'example.com:443']",
            "/settings/reachability_targets/1: \"example.com:443\" is not an address with a port",
        ),
        (
            "[settings]\nreachability_targets = ['192.0.2.1']",
            "/settings/reachability_targets/0: \"192.0.2.1\" is not an address with a port",
        ),
        (
            "[settings]\nreachability_targets = ['192.0.2.1:1', '192.0.2.1:0']",
            "/settings/reachability_targets/1: 192.0.2.1:0 has the port 0",
        ),
        (
            "[settings]\nreachability_targets = ['192.0.2.1:1', '192.0.2.1:2', '192.0.2.1:1']",
            "/settings/reachability_targets/2: 192.0.2.1:1 is given twice",
        ),
        (
            &format!("[settings]\nreachability_targets = [{}]", seventeen()),
            "/settings/reachability_targets: there can be at most 16 reachability targets",
        ),
    ] {
        let error = read(text).expect_err(text);
        assert!(error.contains(expected), "{text}\n{error}");
    }
}

/// Lists one reachability target more than there can be.
fn seventeen() -> String {
    (1..=17).map(|port| format!("'192.0.2.1:{port}',")).collect()
}

#[test]
fn settings_that_are_left_to_the_nodes_are_told_from_those_that_lift_a_limit() {
    let left = read("").unwrap();
    let text = "[settings]\nrequests_per_second = 0\nreachability_targets = []";
    let lifted = read(text).unwrap();
    let differences = Difference::between(&left, &lifted);
    let told: Vec<_> = differences
        .iter()
        .map(|difference| (&*difference.path, &difference.before, difference.after.clone()))
        .collect();
    let none = None;
    assert_eq!(
        told,
        [
            ("settings/requests_per_second", &none, Some(0.into())),
            ("settings/reachability_targets", &none, Some(serde_json::json!([]))),
        ]
    );
    let words = |from: &domain::Config, to: &domain::Config| -> Vec<_> {
        from.changes_to(to).iter().map(HistoryEntry::in_words).collect()
    };
    assert_eq!(
        words(&left, &lifted),
        ["set requests_per_second 0", "set reachability_targets none",]
    );
    assert_eq!(
        words(&lifted, &left),
        ["leave requests_per_second to each node", "leave reachability_targets to each node",]
    );
    let written = Config::from(&left);
    assert_eq!(written.settings.requests_per_second, None);
    assert_eq!(written.settings.reachability_targets, None);
}

#[test]
fn bad_fields_are_reported_together() {
    let error = read("[regions.a]\nlatitude = 91.0\nlongitude = 2.0\ncapacity = 0").unwrap_err();
    assert_eq!(error.lines().count(), 2, "{error}");
}

#[test]
fn a_name_given_twice_is_refused() {
    let region = r#"{"latitude": 1, "longitude": 2}"#;
    let twice = format!(r#"{{"regions": {{"a": {region}, "a": {region}}}}}"#);
    let error = serde_json::from_str::<Config>(&twice).unwrap_err();
    assert!(error.to_string().contains("\"a\" is given twice"), "{error}");
}

#[test]
fn a_difference_shows_both_sides() {
    let old = read(EVERYTHING).unwrap();
    let new = read(&EVERYTHING.replace("capacity = 1000", "capacity = 2000")).unwrap();
    let differences = Difference::between(&old, &new);
    let [Difference { path, before: Some(before), after: Some(after) }] = &differences[..] else {
        panic!("one region changed: {differences:?}");
    };
    assert_eq!(path, "regions/us-west-2");
    assert_eq!((&before["capacity"], &after["capacity"]), (&1000.into(), &2000.into()));
    let gone = Difference::between(&new, &domain::Config::default());
    assert!(gone.iter().all(|d| d.before.is_some()), "{gone:?}");
}
