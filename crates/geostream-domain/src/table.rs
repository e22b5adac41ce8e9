//! The routing table: configuration, observations and overrides, compiled for deciding.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::best::Best;
use crate::config::{Config, Revision, Snapshot};
use crate::decision::{
    Alternative, Alternatives, Client, Decision, Explained, Explanation, Fate, NoRegion, Reason,
};
use crate::geo::Direction;
use crate::hash::stable_hash;
use crate::latency::Rtt;
use crate::location::Origin;
use crate::name::ServiceId;
use crate::observation::{Health, Observation, Observations};
use crate::operator::{Override, OverrideAction};
use crate::pool::{Candidate, Contender, Pool, Seeker, Standing};
use crate::region::Region;
use crate::service::{AllDown, Member, Objective, Service};
use crate::time::Timestamp;
use crate::yardstick::Yardstick;

/// A region's place in one routing table; it means nothing in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegionIndex(u16);

impl RegionIndex {
    pub(crate) const FIRST: Self = Self(0);

    fn new(place: usize) -> Self {
        Self(u16::try_from(place).expect("a configuration holds at most 20,000 regions"))
    }

    /// Returns the place as a number, below the number of regions.
    #[must_use]
    pub fn get(self) -> usize {
        usize::from(self.0)
    }
}

/// Everything that a decision reads, as one immutable value.
///
/// Compiling cannot fail, since a [`Config`] is valid. What a decision would have to filter, it
/// filters here: a service has one pool of candidates for each kind of client that its geofence
/// tells apart.
#[derive(Clone, Debug)]
pub struct RoutingTable {
    snapshot: Snapshot,
    compiled_at: Timestamp,
    expires: Option<Timestamp>,
    regions: Box<[RegionEntry]>,
    services: HashMap<ServiceId, ServiceTable>,
}

/// A region with all that is known of it.
#[derive(Clone, Debug)]
pub struct RegionEntry {
    /// The region as configured.
    pub region: Arc<Region>,
    /// What was last seen of it.
    pub observed: Option<Observation>,
    /// What an operator has said of it, if that still held when the table was compiled.
    pub overridden: Option<Override>,
}

/// What a decision for one service reads.
#[derive(Clone, Debug)]
pub struct ServiceTable {
    service: Arc<Service>,
    index: usize,
    yardstick: Yardstick,
    answers: usize,
    pools: Box<[FencedPool]>,
    /// The pool of each kind of client; empty where there is but one.
    pool_by_origin: Box<[u16]>,
    last_good: BTreeSet<RegionIndex>,
    fallback: Option<Fallback>,
}

/// The candidates that a geofence leaves for one kind of client.
#[derive(Clone, Debug)]
struct FencedPool {
    pool: Pool,
    /// Whether any candidate is able to serve.
    is_able: bool,
    /// Whether the geofence leaves a member that is drained.
    withholds_drained: bool,
    /// Whether the static answer may be given to such clients.
    permits_fallback: bool,
}

/// The static answer for when all are down.
#[derive(Clone, Copy, Debug)]
struct Fallback {
    region: RegionIndex,
    direction: Direction,
}

impl RoutingTable {
    /// Compiles a configuration and what was observed into a table.
    ///
    /// The previous table tells which regions were able last, for services that ask for it when
    /// all are down.
    #[must_use]
    pub fn compile(
        snapshot: Snapshot,
        observations: &Observations,
        now: Timestamp,
        previous: Option<&Self>,
    ) -> Self {
        let config = &snapshot.config;
        let overrides = config.overrides().values().filter(|wish| wish.holds_at(now));
        let expires = overrides.filter_map(|wish| wish.expires).min();
        let regions: Box<[RegionEntry]> = config
            .regions()
            .values()
            .map(|region| RegionEntry {
                region: Arc::clone(region),
                observed: observations.of(&region.id).copied(),
                overridden: config
                    .overrides()
                    .get(&region.id)
                    .filter(|wish| wish.holds_at(now))
                    .cloned(),
            })
            .collect();
        let services = config
            .services()
            .values()
            .enumerate()
            .map(|(index, service)| {
                let before = previous.and_then(|table| table.last_good(service, &regions));
                let table = ServiceTable::compile(service, index, config, &regions, before);
                (service.id.clone(), table)
            })
            .collect();
        Self { snapshot, compiled_at: now, expires, regions, services }
    }

