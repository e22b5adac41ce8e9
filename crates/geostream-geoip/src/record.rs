//! What a database says of a network, in either schema.

use std::fmt;

use geostream_domain::{CountryCode, GeoPoint, Location, Precision};
use maxminddb::{LookupResult, MaxMindDbError};
use serde::de::{Deserialize, Deserializer, IgnoredAny, Visitor};

/// How a database lays out its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Schema {
    /// GeoLite2 and GeoIP2: `country.iso_code`, `location.latitude`.
    Nested,
    /// ip-location-db: `country_code`, `latitude`; missing text is empty.
    Flat,
}

#[derive(serde::Deserialize)]
struct Nested<'a> {
    city: Option<IgnoredAny>,
    #[serde(borrow)]
    continent: Option<NestedContinent<'a>>,
    #[serde(borrow)]
    country: Option<NestedCountry<'a>>,
    #[serde(borrow)]
    registered_country: Option<NestedCountry<'a>>,
    location: Option<NestedLocation>,
}

#[derive(serde::Deserialize)]
struct NestedContinent<'a> {
    code: Option<&'a str>,
}

#[derive(serde::Deserialize)]
struct NestedCountry<'a> {
    iso_code: Option<&'a str>,
}

#[derive(serde::Deserialize)]
struct NestedLocation {
    latitude: Option<Degrees>,
    longitude: Option<Degrees>,
    accuracy_radius: Option<u16>,
}

#[derive(serde::Deserialize)]
struct Flat<'a> {
    #[serde(default)]
    city: &'a str,
    #[serde(default)]
    country_code: &'a str,
    latitude: Option<Degrees>,
    longitude: Option<Degrees>,
}

/// Degrees, which some makers keep as double and some as single precision.
#[derive(Clone, Copy)]
struct Degrees(f64);

/// The keys that tell the schemas apart.
#[derive(serde::Deserialize)]
struct Keys {
    country_code: Option<IgnoredAny>,
    latitude: Option<IgnoredAny>,
    city: Option<IgnoredAny>,
    continent: Option<IgnoredAny>,
    country: Option<IgnoredAny>,
    registered_country: Option<IgnoredAny>,
    location: Option<IgnoredAny>,
}

type Found<'a> = LookupResult<'a, &'a [u8]>;

impl Schema {
    /// Tells the schema of a record; `None` for one that says nothing of places, as those of an
    /// ASN database do.
    pub(crate) fn of(found: &Found<'_>) -> Result<Option<Self>, MaxMindDbError> {
        let Some(keys) = found.decode::<Keys>()? else { return Ok(None) };
        if keys.country_code.is_some() || keys.latitude.is_some() {
            return Ok(Some(Self::Flat));
        }
        let nested =
            [keys.city, keys.continent, keys.country, keys.registered_country, keys.location];
        Ok(nested.iter().any(Option::is_some).then_some(Self::Nested))
    }

    /// Reads a record as a location, which is unknown if there is no record.
    pub(crate) fn read(self, found: &Found<'_>) -> Result<Location, MaxMindDbError> {
        let location = match self {
            Self::Nested => found.decode::<Nested<'_>>()?.map(|record| record.location()),
            Self::Flat => found.decode::<Flat<'_>>()?.map(|record| record.location()),
        };
        Ok(location.unwrap_or(Location::UNKNOWN))
    }
}

impl Nested<'_> {
    fn location(&self) -> Location {
        // A satellite provider's network, say, is registered in a country and is in none.
        let country = self.country.as_ref().or(self.registered_country.as_ref());
        let country = country.and_then(|country| country.iso_code?.parse().ok());
        let place = self.location.as_ref();
        let point = place.and_then(|place| point(place.latitude?, place.longitude?));
        let known = locate(point, self.city.is_some(), country);
        let continent = self.continent.as_ref().and_then(|continent| continent.code?.parse().ok());
        Location {
            accuracy_km: place.and_then(|place| place.accuracy_radius),
            continent: known.continent.or(continent),
            ..known
        }
    }
}

impl Flat<'_> {
    fn location(&self) -> Location {
        let point = self.latitude.zip(self.longitude).and_then(|(lat, lon)| point(lat, lon));
        locate(point, !self.city.is_empty(), self.country_code.parse().ok())
    }
}

/// Combines what is known; without a city, coordinates stand for the country.
fn locate(point: Option<GeoPoint>, has_city: bool, country: Option<CountryCode>) -> Location {
    let known = match (point, country) {
        (Some(point), _) => {
            let precision = if has_city { Precision::City } else { Precision::Country };
            Location { precision, ..Location::at(point) }
        }
        (None, Some(country)) => Location::somewhere_in(country),
        (None, None) => Location::UNKNOWN,
    };
    match country {
        Some(country) => known.in_country(country),
        None => known,
    }
}

fn point(Degrees(latitude): Degrees, Degrees(longitude): Degrees) -> Option<GeoPoint> {
    GeoPoint::new(latitude, longitude).ok()
}

impl<'de> Deserialize<'de> for Degrees {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl Visitor<'_> for Either {
            type Value = Degrees;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of degrees")
            }

            fn visit_f32<E>(self, degrees: f32) -> Result<Degrees, E> {
                Ok(Degrees(degrees.into()))
            }

            fn visit_f64<E>(self, degrees: f64) -> Result<Degrees, E> {
                Ok(Degrees(degrees))
            }
        }

        deserializer.deserialize_any(Either)
    }
}
