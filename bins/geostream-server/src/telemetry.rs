//! Logs and metrics.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use anyhow::Context as _;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_util::MetricKindMask;
use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// The bounds of round-trip times, in seconds: what tells regions apart is below a third of one.
const RTT_BUCKETS: [f64; 14] =
    [0.001, 0.002, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0];

/// The bounds of every other histogram, in seconds: a decision takes microseconds, a probe seconds.
const BUCKETS: [f64; 16] = [
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025,
    0.05, 0.1, 0.5, 2.5, 10.0,
];

/// How long a gauge counts after it was set: each is set when the metrics are asked for, so that one
/// whose region or service is gone is missing from the next answer. Two may ask at once.
const FRESH: Duration = Duration::from_secs(1);

/// How often the recorder's buckets are folded, which keeps them from growing while nobody scrapes.
const UPKEEP: Duration = Duration::from_secs(5);

/// Starts logging to standard error and recording metrics.
pub(crate) fn start(log: &Log) -> anyhow::Result<PrometheusHandle> {
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter(&log.filter)?)
        .with_ansi(io::stderr().is_terminal())
        // It would be reported by a panic, in the middle of a request, when nobody reads the log.
        .log_internal_errors(false)
        .with_writer(io::stderr);
    match log.format {
        LogFormat::Pretty => subscriber.init(),
        LogFormat::Json => subscriber.json().flatten_event(true).init(),
    }
    let seconds = Matcher::Suffix("_seconds".to_owned());
    let rtts = Matcher::Full("region_reported_rtt_seconds".to_owned());
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(seconds, &BUCKETS)
        .and_then(|builder| builder.set_buckets_for_metric(rtts, &RTT_BUCKETS))
        .context("the buckets of histograms")?
        .idle_timeout(MetricKindMask::GAUGE, Some(FRESH))
        .build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).context("a second recorder of metrics")?;
    describe();
    Ok(handle)
}

/// Reads what is to be logged.
pub(crate) fn filter(text: &str) -> anyhow::Result<EnvFilter> {
    let filter = EnvFilter::try_new(text);
    filter.with_context(|| format!("log: {text:?} is no level or list of directives"))
}

/// Keeps the recorder's memory bounded, for ever.
pub(crate) async fn upkeep(metrics: PrometheusHandle) {
    loop {
        tokio::time::sleep(UPKEEP).await;
        metrics.run_upkeep();
    }
}

fn describe() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
    describe_histogram!(
        "http_request_duration_seconds",
        Unit::Seconds,
        "How long requests took, from their headers to their answer"
    );
    describe_counter!("route_decisions_total", "Decisions by service, region and reason");
    describe_counter!("geoip_decode_errors_total", "GeoIP records that could not be read");
    describe_gauge!("region_healthy", "Whether a region is well, or nobody has looked (1), or not");
    describe_gauge!(
        "removal_budget_spent",
        "Whether regions of a service go on being answered though they seem to be unhealthy (1)"
    );
    describe_gauge!(
        "circuit_breaker_state",
        "What the breaker of a region's probes says: closed (0), open (1), half open (2)"
    );
    describe_histogram!(
        "region_probe_duration_seconds",
        Unit::Seconds,
        "How long probes took that were well"
    );
    describe_histogram!(
        "region_reported_rtt_seconds",
        Unit::Seconds,
        "Round-trip times that clients have reported"
    );
    describe_counter!("cache_requests_total", "Requests to caches, by what came of them");
    describe_gauge!("cache_hit_ratio", "The share of requests that a cache had the answer to");
    describe_gauge!("config_revision", "The revision that is decided by");
    describe_gauge!("geoip_build_age_seconds", Unit::Seconds, "The age of the oldest GeoIP data");
    describe_gauge!("routing_table_age_seconds", Unit::Seconds, "The age of the routing table");
}
