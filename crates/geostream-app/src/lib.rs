//! GeoStream's use cases over its ports.
//!
//! Every decision is the domain's; here is who asks for it, when, and what happens with the answer.
//!
//! - [`Router`] answers clients from the published table. It does no I/O and takes no lock. A
//!   [`DecisionTimer`] times some of its decisions.
//! - [`Publisher`] puts a new table in the place of the old one, as one value.
//! - [`Configuration`] changes the configuration through its log, and follows it.
//! - [`DataDirectory`] says whether what a start without the store needs is on disk.
//! - [`Cached`] reads the configuration from a cache that nodes share; [`Counted`] counts what a
//!   store fails to do, and [`StoreHealth`] says how the store is now.
//! - [`RegionHealth`] takes in what is seen of the regions; [`HealthDriver`] has them probed.
//! - [`ViewExchange`] tells other nodes what this one sees, and takes in what they say.
//! - [`Clocks`] tells the time by the store's clock, and how far the node's own is from it.
//! - [`RateLimit`] lets each ask so often; [`LeaseKeeper`] shares a limit with other nodes, and
//!   [`RequestLimits`] follow the configuration.
//! - [`Access`] says who a token belongs to, also by what a [`TokenKeeper`] kept; [`AuditTrail`]
//!   tells who wanted what.
//! - [`LogLevel`] says what is logged.
//! - [`Tracer`] says what is traced; [`Traced`] shows what a store does.

mod access;
mod audit;
mod cached;
mod clocks;
mod configuration;
mod counted;
mod data_directory;
mod follow;
mod health;
mod lease;
mod limits;
mod lineage;
mod load;
mod log_level;
mod looks;
mod meters;
mod peers;
mod publisher;
mod rate;
mod reachability;
mod router;
mod store_health;
mod timer;
mod token_keeper;
mod trace;
mod traced;
mod unassigned;

pub use access::{Access, AccessError, AdminsEnd, Caller, Denied, NewToken};
pub use audit::{AuditKeeper, AuditTrail, Retention};
pub use cached::{CacheTally, Cached};
pub use clocks::Clocks;
pub use configuration::{
    Configuration, ForbiddenCheck, ForbiddenProbe, Intent, WriteError, Written, fence_warnings,
    weight_warnings,
};
pub use counted::Counted;
pub use data_directory::{DataDirectory, KeptFiles};
pub use follow::Follower;
pub use health::{
    Doubts, HealthDriver, HealthEvent, Outcome, Peers, RegionHealth, RegionStatus, Reported,
};
pub use lease::LeaseKeeper;
pub use limits::RequestLimits;
pub use log_level::{LogFilter, LogFilterError, LogLevel, Logged};
pub use peers::{KnownNodes, ViewExchange};
pub use publisher::{Publisher, StoreBehind, StoreState};
pub use rate::RateLimit;
pub use reachability::Reachability;
pub use router::{
    Claim, ExplainedRoute, LocationSource, RouteError, RouteQuery, Routed, Router, View,
};
pub use store_health::{StoreHealth, StoreTroubles, StoreWatch, Trouble};
pub use timer::DecisionTimer;
pub use token_keeper::TokenKeeper;
pub use trace::{OpenSpan, Ratio, RatioError, Root, Sampling, Trace, Tracer};
pub use traced::Traced;
pub use unassigned::UnassignedCountry;
