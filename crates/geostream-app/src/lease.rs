//! Sharing a limit of requests with other nodes.

use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use geostream_domain::{LeaseRequest, Rate};
use geostream_ports::{Chain, Clock, CounterKey, SharedCounters};
use metrics::counter;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::peers::KnownNodes;
use crate::rate::RateLimit;

/// How often leases are asked for.
const EVERY: Duration = Duration::from_millis(100);

/// Brings tokens of a limit that nodes share to this one, ten times a second.
///
/// No request waits for the shared buckets. While they do not answer, each node lets through its share
/// of the limit, by the number of nodes when they could last be heard. A limit that changes or ends
/// does so with the next request for tokens.
#[derive(Debug)]
pub struct LeaseKeeper<K, S, C> {
    /// The limit.
    pub limit: Arc<RateLimit<K>>,
    /// Where the shared buckets are.
    pub counters: S,
    /// How many nodes share it.
    pub nodes: Arc<KnownNodes>,
    /// Tells the time.
    pub clock: C,
}

impl<K, S, C> LeaseKeeper<K, S, C>
where
    K: Copy + Eq + Hash + Into<u64>,
    S: SharedCounters,
    C: Clock,
{
    /// Goes on until it is told to stop.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = sleep(EVERY) => {}
                () = stop.cancelled() => return,
            }
            self.limit.share_among(self.nodes.count());
            let asked = self.limit.requests(self.clock.now());
            if let Some((rate, asked)) = asked.filter(|(_, asked)| !asked.is_empty()) {
                self.lease(rate, &asked).await;
            }
        }
    }

    async fn lease(&self, rate: Rate, asked: &[(K, LeaseRequest)]) {
        let Self { limit, counters, clock, .. } = self;
        let key = |who: K| CounterKey { purpose: limit.purpose, number: who.into() };
        let requests = asked.iter().map(|(who, request)| (key(*who), *request)).collect();
        // What the others may have by their shares is left to them.
        let reserved = rate.burst() - limit.share_of(rate).burst();
        let leased = counters.lease(rate, reserved, requests).await;
        let leased = leased.unwrap_or_else(|error| {
            tracing::debug!(error = %Chain(&error), "no leases: each node has its share");
            vec![None; asked.len()]
        });
        let result = if leased.iter().all(Option::is_some) { "ok" } else { "failed" };
        counter!("rate_limit_leases_total", "result" => result).increment(1);
        limit.handle_leases(asked, &leased, clock.now());
    }
}
