//! What a database says of a network, in any of the layouts that makers use.
//!
//! | maker | country | continent | coordinates |
//! |---|---|---|---|
//! | GeoLite2, GeoIP2, DB-IP, `IP2Location` | `country.iso_code`, else `registered_country.iso_code` | `continent.code` | `location.latitude`, `location.longitude` |
//! | ip-location-db, tables as they are downloaded | `country_code` or `country` | `continent_code` or `continent` | `latitude`, `longitude` |
//! | `IPinfo` | `country_code`, or `country` as a code | `continent_code` | `lat`, `lng` as text, or `loc` |
//!
//! All of them are read at once: each part is taken from wherever it is.

use std::fmt;
use std::str::FromStr;

use geostream_domain::{Continent, CountryCode, GeoPoint, Location, Precision};
use maxminddb::{LookupResult, MaxMindDbError};
use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A record, as far as it is of a place.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct Record<'a> {
    city: Named,
    #[serde(borrow)]
    continent: Code<'a>,
    #[serde(borrow)]
    continent_code: Code<'a>,
    #[serde(borrow)]
    country: Code<'a>,
    #[serde(borrow)]
    country_code: Code<'a>,
    #[serde(borrow)]
    registered_country: Code<'a>,
    location: Position,
    latitude: Number,
    longitude: Number,
    lat: Number,
    #[serde(alias = "lon", alias = "long")]
    lng: Number,
    loc: Position,
    accuracy_radius: Number,
    #[serde(borrow)]
    geo: Option<Box<Self>>,
}

/// What a record says, or why it is not understood.
#[derive(Debug)]
pub(crate) enum Said {
    /// Nothing of places, as the records of an ASN database.
    Nothing,
    /// Where the network is; unknown where the maker does not know.
    Place(Location),
    /// Something of a place in a way that is not known.
    Unknown(String),
}

/// Texts that stand for "not known".
const PLACEHOLDERS: [&str; 9] = ["", "-", "--", "ZZ", "XX", "??", "N/A", "None", "NULL"];

impl Record<'_> {
    /// Reads a record.
    ///
    /// # Errors
    ///
    /// If the file is damaged there.
    pub(crate) fn read(found: &LookupResult<'_, &[u8]>) -> Result<Said, MaxMindDbError> {
        match found.decode::<Record<'_>>() {
            Ok(None) => Ok(Said::Nothing),
            Ok(Some(record)) => record.said(found),
            // What can be read otherwise is whole, and of another layout.
            Err(error) => match found.decode::<Whole>() {
                Ok(_) => Ok(Said::Unknown(error.to_string())),
                Err(_) => Err(error),
            },
        }
    }

    fn said(&self, found: &LookupResult<'_, &[u8]>) -> Result<Said, MaxMindDbError> {
        if let Some(geo) = &self.geo {
            return geo.said(found);
        }
        if self.is_empty() {
            let keys = found.decode::<Keys>()?.unwrap_or_default();
            return Ok(match keys.0 {
                Some(key) => Said::Unknown(format!("the field {key:?} is not known")),
                None => Said::Nothing,
            });
        }
        Ok(match self.location() {
            Ok(location) => Said::Place(location),
            Err(why) => Said::Unknown(why),
        })
    }

    /// Tells whether no field is there that says anything of places.
    fn is_empty(&self) -> bool {
        let codes = [
            self.continent,
            self.continent_code,
            self.country,
            self.country_code,
            self.registered_country,
        ];
        let numbers = [self.latitude, self.longitude, self.lat, self.lng];
        let is_there = self.city != Named::Absent
            || codes.iter().any(|code| *code != Code::Absent)
            || numbers.iter().any(|number| *number != Number::Absent)
            || [&self.location, &self.loc].iter().any(|place| place.is_there);
        !is_there
    }

    fn location(&self) -> Result<Location, String> {
        // A satellite provider's network, say, is registered in a country and is in none.
        let codes = [self.country_code, self.country, self.registered_country];
        let country = first_known(codes, "country", is::<CountryCode>)?;
        let continents = [self.continent_code, self.continent];
        let continent = match first_known(continents, "continent", is::<Continent>) {
            // The country has its continent.
            Err(_) if country.is_some() => None,
            known => known?,
        };
        let continent = continent.and_then(|code| code.parse::<Continent>().ok());
        let point = self.point();
        let has_city = self.city == Named::Known;
        let known = locate(point, has_city, country.and_then(|code| code.parse().ok()));
        let accuracy = self.location.accuracy_km.or(self.accuracy_radius).value();
        Ok(Location {
            accuracy_km: accuracy.filter(|_| point.is_some()).map(whole_km),
            continent: known.continent.or(continent),
            ..known
        })
    }

    /// Returns the coordinates. Makers write 0, 0 where they know none: that is in the sea off
    /// Ghana.
    fn point(&self) -> Option<GeoPoint> {
        let pairs = [
            (self.location.latitude, self.location.longitude),
            (self.latitude, self.longitude),
            (self.lat, self.lng),
            (self.loc.latitude, self.loc.longitude),
        ];
        let known = pairs.into_iter().find_map(|(lat, lon)| lat.value().zip(lon.value()));
        let (latitude, longitude) = known.filter(|pair| *pair != (0.0, 0.0))?;
        GeoPoint::new(latitude, longitude).ok()
    }
}

