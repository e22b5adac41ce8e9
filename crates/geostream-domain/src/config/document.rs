//! Configuration: what operators wrote, as a value that changes one step at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use crate::config::geofence::{FenceRule, IdleSelector};
use crate::config::operator::{Flag, Override, Setting, Settings};
use crate::config::region::Region;
use crate::config::service::{AllDown, Service};
use crate::name::{RegionId, ServiceId};
use crate::place::Origin;

/// The number of a committed configuration: 0 is the empty one, and each commit adds one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(u64);

impl Revision {
    /// The empty configuration that every log starts with.
    pub const ZERO: Self = Self(0);

    /// Takes a revision's number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Returns the revision's number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Returns the revision of the next commit.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A configuration and the revision that it was committed as.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// The number of the commit.
    pub revision: Revision,
    /// What was committed.
    pub config: Arc<Config>,
}

impl From<Config> for Snapshot {
    /// Takes a configuration that no log keeps.
    fn from(config: Config) -> Self {
        Self { revision: Revision::ZERO, config: Arc::new(config) }
    }
}

/// Everything that operators decide: regions, services, overrides, flags and settings.
///
/// A value of this type is valid: it is made by applying [`Change`]s to the empty configuration,
/// and all rules that span several parts are checked there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    regions: BTreeMap<RegionId, Arc<Region>>,
    services: BTreeMap<ServiceId, Arc<Service>>,
    overrides: BTreeMap<RegionId, Override>,
    flags: BTreeMap<Flag, bool>,
    settings: Settings,
}

/// One step from a configuration to the next.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Adds a region, or replaces the one of that id.
    PutRegion(Arc<Region>),
    /// Removes a region that no service uses, and its override with it.
    RemoveRegion(RegionId),
    /// Adds a service, or replaces the one of that id.
    PutService(Arc<Service>),
    /// Removes a service that is not the default one.
    RemoveService(ServiceId),
    /// Sets the override of a region, or replaces it.
    SetOverride(Override),
    /// Clears the override of a region.
    ClearOverride(RegionId),
    /// Switches a flag.
    SetFlag(Flag, bool),
    /// Sets a setting.
    SetSetting(Setting),
}

impl From<Region> for Change {
    fn from(region: Region) -> Self {
        Self::PutRegion(Arc::new(region))
    }
}

impl From<Service> for Change {
    fn from(service: Service) -> Self {
        Self::PutService(Arc::new(service))
    }
}

/// Why a change does not lead to a valid configuration.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ConfigError {
    /// The change speaks of a region that is not configured.
    #[error("there is no region {0}")]
    UnknownRegion(RegionId),
    /// The change speaks of a service that is not configured.
    #[error("there is no service {0}")]
    UnknownService(ServiceId),
    /// The region has no override that could be cleared.
    #[error("region {0} has no override")]
    NoOverride(RegionId),
    /// The region is a member of a service, or its static answer.
    #[error("region {region} is used by service {service}; take it out there first")]
    RegionInUse {
        /// The region that was to be removed.
        region: RegionId,
        /// One of the services that use it.
        service: ServiceId,
    },
    /// The service is the default one.
    #[error("service {0} is the default service; set another default first")]
    ServiceIsDefault(ServiceId),
    /// The service lists no region.
    #[error("service {0} has no member; give it at least one region")]
    NoMembers(ServiceId),
    /// The service lists a region that is not configured.
    #[error("service {service} lists region {region}, which does not exist; add the region first")]
    UnknownMember {
        /// The service that was to be put.
        service: ServiceId,
        /// The region that it lists.
        region: RegionId,
    },
    /// The service's static answer is a region that is not configured.
    #[error("service {service} answers region {region} when all are down, and there is none")]
    UnknownStatic {
        /// The service that was to be put.
        service: ServiceId,
        /// The region that it names.
        region: RegionId,
    },
    /// The order for clients without a location holds what it must not.
    #[error("service {service} orders region {region} twice, or without having it as a member")]
    BadOrder {
        /// The service that was to be put.
        service: ServiceId,
        /// The region that it names.
        region: RegionId,
    },
    /// A geofence's rule has longer lists than [`FenceRule::MAX_ENTRIES`].
    #[error("service {0} has a geofence rule with more than {max} entries in a list", max = FenceRule::MAX_ENTRIES)]
    FenceTooLong(ServiceId),
    /// The geofence tells too many kinds of client apart for so many regions.
    #[error(
        "the geofence of service {0} makes more than {max} combinations of clients and regions",
        max = Config::MAX_POOLED_MEMBERS
    )]
    FenceTooComplex(ServiceId),
    /// There would be more regions than [`Config::MAX_REGIONS`].
    #[error("there can be at most {max} regions", max = Config::MAX_REGIONS)]
    TooManyRegions,
    /// There would be more services than [`Config::MAX_SERVICES`].
    #[error("there can be at most {max} services", max = Config::MAX_SERVICES)]
    TooManyServices,
}

