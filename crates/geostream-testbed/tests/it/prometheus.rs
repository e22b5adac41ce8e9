//! Prometheus.

use geostream_testbed::{Prometheus, check_metrics};

#[test]
fn a_server_records_what_its_rules_say() {
    let rules = "groups: [{name: g, rules: [{record: answer, expr: vector(42)}]}]";
    let server = Prometheus::start(&[
        ("prometheus.yml", "global: {evaluation_interval: 1s}\nrule_files: [rules.yml]\n"),
        ("rules.yml", rules),
    ]);
    // Each question takes a process, which is the pause.
    let is_there = (0..1_000).any(|_| server.query("answer").contains("\"42\""));
    assert!(is_there, "the rule is not evaluated");
    assert_eq!(server.query("nothing"), "[]");
}

#[test]
fn metrics_that_are_wrong_are_found() {
    let right = "# HELP asked_total Questions\n# TYPE asked_total counter\nasked_total 1\n";
    assert_eq!(check_metrics(right), "");
    let found = check_metrics(&right.replace("asked_total", "asked"));
    assert!(found.contains("_total"), "{found}");
}
