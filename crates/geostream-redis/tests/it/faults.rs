//! A Redis that is away, in every way.

use std::io::Write as _;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use geostream_ports::{Cache as _, CacheError, Chain, Kept, Marked};
use geostream_redis::RedisCache;
use geostream_testbed::Redis;

use crate::{cache, head, in_the_end, marked};

/// Longer than anything may take that is asked of Redis, and the machine is shared.
const BOUND: Duration = Duration::from_secs(2);

/// Returns why nothing can be put, after looking at how long it took to say so.
async fn refused(cache: &RedisCache) -> String {
    let started = now();
    let error = cache.put(&marked("refused", 1)).await.unwrap_err();
    assert!(now() - started < BOUND, "it took {:?}", now() - started);
    let CacheError::Unavailable(error) = error else { panic!("{error:?}") };
    Chain(&error).to_string()
}

/// Puts as soon as it is possible again, and finds it.
async fn put_when_possible(cache: &RedisCache, found: &Marked) {
    in_the_end(async {
        while cache.put(found).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(cache.look(&head(found)).await.unwrap(), Kept::This(found.snapshot.clone()));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_on_by_itself_after_a_stop_a_crash_and_a_freeze() {
    let mut server = Redis::start(&[]);
    let (cache, other) = (cache(&server.url(), "a"), cache(&server.url(), "a"));
    put_when_possible(&cache, &marked("before", 1)).await;
    for stop in [Redis::stop, Redis::kill] {
        stop(&mut server);
        let reason = refused(&cache).await;
        assert!(reason.starts_with("Redis is unavailable: "), "{reason}");
        let again = refused(&cache).await;
        assert!(again.contains("left alone"), "nobody waits again: {reason}; {again}");
        server.start_again();
        let told = other.news();
        put_when_possible(&cache, &marked("after", 2)).await;
        in_the_end(told).await;
    }
    server.freeze();
    let reason = refused(&cache).await;
    assert!(reason.contains("does not answer in time"), "{reason}");
    server.thaw();
    let told = other.news();
    put_when_possible(&cache, &marked("later", 3)).await;
    in_the_end(told).await;
}

#[tokio::test]
async fn a_redis_that_comes_later_is_used_then() {
    let mut server = Redis::start(&[]);
    server.stop();
    let cache = cache(&server.url(), "a");
    refused(&cache).await;
    server.start_again();
    put_when_possible(&cache, &marked("a", 1)).await;
}

#[tokio::test]
async fn a_redis_without_memory_answers_and_takes_nothing() {
    let server = Redis::start(&["maxmemory 100kb", "maxmemory-policy noeviction"]);
    let cache = cache(&server.url(), "a");
    let reason = in_the_end(async {
        loop {
            let reason = refused(&cache).await;
            if reason.contains("OOM") {
                return reason;
            }
        }
    })
    .await;
    assert!(reason.contains("maxmemory"), "{reason}");
    let wanted = marked("a", 1);
    assert_eq!(cache.look(&head(&wanted)).await.unwrap(), Kept::Nothing);
    server.ask("config set maxmemory 0");
    put_when_possible(&cache, &wanted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_suddenly_wants_a_password_is_away() {
    let server = Redis::start(&[]);
    let cache = cache(&server.url(), "a");
    put_when_possible(&cache, &marked("before", 1)).await;
    // Whoever is connected stays so, and whoever comes needs it.
    server.ask("config set requirepass secret");
    server.ask("--no-auth-warning -a secret client kill type normal");
    is_left_alone_for(&cache, "NOAUTH").await;
    server.ask("--no-auth-warning -a secret config set requirepass ");
    put_when_possible(&cache, &marked("after", 2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_still_reads_its_file_is_away() {
    let (server, primary) = (Redis::start(&[]), Redis::start(&["enable-debug-command yes"]));
    let cache = cache(&server.url(), "a");
    put_when_possible(&cache, &marked("before", 1)).await;
    primary.ask("debug populate 5000 key 100");
    // In microseconds; it looks who asks after each thousand bytes.
    server.ask("config set key-load-delay 2000");
    server.ask("config set loading-process-events-interval-bytes 1024");
    server.ask(&format!("replicaof 127.0.0.1 {}", primary.port()));
    is_left_alone_for(&cache, "LOADING").await;
    server.ask("config set key-load-delay 0");
    server.wait_for("info replication", "master_link_status:up");
    server.ask("replicaof no one");
    put_when_possible(&cache, &marked("after", 2)).await;
}

/// Waits until this is why nothing can be put, and looks that nobody waits for it again.
async fn is_left_alone_for(cache: &RedisCache, expected: &str) {
    in_the_end(async { while !refused(cache).await.contains(expected) {} }).await;
    let again = refused(cache).await;
    assert!(again.contains("left alone"), "{again}");
}

#[tokio::test]
async fn nonsense_is_said_to_be_and_goes_away() {
    let server = Redis::shared();
    let prefix = Redis::prefix();
    let (cache, key) = (cache(&server.url(), &prefix), format!("{prefix}:config"));
    let wanted = marked("a", 2);
    let (late, huge) = ("9".repeat(18), "x".repeat(100));
    for nonsense in [
        format!("set {key} nonsense"),
        format!("lpush {key} a b c"),
        format!("hset {key} revision 2 mark a"),
        format!("hset {key} revision 2 mark a config {huge}"),
        format!("hset {key} revision 2 mark a config {{\"config\":7}}"),
        format!("hset {key} revision 1 mark a config {{}}"),
        format!("hset {key} revision two mark b config {{}}"),
        format!("hset {key} revision {late}{late} mark b config {{}}"),
        format!("hset {key} revision {late} config {{}}"),
    ] {
        server.ask(&format!("del {key}"));
        server.ask(&nonsense);
        let looked = in_the_end(async {
            loop {
                match cache.look(&head(&wanted)).await {
                    Err(CacheError::Unavailable(_)) => {}
                    looked => return looked,
                }
            }
        })
        .await;
        assert!(matches!(looked, Err(CacheError::Nonsense(_))), "{nonsense}: {looked:?}");
        put_when_possible(&cache, &wanted).await;
    }
    server.ask(&format!("hset {key} revision {late} mark b config {{}}"));
    let kept = cache.look(&head(&wanted)).await.unwrap();
    let Kept::Other(other) = kept else { panic!("{kept:?}") };
    cache.put(&wanted).await.unwrap();
    assert_eq!(cache.look(&head(&wanted)).await.unwrap(), Kept::Other(other.clone()));
    cache.forget(&other).await.unwrap();
    put_when_possible(&cache, &wanted).await;
}

#[tokio::test]
async fn a_server_that_speaks_nonsense_is_away() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            connection
                .unwrap()
                .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n$-7\r\n*99999\r\n")
                .ok();
        }
    });
    let cache = cache(&url, "a");
    for _ in 0..10 {
        refused(&cache).await;
    }
}

#[tokio::test]
async fn entries_end_by_themselves() {
    let server = Redis::shared();
    let prefix = Redis::prefix();
    put_when_possible(&cache(&server.url(), &prefix), &marked("a", 1)).await;
    let left: u64 = server.ask(&format!("pttl {prefix}:config")).parse().unwrap();
    assert!((3_500_000..3_960_000).contains(&left), "{left} ms");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_replica_is_found() {
    let mut primary = Redis::start(&[]);
    let replica = primary.start_replica();
    let sentinel = primary.start_sentinel();
    let (cache, other) = (cache(&sentinel.url(), "a"), cache(&sentinel.url(), "a"));
    put_when_possible(&cache, &marked("a", 1)).await;
    primary.kill();
    replica.wait_for("role", "master");
    let told = other.news();
    put_when_possible(&cache, &marked("b", 2)).await;
    in_the_end(told).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_used_again_after_its_node_was_away() {
    let nodes = Redis::start_cluster();
    let url = nodes[0].url().replace("redis://", "redis-cluster://");
    let cache = cache(&url, "a");
    let found = marked("a", 1);
    put_when_possible(&cache, &found).await;
    let keeps = |node: &Redis| node.ask("keys *").contains("a:config");
    let place = nodes.iter().position(keeps).unwrap();
    nodes[place].freeze();
    refused(&cache).await;
    nodes[place].thaw();
    put_when_possible(&cache, &found).await;
}

#[expect(clippy::disallowed_methods, reason = "this test has a limit")]
fn now() -> Instant {
    Instant::now()
}