/// A change that cannot be applied, and its position among those that were to be applied together.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("change {position} cannot be applied")]
pub struct ChangeError {
    /// The position of the change, from 0.
    pub position: usize,
    /// Why it cannot be applied.
    #[source]
    pub source: ConfigError,
}

impl Config {
    /// The most regions that a configuration may have.
    pub const MAX_REGIONS: usize = 20_000;

    /// The most services that a configuration may have.
    pub const MAX_SERVICES: usize = 5_000;

    /// The most members of a service times the kinds of client that its geofence tells apart: it
    /// bounds what a routing table holds of one service.
    pub const MAX_POOLED_MEMBERS: usize = 500_000;

    /// Returns the regions in the order of their ids.
    #[must_use]
    pub fn regions(&self) -> &BTreeMap<RegionId, Arc<Region>> {
        &self.regions
    }

    /// Returns the services in the order of their ids.
    #[must_use]
    pub fn services(&self) -> &BTreeMap<ServiceId, Arc<Service>> {
        &self.services
    }

    /// Returns the overrides, those that have expired included.
    #[must_use]
    pub fn overrides(&self) -> &BTreeMap<RegionId, Override> {
        &self.overrides
    }

    /// Tells whether a flag is on.
    #[must_use]
    pub fn flag(&self, flag: Flag) -> bool {
        self.flags.get(&flag).copied().unwrap_or_else(|| flag.default_state())
    }

    /// Returns the settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Returns the selectors of a service's geofence that match none of its members.
    ///
    /// Only the first hundred are looked for: all of a large geofence take long.
    #[must_use]
    pub fn idle_selectors(&self, service: &Service) -> Vec<IdleSelector> {
        const MOST: usize = 100;
        let labels: Vec<_> = service
            .members
            .keys()
            .filter_map(|id| self.regions.get(id))
            .map(|region| &region.labels)
            .collect();
        let rules = service.geofence.rules().iter().enumerate();
        let selectors = rules.flat_map(|(rule, FenceRule { allow, deny, .. })| {
            allow.iter().chain(deny).map(move |selector| (rule, selector))
        });
        selectors
            .filter(|(_, selector)| !labels.iter().any(|labels| selector.selects(labels)))
            .map(|(rule, selector)| IdleSelector {
                service: service.id.clone(),
                rule,
                selector: selector.clone(),
            })
            .take(MOST)
            .collect()
    }

    /// Applies one change.
    ///
    /// # Errors
    ///
    /// Says which rule the result would break; the configuration then stays as it was.
    pub fn apply(&mut self, change: Change) -> Result<(), ConfigError> {
        *self = self.after([change]).map_err(|error| error.source)?;
        Ok(())
    }

    /// Applies one change of several, which may make more room than this one takes.
    fn change(&mut self, change: Change) -> Result<(), ConfigError> {
        match change {
            Change::PutRegion(region) => {
                self.regions.insert(region.id.clone(), region);
                Ok(())
            }
            Change::RemoveRegion(id) => self.remove_region(&id),
            Change::PutService(service) => self.put_service(service),
            Change::RemoveService(id) => self.remove_service(&id),
            Change::SetOverride(wish) => {
                if !self.regions.contains_key(&wish.region) {
                    return Err(ConfigError::UnknownRegion(wish.region));
                }
                self.overrides.insert(wish.region.clone(), wish);
                Ok(())
            }
            Change::ClearOverride(region) => match self.overrides.remove(&region) {
                Some(_) => Ok(()),
                None => Err(ConfigError::NoOverride(region)),
            },
            Change::SetFlag(flag, on) => {
                if on == flag.default_state() {
                    self.flags.remove(&flag);
                } else {
                    self.flags.insert(flag, on);
                }
                Ok(())
            }
            Change::SetSetting(setting) => {
                if let Setting::DefaultService(Some(id)) = &setting
                    && !self.services.contains_key(id)
                {
                    return Err(ConfigError::UnknownService(id.clone()));
                }
                self.settings.set(setting);
                Ok(())
            }
        }
    }

