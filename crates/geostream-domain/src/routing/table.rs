//! The routing table: configuration, observations and overrides, compiled for deciding.

use crate::routing::entry::index_among;
use crate::routing::index::RegionIndex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::config::{AllDown, Config, Objective, Override, Region, Revision, Service, Snapshot};
use crate::health::Observations;
use crate::latency::Rtt;
use crate::name::RegionId;
use crate::place::{Direction, Origin};
use crate::routing::best::Best;
use crate::routing::candidate::SLOTS;
use crate::routing::candidate::{Candidate, Contender, Seeker, Standing};
use crate::routing::decision::{
    Alternative, Alternatives, Client, Decision, Explained, Explanation, Fate, NoRegion, Reason,
};
use crate::routing::entry::RegionEntry;
use crate::routing::member::{CompiledMember, assume_demands, retain_over_budget, stretch};
use crate::routing::pool::Pool;
use crate::routing::tiers::Tiers;
use crate::routing::yardstick::Yardstick;
use crate::time::Timestamp;

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
    services: Box<[ServiceTable]>,
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
    fallback: Option<Fallback>,
    /// Members that would have been removed, if the budget permitted it.
    retained: BTreeSet<RegionIndex>,
    tiers: Tiers,
    /// Whether its regions are filled above their capacity, since there are more clients than room.
    is_overfull: bool,
}

/// The candidates that a geofence leaves for one kind of client.
#[derive(Clone, Debug)]
struct FencedPool {
    pool: Pool,
    /// Whether any candidate serves: if none does, the service's rule for that decides.
    is_served: bool,
    /// Whether every candidate serves whoever comes, as is nearly always so.
    are_all_able: bool,
    /// The candidates that served last.
    last_good: BTreeSet<RegionIndex>,
    /// Whether any candidate is not drained.
    has_undrained: bool,
    /// Whether the static answer may be given to such clients.
    permits_fallback: bool,
}

/// The members of a service that may serve a client.
#[derive(Clone, Copy, Debug)]
pub struct Permitted<'a> {
    service: &'a ServiceTable,
    fenced: &'a FencedPool,
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
        let regions = config.regions().values();
        let regions: Box<[RegionEntry]> =
            regions.map(|region| RegionEntry::new(region, config, observations, now)).collect();
        let services = config
            .services()
            .values()
            .enumerate()
            .map(|(index, service)| {
                let before = |origin| {
                    let before = previous.map(|table| table.last_good(service, origin, &regions));
                    before.unwrap_or_default()
                };
                ServiceTable::compile(service, index, config, &regions, before)
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

    /// Returns the overrides that the table before was made with, and that have ended since.
    pub fn ended_since<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = &'a Override> {
        let held = before.regions.iter().filter_map(|entry| entry.overridden.as_ref());
        held.filter(|wish| {
            // One that was taken back, or replaced, has not ended by itself.
            self.config().overrides().get(&wish.region) == Some(*wish)
                && !wish.holds_at(self.compiled_at)
        })
    }

    /// Returns the regions by their index, in the order of their ids.
    #[must_use]
    pub fn regions(&self) -> &[RegionEntry] {
        &self.regions
    }

    /// Returns what is known of a region, by its id.
    #[must_use]
    pub fn entry(&self, id: &RegionId) -> Option<&RegionEntry> {
        self.index_of(id).map(|index| &self.regions[index.get()])
    }

    /// Tells whether a region is filled above its capacity, since one of its services has more
    /// clients than its regions have room for.
    #[must_use]
    pub fn is_overfull(&self, id: &RegionId) -> bool {
        let is_member = |service: &&ServiceTable| service.service.members.contains_key(id);
        self.services.iter().filter(|s| s.is_overfull).any(|service| is_member(&service))
    }

    /// Returns a region's place in this table, by its id.
    #[must_use]
    pub fn index_of(&self, id: &RegionId) -> Option<RegionIndex> {
        index_among(&self.regions, id)
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
        let found = self.services.binary_search_by(|service| service.service.id.as_str().cmp(id));
        found.ok().map(|index| &self.services[index])
    }

    /// Returns the services, in the order of their ids.
    #[must_use]
    pub fn services(&self) -> &[ServiceTable] {
        &self.services
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
        // Whoever could have served this client better than the answer was spared it.
        let is_last_resort = outcome
            .is_ok_and(|decision| matches!(decision.reason, Reason::Held | Reason::Retained));
        let mut is_better = chosen.is_some();
        for other in &mut regions {
            is_better &= other.fate != Fate::Chosen;
            // A region that serves when no eligible one has room is chosen past all of them.
            if (is_better || is_last_resort) && other.fate == Fate::Outranked {
                other.fate = Fate::Spilled;
            }
        }
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
        let Some(Candidate { contender, .. }) = candidate else {
            let (region, Service { members, geofence, .. }) =
                (self.region(index), service.service());
            return match geofence.forbids(client.location.origin(), &region.labels) {
                Some(rule) if members.contains_key(&region.id) => Fate::Fenced { rule },
                Some(_) | None => Fate::NotMember,
            };
        };
        match contender.standing {
            Standing::Able => Fate::Outranked,
            Standing::Recovering => Fate::Recovering,
            Standing::Full => Fate::Full,
            Standing::Held => Fate::Held,
            Standing::Retained => Fate::Retained,
            Standing::Unhealthy => Fate::Unhealthy,
            Standing::Drained => Fate::Drained,
        }
    }

    /// Returns which of a service's regions were able last for such clients, as indexes of the
    /// table in the making.
    fn last_good(
        &self,
        service: &Service,
        origin: Origin,
        regions: &[RegionEntry],
    ) -> BTreeSet<RegionIndex> {
        let Some(before) = self.service(service.id.as_str()) else { return BTreeSet::new() };
        let last_good = before.pool_of(origin).last_good.iter();
        last_good.filter_map(|&index| index_among(regions, &self.region(index).id)).collect()
    }
}

