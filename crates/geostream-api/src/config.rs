//! A configuration as people write it and stores keep it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::status;
use crate::time::Time;
use crate::unique;

/// A declared configuration: everything but the overrides, which operators set as things happen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The regions by their ids.
    #[serde(default, deserialize_with = "unique::map")]
    pub regions: BTreeMap<String, Region>,
    /// The services by their ids.
    #[serde(default, deserialize_with = "unique::map")]
    pub services: BTreeMap<String, Service>,
    /// The flags that are not in their default state.
    #[serde(default, deserialize_with = "unique::map", skip_serializing_if = "BTreeMap::is_empty")]
    pub flags: BTreeMap<String, bool>,
    /// The settings.
    #[serde(default)]
    pub settings: Settings,
}

/// A place that can serve clients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Region {
    /// What people call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Degrees north, -90 to 90.
    pub latitude: f64,
    /// Degrees east, -180 to 180.
    pub longitude: f64,
    /// The URL that clients are sent to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// How much load it can take, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u32>,
    /// US dollars per gigabyte served, 0 to 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_per_gb: Option<f64>,
    /// Facts that geofences select regions by.
    #[serde(default, deserialize_with = "unique::map", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// How it is asked whether it is well; without, only what clients report tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<Check>,
}

/// How a region is asked whether it is well.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// What is asked: `http://`, `https://`, `tcp://`, `grpc://` or `grpcs://`; without, the
    /// region's endpoint. The path of a gRPC URL names the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The host that the request and TLS name, with or without a port; the URL's by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// `GET` (the default) or `HEAD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<CheckMethod>,
    /// Header fields of the request, whose values answers show as [`Check::REDACTED`].
    #[serde(
        default,
        deserialize_with = "unique::headers",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub headers: BTreeMap<String, String>,
    /// Whether redirects are followed; not by default.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub follow_redirects: bool,
    /// The status codes that are well, such as `200` or `200-299,401`; `200-299` by default. A list
    /// such as `[200, "300-399"]` is read as well.
    #[serde(default, deserialize_with = "status::text", skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// A text that the body's first 64 KiB have to hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Milliseconds from one probe to the next, 1,000 to 3,600,000; 1,000 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_ms: Option<u32>,
    /// Milliseconds that a probe may take, 50 to 60,000; 1,000 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u32>,
    /// How many failures in a row remove the region, 1 to 20; 5 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fall: Option<u8>,
    /// How many successes in a row bring it back, 1 to 20; 3 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rise: Option<u8>,
    /// Seconds in which its share of clients grows back, 0 to 3,600; 30 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ramp_seconds: Option<u32>,
}

/// The method of a check's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum CheckMethod {
    /// `GET`.
    Get,
    /// `HEAD`: the answer has no body.
    Head,
}

impl FromStr for CheckMethod {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "GET" => Ok(Self::Get),
            "HEAD" => Ok(Self::Head),
            _ => Err("GET or HEAD is expected"),
        }
    }
}

impl fmt::Display for CheckMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
        })
    }
}

/// What clients ask for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// The regions that offer it, by their ids; at least one.
    #[serde(deserialize_with = "unique::map")]
    pub members: BTreeMap<String, Member>,
    /// How they are ranked.
    #[serde(default)]
    pub policy: Policy,
    /// Which of them may serve which clients.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub geofence: Vec<FenceRule>,
    /// What happens when none that may serve can.
    #[serde(default)]
    pub all_down: AllDown,
    /// How much of its capacity may be removed for health, in percent; 50 by default.
    #[serde(default = "half", skip_serializing_if = "is_half")]
    pub removal_budget_percent: u8,
}

impl Default for Service {
    /// Has no members yet, and everything else as it is where a document leaves it out.
    fn default() -> Self {
        Self {
            members: BTreeMap::new(),
            policy: Policy::default(),
            geofence: Vec::new(),
            all_down: AllDown::default(),
            removal_budget_percent: half(),
        }
    }
}

/// What a service says of one of its regions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Its share among equals, 0 to 1,000,000.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub weight: u32,
    /// Its tier under the objective `priority`; 0 is tried first.
    #[serde(default, skip_serializing_if = "is_zero_u16")]
    pub priority: u16,
    /// Kilometres added to its distance under the objective `proximity`.
    #[serde(default, skip_serializing_if = "is_zero_i32")]
    pub bias_km: i32,
}

/// How a service's members are ranked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// `latency` (the default), `proximity`, `cost`, `load`, `priority` or `weighted`.
    #[serde(default)]
    pub objective: Objective,
    /// How wide a band of near-ties in latency is, in milliseconds; 5 by default. Not for
    /// `proximity` and `weighted`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub band_ms: Option<f64>,
    /// How wide a band of near-ties in distance is, in kilometres; 250 by default. For `proximity`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub band_km: Option<f64>,
    /// The round-trip time in milliseconds that is good enough. For `cost` and `load`, which need
    /// it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowance_ms: Option<f64>,
    /// The order of members for clients whose location is unknown, best first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without_location: Vec<String>,
}

