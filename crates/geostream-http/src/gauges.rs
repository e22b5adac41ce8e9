//! What is so just now, as metrics.
//!
//! Every gauge is set when the metrics are asked for. The recorder drops those that are not, and so
//! a region or service that is configured no more takes its own along.

use std::net::SocketAddr;
use std::time::Instant;

use geostream_api::Warning;
use geostream_app::{
    CacheTally, KeptFiles, Peers, RegionStatus, RequestLimits, StoreState, StoreTroubles,
};
use geostream_domain::{
    Answering, BreakerState, Health, InForce, KnownSkew, RegionEntry, RoutingTable, ServiceTable,
    Skew, Skews, Timestamp,
};
use geostream_ports::GeoDatabase;
use geostream_tls::Validity;
use metrics::{SharedString, gauge};

use crate::connections::Connections;
use crate::warnings;

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float, and revisions are few")]
pub(crate) fn show_table(table: &RoutingTable, now: Timestamp) {
    gauge!("config_revision").set(table.revision().get() as f64);
    gauge!("routing_table_age_seconds").set(now.since(table.compiled_at()).as_secs_f64());
    table.services().iter().for_each(show_service);
    table.regions().iter().for_each(show_entry);
}

fn show_service(table: &ServiceTable) {
    let service = SharedString::from(table.service().id.to_string());
    let spent = !table.retained().is_empty();
    gauge!("removal_budget_spent", "service" => service.clone()).set(one_if(spent));
    for (region, share) in table.service().configured_shares() {
        let region = region.to_string();
        gauge!("service_configured_share", "service" => service.clone(), "region" => region)
            .set(share);
    }
}

fn show_entry(RegionEntry { region, overridden, .. }: &RegionEntry) {
    if let Some(capacity) = region.capacity {
        gauge!("region_capacity", "region" => region.id.to_string()).set(capacity.units());
    }
    if let Some(wish) = overridden {
        let action = wish.action.as_str();
        gauge!("region_overridden", "region" => region.id.to_string(), "action" => action).set(1);
    }
}

/// Shows what runs, whether it is ready, and whether it decides by what its store has.
pub(crate) fn show_node(version: &'static str, is_ready: bool, store: &StoreState) {
    gauge!("geostream_build_info", "version" => version).set(1);
    gauge!("server_ready").set(one_if(is_ready));
    gauge!("config_current").set(one_if(*store == StoreState::Current));
}

/// Shows whether the store can be read and written now.
pub(crate) fn show_store(troubles: &StoreTroubles) {
    let read = one_if(troubles.is_readable());
    let write = one_if(troubles.is_writable());
    gauge!("store_available", "operation" => "read").set(read);
    gauge!("store_available", "operation" => "write").set(write);
}

/// Shows what a start without the store would decide by.
#[expect(clippy::cast_precision_loss, reason = "a gauge is a float, and revisions are few")]
pub(crate) fn show_last_good(files: &KeptFiles, now: Timestamp) {
    let Some((revision, at)) = files.last_good else { return };
    gauge!("last_good_revision").set(revision.get() as f64);
    gauge!("last_good_age_seconds").set(now.since(at).as_secs_f64());
}

/// Shows the time within which the server's certificate is valid, in seconds since 1970.
pub(crate) fn show_certificate(validity: Validity) {
    gauge!("tls_certificate_not_before_seconds").set(validity.not_before.as_secs_f64());
    gauge!("tls_certificate_not_after_seconds").set(validity.not_after.as_secs_f64());
}

/// Shows which warnings `/ready` tells.
pub(crate) fn show_warnings(warnings: &[Warning]) {
    for &code in warnings::CODES {
        let is_told = warnings.iter().any(|warning| warning.code == code);
        gauge!("server_warning", "warning" => code).set(one_if(is_told));
    }
}

/// Shows how far the node's clock is ahead of others.
pub(crate) fn show_skews(skews: &Skews) {
    let Skews { store, cache, peers } = *skews;
    for (against, known) in [("store", store), ("cache", cache), ("peers", peers)] {
        if let Some(KnownSkew { skew, .. }) = known {
            gauge!("clock_skew_seconds", "against" => against).set(seconds(skew));
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a gauge is a float, and milliseconds do not matter"
)]
fn seconds(skew: Skew) -> f64 {
    skew.millis() as f64 / 1e3
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float, and these are small")]
pub(crate) fn show_connections(connections: &Connections) {
    gauge!("connections_open").set(connections.count() as f64);
    gauge!("connections_held_bytes").set(connections.held_bytes() as f64);
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float, and files are few")]
pub(crate) fn show_geo(files: &[GeoDatabase], now: Timestamp) {
    let refused = files.iter().filter(|file| file.refused.is_some()).count();
    gauge!("geoip_files_refused").set(refused as f64);
    let oldest = files.iter().filter_map(|file| Some(file.data.as_ref()?.built)).min();
    if let Some(oldest) = oldest {
        gauge!("geoip_build_age_seconds").set(now.since(oldest).as_secs_f64());
    }
}

pub(crate) fn show_region(status: &RegionStatus) {
    let RegionStatus { region, watched, load, .. } = status;
    let region = SharedString::from(region.to_string());
    gauge!("region_healthy", "region" => region.clone()).set(is_healthy(watched.health));
    gauge!("region_share", "region" => region.clone()).set(watched.share.fraction());
    if let Some(load) = load {
        gauge!("region_load", "region" => region.clone()).set(load.units());
    }
    let breaker = match watched.breaker {
        Some(BreakerState::Closed) => 0.0,
        Some(BreakerState::Open) => 1.0,
        Some(BreakerState::HalfOpen) => 2.0,
        None => return,
    };
    gauge!("region_abstains", "region" => region.clone()).set(one_if(watched.abstains));
    gauge!("circuit_breaker_state", "region" => region).set(breaker);
}

/// Shows for how long nothing has answered the node's probes, if it probes anything.
pub(crate) fn show_answering(answering: Answering, now: Instant) {
    let lasts = match answering {
        Answering::Unprobed => return,
        Answering::Answered => 0.0,
        Answering::Unanswered(since) => now.saturating_duration_since(since).as_secs_f64(),
    };
    gauge!("probes_unanswered_seconds").set(lasts);
}

#[expect(clippy::cast_precision_loss, reason = "nodes are few")]
pub(crate) fn show_peers(peers: Option<&Peers>) {
    let Some(Peers { nodes, error, .. }) = peers else { return };
    gauge!("shared_views_available").set(one_if(error.is_none()));
    gauge!("shared_views_nodes").set((nodes.len() + 1) as f64);
}

pub(crate) fn show_canary((canary, health): &(SocketAddr, Health)) {
    gauge!("canary_healthy", "canary" => canary.to_string()).set(is_healthy(*health));
}

/// Shows how often each client and each token may ask; 0 without a limit.
pub(crate) fn show_limits(limits: &RequestLimits) {
    let in_force = [("client", limits.clients.in_force()), ("token", limits.tokens.in_force())];
    for (limit, InForce { value, .. }) in in_force {
        let per_second = f64::from(value.per_second());
        gauge!("rate_limit_per_second", "limit" => limit).set(per_second);
    }
}

pub(crate) fn show_cache(tally: &CacheTally) {
    if let Some(ratio) = tally.hit_ratio() {
        gauge!("cache_hit_ratio", "cache" => "config").set(ratio);
    }
}

fn is_healthy(health: Health) -> f64 {
    one_if(health != Health::Unhealthy)
}

fn one_if(is_so: bool) -> f64 {
    f64::from(u8::from(is_so))
}