    /// Returns the configuration that the table was compiled from.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.snapshot.config
    }

    /// Returns the revision of the configuration that the table was compiled from.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.snapshot.revision
    }

    /// Returns when the table was compiled.
    #[must_use]
    pub fn compiled_at(&self) -> Timestamp {
        self.compiled_at
    }

    /// Returns when the next override ends and the table has to be compiled again.
    #[must_use]
    pub fn expires(&self) -> Option<Timestamp> {
        self.expires
    }

    /// Returns the regions by their index, in the order of their ids.
    #[must_use]
    pub fn regions(&self) -> &[RegionEntry] {
        &self.regions
    }

    /// Returns the region of a decision that this table made.
    ///
    /// # Panics
    ///
    /// If the index is of a larger table.
    #[must_use]
    pub fn region(&self, index: RegionIndex) -> &Region {
        &self.regions[index.get()].region
    }

    /// Returns a service by its id.
    #[must_use]
    pub fn service(&self, id: &str) -> Option<&ServiceTable> {
        self.services.get(id)
    }

    /// Returns the service that requests without one mean.
    #[must_use]
    pub fn default_service(&self) -> Option<&ServiceTable> {
        self.service(self.config().settings().default_service.as_ref()?.as_str())
    }

    /// Decides as [`ServiceTable::route`] does, and tells every region's fate.
    #[must_use]
    pub fn explain(&self, service: &ServiceTable, client: &Client) -> Explanation {
        let outcome = service.route(client);
        let chosen = outcome.ok().map(|decision| decision.region);
        let mut candidates = vec![None; self.regions.len()];
        for candidate in service.pool(client).pool.candidates() {
            candidates[candidate.contender.region.get()] = Some(candidate);
        }
        let mut regions: Vec<Explained> = (0..)
            .map(RegionIndex::new)
            .zip(candidates)
            .map(|(index, candidate)| {
                let fate = self.fate(service, client, index, candidate);
                let region = self.region(index);
                let point = client.location.point;
                let distance_km = point.map(|point| point.distance_km(region.point));
                Explained {
                    region: index,
                    fate: if chosen == Some(index) { Fate::Chosen } else { fate },
                    distance_km,
                    rtt: distance_km.map(Rtt::over_distance),
                    rank: candidate.map(|c| c.rank(&service.yardstick, client.seeker())),
                }
            })
            .collect();
        regions.sort_by_key(|explained| (explained.rank.is_none(), explained.rank));
        Explanation { outcome, regions }
    }

    /// Returns what becomes of a region that is not the answer.
    fn fate(
        &self,
        service: &ServiceTable,
        client: &Client,
        index: RegionIndex,
        candidate: Option<&Candidate>,
    ) -> Fate {
        let region = self.region(index);
        if !service.service.members.contains_key(&region.id) {
            return Fate::NotMember;
        }
        let origin = client.location.origin();
        if let Some(rule) = service.service.geofence.forbids(origin, &region.labels) {
            return Fate::Fenced { rule };
        }
        match candidate.map(|candidate| candidate.contender.standing) {
            None => Fate::Drained,
            Some(Standing::Able) => Fate::Outranked,
            Some(Standing::Unhealthy) => Fate::Unhealthy,
            Some(Standing::Full) => Fate::Full,
        }
    }

    /// Returns which of a service's regions were able last, as indexes of the table in the making.
    fn last_good(
        &self,
        service: &Service,
        regions: &[RegionEntry],
    ) -> Option<BTreeSet<RegionIndex>> {
        let before = self.services.get(&service.id)?;
        let ids: BTreeSet<_> =
            before.last_good.iter().map(|&index| &self.region(index).id).collect();
        let still = regions.iter().enumerate().filter(|(_, entry)| ids.contains(&entry.region.id));
        Some(still.map(|(place, _)| RegionIndex::new(place)).collect())
    }
}

impl ServiceTable {
    fn compile(
        service: &Arc<Service>,
        index: usize,
        config: &Config,
        regions: &[RegionEntry],
        last_good: Option<BTreeSet<RegionIndex>>,
    ) -> Self {
        let place_of = |id: &crate::RegionId| {
            let found = regions.binary_search_by(|entry| entry.region.id.cmp(id));
            found.expect("a valid configuration has every region that a service names")
        };
        let members: Vec<CompiledMember<'_>> = service
            .members
            .iter()
            .map(|(id, member)| CompiledMember::new(service, member, place_of(id), regions))
            .collect();
        let fallback = match &service.all_down {
            AllDown::Static(id) => Some(RegionIndex::new(place_of(id))),
            AllDown::FailOpen | AllDown::Closed | AllDown::LastGood => None,
        };
        let permits_fallback = |origin| {
            fallback.is_some_and(|region| {
                let entry = &regions[region.get()];
                !entry.is_drained()
                    && service.geofence.forbids(origin, &entry.region.labels).is_none()
            })
        };
        let (origins, pool_by_origin) = kinds_of_client(service);
        let pools = origins
            .into_iter()
            .map(|origin| FencedPool::new(service, origin, &members, permits_fallback(origin)))
            .collect();
        let able: BTreeSet<_> =
            members.iter().filter(|m| m.is_able()).map(|m| m.candidate.contender.region).collect();
        Self {
            service: Arc::clone(service),
            index,
            yardstick: Yardstick::new(service.policy.objective),
            answers: 1 + usize::from(config.settings().alternatives.get()),
            pools,
            pool_by_origin,
            last_good: if able.is_empty() { last_good.unwrap_or_default() } else { able },
            fallback: fallback.map(|region| Fallback {
                region,
                direction: regions[region.get()].region.point.into(),
            }),
        }
    }

