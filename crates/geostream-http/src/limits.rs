//! What the node is limited by, as its status tells it.

use std::net::SocketAddr;

use geostream_api::{InForce, Limits};
use geostream_app::Reachability;
use geostream_domain::{RequestLimit, Settings};
use geostream_ports::{Clock, GeoLocator, Store};

use crate::api::Api;

impl<S, G, C> Api<S, G, C>
where
    S: Store,
    G: GeoLocator,
    C: Clock + 'static,
{
    /// Returns what is in force where these settings are in use.
    pub(crate) fn limits(&self, settings: &Settings) -> Limits {
        let requests = &self.parts.limits;
        let Reachability { targets, forbidden } = self.parts.health.reachability(settings);
        let per_second = RequestLimit::per_second;
        Limits {
            requests_per_second: InForce::describing(requests.clients.in_force(), per_second),
            requests_per_second_per_token: InForce::describing(
                requests.tokens.in_force(),
                per_second,
            ),
            max_connections: self.parts.max_connections,
            max_connections_per_network: self.parts.connections.network_limit(),
            reachability_targets: InForce::describing(targets, |targets| listed(&targets)),
            reachability_targets_forbidden: listed(&forbidden),
        }
    }
}

fn listed(targets: &[SocketAddr]) -> Vec<String> {
    targets.iter().map(ToString::to_string).collect()
}