    /// Returns the configuration after all of these changes.
    ///
    /// # Errors
    ///
    /// Names the first change that cannot be applied; the last one, if there is too much after all.
    pub fn after(&self, changes: impl IntoIterator<Item = Change>) -> Result<Self, ChangeError> {
        let mut next = self.clone();
        let mut last = 0;
        for (position, change) in changes.into_iter().enumerate() {
            next.change(change).map_err(|source| ChangeError { position, source })?;
            last = position;
        }
        next.check_size().map_err(|source| ChangeError { position: last, source })?;
        Ok(next)
    }

    fn check_size(&self) -> Result<(), ConfigError> {
        if self.regions.len() > Self::MAX_REGIONS {
            return Err(ConfigError::TooManyRegions);
        }
        if self.services.len() > Self::MAX_SERVICES {
            return Err(ConfigError::TooManyServices);
        }
        Ok(())
    }

    /// Returns this configuration with the overrides of another, as far as its regions exist here.
    ///
    /// A rollback or a declared configuration replaces what was planned, and leaves alone what
    /// operators did about an incident since.
    #[must_use]
    pub fn with_overrides_of(mut self, other: &Self) -> Self {
        self.overrides = other.overrides.clone();
        self.overrides.retain(|region, _| self.regions.contains_key(region));
        self
    }

    /// Returns the changes that lead from this configuration to another, in an order in which each
    /// can be applied.
    #[must_use]
    pub fn changes_to(&self, target: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        for flag in Flag::ALL {
            if self.flag(flag) != target.flag(flag) {
                changes.push(Change::SetFlag(flag, target.flag(flag)));
            }
        }
        let put_regions = put(&self.regions, &target.regions);
        changes.extend(put_regions.map(|region| Change::PutRegion(Arc::clone(region))));
        let put_services = put(&self.services, &target.services);
        changes.extend(put_services.map(|service| Change::PutService(Arc::clone(service))));
        for (old, new) in self.settings.all().into_iter().zip(target.settings.all()) {
            if old != new {
                changes.push(Change::SetSetting(new));
            }
        }
        let gone_services = removed(&self.services, &target.services);
        changes.extend(gone_services.map(|id| Change::RemoveService(id.clone())));
        let gone_regions: BTreeSet<_> = removed(&self.regions, &target.regions).collect();
        let cleared =
            removed(&self.overrides, &target.overrides).filter(|id| !gone_regions.contains(id));
        changes.extend(cleared.map(|id| Change::ClearOverride(id.clone())));
        changes.extend(gone_regions.iter().map(|&id| Change::RemoveRegion(id.clone())));
        let put_overrides = put(&self.overrides, &target.overrides);
        changes.extend(put_overrides.map(|wish| Change::SetOverride(wish.clone())));
        changes
    }

    fn remove_region(&mut self, id: &RegionId) -> Result<(), ConfigError> {
        if !self.regions.contains_key(id) {
            return Err(ConfigError::UnknownRegion(id.clone()));
        }
        let user = self.services.values().find(|service| {
            service.members.contains_key(id)
                || matches!(&service.all_down, AllDown::Static(region) if region == id)
        });
        if let Some(service) = user {
            return Err(ConfigError::RegionInUse {
                region: id.clone(),
                service: service.id.clone(),
            });
        }
        self.regions.remove(id);
        self.overrides.remove(id);
        Ok(())
    }

    fn put_service(&mut self, service: Arc<Service>) -> Result<(), ConfigError> {
        self.check_service(&service)?;
        self.services.insert(service.id.clone(), service);
        Ok(())
    }

