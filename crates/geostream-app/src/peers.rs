//! Telling the other nodes what this one sees, and hearing what they say.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use geostream_domain::{HeardNode, NodeSummary, NodeView, Roster, RosterEntry, Skew, VIEW_REPEATS};
use geostream_ports::{Chain, Clock, Exchanged, HealthLog, Heard, SharedViews};
use tokio::time::{sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::clocks::Clocks;
use crate::health::RegionHealth;

/// Exchanges views with the other nodes: at once when this one votes otherwise or another has news,
/// and now and then in any case.
///
/// While nobody answers, what was heard last holds for its time, and then this node acts on its own
/// view.
#[derive(Debug)]
pub struct ViewExchange<V, L, C> {
    views: V,
    health: Arc<RegionHealth<L, C>>,
    nodes: Arc<KnownNodes>,
    clocks: Clocks,
}

/// Which nodes there are, as far as this one knows.
#[derive(Debug)]
pub struct KnownNodes {
    count: AtomicU32,
    roster: Mutex<Roster>,
}

impl KnownNodes {
    /// Returns how many there were when others could last be heard, this one included.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count.load(Ordering::Relaxed)
    }

    /// Returns the others that are heard or were missed lately.
    #[must_use]
    pub fn others(&self, now: Instant) -> Vec<RosterEntry> {
        self.roster().entries(now).collect()
    }

    fn note(&self, others: usize) {
        let others = u32::try_from(others).unwrap_or(u32::MAX);
        self.count.store(others.saturating_add(1), Ordering::Relaxed);
    }

    fn hear(&self, heard: &[Heard], now: Instant) {
        let heard = heard.iter().map(|heard| HeardNode {
            node: heard.node.clone(),
            summary: heard.summary.clone(),
            is_empty: heard.view.regions.is_empty(),
            age: heard.age,
        });
        self.roster().handle_heard(heard, now);
    }

    fn roster(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for KnownNodes {
    /// Knows of this one.
    fn default() -> Self {
        Self { count: AtomicU32::new(1), roster: Mutex::default() }
    }
}

/// The time from one exchange to the next at least: nodes that find something out together are heard
/// together.
const GAP: Duration = Duration::from_millis(20);

impl<V: SharedViews, L: HealthLog, C: Clock> ViewExchange<V, L, C> {
    /// Exchanges what this health sees, and notes which nodes there are and what their clocks show.
    #[must_use]
    pub fn new(
        views: V,
        health: Arc<RegionHealth<L, C>>,
        nodes: Arc<KnownNodes>,
        clocks: Clocks,
    ) -> Self {
        Self { views, health, nodes, clocks }
    }

    /// Goes on until it is told to stop, and then says good-bye. Beside each view goes the summary
    /// that holds at that moment.
    pub async fn run(self, summarize: impl Fn() -> NodeSummary, stop: CancellationToken) {
        let mut said = Arc::<NodeView>::default();
        loop {
            let asked = self.health.clock().now();
            said = self.health.view(&said);
            // What is new from here on is not missed.
            let news = self.views.news();
            self.exchange(&said, &Arc::new(summarize()), asked).await;
            tokio::select! {
                () = sleep(VIEW_REPEATS) => {}
                () = self.health.has_news() => {}
                () = news => {}
                () = stop.cancelled() => break,
            }
            sleep_until((asked + GAP).into()).await;
        }
        let last = NodeSummary { is_leaving: true, ..summarize() };
        if let Err(error) = self.views.exchange(&Arc::default(), &Arc::new(last)).await {
            tracing::debug!(error = %Chain(&error), "the other nodes will miss this one");
        }
    }

    async fn exchange(&self, said: &Arc<NodeView>, summary: &Arc<NodeSummary>, asked: Instant) {
        let exchanged = self.views.exchange(said, summary).await.map(|exchanged| {
            let Exchanged { heard, refused, clock } = exchanged;
            metrics::counter!("shared_views_refused_total")
                .increment(u64::try_from(refused).unwrap_or_default());
            if let Some(reading) = clock {
                self.clocks.handle_cache_reading(reading);
            }
            self.clocks.handle_peers(skews_of(&heard));
            self.nodes.hear(&heard, self.health.clock().now());
            heard
        });
        let is_answered = exchanged.is_ok();
        self.health.hear(exchanged, asked);
        if is_answered {
            self.nodes.note(self.health.peers().map_or(0, |peers| peers.nodes.len()));
        }
    }
}

/// Returns the skews against the cache's clock that other nodes tell.
fn skews_of(heard: &[Heard]) -> Vec<Skew> {
    let summaries = heard.iter().filter_map(|heard| heard.summary.as_ref());
    summaries.filter_map(|summary| summary.cache_skew).collect()
}
