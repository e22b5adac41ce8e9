//! What is known of the regions, in one map.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use geostream_domain::{
    ClientKey, Config, Evidence, Health, HealthChange, HealthWatch, Load, LoadShare, NodeView,
    Observation, Observations, RegionId, Report, Revision, Share, Sight, Timestamp, WatchedHealth,
};
use metrics::Histogram;
use tokio::sync::mpsc;

use crate::configuration::ForbiddenCheck;
use crate::health::doubts::Doubts;
use crate::health::reports::{AT_ONCE, Outcome};
use crate::load::{Demand, Look, RegionLoad, Tally};
use crate::meters::{ProbeMeters, reported_rtt};
use crate::reachability::Reachability;

/// How long after its last answer silence may be overload: a region that is silent for longer is
/// dead.
///
/// With the probes that then have to fail, a silent region is removed some 3 s after it died.
pub(crate) const OVERLOAD_ANSWERS: Duration = Duration::from_secs(2);

/// What is known of the regions, and of the nodes that see them too.
#[derive(Debug)]
pub(crate) struct HealthState {
    pub(crate) watch: HealthWatch,
    /// One for each region that is configured, or was at the end of the last run.
    regions: BTreeMap<RegionId, RegionState>,
    /// When clients were counted last.
    measured: Option<Instant>,
    /// Reports that are not taken in yet.
    reports: mpsc::Receiver<Outcome>,
    /// The checks that this node may not do, as the log was last told.
    pub(crate) forbidden: Vec<ForbiddenCheck>,
    /// The reachability targets that are asked.
    pub(crate) reachability: Option<Reachability>,
    /// Whose regions are watched; `None` until the driver has begun.
    pub(crate) configured: Option<Revision>,
    pub(crate) sharing: Sharing,
}

/// What is known of a region.
#[derive(Debug, Default)]
struct RegionState {
    /// What the routing table is told.
    observation: Option<Observation>,
    /// Why its health is what it is; empty as long as nothing has changed.
    evidence: String,
    /// When its health last changed in an earlier run.
    resumed: Option<Timestamp>,
    load: RegionLoad,
    demand: Demand,
    probes: Option<ProbeMeters>,
    reported_rtt: Option<Histogram>,
}

/// Whether other nodes are heard.
#[derive(Debug)]
pub(crate) enum Sharing {
    /// No exchange was tried.
    Off,
    On,
    /// They cannot be, for this reason.
    Failing(String),
}

impl HealthState {
    pub(crate) fn new(watch: HealthWatch, reports: mpsc::Receiver<Outcome>) -> Self {
        Self {
            watch,
            regions: BTreeMap::new(),
            measured: None,
            reports,
            forbidden: Vec::new(),
            reachability: None,
            configured: None,
            sharing: Sharing::Off,
        }
    }

    /// Knows from an earlier run how a region was.
    pub(crate) fn resume(
        &mut self,
        region: RegionId,
        health: Health,
        evidence: String,
        at: Timestamp,
    ) {
        let state = self.regions.entry(region).or_default();
        state.evidence = evidence;
        state.resumed = Some(at);
        state.observation = Some(Observation::of(health, at));
    }

    /// Watches these regions; what is known of those that were watched before is kept.
    pub(crate) fn configure(&mut self, config: &Config, now: Instant) {
        let Self { watch, regions, .. } = self;
        let known = |id: &RegionId| {
            let observation = regions.get(id).and_then(|state| state.observation);
            observation.map_or(Health::Unknown, |seen| seen.health)
        };
        watch.handle_config(config, known, now);
    }

    /// Returns how many regions are known.
    pub(crate) fn count(&self) -> usize {
        self.regions.len()
    }

    /// Returns what the routing table was last told of a region.
    pub(crate) fn observation(&self, region: &RegionId) -> Option<Observation> {
        self.regions.get(region)?.observation
    }

    /// Returns what all nodes that are heard know of a region's load.
    pub(crate) fn load(&self, region: &RegionId, now: Instant) -> Option<LoadShare> {
        let own = self.regions.get(region).and_then(|state| state.load.share(now));
        let others = self.watch.load_of_others(region);
        own.map(|own| own.and(others))
            .or_else(|| (others != LoadShare::default()).then_some(others))
    }