/// Returns the first text that is a code. A name beside a code says nothing more; alone, it would
/// leave rules for the country without effect.
fn first_known<'a>(
    codes: impl IntoIterator<Item = Code<'a>>,
    field: &str,
    is_code: impl Fn(&str) -> bool,
) -> Result<Option<&'a str>, String> {
    let mut other = None;
    for code in codes {
        match code {
            Code::Text(text) if is_placeholder(text) => {}
            Code::Text(text) if is_code(text) => return Ok(Some(text)),
            Code::Text(text) => other = other.or(Some(text)),
            Code::Absent | Code::Unknown => {}
        }
    }
    match other {
        None => Ok(None),
        Some(text) => {
            let text: String = text.chars().take(32).collect();
            Err(format!("the {field} is {text:?}, and codes of two letters are read"))
        }
    }
}

fn is<T: FromStr>(text: &str) -> bool {
    text.parse::<T>().is_ok()
}

fn is_placeholder(text: &str) -> bool {
    PLACEHOLDERS.iter().any(|placeholder| placeholder.eq_ignore_ascii_case(text.trim()))
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

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast of a float stays within the integer's range"
)]
fn whole_km(radius: f64) -> u16 {
    radius.round() as u16
}

/// A number of any type, or a text that is one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Number {
    #[default]
    Absent,
    /// The field is there and holds nothing.
    Empty,
    Is(f64),
}

impl Number {
    fn value(self) -> Option<f64> {
        match self {
            Self::Is(number) => Some(number),
            Self::Absent | Self::Empty => None,
        }
    }

    fn or(self, other: Self) -> Self {
        if self == Self::Absent { other } else { self }
    }

    fn of_text<E: de::Error>(text: &str) -> Result<Self, E> {
        if is_placeholder(text) {
            return Ok(Self::Empty);
        }
        let invalid = |_| E::custom(format_args!("{text:?} is not a number"));
        text.trim().parse().map(Self::Is).map_err(invalid)
    }
}

/// A code, as it is or within what it belongs to: `"DE"`, `{iso_code: "DE"}`, `{code: "EU"}`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Code<'a> {
    #[default]
    Absent,
    /// Something is there, and no code.
    Unknown,
    Text(&'a str),
}

/// Whether a place has a name.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Named {
    #[default]
    Absent,
    /// The field is there and holds nothing.
    Unknown,
    Known,
}

