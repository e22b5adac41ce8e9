//! Redis as it is.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod contract;
mod faults;
mod reach;
mod views;

use std::time::Duration;

use geostream_domain::{Change, Config, GeoPoint, Region, Revision, Snapshot};
use geostream_ports::{Head, Marked};
use geostream_redis::{Redis, RedisCache, RedisCounters, RedisViews, Target};
use geostream_testbed as testbed;
use tokio::time::timeout;

/// Connects to what this URL leads to, under a name of one's own.
fn redis(url: &str, prefix: &str) -> Redis {
    let separator = if url.contains('?') { '&' } else { '?' };
    let target = Target::parse(&format!("{url}{separator}prefix={prefix}"), None).unwrap();
    Redis::new(target).unwrap()
}

fn cache(url: &str, prefix: &str) -> RedisCache {
    RedisCache::new(redis(url, prefix), 1).unwrap()
}

/// Three nodes that tell each other what they see.
fn views(url: &str) -> [RedisViews; 3] {
    let prefix = testbed::Redis::prefix();
    ["n0", "n1", "n2"]
        .map(|node| RedisViews::new(redis(url, &prefix), node.parse().unwrap()).unwrap())
}

fn counters(url: &str) -> RedisCounters {
    RedisCounters::new(redis(url, &testbed::Redis::prefix()))
}

/// Two nodes that share a cache which nobody else uses.
fn pair(url: &str) -> (RedisCache, RedisCache) {
    let prefix = testbed::Redis::prefix();
    (cache(url, &prefix), cache(url, &prefix))
}

/// A configuration with as many regions as its revision says.
fn marked(mark: &str, revision: u64) -> Marked {
    let point = GeoPoint::new(1.0, 2.0).unwrap();
    let region = |number| Region::new(format!("r{number}").parse().unwrap(), point);
    let put = |number| Change::PutRegion(region(number).into());
    let mut snapshot = Snapshot::from(Config::default().after((0..revision).map(put)).unwrap());
    snapshot.revision = Revision::new(revision);
    Marked { mark: mark.to_owned(), snapshot }
}

fn head(marked: &Marked) -> Head {
    Head { revision: marked.snapshot.revision, mark: marked.mark.clone() }
}

/// Waits for what comes by itself, for as long as no machine should need.
async fn in_the_end<T>(work: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(60), work).await.expect("it comes in the end")
}
