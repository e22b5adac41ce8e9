//! Asking for a region, and the answer.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::problem::Problem;
use crate::time::Time;

/// Which region should serve this client now?
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteRequest {
    /// The client's address; without it, the address that the request came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ip: Option<String>,
    /// The service; without it, the default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Where the client is, if the caller knows better than the GeoIP data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<LocationClaim>,
    /// What tells this client from others among equal regions, such as a player's id; without it,
    /// the client's network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Whether the answer is to tell every region's fate.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub explain: bool,
}

/// Where a caller says that a client is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocationClaim {
    /// Degrees north.
    pub latitude: f64,
    /// Degrees east.
    pub longitude: f64,
    /// The country, for geofences; without it, the one that the client's address is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
}

/// The region that should serve a client, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RouteAnswer<'a> {
    /// The region.
    pub region: Cow<'a, str>,
    /// The estimated round-trip time in milliseconds; null for a client without a location.
    pub latency_ms: Option<f64>,
    /// Why this region.
    pub reason: Cow<'a, str>,
    /// The next best regions, best first.
    pub alternatives: Vec<Alternative<'a>>,
    /// The service that was meant.
    pub service: Cow<'a, str>,
    /// Where the client is to go.
    pub endpoint: Option<Cow<'a, str>>,
    /// What the decision knew of the client.
    pub client: ClientView<'a>,
    /// Where `latency_ms` comes from: `distance`, or `none` without a location.
    pub latency_source: Cow<'a, str>,
    /// The revision of the configuration that was decided by.
    pub revision: u64,
    /// Every region's fate, if it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<Explanation<'a>>,
}

/// A region that would have been the answer without those before it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alternative<'a> {
    /// The region.
    pub region: Cow<'a, str>,
    /// The estimated round-trip time in milliseconds.
    pub latency_ms: Option<f64>,
    /// Where the client would go.
    pub endpoint: Option<Cow<'a, str>>,
}

/// What a decision knew of its client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClientView<'a> {
    /// The address, if the request or the connection had one.
    pub ip: Option<std::net::IpAddr>,
    /// The network that the GeoIP data describes as one.
    pub network: Option<String>,
    /// The country.
    pub country: Option<Cow<'a, str>>,
    /// The continent.
    pub continent: Option<Cow<'a, str>>,
    /// Degrees north.
    pub latitude: Option<f64>,
    /// Degrees east.
    pub longitude: Option<f64>,
    /// The radius in kilometres in which the client probably is, where the data says.
    pub accuracy_km: Option<u16>,
    /// How well the place is known: `city`, `country` or `unknown`. An unknown place means that the
    /// policy's order for clients without a location was followed.
    pub precision: Cow<'a, str>,
    /// Who said so: `geoip`, `caller`, or `none`.
    pub source: Cow<'a, str>,
}

/// Every region's fate in one decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation<'a> {
    /// The objective that the regions were ranked by.
    pub objective: Cow<'a, str>,
    /// When the routing table was made.
    pub table_compiled: Time,
    /// The regions: the ranked ones best first, then the others by id.
    pub regions: Vec<Explained<'a>>,
}

/// What became of a region, and by what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explained<'a> {
    /// The region.
    pub region: Cow<'a, str>,
    /// `chosen`, `outranked`, `unhealthy`, `full`, `drained`, `fenced` or `not_member`.
    pub fate: Cow<'a, str>,
    /// More about the fate, for people.
    pub detail: Option<Cow<'a, str>>,
    /// Great-circle kilometres from the client.
    pub distance_km: Option<f64>,
    /// The estimated round-trip time in milliseconds.
    pub latency_ms: Option<f64>,
    /// What it was ranked by, in the order of comparison; null for one that was no candidate.
    pub terms: Option<Terms>,
    /// What was last seen of it; null for one that nobody has looked at.
    pub observed: Option<Observed<'a>>,
}

/// What a region was ranked by, in the order of comparison; less is better.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Terms {
    /// Whether it lies within the objective's allowance.
    pub within_allowance: bool,
    /// Its cost in millionths of a dollar, its load in steps of 10 %, or its tier; null where that
    /// is unknown.
    pub term: Option<u32>,
    /// Its band of near-ties in latency or distance.
    pub band: u32,
    /// The client's draw for it, which settles near-ties: from 0 up, smaller for more weight.
    pub draw: f64,
}

/// What was last seen of a region.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observed<'a> {
    /// `healthy`, `unhealthy` or `unknown`.
    pub health: Cow<'a, str>,
    /// Its load in units of capacity.
    pub load: Option<f64>,
    /// How many milliseconds before the answer it was seen.
    pub age_ms: u64,
}

/// Up to 1,000 questions at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchRequest {
    /// The questions.
    pub requests: Vec<RouteRequest>,
}

/// The answers, in the order of the questions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchAnswer<'a> {
    /// The answers.
    pub answers: Vec<BatchItem<'a>>,
}

/// The answer to one of many questions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum BatchItem<'a> {
    /// The region and why.
    Answer(Box<RouteAnswer<'a>>),
    /// What was wrong with the question.
    Problem(Problem),
}
