//! Changing the configuration.

use crate::unassigned::{UnassignedCountry, unassigned_in};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use geostream_domain::{
    Change, Commit, Config, Lack, Line, Override, OverrideAction, PermittedNetworks, ProbeTarget,
    ReachabilityTargets, Region, RegionId, Revision, Service, ServiceId, Setting, Shortage,
    Snapshot,
};
use geostream_ports::{
    Attempt, Clock, ConfigStore, Import, ImportError, ImportPart, Proposal, ProposeError,
    Unavailable,
};
use thiserror::Error;
use tokio::sync::{broadcast, watch};

use crate::publisher::{Publisher, StoreBehind, StoreState};

/// Changes the configuration through its log, and publishes what comes of it at once.
#[derive(Debug)]
pub struct Configuration<S, C> {
    store: S,
    publisher: Arc<Publisher<C>>,
    networks: PermittedNetworks,
    clock: C,
}

/// What every write says of itself.
#[derive(Clone, Debug)]
pub struct Intent {
    /// The revision that it was thought out on.
    pub expected: Revision,
    /// Who wants it.
    pub author: Line,
    /// Why.
    pub reason: Line,
    /// Whose attempt it is, for the audit trail; `None` for nobody's.
    pub attempt: Option<Attempt>,
}

/// What a write led to.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// The configuration before.
    pub before: Arc<Config>,
    /// The configuration after; the same revision as before if nothing had to change.
    pub after: Snapshot,
    /// What was let through among the changes although this node may not probe it, since it was
    /// stored before.
    pub forbidden: Vec<ForbiddenProbe>,
}

impl Written {
    /// Says what the author of the write has to know: what this node may not probe, and rules of
    /// geofences that hold for no client or for no member.
    ///
    /// Of services, only those are named that the author sees.
    #[must_use]
    pub fn warnings(&self, sees: impl Fn(&ServiceId) -> bool) -> Vec<String> {
        let forbidden = self.forbidden.iter().map(ToString::to_string);
        let fences = fence_warnings(&self.before, &self.after.config, &sees);
        let weights = weight_warnings(&self.before, &self.after.config, &sees);
        forbidden.chain(fences).chain(weights).collect()
    }
}

/// The most members that are told of in one write.
const TOLD: usize = 10;

/// A member counts as small from this many times less weight than the largest on.
const SMALL_WEIGHT: u32 = 10;

/// Says of which members a small weight is meant to hold clients back, and does not where another
/// region is lost: displaced clients go by capacity, and a region without one has no limit.
///
/// Only what is not as it was before is told, and only of the services that the author sees.
#[must_use]
pub fn weight_warnings(
    before: &Config,
    after: &Config,
    sees: impl Fn(&ServiceId) -> bool,
) -> Vec<String> {
    let mut warnings = Vec::new();
    for (id, service) in after.services().iter().filter(|(id, _)| sees(id)) {
        let largest = service.members.values().map(|member| member.weight.get()).max();
        let largest = largest.unwrap_or_default();
        let old_members = before.services().get(id).map(|service| &service.members);
        for (region, member) in &service.members {
            let weight = member.weight.get();
            // Weight 0 makes a region a standby for all clients.
            let is_small = weight > 0 && weight <= largest / SMALL_WEIGHT;
            let is_unlimited = |config: &Config| {
                config.regions().get(region).is_some_and(|region| region.capacity.is_none())
            };
            let is_new = old_members != Some(&service.members) || !is_unlimited(before);
            if is_small && is_unlimited(after) && is_new {
                warnings.push(format!(
                    "{region} has weight {weight} in service {id}, where others have up to \
                     {largest}, and no capacity: when another region is lost, nothing limits the \
                     clients that {region} takes; set its capacity"
                ));
            }
        }
    }
    warnings.truncate(TOLD);
    warnings
}

/// Says of each geofence that is not as it was before, and that the author sees, which rules hold
/// for no client or for no member.
#[must_use]
pub fn fence_warnings(
    before: &Config,
    after: &Config,
    sees: impl Fn(&ServiceId) -> bool,
) -> Vec<String> {
    let is_new = |(id, service): &(&ServiceId, &Arc<Service>)| {
        let old = before.services().get(*id);
        old.is_none_or(|old| old.geofence != service.geofence || old.members != service.members)
    };
    let seen = after.services().iter().filter(|(id, _)| sees(id));
    let changed: Vec<_> = seen.filter(is_new).map(|(_, new)| new).collect();
    let codes = unassigned_in(changed.iter().map(|service| &***service));
    let idle = changed.iter().flat_map(|service| after.idle_selectors(service));
    codes.iter().map(ToString::to_string).chain(idle.map(|idle| idle.to_string())).collect()
}

