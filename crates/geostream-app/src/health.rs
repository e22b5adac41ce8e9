//! Watching the regions' health, and telling the routing table of it.

mod kept;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use geostream_domain::{
    Answering, ClientKey, Evidence, Health, HealthChange, HealthCheck, HealthWatch, HeardView,
    Load, LoadShare, NodeId, NodeView, Observation, Observations, PermittedNetworks, ProbeFailure,
    ProbeId, ProbeOutcome, RegionId, Report, Revision, SettingSource, Settings, Share, Sight,
    Subject, Timestamp, VIEW_HOLDS, WatchOutput, WatchedHealth,
};
use geostream_ports::{
    Chain, Clock, HealthLog, HealthRecord, Heard, Probed, Prober, SpanKind, Unavailable,
};
use metrics::Histogram;
use tokio::sync::{Notify, broadcast, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::configuration::{ForbiddenCheck, forbidden_of};
use crate::health::kept::KeptConnections;
use crate::load::{Demand, Loads, Look};
use crate::meters::{self, PerRegion, ProbeMeters};
use crate::publisher::Publisher;
use crate::reachability::Reachability;
use crate::trace::{Root, Tracer};

/// What is seen of the regions: it takes reports, and tells how all are and were.
#[derive(Debug)]
pub struct RegionHealth<L, C> {
    seen: Mutex<Seen>,
    /// Something was handed in that may have to be acted on.
    handed_in: Notify,
    /// This node votes otherwise than it has told the others.
    news: Notify,
    events: broadcast::Sender<HealthEvent>,
    doubts: ArcSwap<Doubts>,
    publisher: Arc<Publisher<C>>,
    /// What may be probed beside public addresses.
    networks: PermittedNetworks,
    /// The reachability targets where the configuration says nothing.
    own_targets: Vec<SocketAddr>,
    log: Arc<L>,
    clock: C,
    /// This node, as the log is to name it.
    node: Option<NodeId>,
}

#[derive(Debug)]
struct Seen {
    watch: HealthWatch,
    /// The checks that this node may not do, as the log was last told.
    forbidden: Vec<ForbiddenCheck>,
    /// The reachability targets that are asked.
    reachability: Option<Reachability>,
    /// Whose regions are watched; `None` until the driver has begun.
    configured: Option<Revision>,
    loads: Loads,
    demands: BTreeMap<RegionId, Demand>,
    regions: BTreeMap<RegionId, Observation>,
    /// Why each region's health is what it is.
    evidence: BTreeMap<RegionId, String>,
    /// When each region's health last changed in an earlier run.
    resumed: BTreeMap<RegionId, Timestamp>,
    probes: PerRegion<ProbeMeters>,
    reported_rtts: PerRegion<Histogram>,
    sharing: Sharing,
}

/// Whether other nodes are heard.
#[derive(Debug)]
enum Sharing {
    /// Nobody has tried.
    Off,
    On,
    /// They cannot be, for this reason.
    Failing(String),
}

/// A region's health has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthEvent {
    /// What has changed.
    pub change: HealthChange,
    /// When.
    pub at: Timestamp,
}

/// What a client, a gateway or a region itself reports.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The region.
    pub region: RegionId,
    /// Whether it served; `None` where only its load is reported.
    pub is_well: Option<bool>,
    /// Who used it, if that is known.
    pub client: Option<IpAddr>,
    /// How long the way there and back took.
    pub rtt: Option<Duration>,
    /// The region's load, in the unit of its capacity.
    pub load: Option<Load>,
}

/// How a region is.
#[derive(Clone, Debug, PartialEq)]
pub struct RegionStatus {
    /// The region.
    pub region: RegionId,
    /// How the watch sees it.
    pub watched: WatchedHealth,
    /// What the routing table knows of it.
    pub observed: Option<Observation>,
    /// The load that it has now.
    pub load: Option<Load>,
    /// When it was seen last; `None` if it never was.
    pub seen_at: Option<Timestamp>,
    /// Why its health is what it is, or why this node does not know; empty as long as nothing has
    /// changed.
    pub evidence: String,
    /// Until when it is held back for flapping; `None` for all others, and while it is being tried.
    pub held_until: Option<Timestamp>,
}

/// Whom this node hears, and what it has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peers {
    /// The other nodes that are heard.
    pub nodes: Vec<NodeId>,
    /// Why they cannot be heard.
    pub error: Option<String>,
    /// Whether this node sees nobody well, and so votes on nothing.
    pub is_blind: bool,
}