/// Coordinates, as `{latitude: 50.1, longitude: 8.7}` or `"50.1,8.7"`.
#[derive(Clone, Copy, Debug, Default)]
struct Position {
    is_there: bool,
    latitude: Number,
    longitude: Number,
    accuracy_km: Number,
}

/// Reads a whole record, whatever it has.
struct Whole;

/// The first key that sounds like a place's.
#[derive(Debug, Default)]
struct Keys(Option<String>);

/// What keys of places have in their names, in the layouts that are known and probably in others.
const OF_PLACES: [&str; 8] = ["country", "continent", "lat", "lon", "lng", "iso", "coord", "geo"];

macro_rules! numbers {
    ($($method:ident($number:ty))*) => {$(
        fn $method<E>(self, number: $number) -> Result<Number, E> {
            Ok(Number::Is(f64::from(number)))
        }
    )*};
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl Visitor<'_> for Any {
            type Value = Number;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }

            numbers! {
                visit_i8(i8) visit_i16(i16) visit_i32(i32) visit_u8(u8) visit_u16(u16)
                visit_u32(u32) visit_f32(f32) visit_f64(f64)
            }

            // Degrees and kilometres are small.
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Number, E> {
                i32::try_from(number).map(|number| Number::Is(number.into())).map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Number, E> {
                u32::try_from(number).map(|number| Number::Is(number.into())).map_err(E::custom)
            }

            fn visit_u128<E: de::Error>(self, number: u128) -> Result<Number, E> {
                u32::try_from(number).map(|number| Number::Is(number.into())).map_err(E::custom)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Number, E> {
                Number::of_text(text)
            }
        }

        deserializer.deserialize_any(Any)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Code<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Code<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a code of two letters")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Code<'de>, E> {
                Ok(Code::Text(text))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Code<'de>, A::Error> {
                let mut code = Code::Unknown;
                while let Some(key) = map.next_key::<&str>()? {
                    match key {
                        "iso_code" | "code" | "country_code" | "iso" => code = map.next_value()?,
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(code)
            }
        }

        deserializer.deserialize_any(Any)
    }
}

impl<'de> Deserialize<'de> for Named {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Named;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a city")
            }

            fn visit_str<E>(self, text: &str) -> Result<Named, E> {
                Ok(if is_placeholder(text) { Named::Unknown } else { Named::Known })
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Named, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Named::Known)
            }
        }

        deserializer.deserialize_any(Any)
    }
}

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Position;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("coordinates")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Position, E> {
                let there = Position { is_there: true, ..Position::default() };
                if is_placeholder(text) {
                    return Ok(there);
                }
                let (latitude, longitude) = text.split_once(',').ok_or_else(|| {
                    E::custom(format_args!("{text:?} is not a latitude and a longitude"))
                })?;
                let latitude = Number::of_text(latitude)?;
                let longitude = Number::of_text(longitude)?;
                Ok(Position { latitude, longitude, ..there })
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Position, A::Error> {
                let mut found = Position { is_there: true, ..Position::default() };
                while let Some(key) = map.next_key::<&str>()? {
                    match key {
                        "latitude" | "lat" => found.latitude = map.next_value()?,
                        "longitude" | "lng" | "lon" => found.longitude = map.next_value()?,
                        "accuracy_radius" => found.accuracy_km = map.next_value()?,
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(found)
            }
        }

        deserializer.deserialize_any(Any)
    }
}

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Keys;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a record")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
                let mut found = None;
                while let Some(key) = map.next_key::<&str>()? {
                    let lower = key.to_ascii_lowercase();
                    let is_of_place = OF_PLACES.iter().any(|part| lower.contains(part));
                    if is_of_place && found.is_none() {
                        found = Some(key.chars().take(32).collect());
                    }
                    map.next_value::<IgnoredAny>()?;
                }
                Ok(Keys(found))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Keys, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Keys(None))
            }

            fn visit_str<E>(self, _text: &str) -> Result<Keys, E> {
                Ok(Keys(None))
            }
        }

        deserializer.deserialize_any(Any)
    }
}
