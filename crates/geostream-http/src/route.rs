//! Answering clients: which region should serve them now?

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use geostream_api::{
    Alternative, BatchAnswer, BatchItem, ClientView, Explained, Explanation, Fields, LocationClaim,
    Observed, RouteAnswer, RouteRequest, Terms, Time,
};
use geostream_app::{Claim, LocationSource, RouteQuery, Routed, View};
use geostream_domain::{
    CountryCode, Fate, GeoPoint, GeoPointError, Health, Location, Precision, Rank, Reach,
    RegionIndex, RoutingTable, Rtt, ServiceTable, Timestamp,
};
use geostream_ports::{Clock, ConfigStore, GeoLocator, Network, TokenStore};
use http::{HeaderMap, Uri};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::api::Api;
use crate::body;
use crate::problem::{Answer, Failure};
use crate::query::Query;

/// The most questions in a batch.
const BATCH: usize = 1_000;

/// The most characters of a client's key.
const KEY_LENGTH: usize = 64;

/// A batch whose questions are still to be read: one that cannot be read spoils no other.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch {
    requests: Vec<Box<RawValue>>,
}

/// A question that has been read.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    service: Option<String>,
    address: Option<IpAddr>,
    claim: Option<Claim>,
    key: Option<String>,
    explain: bool,
}

impl Asked {
    pub(crate) fn by_document(headers: &HeaderMap, body: &[u8]) -> Result<Self, Failure> {
        Self::read(body::read(headers, body)?)
    }

    pub(crate) fn by_query(uri: &Uri) -> Result<Self, Failure> {
        let mut query = Query::of(uri);
        let text = |text: Option<Cow<'_, str>>| text.map(Cow::into_owned);
        let (latitude, longitude) = (query.parsed("latitude")?, query.parsed("longitude")?);
        let country = text(query.text("country")?);
        let request = RouteRequest {
            client_ip: text(query.text("client_ip")?),
            service: text(query.text("service")?),
            location: None,
            key: text(query.text("key")?),
            explain: query.parsed("explain")?.unwrap_or(false),
        };
        query.end()?;
        let location = match (latitude, longitude) {
            (Some(latitude), Some(longitude)) => {
                Some(LocationClaim { latitude, longitude, country })
            }
            (None, None) if country.is_none() => None,
            (Some(_), None) => return Err(Failure::field("?longitude", "latitude needs it")),
            (None, Some(_)) => return Err(Failure::field("?latitude", "longitude needs it")),
            (None, None) => return Err(Failure::field("?latitude", "country needs it")),
        };
        Self::read(RouteRequest { location, ..request }).map_err(Failure::in_query)
    }

    fn read(request: RouteRequest) -> Result<Self, Failure> {
        let RouteRequest { client_ip, service, location, key, explain } = request;
        let mut fields = Fields::default();
        let address = client_ip.and_then(|text| {
            let parsed = text.parse::<IpAddr>().map_err(|_| {
                let shown: String = text.chars().take(64).collect();
                format!("{shown:?} is not an IPv4 or IPv6 address")
            });
            fields.check("/client_ip", parsed)
        });
        let claim = location.and_then(|claim| read_claim(&claim, &mut fields));
        if let Some(key) = &key
            && !(1..=KEY_LENGTH).contains(&key.chars().count())
        {
            fields.note("/key", format_args!("1 to {KEY_LENGTH} characters are expected"));
        }
        Ok(fields.finish(Some(Self { service, address, claim, key, explain }))?)
    }

    /// Returns the question for a client that may be at the other end of the connection.
    fn query(&self, peer: IpAddr) -> RouteQuery<'_> {
        // Who states a place speaks of somebody else.
        let address = match self.claim {
            Some(_) => self.address,
            None => Some(self.address.unwrap_or(peer)),
        };
        RouteQuery {
            service: self.service.as_deref(),
            address,
            claim: self.claim,
            key: self.key.as_deref(),
        }
    }
}