/// What this node cannot tell by its probes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Doubts {
    /// Whether anything answers the probes.
    pub answering: Answering,
    /// The regions that this node would take for dead if anything corroborated it, in the order of
    /// their ids, each with the moment since when that is so.
    pub abstaining: Vec<(RegionId, Instant)>,
}

impl Doubts {
    /// How long a doubt lasts before operators are told of it.
    pub const TOLD_AFTER: Duration = Duration::from_secs(10);

    /// Returns since when nothing answers, if that is so for long.
    #[must_use]
    pub fn unanswered(&self, now: Instant) -> Option<Instant> {
        lost_since(self.answering, now)
    }

    /// Returns the regions that this node has abstained from for long.
    pub fn abstained(&self, now: Instant) -> impl Iterator<Item = &RegionId> {
        let old = self.abstaining.iter().filter(move |(_, since)| is_old(*since, now));
        old.map(|(region, _)| region)
    }
}

fn lost_since(answering: Answering, now: Instant) -> Option<Instant> {
    match answering {
        Answering::Unprobed | Answering::Answered => None,
        Answering::Unanswered(since) => Some(since).filter(|since| is_old(*since, now)),
    }
}

fn is_old(since: Instant, now: Instant) -> bool {
    now.saturating_duration_since(since) >= Doubts::TOLD_AFTER
}

/// The events that a slow listener may be behind before it misses some.
const EVENTS: usize = 1_024;

/// The changes that may wait to be kept.
const KEPT: usize = 1_024;

/// How long the log of health may take to say how the regions were: nobody is answered before.
const RESUME: Duration = Duration::from_secs(2);

/// How long changes are gathered at most before the next table, which takes as long as the last one
/// took: thousands of regions that change together are not to keep answers from being taken in.
const GATHERED: Duration = Duration::from_millis(100);

/// The probes that may be under way at once, unless half of the regions are more.
///
/// A node that is too busy to hear answers sees silence everywhere, and would ask five times as
/// often to make sure.
const PROBES_AT_ONCE: usize = 1_000;

/// The statuses with which a region refuses what is too much: RFC 6585 and RFC 9110.
const OVERLOAD_STATUSES: [u16; 3] = [429, 503, 504];

/// How long after its last answer silence may be overload: a region that is silent for longer is
/// dead.
///
/// With the probes that then have to fail, a silent region is removed some 3 s after it died.
const OVERLOAD_ANSWERS: Duration = Duration::from_secs(2);

/// How often loads and growing shares are looked at.
const TICK: Duration = Duration::from_secs(1);

impl<L: HealthLog, C: Clock> RegionHealth<L, C> {
    /// Knows nothing yet, and keeps in this log what changes; the canaries tell whether this node
    /// has a network, unless the configuration names others, and the seed spreads probes over time.
    #[must_use]
    pub fn new(
        publisher: Arc<Publisher<C>>,
        log: L,
        clock: C,
        canaries: &[SocketAddr],
        seed: u64,
    ) -> Self {
        let watch = HealthWatch::new(seed).with_canaries(canaries.iter().copied(), clock.now());
        let seen = Seen::new(watch);
        let (events, _) = broadcast::channel(EVENTS);
        let (seen, log) = (Mutex::new(seen), Arc::new(log));
        let (handed_in, news) = (Notify::new(), Notify::new());
        let doubts = ArcSwap::default();
        let networks = PermittedNetworks::default();
        let own_targets = canaries.to_vec();
        Self {
            seen,
            handed_in,
            news,
            events,
            doubts,
            publisher,
            networks,
            own_targets,
            log,
            clock,
            node: None,
        }
    }

    /// Keeps each change with the name of this node.
    #[must_use]
    pub fn with_node(self, node: NodeId) -> Self {
        Self { node: Some(node), ..self }
    }

    /// Knows that addresses of these networks may be probed beside public ones, and warns of checks
    /// that name others.
    #[must_use]
    pub fn with_probe_networks(self, networks: PermittedNetworks) -> Self {
        Self { networks, ..self }
    }

