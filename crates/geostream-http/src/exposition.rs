//! The metrics as text, rendered once for all who ask within a second.
//!
//! With 20,000 regions the text has megabytes. So at most one rendering runs at a time, on a thread
//! that may block, and its bytes are shared by all answers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use geostream_domain::ClientKey;
use tokio::task::{JoinError, spawn_blocking};

use crate::places::Places;

/// How long a rendering is shared.
const SHARED: Duration = Duration::from_secs(1);

/// The most bytes of renderings in memory: a client that reads slowly keeps the one that it was
/// given. Beyond it the latest one is shared for longer, until an older one is let go.
const KEPT: usize = 64 << 20;

/// How many bytes of renderings a client network is sent in a second, if it asks for that many.
///
/// A page of 20,000 regions has 3 MB: sent as fast as a client takes it, it keeps a worker from
/// deciding. The usual page has some ten kilobytes.
const BYTES_PER_SECOND: f64 = 50e6;

/// How long a client network may be made to wait; one that asks for still more is refused.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// How many client networks are told apart; the others share one pace.
const NETWORKS: usize = 1_000;

/// The latest rendering.
#[derive(Debug)]
pub(crate) struct Exposition {
    /// When each client network may be sent its next rendering.
    paces: Mutex<BTreeMap<u64, Instant>>,
    latest: Mutex<Option<Page>>,
    /// Held while the metrics are rendered.
    turn: tokio::sync::Mutex<()>,
    kept: Arc<Places>,
}

#[derive(Debug)]
struct Page {
    since: Instant,
    bytes: Bytes,
}

impl Exposition {
    pub(crate) fn new() -> Self {
        Self::keeping(KEPT)
    }

    fn keeping(bytes: usize) -> Self {
        let kept = Places::new(bytes, bytes);
        let paces = Mutex::default();
        Self { paces, latest: Mutex::default(), turn: tokio::sync::Mutex::default(), kept }
    }

    /// Returns how long a client network has to wait until it is sent this many bytes; `None` if
    /// that is too long.
    pub(crate) fn wait(&self, network: ClientKey, bytes: usize, now: Instant) -> Option<Duration> {
        #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
        let takes = Duration::from_secs_f64(bytes as f64 / BYTES_PER_SECOND);
        let mut paces = self.paces.lock().unwrap_or_else(PoisonError::into_inner);
        if paces.len() >= NETWORKS {
            paces.retain(|_, next| *next > now);
        }
        let network = u64::from(network);
        let is_known = paces.len() < NETWORKS || paces.contains_key(&network);
        let next = paces.entry(if is_known { network } else { 0 }).or_insert(now);
        let wait = next.saturating_duration_since(now);
        if wait > LONGEST_WAIT {
            return None;
        }
        *next = now + wait + takes;
        Some(wait)
    }

    /// Returns how many bytes the latest rendering has.
    pub(crate) fn size(&self) -> usize {
        self.latest().as_ref().map_or(0, |page| page.bytes.len())
    }

    /// Returns the latest rendering, if it is still shared.
    pub(crate) fn fresh(&self, now: Instant) -> Option<Bytes> {
        let latest = self.latest();
        let page = latest.as_ref()?;
        (now.saturating_duration_since(page.since) < SHARED).then(|| page.bytes.clone())
    }

    /// Returns a rendering that is shared from now on: another's, if one has just been made.
    ///
    /// # Errors
    ///
    /// If rendering panics.
    pub(crate) async fn render(
        &self,
        now: impl Fn() -> Instant,
        render: impl FnOnce() -> String + Send + 'static,
    ) -> Result<Bytes, JoinError> {
        let _turn = self.turn.lock().await;
        if let Some(bytes) = self.fresh(now()) {
            return Ok(bytes);
        }
        let text = spawn_blocking(render).await?;
        Ok(self.keep(text, now()))
    }

    fn keep(&self, text: String, now: Instant) -> Bytes {
        let mut latest = self.latest();
        let place = self.kept.take(0, text.len().min(self.kept.all()));
        let bytes = match (place, latest.take()) {
            (Ok(place), _) => place.holding(text.into_bytes()),
            (Err(_), Some(page)) => page.bytes,
            (Err(_), None) => text.into(),
        };
        *latest = Some(Page { since: now, bytes: bytes.clone() });
        bytes
    }

    fn latest(&self) -> MutexGuard<'_, Option<Page>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_rendering_is_shared_for_a_second() {
        let exposition = Exposition::new();
        let start = epoch();
        let at = |millis| start + Duration::from_millis(millis);
        let first = exposition.render(|| at(0), || "first".to_owned()).await.unwrap();
        let shared = exposition.render(|| at(999), || "second".to_owned()).await.unwrap();
        assert_eq!((&shared[..], shared.as_ptr()), (&b"first"[..], first.as_ptr()), "no copy");
        assert!(exposition.fresh(at(1_000)).is_none());
        let second = exposition.render(|| at(1_000), || "second".to_owned()).await.unwrap();
        assert_eq!(second, "second");
    }

    #[test]
    fn a_network_that_asks_for_pages_over_and_over_waits_and_others_do_not() {
        let exposition = Exposition::new();
        let now = epoch();
        let network = |number: u8| ClientKey::of_bytes(&[number]);
        let page = 5_000_000;
        let waits: Vec<_> = (0..30).map(|_| exposition.wait(network(1), page, now)).collect();
        assert_eq!(waits[0], Some(Duration::ZERO));
        assert_eq!(waits[10], Some(Duration::from_secs(1)));
        assert_eq!(waits[20], Some(Duration::from_secs(2)));
        assert_eq!(waits[21..], [None; 9]);
        assert_eq!(exposition.wait(network(2), page, now), Some(Duration::ZERO));
        let later = now + Duration::from_secs(3);
        assert_eq!(exposition.wait(network(1), page, later), Some(Duration::ZERO));
    }

    #[test]
    fn networks_beyond_the_limit_share_one_pace() {
        let exposition = Exposition::new();
        let now = epoch();
        for number in 0..2_000_u32 {
            let network = ClientKey::of_bytes(&number.to_le_bytes());
            exposition.wait(network, 50_000, now);
        }
        assert!(exposition.paces.lock().unwrap().len() <= NETWORKS + 1);
    }

    #[tokio::test]
    async fn slow_readers_keep_no_more_than_the_limit() {
        let exposition = Exposition::keeping(10);
        let start = epoch();
        let render = async |seconds, text: &'static str| {
            let now = start + Duration::from_secs(seconds);
            exposition.render(|| now, || text.to_owned()).await.unwrap()
        };
        let slow = render(0, "12345").await;
        assert_eq!(render(1, "67890").await, "67890");
        assert_eq!(render(2, "abcde").await, "67890", "the first is still being read");
        drop(slow);
        assert_eq!(render(3, "abcde").await, "abcde");
        assert_eq!(render(4, "longer than all there is").await, "abcde");
    }

    #[expect(clippy::disallowed_methods, reason = "an arbitrary epoch")]
    fn epoch() -> Instant {
        Instant::now()
    }
}
