//! Logs and metrics.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use anyhow::Context as _;
use geostream_app::LogFilter;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_util::MetricKindMask;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::fmt::format::{DefaultFields, Format, Json, JsonFields};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, reload};

use crate::config::{Log, LogFormat};

/// The bounds of round-trip times and probes, in seconds: what tells regions apart is below a third
/// of one.
const RTT_BUCKETS: [f64; 16] =
    [0.001, 0.002, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0];

/// The bounds of decisions, in seconds: most are made within a microsecond or two.
const DECISION_BUCKETS: [f64; 14] = [
    100e-9, 200e-9, 300e-9, 500e-9, 750e-9, 1e-6, 1.5e-6, 2e-6, 3e-6, 5e-6, 10e-6, 50e-6, 250e-6,
    1e-3,
];

/// The bounds of requests, in seconds: a decision takes some microseconds there, and others wait for
/// stores.
const REQUEST_BUCKETS: [f64; 16] = [
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025,
    0.05, 0.1, 0.5, 2.5, 10.0,
];

const BUCKETS: [(&str, &[f64]); 4] = [
    ("http_request_duration_seconds", &REQUEST_BUCKETS),
    ("route_decision_duration_seconds", &DECISION_BUCKETS),
    ("region_probe_duration_seconds", &RTT_BUCKETS),
    ("region_reported_rtt_seconds", &RTT_BUCKETS),
];

/// How long a gauge counts after it was set: each is set when the metrics are asked for, so that one
/// whose region or service is gone is missing from the next answer. Two may ask at once.
const FRESH: Duration = Duration::from_secs(1);

/// How often the recorder's buckets are folded, which keeps them from growing while nobody scrapes.
const UPKEEP: Duration = Duration::from_secs(5);

type JsonLines<S, W> = fmt::Layer<S, JsonFields, Format<Json>, W>;

/// What shows how the server is.
#[derive(Clone)]
pub(crate) struct Telemetry {
    pub(crate) metrics: PrometheusHandle,
    log: reload::Handle<Targets, Registry>,
}

impl Telemetry {
    /// Logs this from now on.
    pub(crate) fn apply(&self, filter: &LogFilter) {
        if let Err(error) = self.log.reload(targets(filter)) {
            tracing::error!(%error, "what is logged stays as it is");
        }
    }
}

/// Says why the server ends: whatever is logged otherwise, and before anything is.
///
/// In JSON it is a line of the log, so that what collects the log has it as well.
#[expect(clippy::print_stderr, reason = "for people, it is what a program ends with")]
pub(crate) fn tell_failure(format: LogFormat, error: &anyhow::Error) {
    match format {
        LogFormat::Pretty => eprintln!("geostream-server: {error:#}"),
        LogFormat::Json => {
            let lines = json(fmt::layer().with_writer(io::stderr));
            tracing::subscriber::with_default(Registry::default().with(lines), || {
                tracing::error!(error = format!("{error:#}"), "the server has failed");
            });
        }
    }
}

/// Starts logging to standard error and recording metrics.
pub(crate) fn start(log: &Log) -> anyhow::Result<Telemetry> {
    let (filter, handle) = reload::Layer::new(targets(&log.filter));
    let lines = fmt::layer()
        .with_ansi(io::stderr().is_terminal())
        // It would be reported by a panic, in the middle of a request, when nobody reads the log.
        .log_internal_errors(false)
        .with_writer(io::stderr);
    let lines = match log.format {
        LogFormat::Pretty => lines.boxed(),
        LogFormat::Json => json(lines).boxed(),
    };
    tracing_subscriber::registry().with(filter).with(lines).init();
    let mut builder = PrometheusBuilder::new().idle_timeout(MetricKindMask::GAUGE, Some(FRESH));
    for (name, bounds) in BUCKETS {
        let built = builder.set_buckets_for_metric(Matcher::Full(name.to_owned()), bounds);
        builder = built.context("the buckets of histograms")?;
    }
    let recorder = builder.build_recorder();
    let metrics = recorder.handle();
    metrics::set_global_recorder(recorder).context("a second recorder of metrics")?;
    describe();
    Ok(Telemetry { metrics, log: handle })
}

/// Writes each event as one JSON object on a line.
fn json<S, W>(lines: fmt::Layer<S, DefaultFields, Format, W>) -> JsonLines<S, W> {
    lines.json().flatten_event(true).with_span_list(false)
}

fn targets(filter: &LogFilter) -> Targets {
    filter.as_str().parse().expect("every filter is a list of levels and targets")
}

/// Keeps the recorder's memory bounded, for ever.
pub(crate) async fn upkeep(metrics: PrometheusHandle) {
    loop {
        tokio::time::sleep(UPKEEP).await;
        metrics.run_upkeep();
    }
}