    /// Takes in reports, and returns those that are of regions which are not there.
    pub fn report(&self, outcomes: &[Outcome]) -> Vec<RegionId> {
        let now = self.clock.now();
        let mut unknown = Vec::new();
        let mut seen = self.caught_up();
        for outcome in outcomes {
            let is_overload = outcome.is_well == Some(false)
                && self.publisher.is_overfull(&outcome.region)
                && seen.loads.has_answered(&outcome.region, OVERLOAD_ANSWERS, now);
            if !seen.handle_outcome(outcome, is_overload, now) {
                unknown.push(outcome.region.clone());
            }
        }
        drop(seen);
        self.handed_in.notify_one();
        unknown
    }

    /// Returns how each region is, in the order of their ids.
    #[must_use]
    pub fn regions(&self) -> Vec<RegionStatus> {
        let seen = self.caught_up();
        let (now, wall) = (self.clock.now(), self.clock.wall());
        let regions = seen.watch.regions(now);
        regions
            .map(|(region, watched)| RegionStatus {
                region: region.clone(),
                watched,
                observed: seen.regions.get(region).copied(),
                load: seen.load(region, now).map(LoadShare::all),
                seen_at: seen.seen_at(region, now, wall),
                evidence: seen.evidence(region),
                held_until: watched
                    .held_until
                    .map(|until| wall.after(until.saturating_duration_since(now))),
            })
            .collect()
    }

    /// Returns what this node cannot tell by its probes, as of the last second; waits for nothing.
    #[must_use]
    pub fn doubts(&self) -> Arc<Doubts> {
        self.doubts.load_full()
    }

    /// Returns how each canary is, in the order of their addresses.
    #[must_use]
    pub fn canaries(&self) -> Vec<(SocketAddr, Health)> {
        self.caught_up().watch.canaries().collect()
    }

    /// Returns the reachability targets of this node where these settings are in use.
    #[must_use]
    pub fn reachability(&self, settings: &Settings) -> Reachability {
        Reachability::of(settings, &self.own_targets, &self.networks)
    }

    /// Returns whom this node hears; `None` if it shares with nobody.
    #[must_use]
    pub fn peers(&self) -> Option<Peers> {
        let seen = self.seen();
        let error = match &seen.sharing {
            Sharing::Off => return None,
            Sharing::On => None,
            Sharing::Failing(error) => Some(error.clone()),
        };
        let nodes = seen.watch.nodes().cloned().collect();
        Some(Peers { nodes, error, is_blind: seen.watch.is_blind() })
    }

    /// Returns what this node has to say to others, after it has said this.
    pub(crate) fn view(&self, before: &Arc<NodeView>) -> Arc<NodeView> {
        let view = self.seen().view(before, self.clock.now());
        if view == **before { Arc::clone(before) } else { Arc::new(view) }
    }

    /// Takes in what the other nodes say, who were asked at this moment.
    pub(crate) fn hear(&self, exchanged: Result<Vec<Heard>, Unavailable>, asked: Instant) {
        let mut seen = self.seen();
        match exchanged {
            Ok(heard) => {
                let until = |age| asked + VIEW_HOLDS.saturating_sub(age);
                let views = heard.into_iter().map(|Heard { node, view, age, .. }| HeardView {
                    node,
                    view,
                    until: until(age),
                });
                seen.watch.handle_views(views.collect(), self.clock.now());
                seen.sharing = Sharing::On;
            }
            // What was heard before goes on to hold for its time.
            Err(error) => seen.sharing = Sharing::Failing(Chain(&error).to_string()),
        }
        drop(seen);
        self.handed_in.notify_one();
    }

    /// Returns as soon as this node votes otherwise than it has told the others.
    pub(crate) async fn has_news(&self) {
        self.news.notified().await;
    }

    pub(crate) fn clock(&self) -> &C {
        &self.clock
    }

