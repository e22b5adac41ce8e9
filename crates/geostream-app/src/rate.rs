//! How often somebody may ask, at this node and at others.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use geostream_domain::{InForce, Lease, LeaseRequest, Rate, RequestLimit, SharedBucket};
use geostream_ports::MOST_LEASES;
use metrics::{Counter, counter};

/// Lets each of many ask so often: clients, by the key of their network, or tokens, by their id.
///
/// The limit is the configuration's, or this node's own where the configuration says nothing; it
/// changes while requests are counted. Where nodes share it, [`LeaseKeeper`](crate::LeaseKeeper)
/// brings the tokens; no request waits for it.
#[derive(Debug)]
pub struct RateLimit<K> {
    /// What is limited; so it is called in metrics, and where nodes share it.
    pub(crate) purpose: &'static str,
    /// What holds where the configuration says nothing.
    own: RequestLimit,
    /// Whether there is a limit: without one, a request takes no lock.
    is_on: AtomicBool,
    refused: Counter,
    /// Among how many nodes the rate is divided.
    nodes: AtomicU32,
    kept: Mutex<Kept<K>>,
}

#[derive(Debug)]
struct Kept<K> {
    in_force: InForce<RequestLimit>,
    buckets: HashMap<K, SharedBucket>,
    /// Who has asked since the last request for leases.
    asking: HashSet<K>,
}

/// Those who are kept in mind at most. Whoever asks at random addresses to fill this is let
/// through, and so is everybody else then: a limit is there to protect those who keep to it.
const MOST: usize = 100_000;

/// How long a lease holds: some requests may fail before only the own share is left.
const LEASE_HOLDS: Duration = Duration::from_millis(500);

impl<K: Copy + Eq + Hash + Into<u64>> RateLimit<K> {
    /// Limits how often each may ask, for this purpose: by this limit, until the configuration says
    /// otherwise.
    #[must_use]
    pub fn new(purpose: &'static str, own: RequestLimit) -> Self {
        let in_force = InForce::of(None, own);
        let kept = Kept { in_force, buckets: HashMap::new(), asking: HashSet::new() };
        Self {
            purpose,
            own,
            is_on: AtomicBool::new(own != RequestLimit::NONE),
            refused: counter!("rate_limited_requests_total", "limit" => purpose),
            nodes: AtomicU32::new(1),
            kept: Mutex::new(kept),
        }
    }

    /// Tells whether there is a limit.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// Returns the limit in force, for all nodes together where they share it.
    #[must_use]
    pub fn in_force(&self) -> InForce<RequestLimit> {
        self.kept().in_force
    }

    /// Goes by what the configuration says, or else by this node's own limit.
    ///
    /// A bucket keeps its fill, as the time until it is full: a change of the limit gives no client
    /// another burst. All buckets are forgotten where there is no limit any more.
    pub fn handle_configured(&self, configured: Option<RequestLimit>) {
        let in_force = InForce::of(configured, self.own);
        let mut kept = self.kept();
        if std::mem::replace(&mut kept.in_force, in_force) == in_force {
            return;
        }
        let mut forgotten = HashMap::new();
        match in_force.value.rate() {
            Some(rate) => kept.buckets.values_mut().for_each(|bucket| bucket.handle_rate(rate)),
            None => {
                kept.asking.clear();
                std::mem::swap(&mut kept.buckets, &mut forgotten);
            }
        }
        self.is_on.store(in_force.value != RequestLimit::NONE, Ordering::Relaxed);
        drop(kept);
        drop(forgotten);
        tracing::info!(
            limit = self.purpose,
            requests_per_second = in_force.value.per_second(),
            source = in_force.source.as_str(),
            "rate limit in force"
        );
    }

    /// Counts a request, or says how long whoever asks has to wait.
    ///
    /// # Errors
    ///
    /// The wait.
    pub fn take(&self, who: K, now: Instant) -> Result<(), Duration> {
        if !self.is_on() {
            return Ok(());
        }
        let mut kept = self.kept();
        let Kept { in_force, buckets, asking } = &mut *kept;
        let Some(rate) = in_force.value.rate() else { return Ok(()) };
        if buckets.len() >= MOST && !buckets.contains_key(&who) {
            buckets.retain(|_, bucket| !bucket.is_full(now));
            if buckets.len() >= MOST {
                return Ok(());
            }
        }
        note_asking(asking, who);
        let taken = buckets.entry(who).or_default().take(self.share_of(rate), now);
        if taken.is_err() {
            self.refused.increment(1);
        }
        taken
    }

    /// Divides the rate among so many nodes from now on.
    pub(crate) fn share_among(&self, nodes: u32) {
        self.nodes.store(nodes, Ordering::Relaxed);
    }

    /// Returns this node's share of a rate.
    pub(crate) fn share_of(&self, rate: Rate) -> Rate {
        rate.divided_by(self.nodes.load(Ordering::Relaxed))
    }

