//! Spans on their way to a real collector.

use std::time::{Duration, Instant};

use geostream_otlp::{Protocol, Sender, Target, connect};
use geostream_ports::{Note, Span, SpanId, SpanKind, SpanSink as _, TraceContext, TraceId};
use geostream_testbed::Collector;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

fn target(endpoint: String, protocol: Protocol) -> Target {
    let sender =
        Sender { name: Some("mine".to_owned()), version: "1.2", instance: "node-1".to_owned() };
    Target { endpoint, protocol, sender }
}

#[expect(clippy::disallowed_methods, reason = "spans are compared with the wall clock")]
fn span(number: u64) -> Span {
    let context = TraceContext { trace: TraceId(0xabc), span: SpanId(number), is_sampled: true };
    Span {
        context,
        parent: Some(SpanId(0xdef)),
        kind: SpanKind::Client,
        name: "probe".into(),
        began: Instant::now(),
        ended: Instant::now(),
        notes: vec![("text", "x".into()), ("whole", Note::Whole(-7)), ("decimal", 0.5.into())],
        failure: Some("refused".to_owned()),
    }
}

#[tokio::test]
async fn spans_arrive_as_they_were_by_either_protocol() {
    let collector = Collector::start();
    for (number, protocol, endpoint) in [
        (1, Protocol::Grpc, collector.grpc_url()),
        (2, Protocol::Http, format!("{}/v1/traces", collector.http_url())),
    ] {
        let (sink, exporter) = connect(&target(endpoint, protocol)).unwrap();
        let stop = CancellationToken::new();
        sink.take(span(number));
        stop.cancel();
        timeout(PATIENCE, exporter.run(stop)).await.expect("what waits is sent at the end");
        let id = format!("{number:016x}");
        let spans = collector.wait_for(|spans| spans.iter().any(|span| span.id == id));
        let span = spans.iter().find(|span| span.id == id).unwrap();
        assert_eq!(span.trace, "00000000000000000000000000000abc");
        assert_eq!(span.parent, "0000000000000def");
        assert_eq!((&span.name[..], &span.kind[..]), ("probe", "CLIENT"));
        assert_eq!(span.failure.as_deref(), Some("refused"));
        for (name, value) in [("text", "x"), ("whole", "-7"), ("decimal", "0.5")] {
            assert_eq!(span.attributes[name], value);
        }
        for (name, value) in [
            ("service.name", "mine"),
            ("service.version", "1.2"),
            ("service.instance.id", "node-1"),
        ] {
            assert_eq!(span.resource[name], value);
        }
    }
}

#[tokio::test]
async fn a_collector_that_is_gone_holds_up_neither_spans_nor_the_end() {
    let mut collector = Collector::start();
    let endpoint = collector.grpc_url();
    collector.kill();
    let (sink, exporter) = connect(&target(endpoint, Protocol::Grpc)).unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn(exporter.run(stop.clone()));
    for number in 1..10_000 {
        sink.take(span(number));
    }
    stop.cancel();
    timeout(PATIENCE, running).await.expect("it is not waited for").unwrap();
}

#[tokio::test]
async fn what_is_no_url_is_refused() {
    for protocol in [Protocol::Grpc, Protocol::Http] {
        let error = connect(&target("http://a b".to_owned(), protocol)).unwrap_err();
        assert_eq!(error.to_string(), "traces cannot be sent to http://a b");
    }
}