    /// Returns when each of these regions was seen last: what came of a probe, or a report, or,
    /// before any of this run, its last change of an earlier one.
    #[must_use]
    pub fn seen_at<'a>(
        &self,
        regions: impl IntoIterator<Item = &'a RegionId>,
    ) -> Vec<Option<Timestamp>> {
        let (now, wall) = (self.clock.now(), self.clock.wall());
        let seen = self.seen();
        regions.into_iter().map(|region| seen.seen_at(region, now, wall)).collect()
    }

    /// Tells of each of these regions whether this node may not probe it.
    #[must_use]
    pub fn are_forbidden<'a>(&self, regions: impl IntoIterator<Item = &'a RegionId>) -> Vec<bool> {
        let seen = self.seen();
        regions.into_iter().map(|region| seen.watch.is_forbidden(region)).collect()
    }

    /// Returns how the health of a region, or of all of them, has changed, newest first.
    ///
    /// # Errors
    ///
    /// If the log cannot be read.
    pub async fn changes(
        &self,
        region: Option<RegionId>,
        limit: usize,
    ) -> Result<Vec<HealthRecord>, Unavailable> {
        self.log.changes(region, limit).await
    }

    /// Returns what will change from now on.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<HealthEvent> {
        self.events.subscribe()
    }

    async fn resume(&self) {
        let records = match timeout(RESUME, self.log.latest()).await {
            Ok(Ok(records)) => records,
            Ok(Err(error)) => {
                tracing::warn!(error = %Chain(&error), "nothing is known of the regions' health");
                return;
            }
            Err(_) => {
                tracing::warn!("the log of health hangs; nothing is known of the regions' health");
                return;
            }
        };
        let mut seen = self.seen();
        for HealthRecord { region, health, evidence, at, .. } in records {
            seen.evidence.insert(region.clone(), evidence);
            seen.resumed.insert(region.clone(), at);
            seen.regions.insert(region, Observation::of(health, at));
        }
    }

    /// Watches what is configured by now.
    fn configure(&self, seen: &mut Seen) {
        let snapshot = self.publisher.snapshot();
        let Seen { watch, regions, .. } = &mut *seen;
        let known = |id: &RegionId| regions.get(id).map_or(Health::Unknown, |seen| seen.health);
        watch.handle_config(&snapshot.config, known, self.clock.now());
        seen.configured = Some(snapshot.revision);
        let regions = snapshot.config.regions().values();
        let forbidden = forbidden_of(regions.map(|region| &**region), &self.networks);
        if !forbidden.is_empty() && forbidden != seen.forbidden {
            warn_of(&forbidden);
        }
        seen.forbidden = forbidden;
        self.ask_targets(self.reachability(snapshot.config.settings()), seen);
    }

    /// Asks these reachability targets from now on, and no others.
    fn ask_targets(&self, reachability: Reachability, seen: &mut Seen) {
        if seen.reachability.as_ref() == Some(&reachability) {
            return;
        }
        let is_own = reachability.targets.source == SettingSource::Node;
        // The node's own are asked from its start.
        if seen.reachability.is_some() || !is_own {
            seen.watch.handle_reachability_targets(reachability.asked(), self.clock.now());
            reachability.log();
        }
        seen.reachability = Some(reachability);
    }

    /// Returns what is seen of the regions that are configured by now: whoever has configured one may
    /// report it before the driver has heard of it.
    fn caught_up(&self) -> MutexGuard<'_, Seen> {
        let mut seen = self.seen();
        if seen.configured.is_some_and(|configured| configured != self.publisher.revision()) {
            self.configure(&mut seen);
        }
        seen
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        // A panic leaves at worst one region's evidence half taken in.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Warns, in one line, of checks that this node may not do.
fn warn_of(forbidden: &[ForbiddenCheck]) {
    const NAMED: usize = 20;
    let named: Vec<_> = forbidden.iter().take(NAMED).map(|check| check.region.as_str()).collect();
    let more = forbidden.len() - named.len();
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    tracing::warn!(
        regions = named.join(", ") + &more,
        "checks name addresses that are not public; this server does not probe them, and their \
         regions are unknown, until probe.networks in its settings permits them"
    );
}

/// A probe that was done.
#[derive(Debug)]
struct Finished {
    subject: Subject,
    id: ProbeId,
    endpoint: String,
    probed: Probed,
}

/// Probes regions and publishes what comes of it.
#[derive(Debug)]
pub struct HealthDriver<P, L, C> {
    health: Arc<RegionHealth<L, C>>,
    prober: Arc<P>,
    tracer: Tracer,
    probes: JoinSet<Finished>,
    /// The connections of earlier probes.
    kept: KeptConnections,
    /// What has changed and is not published yet.
    changes: Vec<HealthChange>,
    /// Whether removals have become more or less sure, or regions unconfirmed or confirmed, and that
    /// is not published yet.
    is_regraded: bool,
    /// When a table may be made again because of changes.
    next_table: Instant,
    next_tick: Instant,
    loss: LossLog,
    configured: watch::Receiver<Revision>,
}

