//! How regions are: takes reports, and tells how all are and were.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use geostream_domain::{
    Health, HealthChange, HealthWatch, HeardView, Load, LoadShare, NodeId, NodeView, Observation,
    PermittedNetworks, RegionId, SettingSource, Settings, Timestamp, VIEW_HOLDS, WatchedHealth,
};
use geostream_ports::{Chain, Clock, HealthLog, HealthRecord, Heard, Unavailable};
use metrics::{Counter, counter};
use tokio::sync::{Notify, broadcast, mpsc};
use tokio::time::timeout;

use crate::configuration::{ForbiddenCheck, forbidden_of};
use crate::health::doubts::Doubts;
use crate::health::reports::{self, Outcome, Reported};
use crate::health::state::{HealthState, Sharing};
use crate::publisher::Publisher;
use crate::reachability::Reachability;

/// What is seen of the regions: it takes reports, and tells how all are and were.
#[derive(Debug)]
pub struct RegionHealth<L, C> {
    state: Mutex<HealthState>,
    reports: mpsc::Sender<Outcome>,
    dropped_reports: Counter,
    /// Something was handed in that may have to be acted on.
    pub(crate) handed_in: Notify,
    /// This node votes otherwise than it has told the others.
    pub(crate) news: Notify,
    pub(crate) events: broadcast::Sender<HealthEvent>,
    pub(crate) doubts: ArcSwap<Doubts>,
    pub(crate) publisher: Arc<Publisher<C>>,
    /// What may be probed beside public addresses.
    networks: PermittedNetworks,
    /// The reachability targets where the configuration says nothing.
    own_targets: Vec<SocketAddr>,
    pub(crate) log: Arc<L>,
    pub(crate) clock: C,
    /// This node, as the log is to name it.
    pub(crate) node: Option<NodeId>,
}

/// A region's health has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthEvent {
    /// What has changed.
    pub change: HealthChange,
    /// When.
    pub at: Timestamp,
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

/// The events that a slow listener may be behind before it misses some.
const EVENTS: usize = 1_024;

/// How long the log of health may take to say how the regions were: nobody is answered before.
const RESUME: Duration = Duration::from_secs(2);

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
        let (reports, waiting) = reports::queue();
        let (events, _) = broadcast::channel(EVENTS);
        let state = Mutex::new(HealthState::new(watch, waiting));
        let log = Arc::new(log);
        let (handed_in, news) = (Notify::new(), Notify::new());
        let doubts = ArcSwap::default();
        let networks = PermittedNetworks::default();
        let own_targets = canaries.to_vec();
        Self {
            state,
            reports,
            dropped_reports: counter!("reports_dropped_total"),
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

    /// Takes reports, without a lock: the driver takes them in when it acts next.
    pub fn report(&self, outcomes: impl IntoIterator<Item = Outcome>) -> Reported {
        let published = self.publisher.published().load();
        let mut reported = Reported::default();
        for outcome in outcomes {
            if published.table.index_of(&outcome.region).is_none() {
                reported.unknown.push(outcome.region);
            } else if self.reports.try_send(outcome).is_ok() {
                reported.accepted += 1;
            } else {
                reported.dropped += 1;
            }
        }
        if reported.dropped > 0 {
            self.dropped_reports.increment(reported.dropped);
        }
        self.handed_in.notify_one();
        reported
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
                observed: seen.observation(region),
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
        let seen = self.caught_up();
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

    pub(crate) async fn resume(&self) {
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
            seen.resume(region, health, evidence, at);
        }
    }

    /// Watches what is configured by now.
    pub(crate) fn configure(&self, seen: &mut HealthState) {
        let snapshot = self.publisher.snapshot();
        seen.configure(&snapshot.config, self.clock.now());
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
    fn ask_targets(&self, reachability: Reachability, seen: &mut HealthState) {
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

    /// Returns what is known of the regions that are configured by now, with all reports taken in: a
    /// region may be reported before the driver has heard that it is configured.
    pub(crate) fn caught_up(&self) -> MutexGuard<'_, HealthState> {
        let mut seen = self.seen();
        let Some(configured) = seen.configured else { return seen };
        if configured != self.publisher.revision() {
            self.configure(&mut seen);
        }
        let published = self.publisher.published().load();
        let is_overfull = |region: &RegionId| published.table.is_overfull(region);
        if seen.take_in_reports(is_overfull, self.clock.now()) {
            self.handed_in.notify_one();
        }
        seen
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, HealthState> {
        // A panic leaves at worst one region's evidence half taken in.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
