//! Geofences: which regions may serve which clients, whatever else is true.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::country::{Continent, CountryCode};
use crate::location::Origin;
use crate::name::{LabelKey, LabelValue, NameError};
use crate::region::Labels;

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
    /// Clients on these continents.
    pub continents: Vec<Continent>,
    /// Clients of whom not even the continent is known.
    pub unknown: bool,
}

impl ClientSelector {
    fn selects(&self, origin: Origin) -> bool {
        if self.countries.is_empty() && self.continents.is_empty() && !self.unknown {
            return true;
        }
        let continent = origin.continent();
        origin.country().is_some_and(|country| self.countries.contains(&country))
            || continent.is_some_and(|continent| self.continents.contains(&continent))
            || (self.unknown && origin == Origin::Unknown)
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
    fn selects(&self, labels: &Labels) -> bool {
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

    fn rule(clients: &[&str], allow: &[&str], deny: &[&str]) -> FenceRule {
        let mut selector = ClientSelector::default();
        for text in clients {
            match *text {
                "unknown" => selector.unknown = true,
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
}
