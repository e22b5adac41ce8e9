//! How often one client may ask.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use geostream_domain::{ClientKey, Rate, TokenBucket};

/// Lets each client ask so often: clients are told apart by their networks, a /24 of IPv4 or a /48
/// of IPv6.
#[derive(Debug)]
pub struct RateLimit {
    rate: Rate,
    buckets: Mutex<HashMap<ClientKey, TokenBucket>>,
}

/// The clients that are kept in mind at most. Whoever asks at random addresses to fill this is let
/// through, and so is everybody else then: a limit is there to protect those who keep to it.
const MOST: usize = 100_000;

impl RateLimit {
    /// Lets each client ask at this rate.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        Self { rate, buckets: Mutex::default() }
    }

    /// Counts a request, or says how long the client has to wait.
    pub(crate) fn take(&self, client: IpAddr, now: Instant) -> Result<(), Duration> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let client = ClientKey::of_address(client);
        if buckets.len() >= MOST && !buckets.contains_key(&client) {
            buckets.retain(|_, bucket| !bucket.is_full(now));
            if buckets.len() >= MOST {
                return Ok(());
            }
        }
        buckets.entry(client).or_default().take(self.rate, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_its_rate_and_others_have_theirs() {
        let limit = RateLimit::new(Rate::per_second(5).unwrap());
        let now = start();
        let ask = |address: &str, now| limit.take(address.parse().unwrap(), now);
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
            assert_eq!(limit.take(address.into(), now), Ok(()));
        }
        assert_eq!(limit.buckets.lock().unwrap().len(), MOST);
        let later = now + Duration::from_secs(2);
        assert_eq!(limit.take("203.0.113.1".parse().unwrap(), later), Ok(()));
        assert_eq!(limit.buckets.lock().unwrap().len(), 1);
    }

    #[expect(clippy::disallowed_methods, reason = "any moment will do")]
    fn start() -> Instant {
        Instant::now()
    }
}
