//! Traces, as a real collector gets them.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use geostream_testbed::{CollectedSpan, Collector};

use crate::server::{Answer, Home, PATIENCE, Request, Server, wait_for};

const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const UNSAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4737-00f067aa0ba902b7-00";

/// Starts a server that sends what is sampled by these flags to a collector, over HTTP.
fn start(home: &Home, collector: &Collector, flags: &[&str]) -> Server {
    let endpoint = collector.http_url();
    Server::start(home.command().args(["--trace-endpoint", &endpoint]).args(flags))
}

fn route(server: &Server, traceparent: &str) -> Answer {
    let question = r#"{"client_ip": "8.8.8.8", "service": "api"}"#;
    let request = Request::new("POST", "/api/v1/route").json(question);
    server.send(&request.header(&format!("traceparent: {traceparent}")))
}

fn named<'a>(spans: &'a [CollectedSpan], name: &str) -> Option<&'a CollectedSpan> {
    spans.iter().find(|span| span.name == name)
}

/// Tells a span of a request's trace from those of what the server does by itself, some of which it
/// samples.
fn is_of_a_caller(span: &CollectedSpan) -> bool {
    span.trace.starts_with("4bf92f3577b34da6a3ce929d0e0e473")
}

#[test]
fn a_request_that_its_caller_traces_shows_its_stages() {
    let collector = Collector::start();
    for (protocol, endpoint) in
        [("grpc", collector.grpc_url()), ("http/protobuf", collector.http_url())]
    {
        let home = Home::new();
        let flags = ["--trace-endpoint", &endpoint, "--trace-protocol", protocol];
        let mut command = home.command();
        command.args(flags).env("OTEL_RESOURCE_ATTRIBUTES", format!("test={protocol}"));
        let server = Server::start(&mut command);
        assert_eq!(route(&server, UNSAMPLED).header("traceresponse"), None);
        let answer = route(&server, SAMPLED);
        assert_eq!(answer.status, 200, "{answer:?}");
        let told = answer.header("traceresponse").unwrap().to_owned();
        let id = told.strip_prefix("00-4bf92f3577b34da6a3ce929d0e0e4736-").unwrap();
        let id = id.strip_suffix("-01").unwrap();

        let of_trace = |spans: &[CollectedSpan]| -> Vec<CollectedSpan> {
            let spans = spans.iter().filter(|span| span.resource["test"] == protocol);
            spans.filter(|span| is_of_a_caller(span)).cloned().collect()
        };
        let spans = of_trace(&collector.wait_for(|spans| of_trace(spans).len() == 5));
        let root = named(&spans, "POST /api/v1/route").unwrap();
        assert_eq!((&root.id[..], &root.parent[..]), (id, "00f067aa0ba902b7"));
        assert_eq!((&root.kind[..], root.failure.as_deref()), ("SERVER", None));
        assert_eq!(root.attributes["http.response.status_code"], "200");
        assert_eq!(root.resource["service.name"], "geostream");
        for stage in ["locate", "filter", "rank", "answer"] {
            let span = named(&spans, stage).unwrap();
            assert_eq!((&span.parent[..], &span.trace), (id, &root.trace), "{stage}");
        }
        let rank = &named(&spans, "rank").unwrap().attributes;
        assert_eq!(rank["geostream.region"], answer.json()["region"].as_str().unwrap());
        assert_eq!(rank["geostream.reason"], "lowest_latency");
        assert_eq!(named(&spans, "filter").unwrap().attributes["geostream.service"], "api");
        // What has come since shows that nothing came of the other request.
        assert!(spans.iter().all(|span| span.trace == root.trace), "{spans:?}");
    }
}