impl<P: Prober, L: HealthLog, C: Clock> HealthDriver<P, L, C> {
    /// Drives what this health's regions need, by this prober.
    ///
    /// Publishes how the regions were when they were last seen. Whoever is answered before may be
    /// sent to one that was dead.
    pub async fn resume(health: Arc<RegionHealth<L, C>>, prober: P, tracer: Tracer) -> Self {
        let now = health.clock.now();
        let (prober, probes, changes) = (Arc::new(prober), JoinSet::new(), Vec::new());
        let configured = health.publisher.configured();
        health.resume().await;
        let driver = Self {
            health,
            prober,
            tracer,
            probes,
            kept: KeptConnections::default(),
            changes,
            is_regraded: false,
            next_table: now,
            next_tick: now,
            loss: LossLog::default(),
            configured,
        };
        {
            let mut seen = driver.health.seen();
            driver.health.configure(&mut seen);
            driver.publish(&mut seen, &[]);
        }
        driver
    }

    /// Goes on until it is told to stop and every change is kept.
    pub async fn run(mut self, stop: CancellationToken) {
        // A log that hangs is not to hold up whoever watches.
        let (keep, kept) = mpsc::channel(KEPT);
        let keeper = tokio::spawn(keep_in(Arc::clone(&self.health.log), kept));
        let keep_all = |records: Vec<HealthRecord>| {
            if !records.is_empty() && keep.try_send(records).is_err() {
                tracing::warn!("the log of health is behind; a change is not kept");
            }
        };
        loop {
            // Whoever has answered is not to be taken for silent.
            while let Some(finished) = self.probes.try_join_next() {
                self.take_in(finished);
            }
            let (next, records) = self.act();
            keep_all(records);
            tokio::select! {
                Some(finished) = self.probes.join_next() => self.take_in(finished),
                endpoint = self.kept.ended() => {
                    let mut seen = self.health.seen();
                    seen.watch.handle_connection_end(&endpoint, self.health.clock.now());
                }
                () = sleep_until(next.into()) => {}
                () = self.health.handed_in.notified() => {}
                Ok(()) = self.configured.changed() => {
                    let mut seen = self.health.seen();
                    self.health.configure(&mut seen);
                    self.kept.retain(|endpoint| seen.watch.probes_at(endpoint));
                }
                () = stop.cancelled() => break,
            }
        }
        // Nothing more is gathered.
        self.next_table = self.health.clock.now();
        keep_all(self.act().1);
        drop(keep);
        if let Err(error) = keeper.await {
            tracing::error!(%error, "the last changes of health may not be kept");
        }
    }

    fn take_in(&mut self, finished: Result<Finished, tokio::task::JoinError>) {
        match finished {
            Ok(Finished { subject, id, endpoint, probed }) => {
                let Probed { outcome, load, connection } = probed;
                let now = self.health.clock.now();
                let mut seen = self.health.seen();
                let said = self.without_overload(&seen, &subject, outcome, now);
                seen.watch.handle_outcome(&subject, id, said, now);
                let Subject::Region(region) = subject else { return };
                if !seen.watch.watches(&region) {
                    return;
                }
                if is_answer(outcome) {
                    seen.loads.handle_answer(&region, now);
                    if self.health.publisher.is_overfull(&region) {
                        seen.watch.excuse_silence(&region, now + OVERLOAD_ANSWERS);
                    }
                }
                if let Some(load) = load {
                    seen.loads.report(&region, load, now);
                }
                seen.probes.of(&region).handle_outcome(outcome);
                if let Some(connection) = connection
                    && seen.watch.probes_at(&endpoint)
                {
                    self.kept.keep(endpoint, connection);
                }
            }
            Err(error) => tracing::error!(%error, "a probe could not be finished"),
        }
    }

