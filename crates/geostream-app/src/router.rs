//! Answering clients.

use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use foldhash::HashMap;
use geostream_domain::{
    Client, ClientKey, CountryCode, Decision, Explained, Explanation, Flag, GeoPoint, Location,
    NoRegion, Precision, RegionIndex, RoutingTable, ServiceTable,
};
use geostream_ports::{Chain, Clock, GeoLocator, Network, Place};
use metrics::Counter;
use thiserror::Error;

use crate::publisher::{Published, Publisher, StoreState};
use crate::trace::Trace;
use crate::unassigned::UnassignedCountry;

/// Answers which region should serve a client now.
#[derive(Debug)]
pub struct Router<G> {
    published: Arc<ArcSwap<Published>>,
    geo: Arc<G>,
}

impl<G> Clone for Router<G> {
    fn clone(&self) -> Self {
        Self { published: Arc::clone(&self.published), geo: Arc::clone(&self.geo) }
    }
}

/// What is asked: everything but the service may be left out.
#[derive(Clone, Copy, Debug, Default)]
pub struct RouteQuery<'a> {
    /// The service; without it, the default one.
    pub service: Option<&'a str>,
    /// The client's address.
    pub address: Option<IpAddr>,
    /// The address whose country the geofence goes by: the client's, or that of the caller who does
    /// not tell it.
    pub origin: Option<IpAddr>,
    /// Where the caller says that the client is.
    pub claim: Option<Claim>,
    /// What settles near-ties; without it, the client's network, or else its place.
    pub key: Option<&'a str>,
}

/// Where a caller says that a client is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Claim {
    /// The coordinates.
    pub point: GeoPoint,
    /// The country by which the geofence goes, where the caller may say so; without it, the one of
    /// [`RouteQuery::origin`].
    pub country: Option<CountryCode>,
}

/// Who says where a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocationSource {
    /// The GeoIP data.
    GeoIp,
    /// The caller.
    Caller,
    /// Nobody.
    None,
}

impl LocationSource {
    /// Every source, in the order of the variants.
    const ALL: [Self; 3] = [Self::GeoIp, Self::Caller, Self::None];

    /// Returns the source's name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GeoIp => "geoip",
            Self::Caller => "caller",
            Self::None => "none",
        }
    }
}

/// A decision, with all that an answer tells of it.
#[derive(Debug)]
pub struct Routed<'a> {
    /// The table that decided.
    pub table: &'a RoutingTable,
    /// The service that was meant.
    pub service: &'a ServiceTable,
    /// The client as the decision saw it.
    pub client: Client,
    /// The network around the client's address.
    pub network: Option<Network>,
    /// Who said where the client is.
    pub source: LocationSource,
    /// The decision.
    pub decision: Decision,
}

/// A decision, or why there is none, with every region's fate.
#[derive(Debug)]
pub struct ExplainedRoute<'a> {
    /// The service that was meant.
    pub service: &'a ServiceTable,
    /// The decision.
    pub routed: Result<Routed<'a>, RouteError>,
    /// The regions of the table, best-ranked candidates first, and then those that are none.
    pub regions: Vec<Explained>,
}

/// A client, and how it was located.
#[derive(Clone, Copy, Debug)]
struct Located {
    client: Client,
    network: Option<Network>,
    source: LocationSource,
}

/// Why there is no answer.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum RouteError {
    /// There is no configuration to decide by.
    #[error("the server has no configuration yet")]
    NotReady,
    /// The service is not configured.
    #[error("there is no service {0:?}")]
    UnknownService(String),
    /// No service was named, and there is no default one.
    #[error("the request names no service, and there is no default one")]
    NoDefaultService,
    /// The operator has switched off locations from callers.
    #[error(
        "callers may not state a client's location here: the flag {} is off",
        Flag::CallerLocation
    )]
    ClaimRefused,
    /// The service has no region for this client.
    #[error("service {service} has no region for this client")]
    NoRegion {
        /// The service.
        service: String,
        /// Why.
        #[source]
        why: NoRegion,
    },
}