/// Something that the settings of this node do not permit to be probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForbiddenProbe {
    /// The check of a region.
    Check(ForbiddenCheck),
    /// A reachability target.
    Target(SocketAddr),
}

impl fmt::Display for ForbiddenProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Check(check) => check.fmt(f),
            Self::Target(target) => write!(
                f,
                "the reachability target {target} is not a public address, so this server does \
                 not probe it; permit its network with probe.networks in the server's settings"
            ),
        }
    }
}

/// A check of an address that the settings of this node do not permit to be probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForbiddenCheck {
    /// The region that is checked.
    pub region: RegionId,
    /// The host that the check's URL names.
    pub host: String,
}

impl fmt::Display for ForbiddenCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { region, host } = self;
        write!(
            f,
            "the check of {region} names {host}, which is not a public address, so this server \
             does not probe it; permit its network with probe.networks in the server's settings"
        )
    }
}

/// Why a write led to nothing.
#[derive(Debug, Error)]
pub enum WriteError {
    /// Somebody else has written since: look again.
    #[error("the configuration is at revision {current}, and the write expects {expected}")]
    Conflict {
        /// The revision that the write expects.
        expected: Revision,
        /// The latest revision.
        current: Revision,
    },
    /// The result would break a rule.
    #[error("the change does not lead to a valid configuration")]
    Invalid(#[source] geostream_domain::ChangeError),
    /// Services would have no region left that can serve their clients.
    #[error("without {region}, no region is left that can serve the clients of {}", listed(.services))]
    LastRegion {
        /// The region that was to be drained.
        region: RegionId,
        /// The services.
        services: Vec<ServiceId>,
    },
    /// Geofences name codes that no country has.
    #[error("{}", .0.first().map_or_else(String::new, ToString::to_string))]
    UnassignedCodes(Vec<UnassignedCountry>),
    /// This node may not probe what some checks or reachability targets name.
    #[error("{}", .0.first().map_or_else(String::new, ToString::to_string))]
    Forbidden(Vec<ForbiddenProbe>),
    /// The revision to go back to is not kept.
    #[error("revision {0} was never committed, or is no longer kept")]
    NotKept(Revision),
    /// The store cannot be reached or cannot write.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Whether a write brings what is new, or what the log has kept or a file declares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// New rules bind it.
    New,
    /// It was valid by the rules of its time, so it is restored with a warning.
    Kept,
}

/// Names the first of many.
fn listed(services: &[ServiceId]) -> String {
    const NAMED: usize = 10;
    let named: Vec<_> = services.iter().take(NAMED).map(ServiceId::as_str).collect();
    let more = services.len() - named.len();
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    named.join(", ") + &more
}

impl<S: ConfigStore, C: Clock> Configuration<S, C> {
    /// Changes the configuration in this store, and publishes to this publisher.
    ///
    /// New checks may name public addresses only, unless
    /// [`Configuration::with_probe_networks`] permits others.
    pub fn new(store: S, publisher: Arc<Publisher<C>>, clock: C) -> Self {
        Self { store, publisher, networks: PermittedNetworks::default(), clock }
    }

    /// Permits new checks to name addresses of these networks.
    #[must_use]
    pub fn with_probe_networks(self, networks: PermittedNetworks) -> Self {
        Self { networks, ..self }
    }

    /// Tells of every configuration that is published from now on.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Revision> {
        self.publisher.configured()
    }

    /// Tells of every override that ends by itself.
    #[must_use]
    pub fn ended_overrides(&self) -> broadcast::Receiver<Override> {
        self.publisher.ended()
    }

    /// Returns the configuration in use.
    #[must_use]
    pub fn current(&self) -> Snapshot {
        self.publisher.snapshot()
    }

    /// Commits changes that were thought out on the expected revision.
    ///
    /// # Errors
    ///
    /// If another write came first, the result would be invalid, a new check names an address that
    /// this node may not probe, or the store cannot be used.
    pub async fn write(&self, intent: Intent, changes: Vec<Change>) -> Result<Written, WriteError> {
        self.commit(intent, changes, BTreeMap::new(), Origin::New).await
    }