    /// Returns what a probe's outcome says of a region: nothing, if the region is sent more clients
    /// than its capacity and fails as one that is overloaded does.
    ///
    /// Removing it would send those clients to the next region, which has no room for them either.
    fn without_overload(
        &self,
        seen: &Seen,
        subject: &Subject,
        outcome: ProbeOutcome,
        now: Instant,
    ) -> ProbeOutcome {
        let (Subject::Region(region), ProbeOutcome::Failed(failure)) = (subject, outcome) else {
            return outcome;
        };
        let may_be_overload = match failure {
            ProbeFailure::Status(status) => OVERLOAD_STATUSES.contains(&status),
            ProbeFailure::Timeout => seen.loads.has_answered(region, OVERLOAD_ANSWERS, now),
            ProbeFailure::Refused
            | ProbeFailure::Reset
            | ProbeFailure::Unreachable
            | ProbeFailure::Name
            | ProbeFailure::Tls(_)
            | ProbeFailure::Body
            | ProbeFailure::Redirect
            | ProbeFailure::Incomplete
            | ProbeFailure::HeadTooLarge
            | ProbeFailure::Protocol
            | ProbeFailure::Forbidden
            | ProbeFailure::Local => false,
        };
        if may_be_overload && self.health.publisher.is_overfull(region) {
            tracing::debug!(%region, %failure, "a probe failed by overload");
            return ProbeOutcome::NotAsked;
        }
        outcome
    }

    /// Does what is due, and returns when something will be, and what is to be kept.
    fn act(&mut self) -> (Instant, Vec<HealthRecord>) {
        let RegionHealth { publisher, clock, events, news, node, .. } = &*self.health;
        let now = clock.now();
        let mut seen = self.health.seen();
        seen.watch.handle_timeout(now);
        let most_at_once = PROBES_AT_ONCE.max(seen.regions.len() / 2);
        while let Some(output) = seen.watch.poll_output() {
            match output {
                WatchOutput::Probe { subject, id, .. } if self.probes.len() >= most_at_once => {
                    seen.watch.handle_outcome(&subject, id, ProbeOutcome::NotAsked, now);
                }
                WatchOutput::Probe { subject, check, id } => {
                    let (prober, root) = (Arc::clone(&self.prober), self.tracer.sample(None));
                    self.probes.spawn(async move {
                        let probed = match root {
                            None => prober.probe(&check, None).await,
                            Some(root) => probe_traced(&*prober, &subject, &check, root).await,
                        };
                        Finished { subject, id, endpoint: check.target.endpoint(), probed }
                    });
                }
                WatchOutput::Changed(change) => self.changes.push(change),
                WatchOutput::Regraded(_) | WatchOutput::Confirmation(_) => self.is_regraded = true,
                WatchOutput::Breaker { region, state } => {
                    seen.probes.of(&region).handle_breaker(state);
                }
            }
        }
        if seen.watch.poll_news() {
            news.notify_one();
        }
        let mut records = Vec::new();
        let is_tick = now >= self.next_tick;
        if is_tick {
            self.next_tick = now + TICK;
            publisher.measure(&mut seen.loads);
            self.loss.look(seen.watch.answering(), now);
            seen.take_in_loads(&publisher.withheld(), now);
        }
        let is_new = self.is_regraded || !self.changes.is_empty();
        if is_tick || (is_new && now >= self.next_table) {
            self.is_regraded = false;
            let wall = clock.wall();
            let changes = std::mem::take(&mut self.changes);
            self.publish(&mut seen, &changes);
            let done = clock.now();
            self.next_table = done + done.saturating_duration_since(now).min(GATHERED);
            for change in changes {
                let HealthChange { region, from, to, .. } = &change;
                tracing::info!(%region, ?from, ?to, evidence = %change.why(), "health changed");
                records.push(record(&change, wall, node.clone()));
                // Nobody has to listen.
                let _nobody = events.send(HealthEvent { change, at: wall }).is_err();
            }
        }
        let is_new = self.is_regraded || !self.changes.is_empty();
        let table = is_new.then_some(self.next_table);
        let due = [seen.watch.poll_timeout(), table].into_iter().flatten();
        (due.fold(self.next_tick, Instant::min), records)
    }

    /// Publishes what is seen by now, which differs by these changes and by loads.
    fn publish(&self, seen: &mut Seen, changes: &[HealthChange]) {
        let RegionHealth { publisher, clock, doubts, .. } = &*self.health;
        seen.note(changes, &publisher.withheld(), clock.now(), clock.wall());
        publisher.observe(seen.observations());
        if !seen.has_doubts(&doubts.load()) {
            doubts.store(Arc::new(seen.doubts()));
        }
    }
}

/// Whether the log says that nothing answers.
#[derive(Debug, Default)]
struct LossLog {
    is_told: bool,
}