    /// Returns the service's place among the table's services, in the order of their ids.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// Returns the service as configured.
    #[must_use]
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// Decides which region should serve a client now.
    ///
    /// Allocates nothing.
    ///
    /// # Errors
    ///
    /// Says why no region may or can serve the client.
    pub fn route(&self, client: &Client) -> Result<Decision, NoRegion> {
        let fenced = self.pool(client);
        let pool = &fenced.pool;
        if fenced.is_able {
            let mut best = self.search(pool, client, |c| c.standing == Standing::Able);
            let reason = best.passed_over().unwrap_or_else(|| self.reason(client));
            return decision(&best, reason).ok_or(NoRegion::Drained);
        }
        if pool.candidates().is_empty() && !fenced.permits_fallback {
            return Err(if fenced.withholds_drained {
                NoRegion::Drained
            } else {
                NoRegion::Fenced
            });
        }
        match &self.service.all_down {
            AllDown::FailOpen => self.fail_open(pool, client),
            AllDown::LastGood => {
                let best = self.search(pool, client, |c| self.last_good.contains(&c.region));
                match decision(&best, Reason::LastGood) {
                    Some(decision) => Ok(decision),
                    None => self.fail_open(pool, client),
                }
            }
            AllDown::Static(_) if fenced.permits_fallback => self.answer_fallback(client),
            AllDown::Static(_) | AllDown::Closed => Err(NoRegion::Closed),
        }
    }

    fn fail_open(&self, pool: &Pool, client: &Client) -> Result<Decision, NoRegion> {
        let best = self.search(pool, client, |_| true);
        decision(&best, Reason::FailOpen).ok_or(NoRegion::Closed)
    }

    fn answer_fallback(&self, client: &Client) -> Result<Decision, NoRegion> {
        let fallback = self.fallback.ok_or(NoRegion::Closed)?;
        let angle = client.seeker().direction.map(|from| from.angle(fallback.direction));
        Ok(Decision {
            region: fallback.region,
            rtt: angle.map(Rtt::over_angle),
            reason: Reason::Static,
            alternatives: Alternatives::NONE,
        })
    }

    fn search<'a>(
        &self,
        pool: &'a Pool,
        client: &Client,
        admits: impl Fn(&Contender) -> bool,
    ) -> Best<'a> {
        pool.search(&self.yardstick, client.seeker(), self.answers, admits)
    }

    fn pool(&self, client: &Client) -> &FencedPool {
        match self.pool_by_origin.get(client.location.origin().index()) {
            Some(&place) => &self.pools[usize::from(place)],
            None => &self.pools[0],
        }
    }

    /// Returns why the best-ranked region is chosen.
    fn reason(&self, client: &Client) -> Reason {
        match self.service.policy.objective {
            Objective::Latency { .. } | Objective::Proximity { .. }
                if client.location.point.is_none() =>
            {
                Reason::Priority
            }
            Objective::Latency { .. } => Reason::LowestLatency,
            Objective::Proximity { .. } => Reason::Nearest,
            Objective::Cost { .. } => Reason::LowestCost,
            Objective::Load { .. } => Reason::LeastLoad,
            Objective::Priority { .. } => Reason::Priority,
            Objective::Weighted => Reason::Weighted,
        }
    }
}

/// Returns one client origin for each kind that the geofence tells apart, and the kind of every
/// origin.
fn kinds_of_client(service: &Service) -> (Vec<Origin>, Box<[u16]>) {
    let fence = &service.geofence;
    if fence.rules().is_empty() {
        return (vec![Origin::Unknown], Box::default());
    }
    let mut kinds = BTreeMap::new();
    let mut origins = Vec::new();
    let kind_by_origin = Origin::all()
        .map(|origin| {
            *kinds.entry(fence.applying(origin)).or_insert_with(|| {
                origins.push(origin);
                u16::try_from(origins.len() - 1).expect("there are fewer origins than 65,536")
            })
        })
        .collect();
    (origins, kind_by_origin)
}

