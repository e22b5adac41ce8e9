//! What a token may do, on what, and until when.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

use crate::name::{NameError, RegionId, ServiceId};
use crate::time::Timestamp;

/// Everything that a token is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Which kinds of operation.
    pub scope: Scope,
    /// On which services and regions; without limits, on all and on what belongs to none.
    pub limits: Option<Arc<GrantLimits>>,
    /// When it ends; without, it ends only by being revoked.
    pub expires: Option<Timestamp>,
}

/// The services and regions that a limited token reaches; it reaches no other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantLimits {
    services: Vec<NamePattern>,
    regions: Vec<NamePattern>,
}

/// What an operation reads or changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touched<'a> {
    /// Nothing that belongs to a service or region, or only those that the limits let through.
    Nothing,
    /// A region, and what is observed of it or forced on it.
    Region(&'a RegionId),
    /// A service.
    Service(&'a ServiceId),
    /// All services and regions at once, or what holds for all of them, such as a setting.
    Everything,
}

/// Why a token may not do something.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum GrantError {
    /// The operation needs another scope.
    #[error("a token of scope {0} or above is needed")]
    Scope(Scope),
    /// The limits do not name the region.
    #[error("this token is limited to {limits}: region {region} is not among them")]
    Region {
        /// The limits.
        limits: Arc<GrantLimits>,
        /// The region.
        region: RegionId,
    },
    /// The limits do not name the service.
    #[error("this token is limited to {limits}: service {service} is not among them")]
    Service {
        /// The limits.
        limits: Arc<GrantLimits>,
        /// The service.
        service: ServiceId,
    },
    /// No limit can hold for the operation.
    #[error("this token is limited to {0}, and this operation cannot be limited to them")]
    Everything(Arc<GrantLimits>),
}

/// Why a token may not make another one.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum WiderError {
    /// The new one would have a scope that the old one does not include.
    #[error("a token of scope {0} makes none of a scope that it does not include")]
    Scope(Scope),
    /// The new one would reach more services or regions.
    #[error("a token that is limited to {0} makes none that reaches more")]
    Limits(Arc<GrantLimits>),
    /// The new one would end later.
    #[error("a token that expires makes none that expires later")]
    Expires(Timestamp),
}

impl Grant {
    /// Grants a scope without limits or end.
    #[must_use]
    pub fn unlimited(scope: Scope) -> Self {
        Self { scope, limits: None, expires: None }
    }

    /// Tells whether the grant has not ended.
    #[must_use]
    pub fn holds_at(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }

    /// Tells whether earlier versions understand all of it: they know neither limits nor an end.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.limits.is_none() && self.expires.is_none()
    }

    /// Permits an operation that needs a scope, on what it touches.
    ///
    /// # Errors
    ///
    /// If the scope does not include the operation, or the limits do not name what it touches.
    pub fn permits(&self, needed: Scope, touched: Touched<'_>) -> Result<(), GrantError> {
        if !self.scope.permits(needed) {
            return Err(GrantError::Scope(needed));
        }
        self.reaches(touched)
    }

    /// Permits what an operation of a permitted scope touches.
    ///
    /// # Errors
    ///
    /// If the limits do not name it.
    pub fn reaches(&self, touched: Touched<'_>) -> Result<(), GrantError> {
        let Some(limits) = &self.limits else { return Ok(()) };
        let is_reached = match touched {
            Touched::Nothing => true,
            Touched::Region(region) => limits.names_region(region),
            Touched::Service(service) => limits.names_service(service),
            Touched::Everything => false,
        };
        if is_reached {
            return Ok(());
        }
        let limits = Arc::clone(limits);
        Err(match touched {
            Touched::Region(region) => GrantError::Region { limits, region: region.clone() },
            Touched::Service(service) => GrantError::Service { limits, service: service.clone() },
            Touched::Nothing | Touched::Everything => GrantError::Everything(limits),
        })
    }

    /// Tells whether the limits, if there are any, name a region.
    #[must_use]
    pub fn reaches_region(&self, region: &RegionId) -> bool {
        self.reaches(Touched::Region(region)).is_ok()
    }

    /// Tells whether the limits, if there are any, name a service.
    #[must_use]
    pub fn reaches_service(&self, service: &ServiceId) -> bool {
        self.reaches(Touched::Service(service)).is_ok()
    }

    /// Tells whether it reaches all that another grant reaches, whatever their scopes and ends.
    #[must_use]
    pub fn reaches_all_of(&self, other: &Self) -> bool {
        match (&self.limits, &other.limits) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(limits), Some(others)) => limits.cover(others),
        }
    }

    /// Permits making a token with another grant: at no time may that do more than this one.
    ///
    /// # Errors
    ///
    /// If the other grant has a scope that this one does not include, reaches more, or ends later.
    pub fn covers(&self, other: &Self) -> Result<(), WiderError> {
        if !self.scope.permits(other.scope) {
            return Err(WiderError::Scope(self.scope));
        }
        if let Some(limits) = &self.limits
            && !self.reaches_all_of(other)
        {
            return Err(WiderError::Limits(Arc::clone(limits)));
        }
        match self.expires {
            Some(end) if other.expires.is_none_or(|other| other > end) => {
                Err(WiderError::Expires(end))
            }
            _ => Ok(()),
        }
    }
}