impl<G: GeoLocator> Router<G> {
    /// Answers from what the publisher publishes.
    pub fn new<C: Clock>(publisher: &Publisher<C>, geo: Arc<G>) -> Self {
        Self { published: Arc::clone(publisher.published()), geo }
    }

    /// Returns the table in use, for one request.
    #[must_use]
    pub fn view(&self) -> View<'_, G> {
        View { published: self.published.load(), geo: &self.geo }
    }

    /// Returns the locator that clients are found by.
    #[must_use]
    pub fn geo(&self) -> &G {
        &self.geo
    }
}

/// The table in use when a request came; all its decisions are made by this one.
#[derive(Debug)]
pub struct View<'a, G> {
    published: Guard<Arc<Published>>,
    geo: &'a G,
}

impl<G: GeoLocator> View<'_, G> {
    /// Returns the table.
    #[must_use]
    pub fn table(&self) -> &RoutingTable {
        &self.published.table
    }

    /// Returns where the configuration in use comes from.
    #[must_use]
    pub fn store(&self) -> &StoreState {
        &self.published.store
    }

    /// Returns the codes in geofences that no country has, as rules of earlier versions name them.
    #[must_use]
    pub fn unassigned(&self) -> &[UnassignedCountry] {
        &self.published.unassigned
    }

    /// Decides which region should serve a client now.
    ///
    /// Allocates nothing once a service, region and reason have been counted on this thread.
    ///
    /// # Errors
    ///
    /// Says what was asked wrongly, or why no region may or can serve the client.
    pub fn route(&self, query: &RouteQuery<'_>) -> Result<Routed<'_>, RouteError> {
        let service = self.permitted_service(query)?;
        let located = self.locate(query);
        self.routed(service, located, service.route(&located.client))
    }

    /// Decides as [`View::route`] does, with a span for each stage.
    ///
    /// # Errors
    ///
    /// As [`View::route`].
    pub fn route_traced(
        &self,
        query: &RouteQuery<'_>,
        trace: &Trace,
    ) -> Result<Routed<'_>, RouteError> {
        let service = self.permitted_service(query)?;
        let located = {
            let mut span = trace.open("locate");
            let located = self.locate(query);
            span.note("geostream.location.source", located.source.as_str());
            located
        };
        let client = &located.client;
        let permitted = {
            let mut span = trace.open("filter");
            let permitted = service.filter(client);
            span.note("geostream.service", service.service().id.to_string());
            span.note("geostream.members", service.service().members.len());
            span.note("geostream.permitted", permitted.count());
            span.note("geostream.able", permitted.count_able(client));
            permitted
        };
        let mut span = trace.open("rank");
        let routed = self.routed(service, located, permitted.rank(client));
        match &routed {
            Ok(Routed { table, decision, .. }) => {
                span.note("geostream.region", table.region(decision.region).id.to_string());
                span.note("geostream.reason", decision.reason.as_str());
                span.note("geostream.revision", table.revision().get());
            }
            Err(error) => span.fail(Chain(error)),
        }
        routed
    }

    fn routed<'a>(
        &'a self,
        service: &'a ServiceTable,
        Located { client, network, source }: Located,
        decided: Result<Decision, NoRegion>,
    ) -> Result<Routed<'a>, RouteError> {
        match decided {
            Ok(decision) => {
                count(&self.published, service, &decision, source);
                let table = self.table();
                Ok(Routed { table, service, client, network, source, decision })
            }
            Err(why) => {
                let service = service.service().id.to_string();
                Err(RouteError::NoRegion { service, why })
            }
        }
    }

    /// Decides as [`View::route`] does, and tells every region's fate and what ranked it, whether or
    /// not one can serve the client.
    ///
    /// # Errors
    ///
    /// Says what was asked wrongly.
    pub fn explain(&self, query: &RouteQuery<'_>) -> Result<ExplainedRoute<'_>, RouteError> {
        let service = self.permitted_service(query)?;
        let located = self.locate(query);
        let Explanation { outcome, regions } = self.table().explain(service, &located.client);
        let routed = self.routed(service, located, outcome);
        Ok(ExplainedRoute { service, routed, regions })
    }

    fn permitted_service(&self, query: &RouteQuery<'_>) -> Result<&ServiceTable, RouteError> {
        let service = self.service(query.service)?;
        if query.claim.is_some() && !self.table().config().flag(Flag::CallerLocation) {
            return Err(RouteError::ClaimRefused);
        }
        Ok(service)
    }

    fn service(&self, id: Option<&str>) -> Result<&ServiceTable, RouteError> {
        let found = match id {
            Some(id) => self.table().service(id),
            None => self.table().default_service(),
        };
        found.ok_or_else(|| match (&self.published.store, id) {
            (StoreState::Unread | StoreState::Nothing { .. }, _) => RouteError::NotReady,
            (
                StoreState::Current | StoreState::LastGood { .. } | StoreState::Behind(_),
                Some(id),
            ) => RouteError::UnknownService(id.chars().take(64).collect()),
            (StoreState::Current | StoreState::LastGood { .. } | StoreState::Behind(_), None) => {
                RouteError::NoDefaultService
            }
        })
    }

    fn locate(&self, query: &RouteQuery<'_>) -> Located {
        let place = query.address.map_or(Place::UNKNOWN, |address| self.geo.locate(address));
        let (location, source) = match query.claim {
            Some(claim) => {
                let known = match (query.address, query.origin) {
                    (None, Some(origin)) => self.geo.locate(origin).location,
                    (Some(_), _) | (None, None) => place.location,
                };
                (claim.over(known), LocationSource::Caller)
            }
            None if place == Place::UNKNOWN => (place.location, LocationSource::None),
            None => (place.location, LocationSource::GeoIp),
        };
        let key = match (query.key, query.address, location.point) {
            (Some(key), ..) => ClientKey::of_bytes(key.as_bytes()),
            (None, Some(address), _) => ClientKey::of_address(address),
            (None, None, Some(point)) => Client::at(point).key,
            (None, None, None) => ClientKey::of_bytes(b""),
        };
        Located { client: Client { location, key }, network: place.network, source }
    }
}