    async fn commit(
        &self,
        intent: Intent,
        changes: Vec<Change>,
        lasting: BTreeMap<RegionId, Duration>,
        origin: Origin,
    ) -> Result<Written, WriteError> {
        let Intent { expected, author, reason, attempt } = intent;
        let before = self.expect(expected).await?;
        if before.after(changes.iter().cloned()).is_ok_and(|after| after == *before) {
            let after = Snapshot { revision: expected, config: Arc::clone(&before) };
            return Ok(Written { before, after, forbidden: Vec::new() });
        }
        let forbidden = match origin {
            Origin::New => self.judge(&before, &changes)?,
            Origin::Kept => self.forbidden_among(put_regions(&changes), put_targets(&changes)),
        };
        let at = self.clock.wall();
        let proposal = Proposal { expected, changes, author, reason, at, lasting, attempt };
        let proposal = proposal.dated(at);
        let Proposal { changes, author, reason, .. } = proposal.clone();
        let mut commit = Commit { revision: expected, changes, author, reason, at };
        let after = self.store.propose(proposal).await.map_err(|error| match error {
            ProposeError::Conflict { current } => WriteError::Conflict { expected, current },
            ProposeError::Invalid(error) => WriteError::Invalid(error),
            ProposeError::Unavailable(error) => WriteError::Unavailable(error),
        })?;
        commit.revision = after.revision;
        self.publisher.note(commit);
        self.publisher.publish(after.clone(), StoreState::Current);
        Ok(Written { before, after, forbidden })
    }

    /// Judges changes by the rules that bind new writes, and returns what breaks a rule and is as it
    /// was before.
    ///
    /// # Errors
    ///
    /// If anything new breaks a rule.
    pub fn judge(
        &self,
        before: &Config,
        changes: &[Change],
    ) -> Result<Vec<ForbiddenProbe>, WriteError> {
        judge_codes(before, changes)?;
        self.judge_probes(before, changes)
    }

    /// Returns the checks and reachability targets among these changes that this node may not probe
    /// and that are as they were before.
    ///
    /// Addresses are judged by the URL alone, and names when they are probed.
    ///
    /// # Errors
    ///
    /// If any of them is new: a check would say nothing about its region, a target nothing about
    /// the network, and both would let their author explore this node's network.
    fn judge_probes(
        &self,
        before: &Config,
        changes: &[Change],
    ) -> Result<Vec<ForbiddenProbe>, WriteError> {
        let is_kept = |region: &&Region| {
            let old = before.regions().get(&region.id);
            old.and_then(|old| target_of(old)) == target_of(region)
        };
        let old_targets = before.settings().reachability_targets.as_ref();
        let is_old = |target: &SocketAddr| old_targets.is_some_and(|old| old.contains(*target));
        let (kept, new): (Vec<_>, Vec<_>) = put_regions(changes).partition(is_kept);
        let (old, added): (Vec<_>, Vec<_>) = put_targets(changes).partition(is_old);
        let new = self.forbidden_among(new, added);
        if new.is_empty() {
            Ok(self.forbidden_among(kept, old))
        } else {
            Err(WriteError::Forbidden(new))
        }
    }

