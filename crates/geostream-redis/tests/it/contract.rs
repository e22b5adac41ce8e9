//! The ports' suites.

use geostream_ports::contract;
use geostream_testbed::Redis;

use crate::{counters, pair, views};

#[tokio::test]
async fn it_keeps_the_contract_of_a_cache() {
    contract::cache(async || pair(&Redis::shared().url())).await;
}

#[tokio::test]
async fn it_keeps_the_contract_of_a_cache_in_a_cluster() {
    let nodes = Redis::start_cluster();
    let url = nodes[0].url().replace("redis://", "redis-cluster://");
    contract::cache(async || pair(&url)).await;
}

#[tokio::test]
async fn it_keeps_the_contract_of_a_cache_under_a_sentinel() {
    let primary = Redis::start(&[]);
    let _replica = primary.start_replica();
    let sentinel = primary.start_sentinel();
    contract::cache(async || pair(&sentinel.url())).await;
}

#[tokio::test]
async fn nodes_tell_each_other_what_they_see() {
    contract::shared_views(async || views(&Redis::shared().url())).await;
}

#[tokio::test]
async fn nodes_share_buckets() {
    contract::shared_counters(async || counters(&Redis::shared().url())).await;
}

#[tokio::test]
async fn nodes_share_in_a_cluster() {
    let nodes = Redis::start_cluster();
    let url = nodes[0].url().replace("redis://", "redis-cluster://");
    contract::shared_views(async || views(&url)).await;
    contract::shared_counters(async || counters(&url)).await;
}
