//! How often somebody may ask.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use geostream_domain::{Rate, TokenBucket};

/// Lets each of many ask so often: clients, by the key of their network, or tokens, by their id.
#[derive(Debug)]
pub struct RateLimit<K> {
    rate: Rate,
    buckets: Mutex<HashMap<K, TokenBucket>>,
}

/// Those who are kept in mind at most. Whoever asks at random addresses to fill this is let
/// through, and so is everybody else then: a limit is there to protect those who keep to it.
const MOST: usize = 100_000;

impl<K: Eq + Hash> RateLimit<K> {
    /// Lets each ask at this rate.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        Self { rate, buckets: Mutex::default() }
    }

    /// Counts a request, or says how long whoever asks has to wait.
    pub(crate) fn take(&self, who: K, now: Instant) -> Result<(), Duration> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MOST && !buckets.contains_key(&who) {
            buckets.retain(|_, bucket| !bucket.is_full(now));
            if buckets.len() >= MOST {
                return Ok(());
            }
        }
        buckets.entry(who).or_default().take(self.rate, now)
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
        let limit = RateLimit::new(Rate::per_second(5).unwrap());
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
        let limit = RateLimit::new(Rate::per_second(1).unwrap());
        let now = start();
        for network in 0..u32::try_from(MOST).unwrap() + 10 {
            let address = std::net::Ipv4Addr::from(network << 8);
            assert_eq!(limit.take(ClientKey::of_address(address.into()), now), Ok(()));
        }
        assert_eq!(limit.buckets.lock().unwrap().len(), MOST);
        let later = now + Duration::from_secs(2);
        assert_eq!(limit.take(client("203.0.113.1"), later), Ok(()));
        assert_eq!(limit.buckets.lock().unwrap().len(), 1);
    }

    #[expect(clippy::disallowed_methods, reason = "any moment will do")]
    fn start() -> Instant {
        Instant::now()
    }
}