impl LossLog {
    /// Logs once that nothing has answered for long, and once that something does again.
    fn look(&mut self, answering: Answering, now: Instant) {
        let is_lost = lost_since(answering, now).is_some();
        if is_lost == self.is_told {
            return;
        }
        self.is_told = is_lost;
        if is_lost {
            tracing::warn!(
                "no probe of a region or reachability target succeeds; no region is removed while \
                 nothing corroborates that it is dead"
            );
        } else {
            tracing::info!("probes succeed again");
        }
    }
}

/// Tells whether a region has answered, however it has.
fn is_answer(outcome: ProbeOutcome) -> bool {
    matches!(
        outcome,
        ProbeOutcome::Well(_)
            | ProbeOutcome::Failed(
                ProbeFailure::Status(_) | ProbeFailure::Body | ProbeFailure::Redirect
            )
    )
}

async fn probe_traced<P: Prober>(
    prober: &P,
    subject: &Subject,
    check: &HealthCheck,
    root: Root,
) -> Probed {
    let mut span = root.open(SpanKind::Client, "probe");
    match subject {
        Subject::Region(region) => span.note("geostream.region", region.to_string()),
        Subject::Canary(canary) => span.note("geostream.canary", canary.to_string()),
    }
    // What else is in the URL may be meant for the region alone.
    span.note("server.address", check.target.url().host().to_owned());
    span.note("server.port", u64::from(check.target.port()));
    let probed = prober.probe(check, Some(span.trace().context())).await;
    match probed.outcome {
        ProbeOutcome::Well(_) => {}
        ProbeOutcome::Failed(failure) => span.fail(failure),
        ProbeOutcome::NotAsked => span.note("geostream.outcome", "not_asked"),
    }
    probed
}

