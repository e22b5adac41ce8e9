//! The ports' suites.

use geostream_ports::contract;
use geostream_testbed::Redis;

use crate::{counters, pair, redis, views};

#[tokio::test]
async fn it_keeps_the_contract_of_a_cache() {
    contract::cache(async || pair(&Redis::shared().url()).await).await;
}

#[tokio::test]
async fn it_keeps_the_contract_of_a_cache_in_a_cluster() {
    let nodes = Redis::start_cluster();
    let url = nodes[0].url().replace("redis://", "redis-cluster://");
    contract::cache(async || pair(&url).await).await;
}

#[tokio::test]
async fn it_keeps_the_contract_of_a_cache_under_a_sentinel() {
    let primary = Redis::start(&[]);
    let _replica = primary.start_replica();
    let sentinel = primary.start_sentinel();
    contract::cache(async || pair(&sentinel.url()).await).await;
}

/// Holds a Redis to the ports that nodes share, under a name of its own.
async fn shares(url: &str) {
    let prefix = Redis::prefix();
    contract::shared_views(async || views(|| redis(url, &prefix)).await).await;
    contract::shared_counters(async || counters(redis(url, &prefix)).await).await;
}

#[tokio::test]
async fn nodes_share_what_they_see_and_let_through() {
    shares(&Redis::shared().url()).await;
}

#[tokio::test]
async fn nodes_share_what_they_see_and_let_through_in_a_cluster() {
    let nodes = Redis::start_cluster();
    shares(&nodes[0].url().replace("redis://", "redis-cluster://")).await;
}
