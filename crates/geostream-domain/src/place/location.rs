//! Where a client is, as far as anybody knows.

use crate::place::country::{COUNTRY_CODES, Continent, CountryCode};
use crate::place::geo::GeoPoint;

/// What is known of a client's place; every part may be missing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Location {
    /// The coordinates that decisions are made with.
    pub point: Option<GeoPoint>,
    /// How well `point` is known.
    pub precision: Precision,
    /// Radius in kilometres around `point` in which the client probably is, where the source says.
    pub accuracy_km: Option<u16>,
    /// The country, for the geofence.
    pub country: Option<CountryCode>,
    /// The continent, for the geofence; the country's own wherever the country is known.
    pub continent: Option<Continent>,
}

/// How well a location's point is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Nothing is known: the policy's order for clients without a location applies.
    #[default]
    Unknown,
    /// Somewhere in the country: the point stands for all of it.
    Country,
    /// A city, or coordinates that the caller gave.
    City,
}

impl Location {
    /// Nothing is known of the place.
    pub const UNKNOWN: Self = Self {
        point: None,
        precision: Precision::Unknown,
        accuracy_km: None,
        country: None,
        continent: None,
    };

    /// Returns the location of a client whose coordinates are known and whose country is not.
    #[must_use]
    pub fn at(point: GeoPoint) -> Self {
        Self { point: Some(point), precision: Precision::City, ..Self::UNKNOWN }
    }

    /// Returns the location of a client of whom the country alone is known, at the country's
    /// typical point where it has one.
    #[must_use]
    pub fn somewhere_in(country: CountryCode) -> Self {
        let point = country.typical_point();
        let precision = if point.is_some() { Precision::Country } else { Precision::Unknown };
        Self { point, precision, ..Self::UNKNOWN }.in_country(country)
    }

    /// Returns the same location with its country, and so its continent, known.
    #[must_use]
    pub fn in_country(self, country: CountryCode) -> Self {
        Self { country: Some(country), continent: country.continent().or(self.continent), ..self }
    }

    /// Returns where a geofence takes the client to come from.
    ///
    /// A code that no country has, such as `EU`, says less than the continent beside it.
    pub(crate) fn origin(&self) -> Origin {
        match (self.country, self.continent) {
            (Some(country), _) if country.continent().is_some() => Origin::Country(country),
            (_, Some(continent)) => Origin::Continent(continent),
            (Some(country), None) => Origin::Country(country),
            (None, None) => Origin::Unknown,
        }
    }
}

/// Where a client comes from, as a geofence sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Country(CountryCode),
    Continent(Continent),
    Unknown,
}

impl Origin {
    /// How many origins there are: indexes are below this.
    pub(crate) const COUNT: usize = COUNTRY_CODES + Continent::ALL.len() + 1;

    pub(crate) fn index(self) -> usize {
        match self {
            Self::Country(country) => country.index(),
            Self::Continent(continent) => COUNTRY_CODES + continent as usize,
            Self::Unknown => Self::COUNT - 1,
        }
    }

    /// Returns every origin in the order of its index.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        CountryCode::all()
            .map(Self::Country)
            .chain(Continent::ALL.into_iter().map(Self::Continent))
            .chain([Self::Unknown])
    }

    pub(crate) fn country(self) -> Option<CountryCode> {
        match self {
            Self::Country(country) => Some(country),
            Self::Continent(_) | Self::Unknown => None,
        }
    }

    pub(crate) fn continent(self) -> Option<Continent> {
        match self {
            Self::Country(country) => country.continent(),
            Self::Continent(continent) => Some(continent),
            Self::Unknown => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_numbered_without_gaps() {
        for (expected, origin) in Origin::all().enumerate() {
            assert_eq!(origin.index(), expected, "{origin:?}");
        }
        assert_eq!(Origin::all().count(), Origin::COUNT);
    }

    #[test]
    fn a_country_brings_its_continent_and_a_typical_point() {
        let germany = Location::somewhere_in("DE".parse().unwrap());
        assert_eq!(germany.continent, Some(Continent::Europe));
        assert_eq!(germany.precision, Precision::Country);
        assert!(germany.point.is_some());
    }
}