fn read_claim(claim: &LocationClaim, fields: &mut Fields) -> Option<Claim> {
    let point = GeoPoint::new(claim.latitude, claim.longitude);
    let at = match point {
        Err(GeoPointError::Longitude(_)) => "/location/longitude",
        Err(GeoPointError::Latitude(_)) | Ok(_) => "/location/latitude",
    };
    let point = fields.check(at, point);
    let country = claim.country.as_ref().map(|country| country.parse::<CountryCode>());
    let country = fields.check_some("/location/country", country);
    Some(Claim { point: point?, country })
}

impl<S, G, C> Api<S, G, C>
where
    S: ConfigStore + TokenStore,
    G: GeoLocator,
    C: Clock + 'static,
{
    /// Answers one question, here and now, unless an explanation is wanted: that may take long.
    pub(crate) async fn route(
        &self,
        asked: Asked,
        headers: &HeaderMap,
        peer: SocketAddr,
    ) -> Result<Answer, Failure> {
        let peer = self.client_address(headers, peer);
        if !asked.explain {
            let view = self.router.view();
            let query = asked.query(peer);
            return body::json(&answer(&view.route(&query)?, query.address));
        }
        self.authorize_explanation(headers)?;
        self.on_control(move |api| async move {
            let view = api.router.view();
            let query = asked.query(peer);
            let routed = view.route(&query)?;
            let explanation = explanation(&routed, api.parts.clock.wall());
            let answer = answer(&routed, query.address);
            body::json(&RouteAnswer { explanation: Some(explanation), ..answer })
        })
        .await
    }

    /// Answers many questions by one table.
    pub(crate) fn route_batch(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        peer: SocketAddr,
    ) -> Result<Answer, Failure> {
        let Batch { requests } = body::read(headers, body)?;
        if !(1..=BATCH).contains(&requests.len()) {
            let detail = format!("1 to {BATCH} are expected, and {} were given", requests.len());
            return Err(Failure::field("/requests", detail));
        }
        let peer = self.client_address(headers, peer);
        let view = self.router.view();
        let questions = requests.iter().map(|request| body::parse(request.get().as_bytes()));
        let asked: Vec<_> = questions.map(|question| question.and_then(Asked::read)).collect();
        let answers = asked.iter().map(|asked| match asked {
            Ok(asked) => answer_item(&view, asked, peer),
            Err(failure) => BatchItem::Problem(failure.to_problem()),
        });
        body::json(&BatchAnswer { answers: answers.collect() })
    }
}

fn answer_item<'a, G: GeoLocator>(
    view: &'a View<'_, G>,
    asked: &Asked,
    peer: IpAddr,
) -> BatchItem<'a> {
    if asked.explain {
        let detail = "explanations are given for one client at a time";
        return BatchItem::Problem(Failure::field("/explain", detail).to_problem());
    }
    let query = asked.query(peer);
    match view.route(&query) {
        Ok(routed) => BatchItem::Answer(Box::new(answer(&routed, query.address))),
        Err(error) => BatchItem::Problem(Failure::from(error).to_problem()),
    }
}

/// Writes a decision as an answer.
fn answer<'a>(routed: &Routed<'a>, address: Option<IpAddr>) -> RouteAnswer<'a> {
    let table = routed.table;
    let decision = &routed.decision;
    let id = |index: RegionIndex| Cow::Borrowed(table.region(index).id.as_str());
    let endpoint = |index: RegionIndex| {
        let endpoint = table.region(index).endpoint.as_ref();
        endpoint.map(|endpoint| Cow::Borrowed(endpoint.as_str()))
    };
    let alternatives = decision.alternatives.iter().map(|alternative| Alternative {
        region: id(alternative.region),
        latency_ms: alternative.rtt.map(rounded_ms),
        endpoint: endpoint(alternative.region),
    });
    RouteAnswer {
        region: id(decision.region),
        latency_ms: decision.rtt.map(rounded_ms),
        reason: Cow::Borrowed(decision.reason.as_str()),
        alternatives: alternatives.collect(),
        service: Cow::Borrowed(routed.service.service().id.as_str()),
        endpoint: endpoint(decision.region),
        client: client(&routed.client.location, routed.network, address, routed.source),
        latency_source: Cow::Borrowed(if decision.rtt.is_some() { "distance" } else { "none" }),
        revision: table.revision().get(),
        explanation: None,
    }
}

