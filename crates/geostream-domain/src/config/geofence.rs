//! Geofences: which regions may serve which clients, whatever else is true.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::config::region::Labels;
use crate::name::{LabelKey, LabelValue, NameError, ServiceId};
use crate::place::{Continent, CountryCode, CountryGroup, Origin};

/// A hard constraint: a region that any rule forbids for a client never serves that client, not
/// even when every other region is down.
///
/// Rules do not depend on their order: each one that applies to a client must be kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Geofence(Vec<FenceRule>);

/// There are more rules than a geofence may have.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a geofence has at most {max} rules, and {0} were given", max = Geofence::MAX_RULES)]
pub struct TooManyRules(usize);

impl Geofence {
    /// The most rules that a geofence may have.
    pub const MAX_RULES: usize = 32;

    /// Takes the rules of a geofence; without any, every region may serve every client.
    ///
    /// # Errors
    ///
    /// Refuses more than [`Geofence::MAX_RULES`].
    pub fn new(rules: Vec<FenceRule>) -> Result<Self, TooManyRules> {
        if rules.len() > Self::MAX_RULES { Err(TooManyRules(rules.len())) } else { Ok(Self(rules)) }
    }

    /// Returns the rules in the order in which they were given.
    #[must_use]
    pub fn rules(&self) -> &[FenceRule] {
        &self.0
    }

    /// Returns the codes that rules name and no country has, each with the position of its rule and
    /// its own among the rule's countries.
    ///
    /// Rules of earlier versions have them: a rule for `UK` holds for no client of today's files.
    pub fn unassigned_codes(&self) -> impl Iterator<Item = UnassignedCode> {
        self.0.iter().enumerate().flat_map(|(rule, FenceRule { clients, .. })| {
            let codes = clients.countries.iter().copied().enumerate();
            codes.filter(|(_, code)| !code.is_assigned()).map(move |(entry, code)| UnassignedCode {
                rule,
                entry,
                code,
            })
        })
    }

    /// Returns the position of the first rule that forbids a region of these labels to a client.
    pub(crate) fn forbids(&self, origin: Origin, labels: &Labels) -> Option<usize> {
        self.0.iter().position(|rule| rule.clients.selects(origin) && !rule.permits(labels))
    }

    /// Returns which rules apply to a client, one bit each.
    pub(crate) fn applying(&self, origin: Origin) -> u32 {
        self.0
            .iter()
            .rev()
            .fold(0, |bits, rule| bits << 1 | u32::from(rule.clients.selects(origin)))
    }
}

/// A code in a geofence that no country has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnassignedCode {
    /// The position of the rule.
    pub rule: usize,
    /// The position among the countries of the rule.
    pub entry: usize,
    /// The code.
    pub code: CountryCode,
}

impl fmt::Display for UnassignedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.code;
        write!(f, "{code} is no country code of ISO 3166-1")?;
        match code.meaning() {
            Some(meaning) => write!(f, ": {meaning}"),
            None => write!(f, ", so the rule would hold for no client of it"),
        }
    }
}

/// A selector in a geofence that matches no member of its service, as where a label is misspelt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdleSelector {
    /// The service.
    pub service: ServiceId,
    /// The position of the rule.
    pub rule: usize,
    /// The selector.
    pub selector: LabelSelector,
}

impl fmt::Display for IdleSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, rule, selector } = self;
        let rule = rule + 1;
        write!(f, "the geofence of {service}, rule {rule}: {selector} matches no member")
    }
}

/// One rule: for these clients, these regions only, and never those.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FenceRule {
    /// The clients to whom the rule applies.
    pub clients: ClientSelector,
    /// Where this is not empty, a region must match one of them.
    pub allow: Vec<LabelSelector>,
    /// A region must match none of them.
    pub deny: Vec<LabelSelector>,
}

impl FenceRule {
    /// The most entries in each of a rule's lists.
    pub const MAX_ENTRIES: usize = 300;

    fn permits(&self, labels: &Labels) -> bool {
        let allowed = self.allow.is_empty() || self.allow.iter().any(|s| s.selects(labels));
        allowed && !self.deny.iter().any(|s| s.selects(labels))
    }
}