fn describe() {
    for (name, help) in HISTOGRAMS {
        metrics::describe_histogram!(name, help);
    }
    for (name, help) in COUNTERS {
        metrics::describe_counter!(name, help);
    }
    for (name, help) in GAUGES {
        metrics::describe_gauge!(name, help);
    }
}

const HISTOGRAMS: [(&str, &str); 4] = [
    ("http_request_duration_seconds", "How long requests took, from their headers to their answer"),
    (
        "route_decision_duration_seconds",
        "How long decisions for one client took, from an address to a region; one in 64 is timed",
    ),
    ("region_probe_duration_seconds", "How long probes took that were well"),
    ("region_reported_rtt_seconds", "Round-trip times that clients have reported"),
];

const COUNTERS: [(&str, &str); 16] = [
    ("route_decisions_total", "Decisions by service, region and reason"),
    ("route_locations_total", "Decisions by where the client's location came from"),
    ("region_probe_failures_total", "Probes that were not well, by what was wrong"),
    (
        "circuit_breaker_transitions_total",
        "How often the breaker of a region's probes came to be closed, open or half open",
    ),
    ("reports_dropped_total", "Reported outcomes that were lost, since too many came at once"),
    ("rate_limited_requests_total", "Requests that were refused by a rate limit"),
    ("connections_refused_total", "Connections that were refused, by the limit that was reached"),
    ("connections_closed_total", "Connections that were closed for others, by what was short"),
    ("requests_reset_total", "Requests of HTTP/2 that were reset, by the reason"),
    ("rate_limit_leases_total", "Requests for a part of a shared rate limit, by their outcome"),
    ("cache_requests_total", "Requests to caches, by what came of them"),
    ("store_errors_total", "What the store could not do, by what it was to do"),
    ("lost_commits_total", "Commits that the node has decided by and its store's log lacks"),
    (
        "audit_notes_total",
        "Notes for the audit trail of refused requests and log levels, by what became of them",
    ),
    ("trace_spans_total", "Spans of traces, by what became of them"),
    ("shared_views_refused_total", "What other nodes have said and cannot be understood"),
];

const GAUGES: [(&str, &str); 31] = [
    ("geostream_build_info", "What runs; always 1"),
    ("server_ready", "Whether the node answers clients by a configuration and its GeoIP data (1)"),
    ("server_warning", "Whether /ready and the status tell this warning (1)"),
    (
        "clock_skew_seconds",
        "How far the node's clock is ahead of the store's, the cache's, and that peer's which differs most",
    ),
    ("connections_open", "Connections that are open, on all listeners"),
    ("connections_held_bytes", "Memory that requests and their unsent answers take"),
    ("rate_limit_per_second", "The limit of requests a second in force; 0 for no limit"),
    ("config_revision", "The revision that is decided by"),
    ("config_current", "Whether that is what the store had when it was read last (1)"),
    ("store_available", "Whether the store can be read and takes writes now, by operation (1)"),
    ("last_good_revision", "The revision of last-good.json: a start without the store has it"),
    ("last_good_age_seconds", "How long ago last-good.json was written"),
    ("routing_table_age_seconds", "How long ago the routing table was compiled"),
    ("geoip_build_age_seconds", "The age of the oldest GeoIP data"),
    ("geoip_files_refused", "GeoIP files that are missing, damaged or worse than the data in use"),
    (
        "tls_certificate_not_before_seconds",
        "When the server's certificate begins to be valid, in seconds since 1970",
    ),
    (
        "tls_certificate_not_after_seconds",
        "When the server's certificate expires, in seconds since 1970",
    ),
    ("region_healthy", "Whether a region is well, or nobody has looked (1), or not"),
    (
        "region_abstains",
        "Whether this node would take a region for dead, and nothing corroborates it (1)",
    ),
    (
        "probes_unanswered_seconds",
        "For how long no probe of a region or reachability target has succeeded; 0 while one does",
    ),
    (
        "circuit_breaker_state",
        "What the breaker of a region's probes says: closed (0), open (1), half open (2)",
    ),
    ("region_share", "The share of its clients that a region is to have: less while it comes back"),
    ("region_load", "The load of a region, in the unit of its capacity"),
    ("region_capacity", "How much load a region can take"),
    ("region_overridden", "A region of which an operator has said something that holds; always 1"),
    (
        "removal_budget_spent",
        "Whether a service has regions that are answered though unhealthy (1)",
    ),
    ("service_configured_share", "The share of a service's clients that its policy states"),
    ("cache_hit_ratio", "The share of requests that a cache had the answer to, since the start"),
    ("canary_healthy", "Whether a canary is well, or was not asked yet (1), or not"),
    ("shared_views_nodes", "The nodes that are heard, this one included"),
    ("shared_views_available", "Whether other nodes can be heard (1)"),
];
