//! What is so just now, as metrics.
//!
//! Every gauge is set when the metrics are asked for. The recorder drops those that are not, and so
//! a region or service that is configured no more takes its own along.

use std::net::SocketAddr;

use geostream_app::{CacheTally, Peers, RegionStatus};
use geostream_domain::{BreakerState, Health, RoutingTable, Timestamp};
use geostream_ports::GeoDatabase;
use metrics::gauge;

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float, and revisions are few")]
pub(crate) fn show_table(table: &RoutingTable, now: Timestamp) {
    gauge!("config_revision").set(table.revision().get() as f64);
    gauge!("routing_table_age_seconds").set(now.since(table.compiled_at()).as_secs_f64());
    for service in table.services() {
        let spent = if service.retained().is_empty() { 0.0 } else { 1.0 };
        let service = service.service().id.to_string();
        gauge!("removal_budget_spent", "service" => service).set(spent);
    }
}

pub(crate) fn show_geo(files: &[GeoDatabase], now: Timestamp) {
    let oldest = files.iter().filter_map(|file| Some(file.data.as_ref()?.built)).min();
    if let Some(oldest) = oldest {
        gauge!("geoip_build_age_seconds").set(now.since(oldest).as_secs_f64());
    }
}

pub(crate) fn show_region(RegionStatus { region, watched, .. }: &RegionStatus) {
    gauge!("region_healthy", "region" => region.to_string()).set(is_healthy(watched.health));
    let breaker = match watched.breaker {
        Some(BreakerState::Closed) => 0.0,
        Some(BreakerState::Open) => 1.0,
        Some(BreakerState::HalfOpen) => 2.0,
        None => return,
    };
    gauge!("circuit_breaker_state", "region" => region.to_string()).set(breaker);
}

#[expect(clippy::cast_precision_loss, reason = "nodes are few")]
pub(crate) fn show_peers(peers: Option<&Peers>) {
    let Some(Peers { nodes, error, .. }) = peers else { return };
    gauge!("shared_views_available").set(if error.is_none() { 1.0 } else { 0.0 });
    gauge!("shared_views_nodes").set((nodes.len() + 1) as f64);
}

pub(crate) fn show_canary((canary, health): &(SocketAddr, Health)) {
    gauge!("canary_healthy", "canary" => canary.to_string()).set(is_healthy(*health));
}

pub(crate) fn show_cache(tally: &CacheTally) {
    if let Some(ratio) = tally.hit_ratio() {
        gauge!("cache_hit_ratio", "cache" => "config").set(ratio);
    }
}

fn is_healthy(health: Health) -> f64 {
    match health {
        Health::Healthy | Health::Unknown => 1.0,
        Health::Unhealthy => 0.0,
    }
}