/// Lists of names that are no limits.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum GrantLimitsError {
    /// A list has too many patterns.
    #[error("at most {} services and as many regions can be named", GrantLimits::MOST)]
    TooMany,
    /// Nothing is named, so a token would reach nothing.
    #[error("limits name at least one service or region")]
    Nothing,
}

impl GrantLimits {
    /// The most services, and the most regions, that limits name.
    pub const MOST: usize = 32;

    /// Limits to what these patterns name.
    ///
    /// # Errors
    ///
    /// If there is none, or there are too many.
    pub fn new(
        services: Vec<NamePattern>,
        regions: Vec<NamePattern>,
    ) -> Result<Self, GrantLimitsError> {
        if services.len().max(regions.len()) > Self::MOST {
            return Err(GrantLimitsError::TooMany);
        }
        if services.is_empty() && regions.is_empty() {
            return Err(GrantLimitsError::Nothing);
        }
        Ok(Self { services, regions })
    }

    /// Returns the patterns that name services.
    #[must_use]
    pub fn services(&self) -> &[NamePattern] {
        &self.services
    }

    /// Returns the patterns that name regions.
    #[must_use]
    pub fn regions(&self) -> &[NamePattern] {
        &self.regions
    }

    fn names_region(&self, region: &RegionId) -> bool {
        self.regions.iter().any(|pattern| pattern.names(region.as_str()))
    }

    fn names_service(&self, service: &ServiceId) -> bool {
        self.services.iter().any(|pattern| pattern.names(service.as_str()))
    }

    /// Tells whether each pattern of the other limits is covered by one of these.
    fn cover(&self, other: &Self) -> bool {
        let all = |own: &[NamePattern], others: &[NamePattern]| {
            others.iter().all(|other| own.iter().any(|own| own.covers(other)))
        };
        all(&self.services, &other.services) && all(&self.regions, &other.regions)
    }
}

impl fmt::Display for GrantLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listed = |patterns: &[NamePattern]| {
            let texts: Vec<_> = patterns.iter().map(ToString::to_string).collect();
            texts.join(", ")
        };
        match (&self.services[..], &self.regions[..]) {
            (services, []) => write!(f, "services {}", listed(services)),
            ([], regions) => write!(f, "regions {}", listed(regions)),
            (services, regions) => {
                write!(f, "services {} and regions {}", listed(services), listed(regions))
            }
        }
    }
}

/// A name, or the beginning of names: `eu-west-1`, `eu-*` or `*`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NamePattern {
    /// One name.
    Name(ServiceId),
    /// All names that begin so.
    Prefix(Arc<str>),
}

/// A text that is no pattern of names.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NamePatternError {
    /// It is no name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// What is before the `*` begins no name.
    #[error("{0:?} is no name and no beginning of names with a * at its end, such as eu-*")]
    Prefix(String),
}

impl NamePattern {
    /// The most characters of a pattern.
    pub const MAX_LENGTH: usize = ServiceId::MAX_LENGTH;

    /// Tells whether the pattern names this.
    #[must_use]
    pub fn names(&self, name: &str) -> bool {
        match self {
            Self::Name(own) => own.as_str() == name,
            Self::Prefix(prefix) => name.starts_with(&**prefix),
        }
    }

    /// Tells whether it names all that another pattern names.
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::Name(name)) => self.names(name.as_str()),
            (Self::Prefix(prefix), Self::Prefix(other)) => other.starts_with(&**prefix),
            (Self::Name(_), Self::Prefix(_)) => false,
        }
    }
}

