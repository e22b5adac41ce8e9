//! Ways to a Redis: TLS, passwords, and no more rights than are needed.

use std::fs;
use std::time::Duration;

use geostream_ports::{Cache as _, CacheError, Chain, contract};
use geostream_redis::{Redis, RedisCache, Target};
use geostream_testbed as testbed;
use tokio::time::timeout;

use crate::{cache, counters, in_the_end, marked, views};

/// Waits until this is said to be why it cannot be used.
async fn expect_error(cache: &RedisCache, expected: &str) {
    let mut reason = String::new();
    let looking = async {
        while !reason.contains(expected) {
            reason = match cache.put(&marked("a", 1)).await {
                Err(CacheError::Unavailable(error)) => Chain(&error).to_string(),
                outcome @ (Ok(()) | Err(CacheError::Nonsense(_))) => panic!("{outcome:?}"),
            };
            tokio::task::yield_now().await;
        }
    };
    let comes = timeout(Duration::from_secs(20), looking).await;
    assert!(comes.is_ok(), "{reason}");
}

async fn put_in_the_end(cache: &RedisCache) {
    in_the_end(async {
        while cache.put(&marked("a", 1)).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_is_checked() {
    let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (identity.cert.pem(), identity.signing_key.serialize_pem());
    let server = testbed::Redis::start_secure(&certificate, &key);
    let directory = tempfile::tempdir().unwrap();
    let authority = directory.path().join("authority.pem");
    fs::write(&authority, certificate).unwrap();
    let trusting = format!("{}?sslrootcert={}", server.url(), authority.display());
    put_in_the_end(&cache(&trusting, "a")).await;
    expect_error(&cache(&server.url(), "a"), "ertificate").await;
    let other_name = trusting.replace("localhost", "127.0.0.1");
    expect_error(&cache(&other_name, "a"), "ertificate").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_hosts_each_says_why_it_cannot_be_used() {
    let server = testbed::Redis::start(&[]);
    let one = server.url().replace("redis://", "");
    let one = one.trim_end_matches('/');
    let refused = "127.0.0.1:1: Connection refused (os error 111)";
    for url in [
        format!("redis-cluster://127.0.0.1:1,{one}"),
        format!("redis-sentinel://127.0.0.1:1,{one}?sentinelServiceName=main"),
    ] {
        let expected = format!("({refused}; {one}: accepts connections)");
        expect_error(&cache(&url, "a"), &expected).await;
    }
    let gone = "redis-cluster://127.0.0.1:1,127.0.0.1:2";
    let expected = format!("({refused}; 127.0.0.1:2: Connection refused (os error 111))");
    expect_error(&cache(gone, "a"), &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_and_few_rights_are_enough() {
    let server = testbed::Redis::start(&[]);
    server.ask(&format!("acl setuser node on >secret ~geostream:* &geostream:* {RIGHTS}"));
    server.ask("acl setuser default off");
    let url = server.url().replace("redis://", "redis://node@");
    let redis = |password| Redis::new(Target::parse(&url, Some(password)).unwrap()).unwrap();
    let with = |password| RedisCache::new(redis(password), 1).unwrap();
    let (cache, other) = (with("secret"), with("secret"));
    put_in_the_end(&cache).await;
    let told = other.news();
    put_in_the_end(&cache).await;
    in_the_end(told).await;
    expect_error(&with("wrong"), "WRONGPASS").await;
    contract::shared_views(async || views(|| redis("secret")).await).await;
    contract::shared_counters(async || counters(redis("secret")).await).await;
}

/// What docs/operating.md tells operators to give to nodes.
const RIGHTS: &str =
    "+@scripting +@hash +@sortedset +@string +@pubsub +@connection +@keyspace +time";