#[test]
fn what_no_caller_has_decided_on_is_sampled_by_the_ratio() {
    let (home, collector) = (Home::new(), Collector::start());
    let server = start(&home, &collector, &["--trace-ratio", "1"]);
    let answer = server.get("/api/v1/route?service=nowhere");
    assert_eq!(answer.status, 404);
    let told = answer.header("traceresponse").unwrap();
    let name = "GET /api/v1/route";
    let spans = collector.wait_for(|spans| named(spans, name).is_some());
    let root = named(&spans, name).unwrap();
    assert_eq!(told, format!("00-{}-{}-01", root.trace, root.id));
    assert_eq!((&root.parent[..], root.failure.as_deref()), ("", None), "the caller is at fault");
    assert_eq!(route(&server, UNSAMPLED).header("traceresponse"), None, "the caller has decided");
    drop(server);

    let flags = ["--trace-ratio", "1", "--trace-parent-based", "false"];
    let server = start(&home, &collector, &flags);
    let told = route(&server, UNSAMPLED);
    let told = told.header("traceresponse").unwrap();
    assert!(told.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4737-"), "{told}");
    assert!(told.ends_with("-01"), "{told}");
}

#[test]
fn probes_and_what_the_store_is_asked_are_traced() {
    let (home, collector) = (Home::new(), Collector::start());
    let flags = ["--trace-ratio", "1", "--probe-network", "127.0.0.0/8"];
    let server = start(&home, &collector, &flags);
    let region = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/healthz", region.local_addr().unwrap());
    let document = format!(r#"{{"latitude": 1, "longitude": 2, "check": {{"url": "{url}"}}}}"#);
    let put = Request::new("PUT", "/api/v1/regions/traced").token(&home.token()).revision(1);
    assert_eq!(server.send(&put.json(&document)).status, 200);

    let (mut probe, _) = region.accept().unwrap();
    probe.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        probe.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    probe.write_all(b"HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n").unwrap();
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let told = head.lines().find_map(|line| line.strip_prefix("traceparent: ")).unwrap();

    let is_probe = |span: &&CollectedSpan| told == format!("00-{}-{}-01", span.trace, span.id);
    let write = "PUT /api/v1/regions/{region}";
    let spans = collector.wait_for(|spans| {
        spans.iter().any(|span| is_probe(&span)) && named(spans, write).is_some()
    });
    let probe = spans.iter().find(is_probe).unwrap();
    assert_eq!((&probe.name[..], &probe.kind[..]), ("probe", "CLIENT"));
    assert_eq!(probe.attributes["geostream.region"], "traced");
    assert!(probe.failure.as_ref().unwrap().contains("500"), "{probe:?}");
    let write = named(&spans, write).unwrap();
    let commit = spans.iter().find(|span| span.name == "store propose" && span.parent == write.id);
    assert_eq!(commit.unwrap().trace, write.trace);
}

#[test]
fn a_collector_that_dies_keeps_nobody_waiting() {
    let (home, mut collector) = (Home::new(), Collector::start());
    let server = start(&home, &collector, &[]);
    const ALIVE: u64 = 20;
    for _ in 0..ALIVE {
        assert_eq!(route(&server, SAMPLED).status, 200);
    }
    let callers = |spans: &[CollectedSpan]| spans.iter().filter(|it| is_of_a_caller(it)).count();
    collector.wait_for(|spans| callers(spans) == 5 * usize::try_from(ALIVE).unwrap());
    collector.kill();
    let mut sent = ALIVE;
    // Until there is no room for more.
    wait_for(|| {
        for _ in 0..100 {
            let answer = route(&server, SAMPLED);
            assert_eq!((answer.status, &answer.json()["region"]), (200, &"us-west-2".into()));
        }
        sent += 100;
        spans(&server, "dropped") > 0
    });
    collector.start_again();
    assert_eq!(route(&server, SAMPLED).status, 200);
    sent += 1;
    collector.wait_for(|spans| !spans.is_empty());
    let became = || ["sent", "dropped", "failed"].map(|result| spans(&server, result));
    wait_for(|| became().iter().sum::<u64>() >= 5 * sent);
    assert_eq!(became().iter().sum::<u64>(), 5 * sent, "each is counted once");
}

/// Reads how many spans this has become of.
fn spans(server: &Server, result: &str) -> u64 {
    let metrics = server.get("/metrics").body;
    let line = format!("trace_spans_total{{result=\"{result}\"}} ");
    let value = metrics.lines().find_map(|metric| metric.strip_prefix(&line));
    value.map_or(0, |value| value.parse().unwrap())
}
