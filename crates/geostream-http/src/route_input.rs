//! What a request for a decision asks: read from its document or its query.

use std::borrow::Cow;
use std::net::IpAddr;

use geostream_api::{Fields, LocationClaim, RouteRequest};
use geostream_app::{Claim, RouteQuery};
use geostream_domain::{CountryCode, GeoPoint, GeoPointError};
use http::{HeaderMap, Uri};

use crate::body;
use crate::client::read_address;
use crate::problem::Failure;
use crate::query::Query;

/// The most characters of a client's key.
const KEY_LENGTH: usize = 64;

/// A question that has been read.
#[derive(Debug, Default)]
pub(crate) struct RouteInput<'a> {
    pub(crate) service: Option<Cow<'a, str>>,
    address: Option<IpAddr>,
    claim: Option<Claim>,
    key: Option<Cow<'a, str>>,
    pub(crate) explain: bool,
    /// Whether the caller has a token, so that the geofence goes by the country that it states.
    pub(crate) is_vouched_for: bool,
}

impl<'a> RouteInput<'a> {
    pub(crate) fn by_document(headers: &HeaderMap, body: &'a [u8]) -> Result<Self, Failure> {
        Self::read(body::read(headers, body)?)
    }

    pub(crate) fn by_query(uri: &'a Uri) -> Result<Self, Failure> {
        let mut query = Query::of(uri);
        let (latitude, longitude) = (query.parsed("latitude")?, query.parsed("longitude")?);
        let country = query.text("country")?.map(Cow::into_owned);
        let request = RouteRequest {
            client_ip: query.text("client_ip")?,
            service: query.text("service")?,
            location: None,
            key: query.text("key")?,
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

    pub(crate) fn read(request: RouteRequest<'a>) -> Result<Self, Failure> {
        let RouteRequest { client_ip, service, location, key, explain } = request;
        let mut fields = Fields::default();
        let address = client_ip.as_deref().map(read_address);
        let address = fields.check_some("/client_ip", address);
        let claim = location.and_then(|claim| read_claim(&claim, &mut fields));
        if let Some(key) = &key
            && !(1..=KEY_LENGTH).contains(&key.chars().count())
        {
            fields.note("/key", format_args!("1 to {KEY_LENGTH} characters are expected"));
        }
        let asked = Self { service, address, claim, key, explain, is_vouched_for: false };
        Ok(fields.finish(Some(asked))?)
    }

    /// Keeps the question for longer than the document that it stands in.
    pub(crate) fn into_owned(self) -> RouteInput<'static> {
        let owned = |text: Option<Cow<'_, str>>| text.map(|text| Cow::Owned(text.into_owned()));
        let Self { service, address, claim, key, explain, is_vouched_for } = self;
        let (service, key) = (owned(service), owned(key));
        RouteInput { service, address, claim, key, explain, is_vouched_for }
    }

    /// Tells whether the caller states the country of the client.
    pub(crate) fn states_country(&self) -> bool {
        self.claim.is_some_and(|claim| claim.country.is_some())
    }

    /// Tells whether the client is at the other end of the connection, or of a proxy's.
    pub(crate) fn is_of_connection(&self) -> bool {
        self.address.is_none() && self.claim.is_none()
    }

    /// Returns the question for a client that may be at the other end of the connection.
    pub(crate) fn query(&self, peer: IpAddr) -> RouteQuery<'_> {
        // Who states a place speaks of somebody else.
        let address = match self.claim {
            Some(_) => self.address,
            None => Some(self.address.unwrap_or(peer)),
        };
        let believed = |claim: Claim| Claim {
            country: claim.country.filter(|_| self.is_vouched_for),
            ..claim
        };
        RouteQuery {
            service: self.service.as_deref(),
            address,
            origin: address.unwrap_or(peer).into(),
            claim: self.claim.map(believed),
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
