//! Telling the other nodes what this one sees, and hearing what they say.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use geostream_domain::{NodeView, VIEW_REPEATS};
use geostream_ports::{Chain, Clock, Exchanged, HealthLog, SharedViews};
use tokio::time::{sleep, sleep_until};
use tokio_util::sync::CancellationToken;

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
}

/// How many nodes there are, as far as this one knows.
#[derive(Debug)]
pub struct KnownNodes(AtomicU32);

impl KnownNodes {
    /// Returns how many there were when others could last be heard, this one included.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    fn note(&self, others: usize) {
        let others = u32::try_from(others).unwrap_or(u32::MAX);
        self.0.store(others.saturating_add(1), Ordering::Relaxed);
    }
}

impl Default for KnownNodes {
    /// Knows of this one.
    fn default() -> Self {
        Self(AtomicU32::new(1))
    }
}

/// The time from one exchange to the next at least: nodes that find something out together are heard
/// together.
const GAP: Duration = Duration::from_millis(20);

impl<V: SharedViews, L: HealthLog, C: Clock> ViewExchange<V, L, C> {
    /// Exchanges what this health sees, and counts the nodes.
    #[must_use]
    pub fn new(views: V, health: Arc<RegionHealth<L, C>>, nodes: Arc<KnownNodes>) -> Self {
        Self { views, health, nodes }
    }

    /// Goes on until it is told to stop, and then says good-bye.
    pub async fn run(self, stop: CancellationToken) {
        let mut said = Arc::<NodeView>::default();
        loop {
            let asked = self.health.clock().now();
            said = self.health.view(&said);
            // What is new from here on is not missed.
            let news = self.views.news();
            self.exchange(&said, asked).await;
            tokio::select! {
                () = sleep(VIEW_REPEATS) => {}
                () = self.health.has_news() => {}
                () = news => {}
                () = stop.cancelled() => break,
            }
            sleep_until((asked + GAP).into()).await;
        }
        if let Err(error) = self.views.exchange(&Arc::default()).await {
            tracing::debug!(error = %Chain(&error), "the other nodes will miss this one");
        }
    }

    async fn exchange(&self, said: &Arc<NodeView>, asked: Instant) {
        let exchanged = self.views.exchange(said).await.map(|Exchanged { heard, refused }| {
            metrics::counter!("shared_views_refused_total")
                .increment(u64::try_from(refused).unwrap_or_default());
            heard
        });
        let is_answered = exchanged.is_ok();
        self.health.hear(exchanged, asked);
        if is_answered {
            self.nodes.note(self.health.peers().map_or(0, |peers| peers.nodes.len()));
        }
    }
}
