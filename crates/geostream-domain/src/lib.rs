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
    mod country;
    mod geo;
    mod location;

    pub use country::{
        Continent, ContinentError, CountryCode, CountryCodeError, CountryGroup, CountryGroupError,
    };
    pub use geo::{EARTH_RADIUS_KM, GeoPoint, GeoPointError};
    pub use location::{Location, Precision};

    pub(crate) use geo::{Direction, DirectionBox, angle};
    pub(crate) use location::Origin;
}

/// What operators declare, and how it changes.
mod config {
    mod check;
    mod commit;
    mod document;
    mod endpoint;
    mod geofence;
    mod operator;
    mod permitted;
    mod recent;
    mod region;
    mod request_limit;
    mod service;
    mod targets;

    pub use check::{
        CheckTiming, CheckTimingError, HealthCheck, ProbeHeaderName, ProbeHeaderNameError,
        ProbeHeaderValue, ProbeHeaderValueError, ProbeHeaders, ProbeHost, ProbeMethod,
        ProbeProtocol, ProbeRequest, ProbeRequestError, ProbeTarget, ProbeTargetError, StatusCodes,
        StatusCodesError, StatusRange, StatusRangeError, TooManyHeaders,
    };
    pub use commit::{Commit, ReplayError};
    pub use document::{Change, ChangeError, Config, ConfigError, Revision, Snapshot};
    pub use endpoint::{Endpoint, EndpointError};
    pub use geofence::{
        ClientSelector, FenceRule, Geofence, IdleSelector, LabelSelector, TooManyRules,
        UnassignedCode,
    };
    pub use operator::{
        AlternativeCount, AlternativeCountError, Flag, InForce, Override, OverrideAction, Setting,
        SettingSource, Settings, UnknownFlag,
    };
    pub use permitted::PermittedNetworks;
    pub use recent::{LostCommits, RecentCommits};
    pub use region::{Capacity, CapacityError, Cost, CostError, Labels, Region, TooManyLabels};
    pub use request_limit::{RequestLimit, RequestLimitError};
    pub use service::{
        AllDown, Band, BandError, BandKm, BandKmError, Bias, BiasError, Member, Objective, Policy,
        RemovalBudget, RemovalBudgetError, Service, Weight, WeightError,
    };
    pub use targets::{ReachabilityTargets, ReachabilityTargetsError};
}

/// How long a round trip takes.
mod latency {
    mod estimate;
    mod rtt;

    pub use estimate::{Latency, LatencySource};
    pub use rtt::{FIBRE_KM_PER_MS, FLOOR_MS, ROUTE_STRETCH, Rtt, RttError};

    pub(crate) use rtt::{KM_PER_RADIAN, MS_PER_RADIAN};
}

/// What a decision is made of.
mod routing {
    mod best;
    mod candidate;
    mod decision;
    mod drain;
    mod entry;
    mod explain;
    mod index;
    mod leaf;
    mod member;
    mod metric;
    mod pool;
    mod rank;
    mod service_table;
    mod spill;
    mod table;
    mod tiers;

    pub use decision::{Alternative, Alternatives, Client, Decision, NoRegion, Reason};
    pub use drain::{Lack, Shortage};
    pub use entry::{LONGEST_TTL, RegionEntry};
    pub use explain::{Explained, Explanation, Fate};
    pub use index::RegionIndex;
    pub use rank::{Rank, Reach, Terms};
    pub use service_table::{Permitted, ServiceTable};
    pub use table::RoutingTable;
}

/// What nodes observe of regions, and what they conclude from it.
mod health {
    mod answers;
    mod breaker;
    mod canary;
    mod evidence;
    mod load;
    mod monitor;
    mod observation;
    mod quorum;
    mod reports;
    mod roster;
    mod votes;
    mod watch;

    pub use answers::{Answering, Subject};
    pub use breaker::{Breaker, BreakerRules, BreakerState};
    pub use evidence::{Evidence, ProbeFailure, ProbeId, ProbeOutcome, TlsFailure};
    pub use load::{Load, LoadError};
    pub use monitor::{HealthMonitor, MonitorOutput};
    pub use observation::{Health, Observation, Observations, Share};
    pub use quorum::{HeardView, LoadShare, MOST_NODES, NodeView, Sight, VIEW_HOLDS, VIEW_REPEATS};
    pub use reports::Report;
    pub use roster::{HeardNode, MISSING_HOLDS, NodeSummary, Roster, RosterEntry};
    pub use votes::{Removal, Vote, Votes};
    pub use watch::{HealthChange, HealthWatch, WatchOutput, WatchedHealth};
}

/// How often something may happen.
mod limit {
    mod backoff;
    mod bucket;

    pub use backoff::Backoff;
    pub use bucket::{Lease, LeaseRequest, Rate, SharedBucket, TokenBucket};
}

mod chance;
mod grant;
mod hash;
mod name;
mod retention;
mod skew;
mod time;

pub use config::*;
pub use health::*;
pub use latency::*;
pub use limit::*;
pub use place::*;
pub use routing::*;

pub use chance::Chance;
pub use grant::{
    Grant, GrantError, GrantLimits, GrantLimitsError, NamePattern, NamePatternError, Scope,
    Touched, UnknownScope, WiderError,
};
pub use hash::ClientKey;
pub use name::{LabelKey, LabelValue, Line, NameError, NodeId, RegionId, ServiceId};
pub use retention::{longest_gap, outlived};
pub use skew::{ClockReading, KnownSkew, NOISE, SKEW_WARNS, Skew, SkewWatch, Skews};
pub use time::Timestamp;

/// The code in the README is compiled and run as the documentation is.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