/// Writes what is known of a client.
pub(crate) fn client(
    location: &Location,
    network: Option<Network>,
    address: Option<IpAddr>,
    source: LocationSource,
) -> ClientView<'static> {
    let Location { point, precision, accuracy_km, country, continent } = *location;
    ClientView {
        ip: address,
        network: network.map(|network| network.to_string()),
        country: country.map(|country| Cow::Owned(country.to_string())),
        continent: continent.map(|continent| Cow::Borrowed(continent.code())),
        latitude: point.map(|point| rounded(point.latitude(), 1e4)),
        longitude: point.map(|point| rounded(point.longitude(), 1e4)),
        accuracy_km,
        precision: Cow::Borrowed(match precision {
            Precision::Unknown => "unknown",
            Precision::Country => "country",
            Precision::City => "city",
        }),
        source: Cow::Borrowed(match source {
            LocationSource::GeoIp => "geoip",
            LocationSource::Caller => "caller",
            LocationSource::None => "none",
        }),
    }
}

fn explanation<'a>(routed: &Routed<'a>, now: Timestamp) -> Explanation<'a> {
    let table = routed.table;
    let objective = routed.service.service().policy.objective;
    let regions = routed.explain().regions;
    Explanation {
        objective: Cow::Owned(geostream_api::Objective::from(objective).to_string()),
        table_compiled: Time(table.compiled_at()),
        regions: regions
            .into_iter()
            .map(|explained| explain_region(table, routed.service, explained, now))
            .collect(),
    }
}

fn explain_region<'a>(
    table: &'a RoutingTable,
    service: &ServiceTable,
    explained: geostream_domain::Explained,
    now: Timestamp,
) -> Explained<'a> {
    let entry = &table.regions()[explained.region.get()];
    Explained {
        region: Cow::Borrowed(entry.region.id.as_str()),
        fate: Cow::Borrowed(explained.fate.as_str()),
        detail: detail(explained.fate, entry, service).map(Cow::Owned),
        distance_km: explained.distance_km.map(|km| rounded(km, 10.0)),
        latency_ms: explained.rtt.map(rounded_ms),
        terms: explained.rank.map(terms),
        observed: entry.observed.map(|observed| Observed {
            health: Cow::Borrowed(health(observed.health)),
            load: observed.load.map(geostream_domain::Load::units),
            age_ms: milliseconds(now.since(observed.at)),
        }),
    }
}

/// Says more about a fate than its name does.
fn detail(
    fate: Fate,
    entry: &geostream_domain::RegionEntry,
    service: &ServiceTable,
) -> Option<String> {
    let by_operator = || {
        let wish = entry.overridden.as_ref()?;
        let (action, owner, reason) = (wish.action.as_str(), &wish.owner, &wish.reason);
        Some(format!("override {action} by {owner}: {reason}"))
    };
    match fate {
        Fate::Fenced { rule } => {
            let rules = service.service().geofence.rules().len();
            Some(format!("rule {} of {rules} of the geofence", rule + 1))
        }
        Fate::Full => entry
            .used_share()
            .map(|share| format!("it uses {:.0} % of its capacity", share * 100.0)),
        Fate::Drained | Fate::Unhealthy | Fate::Chosen | Fate::Outranked => by_operator(),
        Fate::NotMember => None,
    }
}

fn terms(rank: Rank) -> Terms {
    let term = rank.terms.term();
    Terms {
        within_allowance: rank.terms.reach() == Reach::Within,
        term: (term != u32::MAX).then_some(term),
        band: rank.terms.band(),
        draw: f64::from_bits(rank.draw & (u64::MAX >> 1)),
    }
}

fn health(health: Health) -> &'static str {
    match health {
        Health::Unknown => "unknown",
        Health::Healthy => "healthy",
        Health::Unhealthy => "unhealthy",
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds with at most one decimal.
fn rounded_ms(rtt: Rtt) -> f64 {
    rounded(rtt.as_millis(), 10.0)
}

fn rounded(number: f64, per_unit: f64) -> f64 {
    (number * per_unit).round() / per_unit
}