    fn check_service(&self, service: &Service) -> Result<(), ConfigError> {
        if service.members.is_empty() {
            return Err(ConfigError::NoMembers(service.id.clone()));
        }
        if let Some(region) = service.members.keys().find(|id| !self.regions.contains_key(*id)) {
            return Err(ConfigError::UnknownMember {
                service: service.id.clone(),
                region: region.clone(),
            });
        }
        if let AllDown::Static(region) = &service.all_down
            && !self.regions.contains_key(region)
        {
            return Err(ConfigError::UnknownStatic {
                service: service.id.clone(),
                region: region.clone(),
            });
        }
        let mut ordered = BTreeSet::new();
        for region in &service.policy.without_location {
            if !service.members.contains_key(region) || !ordered.insert(region) {
                return Err(ConfigError::BadOrder {
                    service: service.id.clone(),
                    region: region.clone(),
                });
            }
        }
        check_fence(service)
    }

    fn remove_service(&mut self, id: &ServiceId) -> Result<(), ConfigError> {
        if self.settings.default_service.as_ref() == Some(id) {
            return Err(ConfigError::ServiceIsDefault(id.clone()));
        }
        match self.services.remove(id) {
            Some(_) => Ok(()),
            None => Err(ConfigError::UnknownService(id.clone())),
        }
    }
}

fn check_fence(service: &Service) -> Result<(), ConfigError> {
    let fence = &service.geofence;
    let too_long = fence.rules().iter().any(|rule| {
        [
            rule.clients.countries.len(),
            rule.clients.groups.len(),
            rule.clients.continents.len(),
            rule.allow.len(),
            rule.deny.len(),
        ]
        .into_iter()
        .any(|length| length > FenceRule::MAX_ENTRIES)
    });
    if too_long {
        return Err(ConfigError::FenceTooLong(service.id.clone()));
    }
    let kinds: BTreeSet<u32> = Origin::all().map(|origin| fence.applying(origin)).collect();
    if kinds.len() * service.members.len() > Config::MAX_POOLED_MEMBERS {
        return Err(ConfigError::FenceTooComplex(service.id.clone()));
    }
    Ok(())
}

/// Returns what is new or different in `new`.
fn put<'a, K: Ord, V: PartialEq>(
    old: &'a BTreeMap<K, V>,
    new: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = &'a V> {
    new.iter().filter(|(key, value)| old.get(key) != Some(value)).map(|(_, value)| value)
}

