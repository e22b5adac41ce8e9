//! Nodes over PostgreSQL and Redis, of which either may be away, or both.

use std::io::Write as _;
use std::net::TcpListener;

use geostream_testbed::{Postgres, Proxy, Redis};

use crate::postgres::{TOKYO, get, prepared, put_region, revision};
use crate::server::{Home, Server, wait_for};

#[test]
fn writes_and_news_go_on_without_redis_and_it_is_used_again_afterwards() {
    let url = prepared(Postgres::shared());
    let mut redis = Redis::start(&[]);
    let (home, other) = (Home::new(), Home::new());
    let (node, peer) = (start(&home, &url, &redis.url()), start(&other, &url, &redis.url()));
    let token = home.token();
    let faults: [(Fault, Fault); 5] = [
        (Redis::stop, Redis::start_again),
        (Redis::kill, Redis::start_again),
        (|redis| redis.freeze(), |redis| redis.thaw()),
        (|redis| drop(redis.ask("flushall")), |_| {}),
        (
            |redis| drop(redis.ask("config set maxmemory 1")),
            |redis| drop(redis.ask("config set maxmemory 0")),
        ),
    ];
    let mut expected = 1;
    for (begin, end) in faults {
        begin(&mut redis);
        write(&node, &peer, &token, &mut expected);
        end(&mut redis);
        // There may be a moment left in which it is not asked.
        let hits = hits(&peer);
        wait_for(|| {
            write(&node, &peer, &token, &mut expected);
            self::hits(&peer) > hits
        });
    }
    let metrics = peer.get("/metrics").body;
    assert!(metrics.contains("cache_hit_ratio{cache=\"config\"} 0."), "{metrics}");
    assert!(metrics.contains("result=\"unavailable\""), "{metrics}");
}

#[test]
fn a_server_that_speaks_nonsense_in_place_of_redis_costs_nothing() {
    let url = prepared(Postgres::shared());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let babble = format!("redis://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            (&connection).write_all(b"*1\r\n$-2\r\nHTTP/1.1 400 Bad Request\r\n\r\n").ok();
        }
    });
    let (home, other) = (Home::new(), Home::new());
    let (node, peer) = (start(&home, &url, &babble), start(&other, &url, &babble));
    let (token, mut expected) = (home.token(), 1);
    write(&node, &peer, &token, &mut expected);
    write(&peer, &node, &token, &mut expected);
}

#[test]
fn both_may_be_gone_while_a_node_is_started_and_come_back() {
    let (mut database, mut redis) = (Postgres::start(&[]), Redis::start(&[]));
    let url = prepared(&database);
    let (home, other) = (Home::new(), Home::new());
    let (node, peer) = (start(&home, &url, &redis.url()), start(&other, &url, &redis.url()));
    let (token, mut expected) = (home.token(), 1);
    write(&node, &peer, &token, &mut expected);
    database.kill();
    redis.kill();
    put_region(&node, &token, "refused", expected).expect_problem(503, "store-unavailable", "");
    assert_eq!(revision(&node), expected);
    node.signal("TERM");
    node.wait();
    let node = start(&home, &url, &redis.url());
    assert_eq!(revision(&node), expected, "the last good table decides");
    put_region(&node, &token, "refused", expected).expect_problem(503, "store-unavailable", "");
    redis.start_again();
    assert_eq!(revision(&node), expected);
    database.start_again();
    wait_for(|| put_region(&node, &token, "back", expected).status == 200);
    wait_for(|| reached(&peer, expected + 1));
    assert_eq!(get(&peer, &token, "/api/v1/regions/back").status, 200);
    assert_eq!(get(&peer, &token, "/api/v1/regions/refused").status, 404);
}

#[test]
fn what_redis_says_late_turns_nobody_back() {
    let url = prepared(Postgres::shared());
    let redis = Redis::start(&[]);
    let late = Proxy::start(redis.port());
    let (home, other) = (Home::new(), Home::new());
    let node = start(&home, &url, &redis.url());
    let peer = start(&other, &url, &format!("redis://127.0.0.1:{}", late.port()));
    let (token, mut expected) = (home.token(), 1);
    write(&node, &peer, &token, &mut expected);
    late.hold();
    for _ in 0..3 {
        write(&node, &peer, &token, &mut expected);
    }
    late.release();
    // What was kept back arrives before the next write is heard of.
    for _ in 0..3 {
        write(&node, &peer, &token, &mut expected);
    }
    let hits = hits(&peer);
    wait_for(|| {
        write(&node, &peer, &token, &mut expected);
        self::hits(&peer) > hits
    });
}

#[test]
fn passwords_do_not_get_into_logs() {
    let redis = Redis::start(&["requirepass very-secret"]);
    let with = |password: &str| redis.url().replace("redis://", &format!("redis://:{password}@"));
    for (password, says) in [("very-secret", None), ("also-secret", Some("WRONGPASS"))] {
        let (home, url) = (Home::new(), prepared(Postgres::shared()));
        let mut command = home.command();
        command.env("GEOSTREAM_CACHE", with(password)).args(["--store", &url, "--log", "trace"]);
        let node = Server::start(&mut command);
        let (token, expected) = (&home.token(), revision(&node).as_u64().unwrap());
        assert_eq!(put_region(&node, token, &password[..4], expected).status, 200);
        node.signal("TERM");
        let (_, log) = node.wait();
        assert!(!log.contains(password), "{log}");
        assert!(says.is_none_or(|says| log.contains(says)), "{log}");
    }
}

/// Begins or ends a fault.
type Fault = fn(&mut Redis);

/// Writes on one node, and waits until the other decides by it; neither ever goes back.
#[track_caller]
fn write(node: &Server, peer: &Server, token: &str, expected: &mut u64) {
    let put = put_region(node, token, &format!("r{expected}"), *expected);
    assert_eq!(put.status, 200, "{put:?}");
    *expected += 1;
    assert!(reached(node, *expected), "whoever has the answer sees its effect");
    let mut seen = *expected - 1;
    wait_for(|| {
        let now = revision(peer).as_u64().unwrap();
        assert!(now >= seen, "from {seen} back to {now}");
        seen = now;
        now == *expected
    });
}

fn reached(node: &Server, expected: u64) -> bool {
    revision(node).as_u64().unwrap() == expected
}

fn start(home: &Home, store: &str, cache: &str) -> Server {
    let node = Server::start(home.command().args(["--store", store, "--cache", cache]));
    assert_eq!(node.route(TOKYO).status, 200, "it is there at once");
    node
}

/// Reads how often the cache had what was looked for.
fn hits(node: &Server) -> u64 {
    let metrics = node.get("/metrics").body;
    let line = "cache_requests_total{cache=\"config\",result=\"hit\"} ";
    let count = metrics.lines().find_map(|text| text.strip_prefix(line));
    count.map_or(0, |count| count.parse().unwrap())
}
