//! What a node is limited by, and where that is set.

use geostream_domain as domain;
use serde::{Deserialize, Serialize};

/// The limits that a node goes by, and the addresses that tell it whether it has a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// How often a client's network may ask; 0 for no limit.
    pub requests_per_second: InForce<u32>,
    /// How often may be asked with one token; 0 for no limit.
    pub requests_per_second_per_token: InForce<u32>,
    /// The most connections of clients at once.
    pub max_connections: usize,
    /// The most connections of a client network at once; 0 for no limit.
    pub max_connections_per_network: usize,
    /// The addresses that tell whether the node has a network.
    pub reachability_targets: InForce<Vec<String>>,
    /// Those of them that this node may not probe and therefore leaves out.
    #[serde(default)]
    pub reachability_targets_forbidden: Vec<String>,
}

/// A value in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InForce<T> {
    /// The value.
    pub value: T,
    /// `configuration`, which holds for all nodes, or `node` for the node's own settings.
    pub source: String,
}

impl<T> InForce<T> {
    /// Describes a value of the domain in the words of the API.
    #[must_use]
    pub fn describing<U>(in_force: domain::InForce<U>, describe: impl FnOnce(U) -> T) -> Self {
        let source = in_force.source.as_str().to_owned();
        Self { value: describe(in_force.value), source }
    }
}