impl FencedPool {
    fn new(
        service: &Service,
        origin: Origin,
        members: &[CompiledMember<'_>],
        permits_fallback: bool,
    ) -> Self {
        let permitted = |member: &&CompiledMember<'_>| {
            service.geofence.forbids(origin, &member.entry.region.labels).is_none()
        };
        let (drained, candidates): (Vec<_>, Vec<_>) =
            members.iter().filter(permitted).partition(|member| member.entry.is_drained());
        Self {
            is_able: candidates.iter().any(|member| member.is_able()),
            pool: Pool::new(candidates.into_iter().map(|member| member.candidate).collect()),
            withholds_drained: !drained.is_empty(),
            permits_fallback,
        }
    }
}

impl RegionEntry {
    fn is_drained(&self) -> bool {
        self.action() == Some(OverrideAction::Drain)
    }

    fn action(&self) -> Option<OverrideAction> {
        self.overridden.as_ref().map(|wish| wish.action)
    }

    /// Combines what an operator says with what was seen: the operator's word goes first.
    #[must_use]
    pub fn health(&self) -> Health {
        match self.action() {
            Some(OverrideAction::Up) => Health::Healthy,
            Some(OverrideAction::Down) => Health::Unhealthy,
            Some(OverrideAction::Drain) | None => {
                self.observed.map_or(Health::Unknown, |observed| observed.health)
            }
        }
    }

    /// Returns the share of its capacity that the region uses; `None` where either is unknown.
    #[must_use]
    pub fn used_share(&self) -> Option<f64> {
        let capacity = f64::from(self.region.capacity?.units());
        Some(self.observed?.load?.units() / capacity)
    }

    fn standing(&self) -> Standing {
        match self.health() {
            Health::Unhealthy => Standing::Unhealthy,
            Health::Healthy | Health::Unknown => match self.used_share() {
                Some(share) if share >= 1.0 => Standing::Full,
                Some(_) | None => Standing::Able,
            },
        }
    }
}

/// A member of a service, as a candidate for any client.
struct CompiledMember<'a> {
    entry: &'a RegionEntry,
    candidate: Candidate,
}

impl<'a> CompiledMember<'a> {
    fn new(service: &Service, member: &Member, place: usize, regions: &'a [RegionEntry]) -> Self {
        let entry = &regions[place];
        let id = &entry.region.id;
        let order = &service.policy.without_location;
        let place_in_order = order.iter().position(|listed| listed == id).unwrap_or(order.len());
        let candidate = Candidate {
            contender: Contender {
                region: RegionIndex::new(place),
                standing: entry.standing(),
                weight: member.weight.get(),
                seed: stable_hash(id.as_str().as_bytes()),
            },
            direction: entry.region.point.into(),
            term: term(service.policy.objective, member, entry),
            bias_km: match service.policy.objective {
                Objective::Proximity { .. } => f64::from(member.bias.km()),
                Objective::Latency { .. }
                | Objective::Cost { .. }
                | Objective::Load { .. }
                | Objective::Priority { .. }
                | Objective::Weighted => 0.0,
            },
            place: match service.policy.objective {
                Objective::Weighted => 0,
                Objective::Latency { .. }
                | Objective::Proximity { .. }
                | Objective::Cost { .. }
                | Objective::Load { .. }
                | Objective::Priority { .. } => RegionIndex::new(place_in_order).0.into(),
            },
        };
        Self { entry, candidate }
    }

    fn is_able(&self) -> bool {
        !self.entry.is_drained() && self.candidate.contender.standing == Standing::Able
    }
}

/// Returns what the objective looks at before it looks at the client.
fn term(objective: Objective, member: &Member, entry: &RegionEntry) -> u32 {
    match objective {
        Objective::Latency { .. } | Objective::Proximity { .. } | Objective::Weighted => 0,
        Objective::Cost { .. } => {
            entry.region.cost.map_or(u32::MAX, |cost| cost.micro_usd_per_gb())
        }
        Objective::Load { .. } => entry.used_share().map_or(u32::MAX, load_step),
        Objective::Priority { .. } => u32::from(member.priority),
    }
}

/// Rounds a used share of capacity down to steps of 10 %, so that small changes move nobody.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "float casts saturate, and a share is never negative"
)]
fn load_step(share: f64) -> u32 {
    (share * 10.0) as u32
}

impl Client {
    fn seeker(&self) -> Seeker {
        Seeker { direction: self.location.point.map(Direction::from), key: self.key }
    }
}

/// Makes a decision of what was found, if anything was.
fn decision(best: &Best<'_>, reason: Reason) -> Option<Decision> {
    // A client without a location has no angle, and so no estimate.
    let rtt = |angle: f32| (!angle.is_nan()).then(|| Rtt::over_angle(angle));
    let mut found = best.regions();
    let (region, angle) = found.next()?;
    let mut alternatives = Alternatives::NONE;
    for (region, angle) in found {
        alternatives.push(Alternative { region, rtt: rtt(angle) });
    }
    Some(Decision { region, rtt: rtt(angle), reason, alternatives })
}
