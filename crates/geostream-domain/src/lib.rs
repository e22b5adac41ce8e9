//! Which region should serve this client now?
//!
//! A [`Config`] holds regions and services; it changes by [`Change`]s and is valid at any time.
//! Together with [`Observations`] it is compiled into a [`RoutingTable`], an immutable value that
//! decides in well under a microsecond: it takes a [`Client`] and returns a [`Decision`] with its
//! [`Reason`] and alternatives, or an [`Explanation`] with every region's fate.
//!
//! What is observed comes from anywhere, or from the machines that are here: a [`Breaker`] for
//! anything that may fail, a [`HealthMonitor`] for a region, a [`HealthWatch`] for all regions of a
//! configuration. They say when they want to be called and what they want to be done. Several nodes
//! that tell each other what they see come to one verdict by their [`Votes`].
//!
//! The crate does no I/O, owns no clock and draws no random numbers. Regions are ranked by a
//! [`Rank`] with a derived order: no weighted sums, so each step of a decision can be read.
//!
//! ```
//! use geostream_domain::{
//!     Client, Config, GeoPoint, Observations, Region, RoutingTable, Service, Timestamp,
//! };
//!
//! let oregon = Region::new("us-west-2".parse()?, GeoPoint::new(45.5, -122.7)?);
//! let dublin = Region::new("eu-west-1".parse()?, GeoPoint::new(53.3, -6.3)?);
//! let api = Service::new("api".parse()?, [oregon.id.clone(), dublin.id.clone()]);
//! let config = Config::default().after([oregon.into(), dublin.into(), api.into()])?;
//! let table =
//!     RoutingTable::compile(config.into(), &Observations::default(), Timestamp::EPOCH, None);
//!
//! let client = Client::at(GeoPoint::new(48.9, 2.4)?);
//! let decision = table.service("api").ok_or("no such service")?.route(&client)?;
//! assert_eq!(table.region(decision.region).id.as_str(), "eu-west-1");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

/// Where clients and regions are.
mod place {
    pub(crate) mod country;
    pub(crate) mod geo;
    pub(crate) mod location;
}

/// What operators declare, and how it changes.
mod config {
    pub(crate) mod check;
    pub(crate) mod commit;
    pub(crate) mod document;
    pub(crate) mod endpoint;
    pub(crate) mod geofence;
    pub(crate) mod operator;
    pub(crate) mod permitted;
    pub(crate) mod recent;
    pub(crate) mod region;
    pub(crate) mod request_limit;
    pub(crate) mod service;
    pub(crate) mod targets;
}

/// How long a round trip takes.
mod latency {
    pub(crate) mod rtt;
}

/// What a decision is made of.
mod routing {
    pub(crate) mod best;
    pub(crate) mod candidate;
    pub(crate) mod decision;
    pub(crate) mod drain;
    pub(crate) mod entry;
    pub(crate) mod index;
    pub(crate) mod leaf;
    pub(crate) mod member;
    pub(crate) mod pool;
    pub(crate) mod rank;
    pub(crate) mod spill;
    pub(crate) mod table;
    pub(crate) mod tiers;
    pub(crate) mod yardstick;
}

/// What nodes observe of regions, and what they conclude from it.
mod health {
    pub(crate) mod answers;
    pub(crate) mod breaker;
    pub(crate) mod canary;
    pub(crate) mod evidence;
    pub(crate) mod load;
    pub(crate) mod monitor;
    pub(crate) mod observation;
    pub(crate) mod quorum;
    pub(crate) mod reports;
    pub(crate) mod roster;
    pub(crate) mod votes;
    pub(crate) mod watch;
}

/// How often something may happen.
mod limit {
    pub(crate) mod backoff;
    pub(crate) mod bucket;
}

mod chance;
mod grant;
mod hash;
mod name;
mod retention;
mod skew;
mod time;

