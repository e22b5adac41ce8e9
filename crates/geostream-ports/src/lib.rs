//! What GeoStream asks of the world.
//!
//! A port is a trait that speaks the domain's types and an error that says what the caller can do.
//! Absence is an `Option`. To add one: write the trait here with the promises that every adapter
//! keeps, write those promises as a suite in `contract`, implement the trait in an adapter crate
//! whose tests call the suite against the real thing, and choose the adapter in the server's
//! `wire.rs`.

mod audit_log;
mod cache;
mod chain;
mod clock;
mod config_store;
#[cfg(feature = "contract")]
pub mod contract;
mod geo;
mod health_log;
mod known_tokens;
mod last_good;
mod prober;
mod shared_counters;
mod shared_views;
mod token_store;
mod trace;

use std::error::Error;

use thiserror::Error;

pub use audit_log::{
    Actor, Attempt, AuditLog, AuditOutcome, AuditPart, AuditRecord, Audited, Effect, TrailQuery,
};
pub use cache::{Cache, CacheError, Head, Kept, Marked, MarkedStore};
pub use chain::Chain;
pub use clock::{Clock, SystemClock};
pub use config_store::{
    ConfigStore, Import, ImportError, ImportId, ImportPart, Look, Proposal, ProposeError, Writes,
};
pub use geo::{Families, GeoData, GeoDatabase, GeoLocator, Network, Place};
pub use geostream_domain::{Scope, UnknownScope};
pub use health_log::{CHANGES_IN_ALL, CHANGES_PER_REGION, HealthLog, HealthRecord};
pub use known_tokens::{KnownTokens, SavedTokens};
pub use last_good::{LastGood, SavedTable};
pub use prober::{KeptConnection, Probed, Prober};
pub use shared_counters::{CounterKey, MOST_LEASES, SharedCounters};
pub use shared_views::{Exchanged, Heard, SharedViews};
pub use token_store::{TokenId, TokenIdError, TokenRecord, TokenStore};
pub use trace::{Note, Span, SpanId, SpanKind, SpanSink, TraceContext, TraceContextError, TraceId};

/// Everything that a node keeps in one place: configuration, tokens, the log of health, and who has
/// done what.
pub trait Store: ConfigStore + TokenStore + HealthLog + AuditLog {}

impl<S: ConfigStore + TokenStore + HealthLog + AuditLog> Store for S {}

/// Something behind a port cannot be reached, or does not do its work: try again later.
#[derive(Debug, Error)]
#[error("{what} is unavailable")]
pub struct Unavailable {
    what: &'static str,
    #[source]
    source: Box<dyn Error + Send + Sync>,
}

impl Unavailable {
    /// Says what is unavailable and why.
    pub fn new(what: &'static str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { what, source: source.into() }
    }
}
