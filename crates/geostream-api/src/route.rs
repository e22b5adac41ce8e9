//! Asking for a region, and the answer.

use crate::explanation::Explanation;
use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize};

use crate::problem::Problem;

/// Which region should serve this client now?
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteRequest<'a> {
    /// The client's address; without it, the address that the request came from.
    #[serde(borrow, default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub client_ip: Option<Cow<'a, str>>,
    /// The service; without it, the default one.
    #[serde(borrow, default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub service: Option<Cow<'a, str>>,
    /// Where the client is, if the caller knows better than the GeoIP data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<LocationClaim>,
    /// What tells this client from others among equal regions, such as a player's id; without it,
    /// the client's network.
    #[serde(borrow, default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub key: Option<Cow<'a, str>>,
    /// Whether the answer is to tell every region's fate.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub explain: bool,
}

/// Reads a text where it stands, unless it has escapes: serde does not, within an `Option`.
fn text<'de: 'a, 'a, D: Deserializer<'de>>(from: D) -> Result<Option<Cow<'a, str>>, D::Error> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

    Ok(Option::deserialize(from)?.map(|Text(text)| text))
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
pub struct RouteAnswer {
    /// The region.
    pub region: String,
    /// The estimated round-trip time in milliseconds; null for a client without a location.
    pub latency_ms: Option<f64>,
    /// Why this region, as a word of a list that grows: a client takes one that it does not know
    /// for the name of another reason.
    pub reason: String,
    /// The next best regions, best first.
    pub alternatives: Vec<Alternative>,
    /// The service that was meant.
    pub service: String,
    /// Where the client is to go.
    pub endpoint: Option<String>,
    /// What the decision knew of the client.
    pub client: ClientView,
    /// Where `latency_ms` comes from: `distance`, or `none` without a location.
    pub latency_source: String,
    /// The revision of the configuration that was decided by.
    pub revision: u64,
    /// Whether the removal budget is spent: unhealthy regions of the service are retained, and
    /// serve where no eligible one has room.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub removal_budget_spent: bool,
    /// Whether the probes of this region fail at the node that answers, while nothing corroborates
    /// that it is dead: it is not removed, and may not serve.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unconfirmed: bool,
    /// Every region's fate, if it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<Explanation>,
}

/// A region that would have been the answer without those before it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alternative {
    /// The region.
    pub region: String,
    /// The estimated round-trip time in milliseconds.
    pub latency_ms: Option<f64>,
    /// Where the client would go.
    pub endpoint: Option<String>,
}

/// What a decision knew of its client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClientView {
    /// The address, if the request or the connection had one.
    pub ip: Option<std::net::IpAddr>,
    /// A network around the address that is all at one place, by the GeoIP data.
    pub network: Option<String>,
    /// The country.
    pub country: Option<String>,
    /// The continent.
    pub continent: Option<String>,
    /// Degrees north.
    pub latitude: Option<f64>,
    /// Degrees east.
    pub longitude: Option<f64>,
    /// The radius in kilometres in which the client probably is, where the data says.
    pub accuracy_km: Option<u16>,
    /// How well the place is known: `city`, `country` or `unknown`. An unknown place means that the
    /// policy's order for clients without a location was followed.
    pub precision: String,
    /// Who said so: `geoip`, `caller`, or `none`.
    pub source: String,
}

/// Up to 1,000 questions at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchRequest<'a> {
    /// The questions.
    #[serde(borrow)]
    pub requests: Vec<RouteRequest<'a>>,
}

/// The answers, in the order of the questions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchAnswer {
    /// The answers.
    pub answers: Vec<BatchItem>,
}

/// The answer to one of many questions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum BatchItem {
    /// The region and why.
    Answer(Box<RouteAnswer>),
    /// What was wrong with the question.
    Problem(Problem),
}
