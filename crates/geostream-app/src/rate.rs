//! How often somebody may ask, at this node and at others.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use geostream_domain::{Lease, LeaseRequest, Rate, SharedBucket};
use geostream_ports::{Chain, Clock, CounterKey, MOST_LEASES, SharedCounters};
use metrics::{Counter, counter};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::peers::KnownNodes;

/// Lets each of many ask so often: clients, by the key of their network, or tokens, by their id.
///
/// Where nodes share a limit, [`LeaseKeeper`] brings the tokens; whoever asks never waits for it.
#[derive(Debug)]
pub struct RateLimit<K> {
    /// What is limited; so it is called in metrics, and where nodes share it.
    purpose: &'static str,
    rate: Rate,
    refused: Counter,
    /// Among how many nodes the rate is divided.
    nodes: AtomicU32,
    kept: Mutex<Kept<K>>,
}

#[derive(Debug)]
struct Kept<K> {
    buckets: HashMap<K, SharedBucket>,
    /// Who has asked since the last request for leases.
    asking: HashSet<K>,
}

/// Those who are kept in mind at most. Whoever asks at random addresses to fill this is let
/// through, and so is everybody else then: a limit is there to protect those who keep to it.
const MOST: usize = 100_000;

/// How often leases are asked for.
const EVERY: Duration = Duration::from_millis(100);

/// How long a lease holds: some requests may fail before only the own share is left.
const LEASE_HOLDS: Duration = Duration::from_millis(500);

impl<K: Copy + Eq + Hash + Into<u64>> RateLimit<K> {
    /// Lets each ask at this rate, for this purpose.
    #[must_use]
    pub fn new(purpose: &'static str, rate: Rate) -> Self {
        let kept = Kept { buckets: HashMap::new(), asking: HashSet::new() };
        let refused = counter!("rate_limited_requests_total", "limit" => purpose);
        Self { purpose, rate, refused, nodes: AtomicU32::new(1), kept: Mutex::new(kept) }
    }

    /// Counts a request, or says how long whoever asks has to wait.
    ///
    /// # Errors
    ///
    /// The wait.
    pub fn take(&self, who: K, now: Instant) -> Result<(), Duration> {
        let mut kept = self.kept();
        let Kept { buckets, asking } = &mut *kept;
        if buckets.len() >= MOST && !buckets.contains_key(&who) {
            buckets.retain(|_, bucket| !bucket.is_full(now));
            if buckets.len() >= MOST {
                return Ok(());
            }
        }
        note_asking(asking, who);
        let taken = buckets.entry(who).or_default().take(self.share(), now);
        if taken.is_err() {
            self.refused.increment(1);
        }
        taken
    }

    /// Returns this node's share.
    fn share(&self) -> Rate {
        self.rate.divided_by(self.nodes.load(Ordering::Relaxed))
    }

    /// Returns what is to be asked for those who have asked since the last time.
    fn requests(&self, now: Instant) -> Vec<(K, LeaseRequest)> {
        let mut kept = self.kept();
        let Kept { buckets, asking } = &mut *kept;
        let requests = asking.drain().filter_map(|who| {
            let request = buckets.get_mut(&who)?.poll_request(self.rate, now)?;
            Some((who, request))
        });
        requests.collect()
    }

    /// Takes in what was handed out; `None` is no answer.
    fn handle_leases(&self, asked: &[(K, LeaseRequest)], leased: &[Option<u32>], now: Instant) {
        let mut kept = self.kept();
        let Kept { buckets, asking } = &mut *kept;
        for ((who, request), leased) in asked.iter().zip(leased) {
            let Some(bucket) = buckets.get_mut(who) else { continue };
            match *leased {
                Some(tokens) => {
                    bucket.handle_lease(Lease { tokens, until: now + LEASE_HOLDS }, now);
                }
                None => {
                    bucket.handle_unheard(*request, self.rate);
                    note_asking(asking, *who);
                }
            }
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept<K>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has somebody asked for with the next request, as long as there is room in it.
fn note_asking<K: Eq + Hash>(asking: &mut HashSet<K>, who: K) {
    if asking.len() < MOST_LEASES {
        asking.insert(who);
    }
}

/// Brings tokens of a limit that nodes share to this one, ten times a second.
///
/// Requests are so never held up by whoever keeps the shared buckets. While nobody answers, each node
/// lets through its share of the limit, by the number of nodes when they could last be heard.
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
            self.limit.nodes.store(self.nodes.count(), Ordering::Relaxed);
            let asked = self.limit.requests(self.clock.now());
            if !asked.is_empty() {
                self.lease(&asked).await;
            }
        }
    }

    async fn lease(&self, asked: &[(K, LeaseRequest)]) {
        let Self { limit, counters, clock, .. } = self;
        let key = |who: K| CounterKey { purpose: limit.purpose, number: who.into() };
        let requests = asked.iter().map(|(who, request)| (key(*who), *request)).collect();
        // What the others may have by their shares is left to them.
        let reserved = limit.rate.burst() - limit.share().burst();
        let leased = counters.lease(limit.rate, reserved, requests).await;
        let leased = leased.unwrap_or_else(|error| {
            tracing::debug!(error = %Chain(&error), "no leases: each node has its share");
            vec![None; asked.len()]
        });
        let result = if leased.iter().all(Option::is_some) { "ok" } else { "failed" };
        counter!("rate_limit_leases_total", "result" => result).increment(1);
        limit.handle_leases(asked, &leased, clock.now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use geostream_domain::ClientKey;

    fn client(address: &str) -> ClientKey {
        ClientKey::of_address(address.parse().unwrap())
    }

    #[test]
    fn a_network_has_its_rate_and_others_have_theirs() {
        let limit = RateLimit::new("client", Rate::per_second(5).unwrap());
        let now = start();
        let ask = |address: &str, now| limit.take(client(address), now);
        for host in 0..5 {
            assert_eq!(ask(&format!("192.0.2.{host}"), now), Ok(()));
        }
        assert_eq!(ask("192.0.2.9", now), Err(Duration::from_millis(200)));
        assert_eq!(ask("192.0.3.9", now), Ok(()));
        assert_eq!(ask("192.0.2.9", now + Duration::from_millis(200)), Ok(()));
    }

    #[test]
    fn memory_is_bounded_and_whoever_is_done_is_forgotten() {
        let limit = RateLimit::new("client", Rate::per_second(1).unwrap());
        let now = start();
        for network in 0..u32::try_from(MOST).unwrap() + 10 {
            let address = std::net::Ipv4Addr::from(network << 8);
            assert_eq!(limit.take(ClientKey::of_address(address.into()), now), Ok(()));
        }
        assert_eq!(limit.kept().buckets.len(), MOST);
        let later = now + Duration::from_secs(2);
        assert_eq!(limit.take(client("203.0.113.1"), later), Ok(()));
        assert_eq!(limit.kept().buckets.len(), 1);
    }

    #[expect(clippy::disallowed_methods, reason = "any moment will do")]
    fn start() -> Instant {
        Instant::now()
    }
}