    /// Returns what this node has to say; loads that differ little are as they were.
    pub(crate) fn view(&self, before: &NodeView, now: Instant) -> NodeView {
        let sights = self.watch.votes(now).map(|(region, vote)| {
            let own = self.regions.get(region).and_then(|state| state.load.share(now));
            let new = own.unwrap_or_default();
            let old = before.regions.get(region).map(|sight| sight.load).unwrap_or_default();
            let keep = |old, new| steady(Some(old), Some(new)).unwrap_or_default();
            let load = LoadShare {
                own: keep(old.own, new.own),
                displaced: keep(old.displaced, new.displaced),
                away: keep(old.away, new.away),
                reported: steady(old.reported, new.reported),
            };
            (region, Sight { vote, load })
        });
        let sights = sights.filter(|(_, sight)| *sight != Sight::default());
        NodeView { regions: sights.map(|(region, sight)| (region.clone(), sight)).collect() }
    }

    /// Takes in reports that have come, [`AT_ONCE`] at most; `is_overfull` tells whether a region is
    /// sent more clients than it has room for. Returns whether some may be left.
    pub(crate) fn take_in_reports(
        &mut self,
        is_overfull: impl Fn(&RegionId) -> bool,
        now: Instant,
    ) -> bool {
        for _ in 0..AT_ONCE {
            let Ok(outcome) = self.reports.try_recv() else { return false };
            self.take_in_report(&outcome, &is_overfull, now);
        }
        true
    }

    /// Takes in a report.
    ///
    /// A failure by overload is no sign of death: the clients would only overload the next region.
    fn take_in_report(
        &mut self,
        outcome: &Outcome,
        is_overfull: impl Fn(&RegionId) -> bool,
        now: Instant,
    ) {
        let Outcome { region, is_well, client, rtt, load } = outcome;
        let is_overload =
            *is_well == Some(false) && is_overfull(region) && self.has_answered(region, now);
        if let Some(is_well) = is_well.filter(|_| !is_overload) {
            let client = client.map(ClientKey::of_address);
            self.watch.handle_report(region, Report { is_well, client }, now);
        }
        if !self.watch.watches(region) {
            return;
        }
        let state = self.regions.entry(region.clone()).or_default();
        if let Some(load) = load {
            state.load.report(*load, now);
        }
        if let Some(rtt) = rtt {
            let register = || reported_rtt(region.to_string().into());
            state.reported_rtt.get_or_insert_with(register).record(*rtt);
        }
    }

    /// Tells whether a region has answered a probe so recently that its silence may be overload.
    pub(crate) fn has_answered(&self, region: &RegionId, now: Instant) -> bool {
        let state = self.regions.get(region);
        state.is_some_and(|state| state.load.has_answered(OVERLOAD_ANSWERS, now))
    }

    /// Notes that a region has answered a probe, by whatever answer.
    pub(crate) fn handle_answer(&mut self, region: &RegionId, now: Instant) {
        if let Some(state) = self.regions.get_mut(region) {
            state.load.handle_answer(now);
        }
    }

    /// Notes the load that a region reports of itself.
    pub(crate) fn report_load(&mut self, region: &RegionId, load: Load, now: Instant) {
        self.regions.entry(region.clone()).or_default().load.report(load, now);
    }

    /// Returns what is counted of a region's probes.
    pub(crate) fn probes(&mut self, region: &RegionId) -> &mut ProbeMeters {
        let probes = &mut self.regions.entry(region.clone()).or_default().probes;
        probes.get_or_insert_with(|| ProbeMeters::register(region.to_string().into()))
    }

