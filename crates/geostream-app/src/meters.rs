//! What is counted and timed of each region.

use std::collections::BTreeMap;

use geostream_domain::{BreakerState, ProbeFailure, ProbeOutcome};
use metrics::{Counter, Histogram, SharedString, counter, histogram};

/// What is known of a region's probes.
#[derive(Debug)]
pub(crate) struct ProbeMeters {
    region: SharedString,
    durations: Histogram,
    failures: BTreeMap<&'static str, Counter>,
    opened: Counter,
    half_opened: Counter,
    closed: Counter,
}

impl ProbeMeters {
    pub(crate) fn register(region: SharedString) -> Self {
        let to = |state: &'static str| {
            let region = region.clone();
            counter!("circuit_breaker_transitions_total", "region" => region, "to" => state)
        };
        let (opened, half_opened, closed) = (to("open"), to("half_open"), to("closed"));
        let durations = histogram!("region_probe_duration_seconds", "region" => region.clone());
        Self { region, durations, failures: BTreeMap::new(), opened, half_opened, closed }
    }

    pub(crate) fn handle_outcome(&mut self, outcome: ProbeOutcome) {
        match outcome {
            ProbeOutcome::Well(took) => self.durations.record(took),
            ProbeOutcome::Failed(failure) => self.failure(reason(failure)).increment(1),
            ProbeOutcome::NotAsked => {}
        }
    }

    pub(crate) fn handle_breaker(&self, state: BreakerState) {
        let counter = match state {
            BreakerState::Open => &self.opened,
            BreakerState::HalfOpen => &self.half_opened,
            BreakerState::Closed => &self.closed,
        };
        counter.increment(1);
    }

    fn failure(&mut self, reason: &'static str) -> &Counter {
        self.failures.entry(reason).or_insert_with(|| {
            let region = self.region.clone();
            counter!("region_probe_failures_total", "region" => region, "reason" => reason)
        })
    }
}

pub(crate) fn reported_rtt(region: SharedString) -> Histogram {
    histogram!("region_reported_rtt_seconds", "region" => region)
}

fn reason(failure: ProbeFailure) -> &'static str {
    match failure {
        ProbeFailure::Refused => "refused",
        ProbeFailure::Reset => "reset",
        ProbeFailure::Timeout => "timeout",
        ProbeFailure::Unreachable => "unreachable",
        ProbeFailure::Name => "name",
        ProbeFailure::Tls(_) => "tls",
        ProbeFailure::Status(_) => "status",
        ProbeFailure::Body => "body",
        ProbeFailure::Redirect => "redirect",
        ProbeFailure::Incomplete => "incomplete",
        ProbeFailure::HeadTooLarge => "head_too_large",
        ProbeFailure::Protocol => "protocol",
        ProbeFailure::Forbidden => "forbidden",
        ProbeFailure::Local => "local",
    }
}
