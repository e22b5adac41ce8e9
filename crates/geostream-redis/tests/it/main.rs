//! Redis as it is.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod contract;
mod faults;
mod reach;
mod views;

use std::time::Duration;

use geostream_domain::{Change, Config, GeoPoint, LeaseRequest, Rate, Region, Revision, Snapshot};
use geostream_ports::{Cache as _, CounterKey, Head, Marked, SharedCounters as _};
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

/// Three nodes that tell each other what they see, as soon as they are connected.
async fn views(redis: impl Fn() -> Redis) -> [RedisViews; 3] {
    let connections = [redis(), redis(), redis()];
    for connection in &connections {
        counters(connection.clone()).await;
    }
    let mut names = ["n0", "n1", "n2"].into_iter();
    connections.map(|redis| RedisViews::new(redis, names.next().unwrap().parse().unwrap()).unwrap())
}

/// Buckets of tokens, as soon as there is a connection.
async fn counters(redis: Redis) -> RedisCounters {
    let counters = RedisCounters::new(redis);
    let key = CounterKey { purpose: "ready", number: 0 };
    let (rate, request) = (Rate::per_second(1).unwrap(), LeaseRequest { spent: 0, wanted: 0 });
    until_well(async || counters.lease(rate, 0, vec![(key, request)]).await.is_ok()).await;
    counters
}

/// Two nodes that share a cache which nobody else uses, as soon as they are connected.
async fn pair(url: &str) -> (RedisCache, RedisCache) {
    let prefix = testbed::Redis::prefix();
    let pair = (cache(url, &prefix), cache(url, &prefix));
    let nobody = head(&marked("nobody's", 0));
    for cache in [&pair.0, &pair.1] {
        until_well(async || cache.claim(&nobody).await.is_ok()).await;
    }
    pair
}

/// A configuration with as many regions as its revision says.
fn marked(mark: &str, revision: u64) -> Marked {
    let point = GeoPoint::new(1.0, 2.0).unwrap();
    let region = |number| Region::new(format!("r{number}").parse().unwrap(), point);
    let put = |number| Change::from(region(number));
    let mut snapshot = Snapshot::from(Config::default().after((0..revision).map(put)).unwrap());
    snapshot.revision = Revision::new(revision);
    Marked { mark: mark.to_owned(), snapshot }
}

fn head(marked: &Marked) -> Head {
    Head { revision: marked.snapshot.revision, mark: marked.mark.clone() }
}

/// Tries until it succeeds.
async fn until_well(work: impl AsyncFn() -> bool) {
    let trying = async {
        while !work().await {
            tokio::task::yield_now().await;
        }
    };
    in_the_end(trying).await;
}

/// Waits for what comes by itself, for as long as no machine should need.
async fn in_the_end<T>(work: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(60), work).await.expect("it comes in the end")
}
