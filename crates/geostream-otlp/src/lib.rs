//! Brings spans to an OpenTelemetry collector, over gRPC or HTTP.
//!
//! Whoever hands in a span never waits: it goes into a queue of bounded length, and where that is
//! full, since the collector is slow or gone, it is lost and counted. One task sends what is in the
//! queue. What OpenTelemetry calls `OTEL_EXPORTER_OTLP_HEADERS` and `OTEL_EXPORTER_OTLP_TIMEOUT` is read
//! from the environment by OpenTelemetry's own exporter.

mod data;
mod exporter;

use std::error::Error;

use geostream_ports::{Span, SpanSink};
use metrics::{Counter, counter};
use thiserror::Error;
use tokio::sync::mpsc;

pub use exporter::Exporter;

/// Where spans are brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The collector's URL; over HTTP, with the path.
    pub endpoint: String,
    /// How it is spoken with.
    pub protocol: Protocol,
    /// Who sends.
    pub sender: Sender,
}

/// How a collector is spoken with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// OTLP over gRPC.
    Grpc,
    /// OTLP as protobuf over HTTP.
    Http,
}

/// Which program's spans they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// What it is called, if somebody says so; else by `OTEL_RESOURCE_ATTRIBUTES`, or `geostream`.
    pub name: Option<String>,
    /// Its version.
    pub version: &'static str,
    /// What tells it from others of its name.
    pub instance: String,
}

/// Why no spans can be sent.
#[derive(Debug, Error)]
#[error("traces cannot be sent to {endpoint}")]
pub struct TargetError {
    endpoint: String,
    #[source]
    source: Box<dyn Error + Send + Sync>,
}

/// The spans that may wait to be sent: those of some hundreds of requests.
const WAITING: usize = 2_048;

/// Takes spans for a collector.
pub struct OtlpSink {
    queue: mpsc::Sender<Span>,
    dropped: Counter,
}

impl std::fmt::Debug for OtlpSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OtlpSink").field("room", &self.queue.capacity()).finish_non_exhaustive()
    }
}

/// Prepares for sending; nothing is sent but by [`Exporter::run`].
///
/// It has to be called in tokio's runtime.
///
/// # Errors
///
/// If the URL is none, or nobody's certificates can be checked.
pub fn connect(target: &Target) -> Result<(OtlpSink, Exporter), TargetError> {
    let (queue, waiting) = mpsc::channel(WAITING);
    let exporter = Exporter::new(target, waiting)
        .map_err(|source| TargetError { endpoint: target.endpoint.clone(), source })?;
    Ok((OtlpSink { queue, dropped: spans("dropped") }, exporter))
}

impl SpanSink for OtlpSink {
    fn take(&self, span: Span) {
        if self.queue.try_send(span).is_err() {
            self.dropped.increment(1);
        }
    }
}

/// Counts spans by what became of them.
fn spans(result: &'static str) -> Counter {
    counter!("trace_spans_total", "result" => result)
}
