//! Whether requests come through a proxy that is not trusted.
//!
//! Where `http.trusted_proxies` lacks a proxy, all of its clients are taken to be at the proxy's
//! address: they have no place, and share one rate limit. Such a proxy is seen by its address, which
//! is of this network, and by the header that it adds.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often a request is noted at most; others of that time cost one load.
const NOTED_EVERY: Duration = Duration::from_secs(1);

/// How often it is logged at most, and for how long the last such request is told as a warning.
const TOLD_FOR: Duration = Duration::from_secs(300);

/// The latest peer that forwarded a request without being trusted.
///
/// A client of this network can send the header itself and so have its own address told: one address
/// is kept, and one line is logged in five minutes.
#[derive(Debug)]
pub(crate) struct Forwarding {
    started: Instant,
    /// When a request is noted next, in milliseconds since the start.
    next: AtomicU64,
    latest: Mutex<Latest>,
}

#[derive(Debug, Default)]
struct Latest {
    seen: Option<(IpAddr, Instant)>,
    logged: Option<Instant>,
}

impl Forwarding {
    pub(crate) fn new(now: Instant) -> Self {
        Self { started: now, next: AtomicU64::new(0), latest: Mutex::default() }
    }

    /// Notes that this peer, which is not trusted, has forwarded a request.
    pub(crate) fn note(&self, peer: IpAddr, now: Instant) {
        let since = millis(now.saturating_duration_since(self.started));
        let next = self.next.load(Ordering::Relaxed);
        let after = since + millis(NOTED_EVERY);
        let relaxed = Ordering::Relaxed;
        if since >= next && self.next.compare_exchange(next, after, relaxed, relaxed).is_ok() {
            self.keep(peer, now);
        }
    }

    /// Returns the peer that was noted last, if that was not long ago.
    pub(crate) fn untrusted(&self, now: Instant) -> Option<IpAddr> {
        let (peer, at) = self.latest().seen?;
        is_recent(at, now).then_some(peer)
    }

    #[cold]
    fn keep(&self, peer: IpAddr, now: Instant) {
        let mut latest = self.latest();
        latest.seen = Some((peer, now));
        if latest.logged.is_some_and(|logged| is_recent(logged, now)) {
            return;
        }
        latest.logged = Some(now);
        drop(latest);
        tracing::warn!(
            %peer,
            "requests with a proxy's header come from a peer that http.trusted_proxies does not name; \
             their clients are all taken to be there"
        );
    }

    fn latest(&self) -> MutexGuard<'_, Latest> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_recent(then: Instant, now: Instant) -> bool {
    now.saturating_duration_since(then) < TOLD_FOR
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_peer_is_told_for_five_minutes_and_noted_once_a_second() {
        let start = begin();
        let at = |millis| start + Duration::from_millis(millis);
        let [one, other] = ["10.0.0.1", "10.0.0.2"].map(|address| address.parse().unwrap());
        let forwarding = Forwarding::new(start);
        assert_eq!(forwarding.untrusted(start), None);
        forwarding.note(one, at(5));
        forwarding.note(other, at(1_004));
        assert_eq!(forwarding.untrusted(at(1_004)), Some(one));
        forwarding.note(other, at(1_005));
        assert_eq!(forwarding.untrusted(at(301_004)), Some(other));
        assert_eq!(forwarding.untrusted(at(301_005)), None);
    }

    #[test]
    fn one_line_is_logged_in_five_minutes() {
        let start = begin();
        let peer = "127.0.0.1".parse().unwrap();
        let forwarding = Forwarding::new(start);
        let logged = |seconds| {
            forwarding.note(peer, start + Duration::from_secs(seconds));
            forwarding.latest().logged.map(|at| (at - start).as_secs())
        };
        let times = [0, 1, 100, 299, 300, 301].map(logged);
        assert_eq!(times, [0, 0, 0, 0, 300, 300].map(Some));
    }

    #[expect(clippy::disallowed_methods, reason = "any moment will do")]
    fn begin() -> Instant {
        Instant::now()
    }
}