/// Returns the keys that `new` no longer has.
fn removed<'a, K: Ord, V>(
    old: &'a BTreeMap<K, V>,
    new: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = &'a K> {
    old.keys().filter(|key| !new.contains_key(key))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::config::operator::OverrideAction;
    use crate::config::request_limit::RequestLimit;
    use crate::config::targets::ReachabilityTargets;
    use crate::name::NameError;
    use crate::place::GeoPoint;
    use crate::time::Timestamp;

    fn region(id: &str) -> Change {
        Change::from(Region::new(id.parse().unwrap(), GeoPoint::new(0.0, 0.0).unwrap()))
    }

    fn service(id: &str, members: &[&str]) -> Service {
        Service::new(id.parse().unwrap(), members.iter().map(|m| m.parse().unwrap()))
    }

    fn drain(id: &str) -> Change {
        Change::SetOverride(Override {
            region: id.parse().unwrap(),
            action: OverrideAction::Drain,
            owner: "ops".parse().unwrap(),
            reason: "maintenance".parse().unwrap(),
            since: Timestamp::EPOCH,
            expires: None,
        })
    }

    fn id<T: std::str::FromStr<Err = NameError>>(text: &str) -> T {
        text.parse().unwrap()
    }

    #[test]
    fn every_rule_that_spans_parts_is_kept() {
        let config = Config::default()
            .after([
                region("a"),
                region("b"),
                Change::from(service("api", &["a"])),
                Change::SetSetting(Setting::DefaultService(Some(id("api")))),
            ])
            .unwrap();
        let mut unordered = service("web", &["a"]);
        unordered.policy.without_location = vec![id("b")];
        let mut nowhere = service("web", &["a"]);
        nowhere.all_down = AllDown::Static(id("c"));
        for (change, error) in [
            (
                Change::RemoveRegion(id("a")),
                ConfigError::RegionInUse { region: id("a"), service: id("api") },
            ),
            (Change::RemoveRegion(id("c")), ConfigError::UnknownRegion(id("c"))),
            (Change::RemoveService(id("api")), ConfigError::ServiceIsDefault(id("api"))),
            (Change::RemoveService(id("web")), ConfigError::UnknownService(id("web"))),
            (Change::from(service("web", &[])), ConfigError::NoMembers(id("web"))),
            (
                Change::from(service("web", &["a", "c"])),
                ConfigError::UnknownMember { service: id("web"), region: id("c") },
            ),
            (
                Change::from(unordered),
                ConfigError::BadOrder { service: id("web"), region: id("b") },
            ),
            (
                Change::from(nowhere),
                ConfigError::UnknownStatic { service: id("web"), region: id("c") },
            ),
            (drain("c"), ConfigError::UnknownRegion(id("c"))),
            (Change::ClearOverride(id("a")), ConfigError::NoOverride(id("a"))),
            (
                Change::SetSetting(Setting::DefaultService(Some(id("web")))),
                ConfigError::UnknownService(id("web")),
            ),
        ] {
            let refused = config.after([region("c2"), change]).unwrap_err();
            assert_eq!(refused, ChangeError { position: 1, source: error });
        }
    }

    #[test]
    fn a_rollback_keeps_the_overrides_of_regions_that_stay() {
        let before = Config::default().after([region("a")]).unwrap();
        let now = before.after([region("b"), drain("a"), drain("b")]).unwrap();
        let target = before.clone().with_overrides_of(&now);
        let back = now.after(now.changes_to(&target)).unwrap();
        assert_eq!(back, target);
        assert_eq!(back.overrides().keys().map(RegionId::as_str).collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn nearly_everything_can_be_replaced_at_once() {
        let regions = |letter: char| (0..15_000).map(move |n| region(&format!("{letter}{n}")));
        let before = Config::default().after(regions('a')).unwrap();
        let target = Config::default().after(regions('b')).unwrap();
        assert_eq!(before.after(before.changes_to(&target)).unwrap(), target);
        let error = before.after(regions('b')).unwrap_err();
        assert_eq!(error, ChangeError { position: 14_999, source: ConfigError::TooManyRegions });
        let mut full =
            Config::default().after(regions('a').chain(regions('b').take(5_000))).unwrap();
        assert_eq!(full.apply(region("c")), Err(ConfigError::TooManyRegions));
        assert_eq!(full.apply(region("a1")), Ok(()));
    }

    #[test]
    fn settings_that_hold_for_all_nodes_are_changed_rolled_back_and_taken_back() {
        let limit = |number| Some(RequestLimit::new(number).unwrap());
        let targets = |port| {
            let address = SocketAddr::from(([192, 0, 2, 1], port));
            Some(ReachabilityTargets::new([address]).unwrap())
        };
        let none = Some(ReachabilityTargets::default());
        for (set, other) in [
            (Setting::RequestsPerSecond(limit(50)), Setting::RequestsPerSecond(limit(0))),
            (
                Setting::RequestsPerSecondPerToken(limit(9)),
                Setting::RequestsPerSecondPerToken(limit(10)),
            ),
            (Setting::ReachabilityTargets(targets(443)), Setting::ReachabilityTargets(targets(53))),
            (Setting::ReachabilityTargets(targets(443)), Setting::ReachabilityTargets(none)),
        ] {
            let empty = Config::default();
            let first = empty.after([Change::SetSetting(set.clone())]).unwrap();
            let second = first.after([Change::SetSetting(other.clone())]).unwrap();
            assert_eq!(empty.changes_to(&first), [Change::SetSetting(set.clone())]);
            assert_eq!(first.changes_to(&second), [Change::SetSetting(other)]);
            let back = second.changes_to(&first.clone().with_overrides_of(&second));
            assert_eq!(second.after(back).unwrap(), first);
            let taken_back = first.changes_to(&empty);
            assert_ne!(taken_back, [Change::SetSetting(set)]);
            assert_eq!(first.after(taken_back).unwrap(), empty, "nothing is said any more");
        }
    }

    #[test]
    fn switching_a_flag_back_leaves_no_trace() {
        let config =
            Config::default().after([Change::SetFlag(Flag::PublicExplain, false)]).unwrap();
        assert!(!config.flag(Flag::PublicExplain));
        let back = config.after([Change::SetFlag(Flag::PublicExplain, true)]).unwrap();
        assert_eq!(back, Config::default());
    }
}