    fn forbidden_among<'a>(
        &self,
        regions: impl IntoIterator<Item = &'a Region>,
        targets: impl IntoIterator<Item = SocketAddr>,
    ) -> Vec<ForbiddenProbe> {
        let checks = forbidden_of(regions, &self.networks).into_iter().map(ForbiddenProbe::Check);
        let targets = targets.into_iter().filter(|target| !self.networks.permits(target.ip()));
        checks.chain(targets.map(ForbiddenProbe::Target)).collect()
    }

    /// Sets an override, and returns what services lack by it.
    ///
    /// A drain after which a service would have no region that can serve is refused, unless it is
    /// forced. It is judged by the revision that it expects and by what is seen at the moment.
    ///
    /// One that is to last for a while ends so long after the commit, by the store's clock where it
    /// has one; else it ends when it says.
    ///
    /// # Errors
    ///
    /// As [`Configuration::write`], or if it is refused.
    pub async fn set_override(
        &self,
        intent: Intent,
        wish: Override,
        lasts: Option<Duration>,
        force: bool,
    ) -> Result<(Written, Vec<Shortage>), WriteError> {
        let before = self.expect(intent.expected).await?;
        let shortages = match wish.action {
            OverrideAction::Drain => {
                let seen = self.publisher.observations();
                Shortage::without(&wish.region, &before, &seen, self.clock.wall())
            }
            OverrideAction::Up | OverrideAction::Down => Vec::new(),
        };
        let bereft = shortages.iter().filter(|shortage| shortage.lack == Lack::Region);
        let services: Vec<_> = bereft.map(|shortage| shortage.service.clone()).collect();
        if !force && !services.is_empty() {
            return Err(WriteError::LastRegion { region: wish.region, services });
        }
        let lasting = lasts.map(|lasts| (wish.region.clone(), lasts)).into_iter().collect();
        let changes = vec![Change::SetOverride(wish)];
        let written = self.commit(intent, changes, lasting, Origin::New).await?;
        Ok((written, shortages))
    }

    /// Makes the configuration what it is to be, except for the overrides.
    ///
    /// # Errors
    ///
    /// As [`Configuration::write`].
    pub async fn replace(&self, intent: Intent, target: &Config) -> Result<Written, WriteError> {
        self.replace_by(intent, target, Origin::New).await
    }

    async fn replace_by(
        &self,
        intent: Intent,
        target: &Config,
        origin: Origin,
    ) -> Result<Written, WriteError> {
        let before = self.expect(intent.expected).await?;
        let changes = before.changes_to(&target.clone().with_overrides_of(&before));
        self.commit(intent, changes, BTreeMap::new(), origin).await
    }

    /// Goes back to what an earlier revision said, except for the overrides, as a new revision.
    ///
    /// A rollback restores what was accepted once, so checks that this node may not probe are
    /// restored as well, and told in [`Written::forbidden`].
    ///
    /// # Errors
    ///
    /// As [`Configuration::write`], or if that revision is not kept.
    pub async fn roll_back(&self, intent: Intent, to: Revision) -> Result<Written, WriteError> {
        let target = self.store.at(to).await?.ok_or(WriteError::NotKept(to))?;
        self.replace_by(intent, &target, Origin::Kept).await
    }

    /// Declares the first configuration, if there is none yet, and tells whether it did.
    ///
    /// Checks that this node may not probe are accepted: the file is the operator's, as the
    /// settings are.
    ///
    /// # Errors
    ///
    /// As [`Configuration::write`].
    pub async fn bootstrap(&self, intent: Intent, target: &Config) -> Result<bool, WriteError> {
        if self.current().revision != Revision::ZERO {
            return Ok(false);
        }
        let intent = Intent { expected: Revision::ZERO, ..intent };
        let written = self.replace_by(intent, target, Origin::Kept).await?;
        Ok(written.after.revision > Revision::ZERO)
    }

    /// Returns the latest commits below a revision, or the latest of all, newest first.
    ///
    /// # Errors
    ///
    /// If the store cannot be used.
    pub async fn history(
        &self,
        below: Option<Revision>,
        limit: usize,
    ) -> Result<Vec<Commit>, Unavailable> {
        self.store.history(below, limit).await
    }

    /// Returns the earliest commits after a revision that are kept, oldest first.
    ///
    /// # Errors
    ///
    /// If the store cannot be used.
    pub async fn commits(&self, after: Revision, limit: usize) -> Result<Vec<Commit>, Unavailable> {
        self.store.commits(after, limit).await
    }

    /// Takes in a part of another log, and publishes what comes of its end.
    ///
    /// # Errors
    ///
    /// If the log is not empty, the part is not what comes next, or the store cannot be used.
    pub async fn import(&self, import: Import) -> Result<(), ImportError> {
        let ends = matches!(import.part, ImportPart::End(_));
        self.store.import(import).await?;
        if ends {
            self.publisher.publish(self.store.load().await?, StoreState::Current);
        }
        Ok(())
    }

    /// Returns the configuration as it was at a revision; `None` if that is not kept.
    ///
    /// # Errors
    ///
    /// If the store cannot be used.
    pub async fn at(&self, revision: Revision) -> Result<Option<Arc<Config>>, Unavailable> {
        self.store.at(revision).await
    }

    /// Returns the store's configuration at the expected revision, if that is the latest.
    async fn expect(&self, expected: Revision) -> Result<Arc<Config>, WriteError> {
        let in_use = self.current().revision;
        let latest = self.store.base().await?;
        if latest.revision < in_use {
            let behind = StoreBehind { store: latest.revision, in_use };
            return Err(Unavailable::new("the latest configuration", behind).into());
        }
        if latest.revision == expected {
            Ok(latest.config)
        } else {
            Err(WriteError::Conflict { expected, current: latest.revision })
        }
    }
}

