//! Probing regions, and publishing what comes of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use geostream_domain::{
    Answering, Evidence, HealthChange, HealthCheck, NodeId, OverrideAction, ProbeFailure, ProbeId,
    ProbeOutcome, RegionEntry, RegionId, Revision, RoutingTable, Subject, Timestamp, WatchOutput,
};
use geostream_ports::{Chain, Clock, HealthLog, HealthRecord, Probed, Prober, SpanKind};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, yield_now};
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use crate::health::doubts::lost_since;
use crate::health::kept::KeptConnections;
use crate::health::region_health::{HealthEvent, RegionHealth};
use crate::health::state::{HealthState, OVERLOAD_ANSWERS};
use crate::trace::{Root, Tracer};

/// The changes that may wait to be kept.
const KEPT: usize = 1_024;

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

/// How often loads and growing shares are looked at.
const TICK: Duration = Duration::from_secs(1);

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
            // Where reports never end, there is always something to do: the probes go on all the same.
            yield_now().await;
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
                    seen.handle_answer(&region, now);
                    if self.is_overfull(&region) {
                        seen.watch.excuse_silence(&region, now + OVERLOAD_ANSWERS);
                    }
                }
                if let Some(load) = load {
                    seen.report_load(&region, load, now);
                }
                seen.probes(&region).handle_outcome(outcome);
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
        seen: &HealthState,
        subject: &Subject,
        outcome: ProbeOutcome,
        now: Instant,
    ) -> ProbeOutcome {
        let (Subject::Region(region), ProbeOutcome::Failed(failure)) = (subject, outcome) else {
            return outcome;
        };
        let may_be_overload = match failure {
            ProbeFailure::Status(status) => OVERLOAD_STATUSES.contains(&status),
            ProbeFailure::Timeout => seen.has_answered(region, now),
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
        if may_be_overload && self.is_overfull(region) {
            tracing::debug!(%region, %failure, "a probe failed by overload");
            return ProbeOutcome::NotAsked;
        }
        outcome
    }

    /// Tells whether a region is sent more clients than its capacity, since no other has room.
    fn is_overfull(&self, region: &RegionId) -> bool {
        self.health.publisher.published().load().table.is_overfull(region)
    }

    /// Does what is due, and returns when something will be, and what is to be kept.
    fn act(&mut self) -> (Instant, Vec<HealthRecord>) {
        let RegionHealth { publisher, clock, events, news, node, .. } = &*self.health;
        let now = clock.now();
        let mut seen = self.health.caught_up();
        seen.watch.handle_timeout(now);
        let most_at_once = PROBES_AT_ONCE.max(seen.count() / 2);
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
                    seen.probes(&region).handle_breaker(state);
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
            let published = publisher.published().load();
            let regions = published.table.regions().iter().map(|entry| &entry.region.id);
            seen.measure(regions.zip(&published.tallies), now);
            self.loss.look(seen.watch.answering(), now);
            seen.take_in_loads(&withheld(&published.table), now);
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
    fn publish(&self, seen: &mut HealthState, changes: &[HealthChange]) {
        let RegionHealth { publisher, clock, doubts, .. } = &*self.health;
        let withheld = withheld(&publisher.published().load().table);
        seen.note(changes, &withheld, clock.now(), clock.wall());
        publisher.observe(seen.observations());
        if !seen.has_doubts(&doubts.load()) {
            doubts.store(Arc::new(seen.doubts()));
        }
    }
}

/// Returns the regions that operators keep clients from.
fn withheld(table: &RoutingTable) -> BTreeSet<RegionId> {
    let is_withheld = |entry: &&RegionEntry| match &entry.overridden {
        Some(wish) => matches!(wish.action, OverrideAction::Drain | OverrideAction::Down),
        None => false,
    };
    table.regions().iter().filter(is_withheld).map(|entry| entry.region.id.clone()).collect()
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

/// Keeps what comes for the next start.
async fn keep_in<L: HealthLog>(log: Arc<L>, mut kept: mpsc::Receiver<Vec<HealthRecord>>) {
    while let Some(records) = kept.recv().await {
        if let Err(error) = log.append(records).await {
            tracing::warn!(error = %Chain(&error), "health is not kept for the next start");
        }
    }
}