/// The clients to whom a rule applies: those that match any part, or everybody where no part is
/// given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientSelector {
    /// Clients in these countries.
    pub countries: Vec<CountryCode>,
    /// Clients in the countries of these groups.
    pub groups: Vec<CountryGroup>,
    /// Clients on these continents.
    pub continents: Vec<Continent>,
    /// Clients of whom not even the continent is known.
    pub unknown: bool,
}

impl ClientSelector {
    fn selects(&self, origin: Origin) -> bool {
        if self.is_empty() {
            return true;
        }
        let in_country = origin.country().is_some_and(|country| {
            self.countries.contains(&country) || self.groups.iter().any(|g| g.contains(country))
        });
        // All continents and `unknown` together are every client.
        in_country
            || match origin.continent() {
                Some(continent) => self.continents.contains(&continent) || self.names(origin),
                None => self.unknown,
            }
    }

    fn is_empty(&self) -> bool {
        let Self { countries, groups, continents, unknown } = self;
        countries.is_empty() && groups.is_empty() && continents.is_empty() && !unknown
    }

    /// Tells whether a rule of an earlier version names a continent among the countries: whois data
    /// have `EU` as the country of clients of whom the continent alone is known.
    fn names(&self, origin: Origin) -> bool {
        let Origin::Continent(continent) = origin else { return false };
        let is_it = |code: &CountryCode| !code.is_assigned() && code.as_str() == continent.code();
        self.countries.iter().any(is_it)
    }
}

/// Selects regions by a label: `residency=eu` by its value, `gpu` by its presence, `*` all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelSelector {
    /// Every region: `*`.
    Any,
    /// Regions that carry the key, whatever its value.
    Has(LabelKey),
    /// Regions that carry the key with this value.
    Is(LabelKey, LabelValue),
}

impl LabelSelector {
    pub(crate) fn selects(&self, labels: &Labels) -> bool {
        match self {
            Self::Any => true,
            Self::Has(key) => labels.get(key).is_some(),
            Self::Is(key, value) => labels.get(key) == Some(value),
        }
    }
}

