//! What operators decide: overrides of what is observed, and the switches of the whole node.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::config::request_limit::RequestLimit;
use crate::config::targets::ReachabilityTargets;
use crate::name::{Line, RegionId, ServiceId};
use crate::time::Timestamp;

/// An operator's word on a region; it sits beside what is observed and never overwrites it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// The region it speaks of.
    pub region: RegionId,
    /// What the operator wants.
    pub action: OverrideAction,
    /// Who wants it.
    pub owner: Line,
    /// Why.
    pub reason: Line,
    /// When it was set.
    pub since: Timestamp,
    /// When it ends by itself; without, it stays until it is cleared.
    pub expires: Option<Timestamp>,
}

impl Override {
    /// Tells whether the override still holds.
    #[must_use]
    pub fn holds_at(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }
}

/// What an override does to a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OverrideAction {
    /// No new client, whatever happens to the other regions.
    Drain,
    /// Treated as healthy, whatever is observed.
    Up,
    /// Treated as unhealthy, whatever is observed; may still be answered when all are down.
    Down,
}

impl OverrideAction {
    /// Every action.
    pub const ALL: [Self; 3] = [Self::Drain, Self::Up, Self::Down];

    /// Returns the action's name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// A switch of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flag {
    /// Whether anybody may ask for an explanation; with it off, a viewer's token is needed.
    PublicExplain,
    /// Whether a caller may state the client's location, or must leave it to the GeoIP data.
    CallerLocation,
}

impl Flag {
    /// Every flag, in the order of its name.
    pub const ALL: [Self; 2] = [Self::CallerLocation, Self::PublicExplain];

    /// Returns the flag's name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PublicExplain => "public_explain",
            Self::CallerLocation => "caller_location",
        }
    }

    /// Returns what the flag does when it is on.
    #[must_use]
    pub fn description(self) -> &'static str {
        match self {
            Self::PublicExplain => "explanations of fates and ranks need no token",
            Self::CallerLocation => "a caller may state the client's location",
        }
    }

    /// Returns whether the flag is on where nobody has set it: every flag is.
    #[must_use]
    pub fn default_state(self) -> bool {
        match self {
            Self::PublicExplain | Self::CallerLocation => true,
        }
    }
}

/// A name that is no flag's.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("there is no such flag; the flags are caller_location and public_explain")]
pub struct UnknownFlag;

impl FromStr for Flag {
    type Err = UnknownFlag;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|flag| flag.as_str() == text).ok_or(UnknownFlag)
    }
}

impl fmt::Display for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One setting of the node, with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// The service that a request without one means.
    DefaultService(Option<ServiceId>),
    /// How many alternatives an answer carries.
    Alternatives(AlternativeCount),
    /// How often each client's network may ask; `None` leaves it to each node.
    RequestsPerSecond(Option<RequestLimit>),
    /// How often may be asked with each token; `None` leaves it to each node.
    RequestsPerSecondPerToken(Option<RequestLimit>),
    /// The addresses that tell whether a node has a network; `None` leaves them to each node.
    ReachabilityTargets(Option<ReachabilityTargets>),
}

/// All settings of the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The service that a request without one means.
    pub default_service: Option<ServiceId>,
    /// How many alternatives an answer carries.
    pub alternatives: AlternativeCount,
    /// How often each client's network may ask; `None` leaves it to each node.
    pub requests_per_second: Option<RequestLimit>,
    /// How often may be asked with each token; `None` leaves it to each node.
    pub requests_per_second_per_token: Option<RequestLimit>,
    /// The addresses that tell whether a node has a network; `None` leaves them to each node.
    pub reachability_targets: Option<ReachabilityTargets>,
}

impl Settings {
    /// Returns every setting with its value.
    #[must_use]
    pub fn all(&self) -> [Setting; 5] {
        [
            Setting::Alternatives(self.alternatives),
            Setting::DefaultService(self.default_service.clone()),
            Setting::RequestsPerSecond(self.requests_per_second),
            Setting::RequestsPerSecondPerToken(self.requests_per_second_per_token),
            Setting::ReachabilityTargets(self.reachability_targets.clone()),
        ]
    }

    /// Gives one setting another value.
    pub(crate) fn set(&mut self, setting: Setting) {
        match setting {
            Setting::DefaultService(service) => self.default_service = service,
            Setting::Alternatives(count) => self.alternatives = count,
            Setting::RequestsPerSecond(limit) => self.requests_per_second = limit,
            Setting::RequestsPerSecondPerToken(limit) => self.requests_per_second_per_token = limit,
            Setting::ReachabilityTargets(targets) => self.reachability_targets = targets,
        }
    }
}

/// A value that a node goes by, and the place that it is set in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InForce<T> {
    /// The value.
    pub value: T,
    /// The place.
    pub source: SettingSource,
}

/// Where a value in force is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingSource {
    /// In the configuration, which holds for all nodes.
    Configuration,
    /// In the settings of the node itself, or nowhere.
    Node,
}

impl<T> InForce<T> {
    /// Returns what the configuration says, or else what the node's own settings say.
    #[must_use]
    pub fn of(configured: Option<T>, own: T) -> Self {
        match configured {
            Some(value) => Self { value, source: SettingSource::Configuration },
            None => Self { value: own, source: SettingSource::Node },
        }
    }
}

impl SettingSource {
    /// Returns the source's name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Node => "node",
        }
    }
}

/// A number of alternatives: 0 to 8, 3 by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AlternativeCount(u8);

/// A number of alternatives that no answer carries.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{0} is not a number of alternatives from 0 to 8")]
pub struct AlternativeCountError(u8);

impl AlternativeCount {
    /// The most alternatives that an answer carries.
    pub const MAX: usize = 8;

    /// Takes a number from 0 to 8.
    ///
    /// # Errors
    ///
    /// Refuses more.
    pub fn new(count: u8) -> Result<Self, AlternativeCountError> {
        if usize::from(count) > Self::MAX {
            Err(AlternativeCountError(count))
        } else {
            Ok(Self(count))
        }
    }

    /// Returns the number.
    #[must_use]
    pub fn get(self) -> u8 {
        self.0
    }
}

impl Default for AlternativeCount {
    fn default() -> Self {
        Self(3)
    }
}