    /// Takes in how many clients each region was answered to since the last time.
    pub(crate) fn measure<'a>(
        &mut self,
        tallies: impl Iterator<Item = (&'a RegionId, &'a Arc<Tally>)>,
        now: Instant,
    ) {
        let elapsed = self.measured.map(|before| now.saturating_duration_since(before));
        self.measured = Some(now);
        for (region, tally) in tallies {
            self.regions.entry(region.clone()).or_default().load.measure(tally, elapsed);
        }
    }

    pub(crate) fn doubts(&self) -> Doubts {
        let abstaining = self.watch.abstaining().iter();
        let abstaining = abstaining.map(|(region, since)| (region.clone(), *since)).collect();
        Doubts { answering: self.watch.answering(), abstaining }
    }

    /// Tells whether these are its doubts.
    pub(crate) fn has_doubts(&self, doubts: &Doubts) -> bool {
        let abstaining = doubts.abstaining.iter().map(|(region, since)| (region, since));
        doubts.answering == self.watch.answering() && abstaining.eq(self.watch.abstaining())
    }

    pub(crate) fn evidence(&self, region: &RegionId) -> String {
        if self.watch.is_forbidden(region) {
            return Evidence::ProbesForbidden.to_string();
        }
        self.regions.get(region).map(|state| state.evidence.clone()).unwrap_or_default()
    }

    pub(crate) fn seen_at(
        &self,
        region: &RegionId,
        now: Instant,
        wall: Timestamp,
    ) -> Option<Timestamp> {
        let state = self.regions.get(region);
        let seen = self.watch.seen(region).max(state.and_then(|state| state.load.reported_at()));
        let age = seen.map(|seen| now.saturating_duration_since(seen));
        age.map(|age| wall.before(age)).or_else(|| state.and_then(|state| state.resumed))
    }

    /// Takes in what is known of all regions' loads by now; called once a tick.
    pub(crate) fn take_in_loads(&mut self, withheld: &BTreeSet<RegionId>, now: Instant) {
        let regions: Vec<_> = self.watch.regions(now).collect();
        let loads: Vec<_> = regions.iter().map(|(id, _)| self.load(id, now)).collect();
        let is_reported = |load: &Option<LoadShare>| load.is_some_and(|l| l.reported.is_some());
        let do_others_report = loads.iter().any(is_reported);
        for ((id, watched), share) in regions.into_iter().zip(loads) {
            let Some(share) = share else { continue };
            let is_away = is_away(id, watched, withheld);
            let state = self.regions.entry(id.clone()).or_default();
            let is_rising = state.load.is_rising(now);
            state.demand.take_in(Look { share, is_away, is_rising, do_others_report }, now);
        }
    }

    /// Brings what is observed up to date.
    pub(crate) fn note(
        &mut self,
        changes: &[HealthChange],
        withheld: &BTreeSet<RegionId>,
        now: Instant,
        wall: Timestamp,
    ) {
        for change in changes {
            let state = self.regions.entry(change.region.clone()).or_default();
            state.evidence = change.why().to_string();
        }
        let watched: Vec<_> = self.watch.regions(now).map(|(id, w)| (id.clone(), w)).collect();
        for (id, watched) in &watched {
            let load = self.load(id, now);
            let is_away = is_away(id, *watched, withheld);
            let state = self.regions.entry(id.clone()).or_default();
            state.observe(*watched, load, is_away, now, wall);
        }
        let Self { watch, regions, .. } = self;
        regions.retain(|region, _| watch.watches(region));
    }

    pub(crate) fn observations(&self) -> Observations {
        let mut observations = Observations::default();
        for (region, state) in &self.regions {
            if let Some(observation) = state.observation {
                observations.note(region.clone(), observation);
            }
        }
        observations
    }
}

impl RegionState {
    /// Brings what the routing table is told up to date.
    fn observe(
        &mut self,
        watched: WatchedHealth,
        load: Option<LoadShare>,
        is_away: bool,
        now: Instant,
        wall: Timestamp,
    ) {
        let old = self.observation;
        let is_same = |old: &Observation| old.health == watched.health;
        // What the region had is told, and not how its clients leave it or come back.
        let load = match old {
            Some(old) if is_away => old.load,
            old => steady(old.and_then(|old| old.load), load.map(LoadShare::all)),
        };
        self.observation = Some(Observation {
            health: watched.health,
            removal: watched.removal.unwrap_or_default(),
            share: watched.share,
            since: old.filter(is_same).map_or(wall, |old| old.since),
            load,
            demand: steady(old.and_then(|old| old.demand), self.demand.estimate()),
            is_rising: self.load.is_rising(now) || self.demand.is_outgrown(),
            votes: watched.votes,
            is_unconfirmed: watched.is_unconfirmed,
        });
    }
}

/// Tells whether a region does not have all of its clients, by its health or by an override.
fn is_away(region: &RegionId, watched: WatchedHealth, withheld: &BTreeSet<RegionId>) -> bool {
    watched.health == Health::Unhealthy || watched.share != Share::ALL || withheld.contains(region)
}

/// Returns a load, or the old one if the new one differs little: a table is made for each.
fn steady(old: Option<Load>, new: Option<Load>) -> Option<Load> {
    const LITTLE: f64 = 0.02;
    let is_little = |(old, new): (Load, Load)| {
        (old.units() - new.units()).abs() <= LITTLE * old.units().max(new.units())
    };
    if old.zip(new).is_some_and(is_little) { old } else { new }
}