/// What makes one region better than another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// The least estimated round-trip time.
    #[default]
    Latency,
    /// The least distance.
    Proximity,
    /// The least cost within an allowance of latency.
    Cost,
    /// The least used share of capacity within an allowance of latency.
    Load,
    /// The first tier that can serve.
    Priority,
    /// A share by weight.
    Weighted,
}

/// For these clients, these regions only, and never those.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FenceRule {
    /// The clients to whom it applies; without, to all.
    #[serde(default)]
    pub clients: Clients,
    /// Label selectors (`key=value`, `key` or `*`) of which a region must match one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// Label selectors of which a region must match none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
}

/// The clients that match any part, or all where no part is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clients {
    /// ISO 3166-1 alpha-2 codes, and `XK`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub countries: Vec<String>,
    /// `EU` (the European Union) or `EEA`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// `AF`, `AN`, `AS`, `EU`, `NA`, `OC` or `SA`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub continents: Vec<String>,
    /// Those of whom not even the continent is known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unknown: bool,
}

/// What happens when no member that may serve a client can.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllDown {
    /// `fail_open` (the default), `closed`, `last_good` or `static`.
    pub rule: AllDownRule,
    /// The region that `static` answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
}

/// What happens when no member can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AllDownRule {
    /// Rank them as if all were healthy.
    #[default]
    FailOpen,
    /// Refuse.
    Closed,
    /// Rank those that could last.
    LastGood,
    /// Answer one region.
    Static,
}

/// The settings of all nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The service that a request without one means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_service: Option<String>,
    /// How many alternatives an answer carries, 0 to 8; 3 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alternatives: Option<u8>,
    /// How often a client's network may ask, from 0 for no limit to 1,000,000,000; without, each
    /// node goes by its own setting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<u64>,
    /// How often may be asked with one token; the same otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_second_per_token: Option<u64>,
    /// Up to 16 addresses with a port that tell whether a node has a network, of which the empty
    /// list is none; without, each node goes by its own setting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reachability_targets: Option<Vec<String>>,
}

/// An operator's word on a region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Override {
    /// `drain`, `up` or `down`.
    pub action: OverrideAction,
    /// Who wants it.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// When it was set.
    pub since: Time,
    /// When it ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Time>,
}

/// A configuration with its overrides: all that a revision says, as stores keep it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WholeConfig {
    /// What was declared.
    pub config: Config,
    /// What operators force, by the regions' ids.
    #[serde(deserialize_with = "unique::map")]
    pub overrides: BTreeMap<String, Override>,
}

/// What an override does to a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OverrideAction {
    /// No new client.
    Drain,
    /// Treated as healthy.
    Up,
    /// Treated as unhealthy.
    Down,
}

/// One step from a configuration to the next, as stores keep it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Change {
    /// Adds or replaces a region.
    PutRegion {
        /// Its id.
        id: String,
        /// The region.
        region: Region,
    },
    /// Removes a region.
    RemoveRegion {
        /// Its id.
        id: String,
    },
    /// Adds or replaces a service.
    PutService {
        /// Its id.
        id: String,
        /// The service.
        service: Service,
    },
    /// Removes a service.
    RemoveService {
        /// Its id.
        id: String,
    },
    /// Sets or replaces an override.
    SetOverride {
        /// The region it speaks of.
        region: String,
        /// The override.
        #[serde(rename = "override")]
        wish: Override,
    },
    /// Clears an override.
    ClearOverride {
        /// The region it speaks of.
        region: String,
    },
    /// Switches a flag.
    SetFlag {
        /// Its name.
        flag: String,
        /// Whether it is on.
        on: bool,
    },
    /// Sets the default service, or none.
    SetDefaultService {
        /// The service; left out for none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<String>,
    },
    /// Sets how many alternatives an answer carries.
    SetAlternatives {
        /// How many.
        count: u8,
    },
    /// Sets how often a client's network may ask.
    SetRequestsPerSecond {
        /// The limit; left out where each node goes by its own setting.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u64>,
    },
    /// Sets how often may be asked with one token.
    SetRequestsPerSecondPerToken {
        /// The limit; left out where each node goes by its own setting.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u64>,
    },
    /// Sets the addresses that tell whether a node has a network.
    SetReachabilityTargets {
        /// The addresses; left out where each node goes by its own setting.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        targets: Option<Vec<String>>,
    },
}

fn half() -> u8 {
    geostream_domain::RemovalBudget::default().percent()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_half(percent: &u8) -> bool {
    *percent == half()
}

fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_one(weight: &u32) -> bool {
    *weight == 1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero_u16(number: &u16) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero_i32(number: &i32) -> bool {
    *number == 0
}

impl Default for Member {
    fn default() -> Self {
        Self { weight: 1, priority: 0, bias_km: 0 }
    }
}