fn put_regions(changes: &[Change]) -> impl Iterator<Item = &Region> {
    changes.iter().filter_map(|change| match change {
        Change::PutRegion(region) => Some(&**region),
        Change::RemoveRegion(_)
        | Change::PutService(_)
        | Change::RemoveService(_)
        | Change::SetOverride(_)
        | Change::ClearOverride(_)
        | Change::SetFlag(..)
        | Change::SetSetting(_) => None,
    })
}

/// Refuses changes by which geofences name codes that no country has and that they did not name
/// before.
fn judge_codes(before: &Config, changes: &[Change]) -> Result<(), WriteError> {
    let services = changes.iter().filter_map(|change| match change {
        Change::PutService(service) => Some(&**service),
        Change::PutRegion(_)
        | Change::RemoveRegion(_)
        | Change::RemoveService(_)
        | Change::SetOverride(_)
        | Change::ClearOverride(_)
        | Change::SetFlag(..)
        | Change::SetSetting(_) => None,
    });
    let is_new = |found: &UnassignedCountry| {
        let old = before.services().get(&found.service);
        !old.is_some_and(|old| {
            old.geofence.unassigned_codes().any(|old| old.code == found.code.code)
        })
    };
    let new: Vec<_> = unassigned_in(services).into_iter().filter(is_new).collect();
    if new.is_empty() { Ok(()) } else { Err(WriteError::UnassignedCodes(new)) }
}

fn put_targets(changes: &[Change]) -> impl Iterator<Item = SocketAddr> {
    let targets = changes.iter().filter_map(|change| {
        let Change::SetSetting(Setting::ReachabilityTargets(targets)) = change else {
            return None;
        };
        targets.as_ref()
    });
    targets.flat_map(ReachabilityTargets::iter)
}

fn target_of(region: &Region) -> Option<&ProbeTarget> {
    region.check.as_ref().map(|check| &check.target)
}

/// Returns the checks of these regions that these networks do not permit.
pub(crate) fn forbidden_of<'a>(
    regions: impl IntoIterator<Item = &'a Region>,
    networks: &PermittedNetworks,
) -> Vec<ForbiddenCheck> {
    let forbidden = regions.into_iter().filter_map(|region| {
        let target = target_of(region)?;
        let host = target.url().host().to_owned();
        let region = region.id.clone();
        (!networks.permits_target(target)).then_some(ForbiddenCheck { region, host })
    });
    forbidden.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use geostream_domain::{Capacity, GeoPoint, Weight};

    /// Returns the warnings about a service over `large` and `small` with these weights.
    fn warnings(large: u32, small: u32, capacity: Option<u32>) -> Vec<String> {
        weight_warnings(&Config::default(), &config(large, small, capacity), |_| true)
    }

    fn config(large: u32, small: u32, capacity: Option<u32>) -> Config {
        let mut service = Service::new("api".parse().unwrap(), []);
        let mut changes = Vec::new();
        for (id, weight) in [("large", large), ("small", small)] {
            let id: RegionId = id.parse().unwrap();
            let mut region = Region::new(id.clone(), GeoPoint::new(1.0, 2.0).unwrap());
            region.capacity = capacity.map(|units| Capacity::new(units).unwrap());
            changes.push(Change::PutRegion(region.into()));
            let weight = Weight::new(weight).unwrap();
            let member = geostream_domain::Member { weight, ..<_>::default() };
            service.members.insert(id, member);
        }
        changes.push(Change::PutService(service.into()));
        Config::default().after(changes).unwrap()
    }

    #[test]
    fn a_small_weight_without_a_capacity_is_warned_of() {
        let told = warnings(100, 1, None);
        assert!(told[0].starts_with("small has weight 1 in service api"), "{told:?}");
        assert_eq!(told.len(), 1);
        for (large, small, capacity) in [(100, 1, Some(50)), (9, 1, None), (100, 0, None)] {
            assert_eq!(warnings(large, small, capacity), Vec::<String>::new(), "{large} {small}");
        }
    }

    #[test]
    fn what_was_so_before_is_not_warned_of_again() {
        let before = config(100, 1, None);
        assert_eq!(weight_warnings(&before, &before, |_| true), Vec::<String>::new());
        let limited = config(100, 1, Some(50));
        assert_eq!(weight_warnings(&limited, &before, |_| true).len(), 1, "it was taken back");
        let unseen = weight_warnings(&limited, &before, |_| false);
        assert_eq!(unseen, Vec::<String>::new(), "other services are not named");
    }
}