impl FromStr for LabelSelector {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.split_once('=') {
            _ if text == "*" => Self::Any,
            Some((key, value)) => Self::Is(key.parse()?, value.parse()?),
            None => Self::Has(text.parse()?),
        })
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Has(key) => write!(f, "{key}"),
            Self::Is(key, value) => write!(f, "{key}={value}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::Location;

    fn rule(clients: &[&str], allow: &[&str], deny: &[&str]) -> FenceRule {
        let mut selector = ClientSelector::default();
        for text in clients {
            match *text {
                "unknown" => selector.unknown = true,
                group if text.starts_with('+') => selector.groups.push(group[1..].parse().unwrap()),
                continent if text.starts_with('@') => {
                    selector.continents.push(continent[1..].parse().unwrap());
                }
                country => selector.countries.push(country.parse().unwrap()),
            }
        }
        let labels = |texts: &[&str]| texts.iter().map(|t| t.parse().unwrap()).collect();
        FenceRule { clients: selector, allow: labels(allow), deny: labels(deny) }
    }

    fn labels(text: &str) -> Labels {
        let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
        Labels::new(pairs.map(|(k, v)| (k.parse().unwrap(), v.parse().unwrap())).collect()).unwrap()
    }

    #[test]
    fn every_rule_that_applies_must_be_kept() {
        let fence = Geofence::new(vec![
            rule(&["@EU", "CH"], &["residency=eu"], &[]),
            rule(&["DE"], &[], &["owner=other"]),
            rule(&["KP", "unknown"], &[], &["*"]),
            rule(&[], &[], &["retired"]),
        ])
        .unwrap();
        for (client, region, forbidden_by) in [
            ("FR", "residency=eu", None),
            ("FR", "residency=us", Some(0)),
            ("CH", "", Some(0)),
            ("DE", "residency=eu,owner=other", Some(1)),
            ("FR", "residency=eu,owner=other", None),
            ("US", "", None),
            ("KP", "residency=eu", Some(2)),
            ("US", "retired=2024", Some(3)),
        ] {
            let origin = Origin::Country(client.parse().unwrap());
            assert_eq!(fence.forbids(origin, &labels(region)), forbidden_by, "{client} {region}");
        }
        assert_eq!(fence.forbids(Origin::Unknown, &labels("")), Some(2));
        assert_eq!(fence.forbids(Origin::Continent(Continent::Europe), &labels("")), Some(0));
        assert_eq!(fence.applying(Origin::Country("DE".parse().unwrap())), 0b1011);
    }

    /// Everything that a record or a caller may say of a country and a continent.
    fn places() -> impl Iterator<Item = Location> {
        let countries = CountryCode::all().map(Some).chain([None]);
        countries.flat_map(|country| {
            let continents = Continent::ALL.map(Some).into_iter().chain([None]);
            continents.map(move |continent| {
                let place = Location { continent, ..Location::UNKNOWN };
                country.map_or(place, |country| place.in_country(country))
            })
        })
    }

    #[test]
    fn all_continents_and_unknown_together_are_every_client() {
        let everyone =
            rule(&["@AF", "@AN", "@AS", "@EU", "@NA", "@OC", "@SA", "unknown"], &[], &[]);
        for place in places() {
            assert!(everyone.clients.selects(place.origin()), "{place:?}");
        }
    }

    #[test]
    fn a_rule_for_a_continent_holds_for_every_client_that_is_placed_on_it() {
        for place in places() {
            for continent in Continent::ALL {
                let selector =
                    ClientSelector { continents: vec![continent], ..ClientSelector::default() };
                let is_there = place.continent == Some(continent);
                assert_eq!(selector.selects(place.origin()), is_there, "{place:?}");
            }
        }
    }

    #[test]
    fn a_group_is_the_list_of_its_countries() {
        for group in CountryGroup::ALL {
            let countries = CountryCode::all().filter(|code| group.contains(*code)).collect();
            let listed = ClientSelector { countries, ..ClientSelector::default() };
            let named = ClientSelector { groups: vec![group], ..ClientSelector::default() };
            for origin in Origin::all() {
                assert_eq!(named.selects(origin), listed.selects(origin), "{group} {origin:?}");
            }
        }
        let both = rule(&["+EU", "CH"], &[], &[]);
        let is_selected = |code: &str| both.clients.selects(Origin::Country(code.parse().unwrap()));
        assert!(is_selected("FR") && is_selected("CH") && !is_selected("GB"));
    }

    #[test]
    fn codes_that_no_country_has_are_told_with_what_is_meant() {
        let fence =
            Geofence::new(vec![rule(&["DE"], &["a"], &[]), rule(&["FR", "UK", "QQ"], &["a"], &[])])
                .unwrap();
        let told: Vec<_> = fence
            .unassigned_codes()
            .map(|found| (found.rule, found.entry, found.to_string()))
            .collect();
        let [(1, 1, uk), (1, 2, qq)] = &told[..] else { panic!("{told:?}") };
        assert_eq!(uk, "UK is no country code of ISO 3166-1: the United Kingdom is GB");
        assert!(qq.starts_with("QQ is no country code of ISO 3166-1, so"), "{qq}");
    }

    #[test]
    fn a_rule_of_an_earlier_version_holds_for_those_for_whom_it_held() {
        let earlier = rule(&["EU", "UK"], &[], &[]);
        let of_record = |country: &str, continent: Option<Continent>| {
            let place = Location { continent, ..Location::UNKNOWN };
            place.in_country(country.parse().unwrap()).origin()
        };
        assert!(earlier.clients.selects(of_record("EU", Some(Continent::Europe))));
        assert!(earlier.clients.selects(of_record("EU", None)));
        assert!(earlier.clients.selects(of_record("UK", None)));
        assert!(!earlier.clients.selects(of_record("DE", Some(Continent::Europe))));
        assert!(!earlier.clients.selects(of_record("GB", None)));
    }
}