impl FromStr for NamePattern {
    type Err = NamePatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some(prefix) = text.strip_suffix('*') else { return Ok(Self::Name(text.parse()?)) };
        let is_inside = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        let begins_a_name = prefix.len() < Self::MAX_LENGTH
            && !prefix.starts_with('-')
            && prefix.bytes().all(is_inside);
        if begins_a_name {
            Ok(Self::Prefix(prefix.into()))
        } else {
            Err(NamePatternError::Prefix(text.chars().take(Self::MAX_LENGTH).collect()))
        }
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "{name}"),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}

/// What a token is good for; each scope but the first includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Reports what came of using regions, and nothing else.
    Reporter,
    /// Reads configuration, history and status.
    Viewer,
    /// Drains and restores regions.
    Operator,
    /// Changes configuration and tokens.
    Admin,
}

/// A text that is no scope.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a scope is one of reporter, viewer, operator, admin")]
pub struct UnknownScope;

impl Scope {
    /// Every scope, the least first.
    pub const ALL: [Self; 4] = [Self::Reporter, Self::Viewer, Self::Operator, Self::Admin];

    /// Tells whether a token of this scope may do what needs another.
    ///
    /// Reports can remove regions, so a viewer may not send them.
    #[must_use]
    pub fn permits(self, needed: Self) -> bool {
        match needed {
            Self::Reporter => self != Self::Viewer,
            Self::Viewer | Self::Operator | Self::Admin => self >= needed,
        }
    }