impl ServiceTable {
    fn compile(
        service: &Arc<Service>,
        index: usize,
        config: &Config,
        regions: &[RegionEntry],
        last_good: impl Fn(Origin) -> BTreeSet<RegionIndex>,
    ) -> Self {
        let index_of = |id| {
            let found = index_among(regions, id);
            found.expect("a valid configuration has every region that a service names")
        };
        let mut members: Vec<CompiledMember<'_>> = service
            .members
            .iter()
            .map(|(id, member)| CompiledMember::new(service, member, index_of(id), regions))
            .collect();
        let retained = retain_over_budget(service.removal_budget, &mut members);
        assume_demands(&mut members);
        let fill = stretch(&members);
        for member in &mut members {
            member.limit_to_capacity(fill);
        }
        let fallback = match &service.all_down {
            AllDown::Static(id) => Some(index_of(id)),
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
            .map(|origin| {
                let permits_fallback = permits_fallback(origin);
                FencedPool::new(service, origin, &members, permits_fallback, &last_good)
            })
            .collect();
        Self {
            service: Arc::clone(service),
            index,
            yardstick: Yardstick::new(service.policy.objective),
            answers: 1 + usize::from(config.settings().alternatives.get()),
            pools,
            pool_by_origin,
            fallback: fallback.map(|region| Fallback {
                region,
                direction: regions[region.get()].region.point.into(),
            }),
            retained,
            tiers: Tiers::new(&members.iter().map(|member| member.room(fill)), regions.len()),
            is_overfull: fill.is_over_capacity(),
        }
    }

    /// Returns the unhealthy regions that still serve where no eligible region has room:
    /// [`Service::removal_budget`] permits no more removals without proof.
    #[must_use]
    pub fn retained(&self) -> &BTreeSet<RegionIndex> {
        &self.retained
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
        self.filter(client).rank(client)
    }

    /// Returns what the geofence leaves for a client: the first half of [`ServiceTable::route`].
    #[must_use]
    pub fn filter(&self, client: &Client) -> Permitted<'_> {
        Permitted { service: self, fenced: self.pool(client) }
    }

