//! What a decision for one service reads, and how it decides.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::config::{AllDown, Config, Objective, Service};
use crate::place::{Direction, Origin};
use crate::routing::best::Best;
use crate::routing::candidate::{Candidate, Eligibility, PlacedCandidate, Query};
use crate::routing::decision::{
    Alternative, Alternatives, Client, Decision, NoRegion, Reason, SLOTS,
};
use crate::routing::entry::{LONGEST_TTL, RegionEntry, index_among};
use crate::routing::index::RegionIndex;
use crate::routing::member::{CompiledMember, assume_demands, retain_over_budget, stretch};
use crate::routing::metric::Metric;
use crate::routing::pool::Pool;
use crate::routing::tiers::Tiers;
use crate::time::Timestamp;

/// What a decision for one service reads.
#[derive(Clone, Debug)]
pub struct ServiceTable {
    service: Arc<Service>,
    index: usize,
    metric: Metric,
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
    ttl: Duration,
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

impl ServiceTable {
    pub(crate) fn compile(
        service: &Arc<Service>,
        index: usize,
        config: &Config,
        regions: &[RegionEntry],
        now: Timestamp,
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
            metric: Metric::new(service.policy.objective),
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
            ttl: members
                .iter()
                .map(|member| member.entry.ttl(now))
                .fold(LONGEST_TTL, Duration::min),
        }
    }

    /// Returns the unhealthy regions that still serve where no eligible region has room:
    /// [`Service::removal_budget`] permits no more removals without proof.
    #[must_use]
    pub fn retained(&self) -> &BTreeSet<RegionIndex> {
        &self.retained
    }

    /// Returns how long a decision of this service may be kept, at most [`LONGEST_TTL`].
    ///
    /// As in gdnsd, it comes from health: of all members, the shortest time in which the health of
    /// one could change by its regular probes. While a region is well, that takes as many failures
    /// in a row as remove it; while it is in doubt, fails or comes back, one probe. A decision is not
    /// kept beyond the end of an override. Failures are confirmed faster than regular probes come, so
    /// a client that keeps a decision tries an alternative when the region fails.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Tells whether its regions are filled above their capacity.
    pub(crate) fn is_overfull(&self) -> bool {
        self.is_overfull
    }

    pub(crate) fn metric(&self) -> &Metric {
        &self.metric
    }

    /// Returns the members that the geofence permits to such a client.
    pub(crate) fn placed(&self, client: &Client) -> &[PlacedCandidate] {
        self.pool(client).pool.placed()
    }

