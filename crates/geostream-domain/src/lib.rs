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

mod answers;
mod backoff;
mod best;
mod breaker;
mod bucket;
mod canary;
mod chance;
mod check;
mod commit;
mod config;
mod country;
mod decision;
mod drain;
mod entry;
mod geo;
mod geofence;
mod grant;
mod hash;
mod latency;
mod leaf;
mod limit;
mod location;
mod member;
mod monitor;
mod name;
mod observation;
mod operator;
mod permitted;
mod pool;
mod quorum;
mod rank;
mod reachability;
mod recent;
mod region;
mod reports;
mod retention;
mod roster;
mod service;
mod skew;
mod spill;
mod table;
mod tiers;
mod time;
mod watch;
mod yardstick;

pub use answers::{Answering, Subject};
pub use backoff::Backoff;
pub use breaker::{Breaker, BreakerRules, BreakerState};
pub use bucket::{Lease, LeaseRequest, Rate, SharedBucket, TokenBucket};
pub use chance::Chance;
pub use check::{
    CheckTiming, CheckTimingError, HealthCheck, ProbeHeaderName, ProbeHeaderNameError,
    ProbeHeaderValue, ProbeHeaderValueError, ProbeHeaders, ProbeHost, ProbeMethod, ProbeProtocol,
    ProbeRequest, ProbeRequestError, ProbeTarget, ProbeTargetError, StatusCodes, StatusCodesError,
    StatusRange, StatusRangeError, TooManyHeaders,
};
pub use commit::{Commit, ReplayError};
pub use config::{Change, ChangeError, Config, ConfigError, Revision, Snapshot};
pub use country::{
    Continent, ContinentError, CountryCode, CountryCodeError, CountryGroup, CountryGroupError,
};
pub use decision::{
    Alternative, Alternatives, Client, Decision, Explained, Explanation, Fate, NoRegion, Reason,
};
pub use drain::{Lack, Shortage};
pub use entry::RegionEntry;
pub use geo::{EARTH_RADIUS_KM, GeoPoint, GeoPointError};
pub use geofence::{
    ClientSelector, FenceRule, Geofence, IdleSelector, LabelSelector, TooManyRules, UnassignedCode,
};
pub use grant::{
    Grant, GrantError, GrantLimits, GrantLimitsError, NamePattern, NamePatternError, Scope,
    Touched, UnknownScope, WiderError,
};
pub use hash::ClientKey;
pub use latency::{FIBRE_KM_PER_MS, FLOOR_MS, ROUTE_STRETCH, Rtt, RttError};
pub use limit::{RequestLimit, RequestLimitError};
pub use location::{Location, Precision};
pub use monitor::{
    Evidence, HealthMonitor, MonitorOutput, ProbeFailure, ProbeId, ProbeOutcome, TlsFailure,
};
pub use name::{LabelKey, LabelValue, Line, NameError, NodeId, RegionId, ServiceId};
pub use observation::{Health, Load, LoadError, Observation, Observations, Removal, Share};
pub use operator::{
    AlternativeCount, AlternativeCountError, Flag, InForce, Override, OverrideAction, Setting,
    SettingSource, Settings, UnknownFlag,
};
pub use permitted::PermittedNetworks;
pub use quorum::{
    HeardView, LoadShare, MOST_NODES, NodeView, Sight, VIEW_HOLDS, VIEW_REPEATS, Vote, Votes,
};
pub use rank::{Rank, Reach, Terms};
pub use reachability::{ReachabilityTargets, ReachabilityTargetsError};
pub use recent::{LostCommits, RecentCommits};
pub use region::{
    Capacity, CapacityError, Cost, CostError, Endpoint, EndpointError, Labels, Region,
    TooManyLabels,
};
pub use reports::Report;
pub use retention::{longest_gap, outlived};
pub use roster::{HeardNode, MISSING_HOLDS, NodeSummary, Roster, RosterEntry};
pub use service::{
    AllDown, Band, BandError, BandKm, BandKmError, Bias, BiasError, Member, Objective, Policy,
    RemovalBudget, RemovalBudgetError, Service, Weight, WeightError,
};
pub use skew::{ClockReading, KnownSkew, NOISE, SKEW_WARNS, Skew, SkewWatch, Skews};
pub use table::{Permitted, RegionIndex, RoutingTable, ServiceTable};
pub use time::Timestamp;
pub use watch::{HealthChange, HealthWatch, WatchOutput, WatchedHealth};

/// The code in the README is compiled and run as the documentation is.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