    /// Returns the scope's name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reporter => "reporter",
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text).ok_or(UnknownScope)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Chance;

    #[test]
    fn patterns_are_names_and_beginnings_of_names() {
        for good in ["api", "eu-west-1", "*", "eu-*", "e*", &format!("{}*", "x".repeat(62))] {
            assert_eq!(pattern(good).to_string(), good);
        }
        let long = format!("{}*", "x".repeat(63));
        for bad in ["", "-*", "EU-*", "e*u", "**", "*-1", "a b*", "-a", &long] {
            assert!(bad.parse::<NamePattern>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_limited_token_reaches_what_it_names_and_nothing_else() {
        let grant = limited(Scope::Operator, &["api"], &["eu-*", "us-1"]);
        for (touched, expected) in [
            (Touched::Nothing, true),
            (Touched::Service(&name("api")), true),
            (Touched::Service(&name("api-2")), false),
            (Touched::Service(&name("eu-1")), false),
            (Touched::Region(&name("eu-1")), true),
            (Touched::Region(&name("us-1")), true),
            (Touched::Region(&name("us-2")), false),
            (Touched::Region(&name("api")), false),
            (Touched::Everything, false),
        ] {
            assert_eq!(grant.permits(Scope::Viewer, touched).is_ok(), expected, "{touched:?}");
            assert!(grant.permits(Scope::Admin, touched).is_err(), "{touched:?}");
            assert!(Grant::unlimited(Scope::Operator).permits(Scope::Viewer, touched).is_ok());
        }
    }

    #[test]
    fn a_token_that_names_no_service_reaches_none() {
        let regions = limited(Scope::Viewer, &[], &["*"]);
        assert!(!regions.reaches_service(&name("api")));
        let services = limited(Scope::Viewer, &["*"], &[]);
        assert!(!services.reaches_region(&name("eu-1")));
        assert_eq!(GrantLimits::new(vec![], vec![]), Err(GrantLimitsError::Nothing));
        let many = vec![pattern("a"); GrantLimits::MOST + 1];
        assert_eq!(GrantLimits::new(vec![], many), Err(GrantLimitsError::TooMany));
    }

    #[test]
    fn a_refusal_names_the_limit() {
        let both = limited(Scope::Viewer, &["api"], &["eu-*"]);
        let region = name("us-1");
        let refused =
            |grant: &Grant, touched: Touched<'_>| grant.reaches(touched).unwrap_err().to_string();
        assert_eq!(
            refused(&both, Touched::Region(&region)),
            "this token is limited to services api and regions eu-*: region us-1 is not among them"
        );
        assert_eq!(
            refused(&limited(Scope::Viewer, &[], &["eu-*"]), Touched::Everything),
            "this token is limited to regions eu-*, and this operation cannot be limited to them"
        );
    }

    #[test]
    fn a_grant_ends_at_its_time() {
        let at = Timestamp::from_unix_millis;
        let grant = Grant { expires: Some(at(10)), ..Grant::unlimited(Scope::Viewer) };
        assert!(grant.holds_at(at(9)) && !grant.holds_at(at(10)));
        assert!(Grant::unlimited(Scope::Viewer).holds_at(at(u64::MAX)));
    }

    #[test]
    fn a_token_makes_no_wider_one() {
        let ending =
            |grant: Grant, at| Grant { expires: Some(Timestamp::from_unix_millis(at)), ..grant };
        let all = Grant::unlimited(Scope::Admin);
        let eu = limited(Scope::Admin, &["api"], &["eu-*"]);
        let part = limited(Scope::Viewer, &["api"], &["eu-west-*", "eu-1"]);
        for (maker, made, expected) in [
            (&all, &eu, true),
            (&eu, &part, true),
            (&eu, &limited(Scope::Admin, &[], &["eu-1"]), true),
            (&eu, &all, false),
            (&part, &eu, false),
            (&eu, &limited(Scope::Viewer, &["api", "web"], &["eu-*"]), false),
            (&eu, &limited(Scope::Viewer, &["a*"], &[]), false),
            (&eu, &limited(Scope::Viewer, &[], &["eu*"]), false),
            (&eu, &Grant::unlimited(Scope::Viewer), false),
            (&Grant::unlimited(Scope::Viewer), &Grant::unlimited(Scope::Reporter), false),
            (&Grant::unlimited(Scope::Operator), &Grant::unlimited(Scope::Reporter), true),
            (&ending(all.clone(), 9), &ending(all.clone(), 9), true),
            (&ending(all.clone(), 9), &ending(eu.clone(), 10), false),
            (&ending(all.clone(), 9), &all, false),
            (&all, &ending(all.clone(), 9), true),
        ] {
            assert_eq!(maker.covers(made).is_ok(), expected, "{maker:?} makes {made:?}");
        }
    }

    /// Each token of a chain is made by the one before it; what the last may do at any time, the
    /// first may do as well.
    #[test]
    fn no_chain_of_tokens_reaches_what_its_first_may_not() {
        let mut links = 0;
        for seed in 0..2_000 {
            let mut chance = Chance::new(seed);
            let first = any_grant(&mut chance);
            let mut last = first.clone();
            for _ in 0..40 {
                let next = any_grant(&mut chance);
                if last.covers(&next).is_ok() {
                    links += 1;
                    last = next;
                }
                for _ in 0..8 {
                    let needed = Scope::ALL[below(&mut chance, 4)];
                    let region = name(NAMES[below(&mut chance, NAMES.len())]);
                    let service = name(NAMES[below(&mut chance, NAMES.len())]);
                    let touched = [
                        Touched::Nothing,
                        Touched::Region(&region),
                        Touched::Service(&service),
                        Touched::Everything,
                    ][below(&mut chance, 4)];
                    let now = Timestamp::from_unix_millis(below(&mut chance, 6) as u64);
                    let may = |grant: &Grant| {
                        grant.holds_at(now) && grant.permits(needed, touched).is_ok()
                    };
                    assert!(
                        !may(&last) || may(&first),
                        "seed {seed}: {first:?} led to {last:?}, which may {needed} {touched:?}"
                    );
                }
            }
        }
        assert!(links > 1_000, "only {links} tokens were made");
    }

    const NAMES: [&str; 7] = ["a", "ab", "ab-1", "ab-2", "b", "b-1", "c"];
    const PATTERNS: [&str; 8] = ["*", "a*", "ab-*", "ab-1", "b*", "b-1", "c", "a"];

    fn any_grant(chance: &mut Chance) -> Grant {
        let mut patterns = |most| {
            let number = below(chance, most);
            (0..number).map(|_| pattern(PATTERNS[below(chance, PATTERNS.len())])).collect()
        };
        let services = patterns(3);
        let regions = patterns(3);
        let expires = below(chance, 7) as u64;
        Grant {
            scope: Scope::ALL[below(chance, 4)],
            limits: GrantLimits::new(services, regions).ok().map(Arc::new),
            expires: (expires < 6).then(|| Timestamp::from_unix_millis(expires)),
        }
    }

    fn below(chance: &mut Chance, end: usize) -> usize {
        usize::try_from(chance.next_u64() % end as u64).unwrap()
    }

    fn limited(scope: Scope, services: &[&str], regions: &[&str]) -> Grant {
        let patterns = |texts: &[&str]| texts.iter().map(|text| pattern(text)).collect();
        let limits = GrantLimits::new(patterns(services), patterns(regions)).unwrap();
        Grant { limits: Some(Arc::new(limits)), ..Grant::unlimited(scope) }
    }

    fn pattern(text: &str) -> NamePattern {
        text.parse().unwrap()
    }

    fn name<T: FromStr<Err = NameError>>(text: &str) -> T {
        text.parse().unwrap()
    }
}