    /// Returns the regions that served such clients last.
    pub(crate) fn last_good(&self, origin: Origin) -> &BTreeSet<RegionIndex> {
        &self.pool_of(origin).last_good
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
                self.decision(&best, 0, self.reason(client))
            } else {
                self.route_among_some(pool, client)
            };
            return decided.ok_or(NoRegion::Drained);
        }
        if !fenced.has_undrained && !fenced.permits_fallback {
            return Err(if pool.placed().is_empty() {
                NoRegion::Fenced
            } else {
                NoRegion::Drained
            });
        }
        match &self.service.all_down {
            AllDown::FailOpen => self.fail_open(pool, client),
            AllDown::LastGood => {
                let is_good = |c: &Candidate| {
                    c.eligibility != Eligibility::Drained && fenced.last_good.contains(&c.region)
                };
                let best = self.search(pool, client, is_good);
                match self.decision(&best, 0, Reason::LastGood) {
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
        let decided = self.decision(&own, 0, self.reason(client))?;
        if own.can_replace_first() {
            return Some(decided);
        }
        let others = self.search(pool, client, Candidate::takes_others);
        let alternatives = self.alternatives(&others, decided.region);
        Some(Decision { alternatives, ..decided })
    }

    /// Sends a client whose own region cannot have it where there is room.
    #[cold]
    fn spill_over(&self, pool: &Pool, client: &Client, home: RegionIndex) -> Option<Decision> {
        let place = self.tiers.fallen_to(client.key);
        // A geofence may leave none of these: the best of the others take the client then.
        let others = (0..Eligibility::TAKING.len()).filter(|other| *other != place);
        let places = std::iter::once(place).chain(others);
        let mut decided = places.map(|place| self.spill_into(place, pool, client));
        let decided = decided.find_map(|decided| decided)?;
        // One that serves only when no other has room may be the client's own.
        let displaced_from = Some(home).filter(|home| *home != decided.region);
        Some(Decision { displaced_from, ..decided })
    }

    /// Sends a client to a region of the eligibility at this place, if there is any.
    fn spill_into(&self, place: usize, pool: &Pool, client: &Client) -> Option<Decision> {
        let eligibility = Eligibility::TAKING[place];
        let wanted = if self.tiers.is_limited(place) { SLOTS } else { self.answers };
        let takes = |c: &Candidate| c.eligibility == eligibility;
        let mut best = pool.search(&self.metric, client.query(), wanted, takes);
        let order = best.regions().map(|(region, _)| region);
        let chosen = self.tiers.region(place, order, client.key);
        let reason = match eligibility {
            Eligibility::Held => Reason::Held,
            Eligibility::Retained => Reason::Retained,
            Eligibility::Recovering if chosen > 0 => Reason::Failover,
            Eligibility::Able
            | Eligibility::Recovering
            | Eligibility::Full
            | Eligibility::Unhealthy
            | Eligibility::Drained => self.reason_past(best.passed_over(), chosen, client),
        };
        let decided = self.decision(&best, chosen, reason)?;
        if eligibility == Eligibility::Able {
            return Some(decided);
        }
        let able = self.search(pool, client, Candidate::takes_others);
        let able = self.alternatives(&able, decided.region);
        let alternatives = if able.is_empty() { decided.alternatives } else { able };
        Some(Decision { alternatives, ..decided })
    }

    /// Sends a client that no region has room for to an eligible one.
    #[cold]
    fn impose(&self, pool: &Pool, client: &Client) -> Option<Decision> {
        let mut best = self.search(pool, client, |c| c.eligibility.is_eligible());
        let reason = self.reason_past(best.passed_over(), 0, client);
        let displaced_from = best.home();
        let decided = self.decision(&best, 0, reason)?;
        Some(Decision { displaced_from, ..decided })
    }

    /// Returns why the region at this place is chosen when the best that goes before all is of this
    /// eligibility.
    fn reason_past(
        &self,
        passed_over: Option<Eligibility>,
        place: usize,
        client: &Client,
    ) -> Reason {
        match passed_over {
            Some(
                Eligibility::Able
                | Eligibility::Recovering
                | Eligibility::Held
                | Eligibility::Retained
                | Eligibility::Unhealthy,
            ) => Reason::Failover,
            Some(Eligibility::Full) => Reason::Overflow,
            // Nothing is wrong: the best that may be chosen is, as long as it has room.
            Some(Eligibility::Drained) | None if place == 0 => self.reason(client),
            Some(Eligibility::Drained) | None => Reason::Overflow,
        }
    }

    fn fail_open(&self, pool: &Pool, client: &Client) -> Result<Decision, NoRegion> {
        let best = self.search(pool, client, |c| c.eligibility != Eligibility::Drained);
        self.decision(&best, 0, Reason::FailOpen).ok_or(NoRegion::Closed)
    }

    fn answer_fallback(&self, client: &Client) -> Result<Decision, NoRegion> {
        let fallback = self.fallback.ok_or(NoRegion::Closed)?;
        let angle = client.query().direction.map(|from| from.angle(fallback.direction));
        Ok(Decision {
            region: fallback.region,
            latency: angle.and_then(|angle| self.metric.latency(angle)),
            reason: Reason::Static,
            displaced_from: None,
            alternatives: Alternatives::NONE,
            ttl: self.ttl,
        })
    }

    fn search<'a>(
        &self,
        pool: &'a Pool,
        client: &Client,
        admits: impl Fn(&Candidate) -> bool,
    ) -> Best<'a> {
        pool.search(&self.metric, client.query(), self.answers, admits)
    }

    /// Makes a decision of what was found, if anything was: the region at this place, and the others
    /// as alternatives.
    fn decision(&self, best: &Best<'_>, place: usize, reason: Reason) -> Option<Decision> {
        let (region, angle) = best.regions().nth(place)?;
        Some(Decision {
            region,
            latency: self.metric.latency(angle),
            reason,
            displaced_from: None,
            alternatives: self.alternatives(best, region),
            ttl: self.ttl,
        })
    }

    /// Returns the first of what was found but this region: with it, as many answers as are wanted.
    fn alternatives(&self, best: &Best<'_>, chosen: RegionIndex) -> Alternatives {
        let mut alternatives = Alternatives::NONE;
        let others = best.regions().filter(|(region, _)| *region != chosen);
        for (region, angle) in others.take(self.answers - 1) {
            alternatives.push(Alternative { region, latency: self.metric.latency(angle) });
        }
        alternatives
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
        let placed = members.iter().filter(permitted).map(|member| member.placed);
        let placed: Vec<PlacedCandidate> = placed.collect();
        let candidates = placed.iter().map(|placed| placed.candidate);
        let serving = |is_among: fn(Eligibility) -> bool| -> BTreeSet<RegionIndex> {
            let serving = candidates.clone().filter(|candidate| is_among(candidate.eligibility));
            serving.map(|candidate| candidate.region).collect()
        };
        let eligible = serving(Eligibility::is_eligible);
        let serving = if eligible.is_empty() { serving(Eligibility::serves) } else { eligible };
        Self {
            is_served: !serving.is_empty(),
            are_all_able: candidates.clone().all(|candidate| candidate.takes_others()),
            last_good: if serving.is_empty() { last_good(origin) } else { serving },
            has_undrained: candidates.clone().any(|c| c.eligibility != Eligibility::Drained),
            pool: Pool::new(placed),
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
        self.fenced.pool.placed().len()
    }

    /// Counts those that can have the client if it is their own.
    #[must_use]
    pub fn count_able(self, client: &Client) -> usize {
        let placed = self.fenced.pool.placed().iter();
        placed.filter(|placed| placed.candidate.keeps(client.key)).count()
    }
}

impl Client {
    pub(crate) fn query(&self) -> Query {
        Query { direction: self.location.point.map(Direction::from), key: self.key }
    }
}