impl Claim {
    /// Returns the claimed location; what the caller leaves out is taken from the address.
    ///
    /// So a caller that knows its clients' coordinates does not lead them around a geofence by
    /// saying nothing of their country.
    fn over(self, known: Location) -> Location {
        let claimed = Location {
            point: Some(self.point),
            precision: Precision::City,
            accuracy_km: None,
            ..known
        };
        match self.country {
            Some(country) => claimed.in_country(country),
            None => claimed,
        }
    }
}

/// Counts a decision.
///
/// A counter is looked up by its names once per thread and combination, and kept as long as the
/// regions and services have these names: a look-up allocates, and takes ten times as long as a
/// decision.
fn count(
    published: &Published,
    service: &ServiceTable,
    decision: &Decision,
    source: LocationSource,
) {
    let tally = |region: RegionIndex| &published.tallies[region.get()];
    match decision.displaced_from {
        None => tally(decision.region).count_own(),
        Some(home) => {
            tally(decision.region).count_displaced();
            tally(home).count_away();
        }
    }
    thread_local! {
        static COUNTERS: RefCell<Counters> = RefCell::default();
    }
    COUNTERS.with_borrow_mut(|counters| {
        if counters.naming != published.naming {
            counters.naming = published.naming;
            counters.by_decision.clear();
        }
        let key = (service.index(), decision.region.get(), decision.reason as u8);
        let counter = counters.by_decision.entry(key).or_insert_with(|| {
            metrics::counter!(
                "route_decisions_total",
                "service" => service.service().id.to_string(),
                "region" => published.table.region(decision.region).id.to_string(),
                "reason" => decision.reason.as_str(),
            )
        });
        counter.increment(1);
        counters.by_source[source as usize].increment(1);
    });
}

/// The counters of one naming on one thread.
struct Counters {
    naming: u64,
    by_decision: HashMap<(usize, usize, u8), Counter>,
    /// In the order of [`LocationSource::ALL`].
    by_source: [Counter; LocationSource::ALL.len()],
}

impl Default for Counters {
    fn default() -> Self {
        let by_source = LocationSource::ALL
            .map(|source| metrics::counter!("route_locations_total", "source" => source.as_str()));
        Self { naming: 0, by_decision: HashMap::default(), by_source }
    }
}