fn record(change: &HealthChange, at: Timestamp, node: Option<NodeId>) -> HealthRecord {
    HealthRecord {
        region: change.region.clone(),
        node,
        health: change.to,
        evidence: change.why().to_string(),
        at,
        response_time: change.response_time,
        errors: change.evidence.map_or(0, Evidence::failures),
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

/// Keeps what comes for the next start.
async fn keep_in<L: HealthLog>(log: Arc<L>, mut kept: mpsc::Receiver<Vec<HealthRecord>>) {
    while let Some(records) = kept.recv().await {
        if let Err(error) = log.append(records).await {
            tracing::warn!(error = %Chain(&error), "health is not kept for the next start");
        }
    }
}

impl Seen {
    fn new(watch: HealthWatch) -> Self {
        Self {
            watch,
            forbidden: Vec::new(),
            reachability: None,
            configured: None,
            loads: Loads::default(),
            demands: BTreeMap::new(),
            regions: BTreeMap::new(),
            evidence: BTreeMap::new(),
            resumed: BTreeMap::new(),
            probes: PerRegion::new(ProbeMeters::register),
            reported_rtts: PerRegion::new(meters::reported_rtt),
            sharing: Sharing::Off,
        }
    }

    /// Returns what all nodes that are heard know of a region's load.
    fn load(&self, region: &RegionId, now: Instant) -> Option<LoadShare> {
        let (own, others) = (self.loads.of(region, now), self.watch.load_of_others(region));
        own.map(|own| own.and(others))
            .or_else(|| (others != LoadShare::default()).then_some(others))
    }

    /// Returns what this node has to say; loads that differ little are as they were.
    fn view(&self, before: &NodeView, now: Instant) -> NodeView {
        let sights = self.watch.votes(now).map(|(region, vote)| {
            let new = self.loads.of(region, now).unwrap_or_default();
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

    /// Takes in what is reported; tells whether there is such a region.
    ///
    /// A failure by overload is no sign of death: the clients would only overload the next region.
    fn handle_outcome(&mut self, outcome: &Outcome, is_overload: bool, now: Instant) -> bool {
        let Outcome { region, is_well, client, rtt, load } = outcome;
        let client = client.map(ClientKey::of_address);
        let is_known = match is_well.filter(|_| !is_overload) {
            Some(is_well) => self.watch.handle_report(region, Report { is_well, client }, now),
            None => self.watch.watches(region),
        };
        if !is_known {
            return false;
        }
        if let Some(load) = load {
            self.loads.report(region, *load, now);
        }
        if let Some(rtt) = rtt {
            self.reported_rtts.of(region).record(*rtt);
        }
        true
    }

    fn doubts(&self) -> Doubts {
        let abstaining = self.watch.abstaining().iter();
        let abstaining = abstaining.map(|(region, since)| (region.clone(), *since)).collect();
        Doubts { answering: self.watch.answering(), abstaining }
    }

    /// Tells whether these are its doubts.
    fn has_doubts(&self, doubts: &Doubts) -> bool {
        let abstaining = doubts.abstaining.iter().map(|(region, since)| (region, since));
        doubts.answering == self.watch.answering() && abstaining.eq(self.watch.abstaining())
    }

    fn evidence(&self, region: &RegionId) -> String {
        if self.watch.is_forbidden(region) {
            return Evidence::ProbesForbidden.to_string();
        }
        self.evidence.get(region).cloned().unwrap_or_default()
    }

    fn seen_at(&self, region: &RegionId, now: Instant, wall: Timestamp) -> Option<Timestamp> {
        let seen = self.watch.seen(region).max(self.loads.reported(region));
        let age = seen.map(|seen| now.saturating_duration_since(seen));
        age.map(|age| wall.before(age)).or_else(|| self.resumed.get(region).copied())
    }

    /// Takes in what is known of all regions' loads by now; called once a tick.
    fn take_in_loads(&mut self, withheld: &BTreeSet<RegionId>, now: Instant) {
        let regions: Vec<_> = self.watch.regions(now).collect();
        let loads: Vec<_> = regions.iter().map(|(id, _)| self.load(id, now)).collect();
        let is_reported = |load: &Option<LoadShare>| load.is_some_and(|l| l.reported.is_some());
        let do_others_report = loads.iter().any(is_reported);
        for ((id, watched), share) in regions.into_iter().zip(loads) {
            let Some(share) = share else { continue };
            let is_away = is_away(id, watched, withheld);
            let is_rising = self.loads.is_rising(id, now);
            let demand = self.demands.entry(id.clone()).or_default();
            demand.take_in(Look { share, is_away, is_rising, do_others_report }, now);
        }
    }

    /// Brings what is observed up to date.
    fn note(
        &mut self,
        changes: &[HealthChange],
        withheld: &BTreeSet<RegionId>,
        now: Instant,
        wall: Timestamp,
    ) {
        for change in changes {
            self.evidence.insert(change.region.clone(), change.why().to_string());
        }
        let mut before = std::mem::take(&mut self.regions);
        for (id, watched) in self.watch.regions(now) {
            let old = before.remove(id);
            let load = self.load(id, now);
            let is_same = |old: &Observation| old.health == watched.health;
            let is_away = is_away(id, watched, withheld);
            let known = self.demands.get(id);
            let demand = steady(old.and_then(|old| old.demand), known.and_then(Demand::estimate));
            let is_rising = self.loads.is_rising(id, now) || known.is_some_and(Demand::is_outgrown);
            let observation = match old {
                // What it had is told, and not how its clients leave it or come back.
                Some(old) if is_away => Observation {
                    health: watched.health,
                    removal: watched.removal.unwrap_or_default(),
                    share: watched.share,
                    since: if is_same(&old) { old.since } else { wall },
                    demand,
                    is_rising,
                    votes: watched.votes,
                    is_unconfirmed: watched.is_unconfirmed,
                    ..old
                },
                old => Observation {
                    health: watched.health,
                    removal: watched.removal.unwrap_or_default(),
                    share: watched.share,
                    since: old.filter(is_same).map_or(wall, |old| old.since),
                    load: steady(old.and_then(|old| old.load), load.map(LoadShare::all)),
                    demand,
                    is_rising,
                    votes: watched.votes,
                    is_unconfirmed: watched.is_unconfirmed,
                },
            };
            self.regions.insert(id.clone(), observation);
        }
        let Self { evidence, demands, regions, resumed, probes, reported_rtts, .. } = self;
        demands.retain(|region, _| regions.contains_key(region));
        evidence.retain(|region, _| regions.contains_key(region));
        resumed.retain(|region, _| regions.contains_key(region));
        probes.retain(|region| regions.contains_key(region));
        reported_rtts.retain(|region| regions.contains_key(region));
    }

    fn observations(&self) -> Observations {
        let mut observations = Observations::default();
        for (region, observation) in &self.regions {
            observations.note(region.clone(), *observation);
        }
        observations
    }
}

#[cfg(test)]
mod cold_start;
#[cfg(test)]
mod overload;
