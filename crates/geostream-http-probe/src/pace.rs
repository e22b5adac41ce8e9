//! How often one endpoint is asked, however many regions are behind it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use geostream_domain::{Rate, TokenBucket};
use tokio::time::Instant;

/// Keeps each endpoint's probes apart.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    buckets: Mutex<HashMap<(String, u16), TokenBucket>>,
}

/// The most probes that an endpoint gets in a second: twice what one region in doubt takes.
const MOST_PER_SECOND: u32 = 10;

/// The endpoints beyond which those that are forgotten without loss are looked for.
const MANY: usize = 1_000;

impl Pace {
    /// Tells whether the endpoint may be asked once more.
    pub(crate) fn permits(&self, host: &str, port: u16) -> bool {
        let rate = Rate::per_second(MOST_PER_SECOND).expect("it is a rate");
        let now = Instant::now().into_std();
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() > MANY {
            buckets.retain(|_, bucket| !bucket.is_full(now));
        }
        buckets.entry((host.to_owned(), port)).or_default().take(rate, now).is_ok()
    }
}