    /// Returns the rate in force, and what is to be asked for those who have asked since the last
    /// time; `None` without a limit.
    pub(crate) fn requests(&self, now: Instant) -> Option<(Rate, Vec<(K, LeaseRequest)>)> {
        let mut kept = self.kept();
        let Kept { in_force, buckets, asking } = &mut *kept;
        let rate = in_force.value.rate()?;
        let requests = asking.drain().filter_map(|who| {
            let request = buckets.get_mut(&who)?.poll_request(rate, now)?;
            Some((who, request))
        });
        Some((rate, requests.collect()))
    }

    /// Takes in what was handed out; `None` is no answer. The limit may have changed since it was
    /// asked for.
    pub(crate) fn handle_leases(
        &self,
        asked: &[(K, LeaseRequest)],
        leased: &[Option<u32>],
        now: Instant,
    ) {
        let mut kept = self.kept();
        let Kept { in_force, buckets, asking } = &mut *kept;
        let Some(rate) = in_force.value.rate() else { return };
        for ((who, request), leased) in asked.iter().zip(leased) {
            let Some(bucket) = buckets.get_mut(who) else { continue };
            match *leased {
                Some(tokens) => {
                    bucket.handle_lease(Lease { tokens, until: now + LEASE_HOLDS }, now);
                    bucket.handle_rate(rate);
                }
                None => {
                    bucket.handle_unheard(*request, rate);
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

#[cfg(test)]
mod tests {
    use super::*;
    use geostream_domain::ClientKey;

    fn client(address: &str) -> ClientKey {
        ClientKey::of_address(address.parse().unwrap())
    }

    fn limit(per_second: u64) -> RequestLimit {
        RequestLimit::new(per_second).unwrap()
    }

    /// Returns how many of many requests of one client are let through at a moment.
    fn passed(limit: &RateLimit<ClientKey>, now: Instant) -> usize {
        (0..1_000).filter(|_| limit.take(client("192.0.2.1"), now).is_ok()).count()
    }

    #[test]
    fn a_network_has_its_rate_and_others_have_theirs() {
        let limit = RateLimit::new("client", limit(5));
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
        let limit = RateLimit::new("client", limit(1));
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

    #[test]
    fn the_configuration_goes_over_the_limit_of_the_node_and_may_lift_it() {
        use geostream_domain::SettingSource as S;
        for (own, configured, expected, source) in [
            (0, None, 0, S::Node),
            (5, None, 5, S::Node),
            (5, Some(9), 9, S::Configuration),
            (5, Some(5), 5, S::Configuration),
            (5, Some(0), 0, S::Configuration),
            (0, Some(9), 9, S::Configuration),
        ] {
            let rate_limit = RateLimit::new("client", limit(own));
            rate_limit.handle_configured(configured.map(limit));
            let in_force = InForce { value: limit(expected), source };
            assert_eq!(rate_limit.in_force(), in_force, "{own}, {configured:?}");
            assert_eq!(rate_limit.is_on(), expected > 0);
            let unlimited = if expected == 0 { 1_000 } else { usize::try_from(expected).unwrap() };
            assert_eq!(passed(&rate_limit, start()), unlimited, "{own}, {configured:?}");
        }
    }

    #[test]
    fn a_limit_is_turned_on_up_down_and_off_while_clients_ask() {
        let rate_limit = RateLimit::new("client", RequestLimit::NONE);
        let now = start();
        let half = |halves: u32| now + Duration::from_millis(500) * halves;
        assert_eq!(passed(&rate_limit, now), 1_000);
        for (at, configured, expected) in [
            (now, Some(10), 10),
            (now, Some(100), 0),
            (half(1), Some(100), 50),
            (half(1), Some(4), 0),
            (half(2), Some(4), 2),
            (half(2), Some(0), 1_000),
            (half(2), Some(10), 10),
            (half(2), None, 1_000),
        ] {
            rate_limit.handle_configured(configured.map(limit));
            assert_eq!(passed(&rate_limit, at), expected, "{configured:?} at {:?}", at - now);
        }
        assert_eq!(rate_limit.kept().buckets.len(), 0, "nothing is kept without a limit");
    }

    #[test]
    fn leases_of_an_earlier_limit_let_no_more_through_than_the_present_one() {
        let rate_limit = RateLimit::new("client", limit(100));
        let now = start();
        rate_limit.share_among(2);
        assert_eq!(passed(&rate_limit, now), 50);
        let (rate, asked) = rate_limit.requests(now).unwrap();
        assert_eq!((rate.burst(), asked.len()), (100, 1));
        rate_limit.handle_configured(Some(limit(4)));
        rate_limit.handle_leases(&asked, &[Some(50)], now);
        assert_eq!(passed(&rate_limit, now), 4, "the lease was asked for by the higher limit");
        rate_limit.handle_configured(Some(RequestLimit::NONE));
        assert!(rate_limit.requests(now).is_none());
        rate_limit.handle_leases(&asked, &[Some(50)], now);
        assert_eq!(rate_limit.kept().buckets.len(), 0);
    }

    #[expect(clippy::disallowed_methods, reason = "any moment will do")]
    fn start() -> Instant {
        Instant::now()
    }
}