    fn rank(&self, fenced: &FencedPool, client: &Client) -> Result<Decision, NoRegion> {
        let pool = &fenced.pool;
        if fenced.is_served {
            let decided = if fenced.are_all_able {
                let best = self.search(pool, client, |_| true);
                decision(&best, 0, self.answers, self.reason(client))
            } else {
                self.route_among_some(pool, client)
            };
            return decided.ok_or(NoRegion::Drained);
        }
        if !fenced.has_undrained && !fenced.permits_fallback {
            return Err(if pool.candidates().is_empty() {
                NoRegion::Fenced
            } else {
                NoRegion::Drained
            });
        }
        match &self.service.all_down {
            AllDown::FailOpen => self.fail_open(pool, client),
            AllDown::LastGood => {
                let is_good = |c: &Contender| {
                    c.standing != Standing::Drained && fenced.last_good.contains(&c.region)
                };
                let best = self.search(pool, client, is_good);
                match decision(&best, 0, self.answers, Reason::LastGood) {
                    Some(decision) => Ok(decision),
                    None => self.fail_open(pool, client),
                }
            }
            AllDown::Static(_) if fenced.permits_fallback => self.answer_fallback(client),
            AllDown::Static(_) | AllDown::Closed => Err(NoRegion::Closed),
        }
    }

    fn route_among_some(&self, pool: &Pool, client: &Client) -> Option<Decision> {
        let mut own = self.search(pool, client, |c| c.keeps(client.key));
        if let Some(home) = own.home() {
            let displaced = self.spill_over(pool, client, home);
            return displaced.or_else(|| self.impose(pool, client));
        }
        let decided = decision(&own, 0, self.answers, self.reason(client))?;
        if own.can_replace_first() {
            return Some(decided);
        }
        let others = self.search(pool, client, Contender::takes_others);
        let alternatives = alternatives(&others, decided.region, self.answers);
        Some(Decision { alternatives, ..decided })
    }

    /// Sends a client whose own region cannot have it where there is room.
    #[cold]
    fn spill_over(&self, pool: &Pool, client: &Client, home: RegionIndex) -> Option<Decision> {
        let place = self.tiers.fallen_to(client.key);
        // A geofence may leave none of these: the best of the others take the client then.
        let others = (0..Standing::TAKING.len()).filter(|other| *other != place);
        let places = std::iter::once(place).chain(others);
        let mut decided = places.map(|place| self.spill_into(place, pool, client));
        let decided = decided.find_map(|decided| decided)?;
        // One that serves only when no other has room may be the client's own.
        let displaced_from = Some(home).filter(|home| *home != decided.region);
        Some(Decision { displaced_from, ..decided })
    }

    /// Sends a client to a region of the standing at this place, if there is any.
    fn spill_into(&self, place: usize, pool: &Pool, client: &Client) -> Option<Decision> {
        let standing = Standing::TAKING[place];
        let wanted = if self.tiers.is_limited(place) { SLOTS } else { self.answers };
        let takes = |c: &Contender| c.standing == standing;
        let mut best = pool.search(&self.yardstick, client.seeker(), wanted, takes);
        let order = best.regions().map(|(region, _)| region);
        let chosen = self.tiers.region(place, order, client.key);
        let reason = match standing {
            Standing::Held => Reason::Held,
            Standing::Retained => Reason::Retained,
            Standing::Recovering if chosen > 0 => Reason::Failover,
            Standing::Able
            | Standing::Recovering
            | Standing::Full
            | Standing::Unhealthy
            | Standing::Drained => self.reason_past(best.passed_over(), chosen, client),
        };
        let decided = decision(&best, chosen, self.answers, reason)?;
        if standing == Standing::Able {
            return Some(decided);
        }
        let able = self.search(pool, client, Contender::takes_others);
        let able = alternatives(&able, decided.region, self.answers);
        let alternatives = if able.is_empty() { decided.alternatives } else { able };
        Some(Decision { alternatives, ..decided })
    }

    /// Sends a client that no region has room for to an eligible one.
    #[cold]
    fn impose(&self, pool: &Pool, client: &Client) -> Option<Decision> {
        let mut best = self.search(pool, client, |c| c.standing.is_eligible());
        let reason = self.reason_past(best.passed_over(), 0, client);
        let displaced_from = best.home();
        let decided = decision(&best, 0, self.answers, reason)?;
        Some(Decision { displaced_from, ..decided })
    }

    /// Returns why the region at this place is chosen when the best that goes before all is of this
    /// standing.
    fn reason_past(&self, passed_over: Option<Standing>, place: usize, client: &Client) -> Reason {
        match passed_over {
            Some(
                Standing::Able
                | Standing::Recovering
                | Standing::Held
                | Standing::Retained
                | Standing::Unhealthy,
            ) => Reason::Failover,
            Some(Standing::Full) => Reason::Overflow,
            // Nothing is wrong: the best that may be chosen is, as long as it has room.
            Some(Standing::Drained) | None if place == 0 => self.reason(client),
            Some(Standing::Drained) | None => Reason::Overflow,
        }
    }