pub use chance::Chance;
pub use config::check::{
    CheckTiming, CheckTimingError, HealthCheck, ProbeHeaderName, ProbeHeaderNameError,
    ProbeHeaderValue, ProbeHeaderValueError, ProbeHeaders, ProbeHost, ProbeMethod, ProbeProtocol,
    ProbeRequest, ProbeRequestError, ProbeTarget, ProbeTargetError, StatusCodes, StatusCodesError,
    StatusRange, StatusRangeError, TooManyHeaders,
};
pub use config::commit::{Commit, ReplayError};
pub use config::document::{Change, ChangeError, Config, ConfigError, Revision, Snapshot};
pub use config::endpoint::{Endpoint, EndpointError};
pub use config::geofence::{
    ClientSelector, FenceRule, Geofence, IdleSelector, LabelSelector, TooManyRules, UnassignedCode,
};
pub use config::operator::{
    AlternativeCount, AlternativeCountError, Flag, InForce, Override, OverrideAction, Setting,
    SettingSource, Settings, UnknownFlag,
};
pub use config::permitted::PermittedNetworks;
pub use config::recent::{LostCommits, RecentCommits};
pub use config::region::{Capacity, CapacityError, Cost, CostError, Labels, Region, TooManyLabels};
pub use config::request_limit::{RequestLimit, RequestLimitError};
pub use config::service::{
    AllDown, Band, BandError, BandKm, BandKmError, Bias, BiasError, Member, Objective, Policy,
    RemovalBudget, RemovalBudgetError, Service, Weight, WeightError,
};
pub use config::targets::{ReachabilityTargets, ReachabilityTargetsError};
pub use grant::{
    Grant, GrantError, GrantLimits, GrantLimitsError, NamePattern, NamePatternError, Scope,
    Touched, UnknownScope, WiderError,
};
pub use hash::ClientKey;
pub use health::answers::{Answering, Subject};
pub use health::breaker::{Breaker, BreakerRules, BreakerState};
pub use health::evidence::{Evidence, ProbeFailure, ProbeId, ProbeOutcome, TlsFailure};
pub use health::load::{Load, LoadError};
pub use health::monitor::{HealthMonitor, MonitorOutput};
pub use health::observation::{Health, Observation, Observations, Share};
pub use health::quorum::{
    HeardView, LoadShare, MOST_NODES, NodeView, Sight, VIEW_HOLDS, VIEW_REPEATS,
};
pub use health::reports::Report;
pub use health::roster::{HeardNode, MISSING_HOLDS, NodeSummary, Roster, RosterEntry};
pub use health::votes::Removal;
pub use health::votes::Vote;
pub use health::votes::Votes;
pub use health::watch::{HealthChange, HealthWatch, WatchOutput, WatchedHealth};
pub use latency::rtt::{FIBRE_KM_PER_MS, FLOOR_MS, ROUTE_STRETCH, Rtt, RttError};
pub use limit::backoff::Backoff;
pub use limit::bucket::{Lease, LeaseRequest, Rate, SharedBucket, TokenBucket};
pub use name::{LabelKey, LabelValue, Line, NameError, NodeId, RegionId, ServiceId};
pub use place::country::{
    Continent, ContinentError, CountryCode, CountryCodeError, CountryGroup, CountryGroupError,
};
pub use place::geo::{EARTH_RADIUS_KM, GeoPoint, GeoPointError};
pub use place::location::{Location, Precision};
pub use retention::{longest_gap, outlived};
pub use routing::decision::{
    Alternative, Alternatives, Client, Decision, Explained, Explanation, Fate, NoRegion, Reason,
};
pub use routing::drain::{Lack, Shortage};
pub use routing::entry::RegionEntry;
pub use routing::index::RegionIndex;
pub use routing::rank::{Rank, Reach, Terms};
pub use routing::table::{Permitted, RoutingTable, ServiceTable};
pub use skew::{ClockReading, KnownSkew, NOISE, SKEW_WARNS, Skew, SkewWatch, Skews};
pub use time::Timestamp;

/// The code in the README is compiled and run as the documentation is.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