    fn fail_open(&self, pool: &Pool, client: &Client) -> Result<Decision, NoRegion> {
        let best = self.search(pool, client, |c| c.standing != Standing::Drained);
        decision(&best, 0, self.answers, Reason::FailOpen).ok_or(NoRegion::Closed)
    }

    fn answer_fallback(&self, client: &Client) -> Result<Decision, NoRegion> {
        let fallback = self.fallback.ok_or(NoRegion::Closed)?;
        let angle = client.seeker().direction.map(|from| from.angle(fallback.direction));
        Ok(Decision {
            region: fallback.region,
            rtt: angle.map(Rtt::over_angle),
            reason: Reason::Static,
            displaced_from: None,
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
        self.pool_of(client.location.origin())
    }

    fn pool_of(&self, origin: Origin) -> &FencedPool {
        match self.pool_by_origin.get(origin.index()) {
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
pub(crate) fn kinds_of_client(service: &Service) -> (Vec<Origin>, Box<[u16]>) {
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
        last_good: impl Fn(Origin) -> BTreeSet<RegionIndex>,
    ) -> Self {
        let permitted = |member: &&CompiledMember<'_>| {
            service.geofence.forbids(origin, &member.entry.region.labels).is_none()
        };
        // Those that are drained are there to tell whose clients the others have.
        let candidates = members.iter().filter(permitted).map(|member| member.candidate);
        let candidates: Vec<Candidate> = candidates.collect();
        let contenders = candidates.iter().map(|candidate| candidate.contender);
        let serving = |is_among: fn(Standing) -> bool| -> BTreeSet<RegionIndex> {
            let serving = contenders.clone().filter(|contender| is_among(contender.standing));
            serving.map(|contender| contender.region).collect()
        };
        let eligible = serving(Standing::is_eligible);
        let serving = if eligible.is_empty() { serving(Standing::serves) } else { eligible };
        Self {
            is_served: !serving.is_empty(),
            are_all_able: contenders.clone().all(|contender| contender.takes_others()),
            last_good: if serving.is_empty() { last_good(origin) } else { serving },
            has_undrained: contenders.clone().any(|c| c.standing != Standing::Drained),
            pool: Pool::new(candidates),
            permits_fallback,
        }
    }
}

impl Permitted<'_> {
    /// Decides for the same client: the second half of [`ServiceTable::route`].
    ///
    /// # Errors
    ///
    /// Says why no region may or can serve the client.
    pub fn rank(self, client: &Client) -> Result<Decision, NoRegion> {
        self.service.rank(self.fenced, client)
    }

    /// Counts them.
    #[must_use]
    pub fn count(self) -> usize {
        self.fenced.pool.candidates().len()
    }

    /// Counts those that can have the client if it is their own.
    #[must_use]
    pub fn count_able(self, client: &Client) -> usize {
        let candidates = self.fenced.pool.candidates().iter();
        candidates.filter(|candidate| candidate.contender.keeps(client.key)).count()
    }
}

impl Client {
    fn seeker(&self) -> Seeker {
        Seeker { direction: self.location.point.map(Direction::from), key: self.key }
    }
}

/// Makes a decision of what was found, if anything was: the region at this place, and the others
/// as alternatives.
fn decision(best: &Best<'_>, place: usize, answers: usize, reason: Reason) -> Option<Decision> {
    let (region, angle) = best.regions().nth(place)?;
    let alternatives = alternatives(best, region, answers);
    Some(Decision { region, rtt: rtt(angle), reason, displaced_from: None, alternatives })
}

/// Returns the first of what was found but this region: with it, so many answers.
fn alternatives(best: &Best<'_>, chosen: RegionIndex, answers: usize) -> Alternatives {
    let mut alternatives = Alternatives::NONE;
    let others = best.regions().filter(|(region, _)| *region != chosen);
    for (region, angle) in others.take(answers - 1) {
        alternatives.push(Alternative { region, rtt: rtt(angle) });
    }
    alternatives
}

/// Estimates a time by an angle; a client without a location has neither.
fn rtt(angle: f32) -> Option<Rtt> {
    (!angle.is_nan()).then(|| Rtt::over_angle(angle))
}
