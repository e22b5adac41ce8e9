//! What nodes tell each other, and whoever says something else there.

use std::sync::Arc;

use geostream_domain::{LeaseRequest, Rate, Removal, Vote};
use geostream_ports::{Chain, CounterKey, SharedCounters as _, SharedViews as _};
use geostream_redis::RedisViews;
use geostream_testbed as testbed;

use crate::{counters, redis, until_well};

/// A server, two nodes over it, and what their keys begin with.
fn pair(server: &testbed::Redis) -> (RedisViews, RedisViews, String) {
    let prefix = testbed::Redis::prefix();
    let node =
        |name: &str| RedisViews::new(redis(&server.url(), &prefix), name.parse().unwrap()).unwrap();
    (node("n0"), node("n1"), format!("{prefix}:{{views1}}"))
}

/// Asks until there is an answer, and returns how many nodes are heard, and how many make no sense.
async fn heard(node: &RedisViews) -> (usize, usize) {
    until_well(async || node.exchange(&Arc::default(), &Arc::default()).await.is_ok()).await;
    let exchanged = node.exchange(&Arc::default(), &Arc::default()).await.unwrap();
    (exchanged.heard.len(), exchanged.refused)
}

#[tokio::test]
async fn nonsense_is_left_out_and_counted() {
    let server = testbed::Redis::start(&[]);
    let (node, peer, keys) = pair(&server);
    assert_eq!((heard(&peer).await, heard(&node).await), ((0, 0), (1, 0)));
    let second = || server.ask("time").lines().next().unwrap().parse::<u64>().unwrap();
    for (name, words) in [
        ("Not_A_Node", "{}"),
        ("x1", "nonsense"),
        ("x2", r#"{"Not_A_Region":[true,0,0,0,null]}"#),
        ("x3", r#"{"eu":[true,-1,0,0,null]}"#),
        ("x4", r#"{"eu":["down",0,0,0,null]}"#),
    ] {
        server.ask(&format!("zadd {keys}:said {}000 {name}", second()));
        server.ask(&format!("hset {keys}:numbers {name} 1"));
        server.ask(&format!("hset {keys}:bodies {name} {words}"));
        heard(&peer).await;
        assert_eq!(heard(&node).await, (1, 1), "{name}: {words}");
        server.ask(&format!("zrem {keys}:said {name}"));
    }
    server.ask(&format!("zadd {keys}:said {}000 future", second() + 10));
    heard(&peer).await;
    assert_eq!(heard(&node).await, (1, 0), "nobody has spoken in a time to come");
}

#[tokio::test]
async fn the_votes_of_nodes_of_earlier_versions_are_no_proof() {
    let server = testbed::Redis::start(&[]);
    let (node, peer, keys) = pair(&server);
    assert_eq!((heard(&peer).await, heard(&node).await), ((0, 0), (1, 0)));
    let second = || server.ask("time").lines().next().unwrap().parse::<u64>().unwrap();
    for (number, removals, expected) in [
        (1, None, Removal::Unproven),
        (2, Some(r#"2:{"eu":"proven"}"#), Removal::Proven),
        (3, Some(r#"3:{"eu":"held"}"#), Removal::Held),
        (4, Some("4:"), Removal::Unproven),
        (5, Some(r#"5:{"eu":"of-a-later-version"}"#), Removal::Unproven),
        // A node that went back to an earlier version leaves what it said of another number.
        (6, Some(r#"5:{"eu":"proven"}"#), Removal::Unproven),
    ] {
        server.ask(&format!("zadd {keys}:said {}000 old", second()));
        server.ask(&format!("hset {keys}:numbers old {number}"));
        server.ask(&format!("hset {keys}:bodies old {{\"eu\":[true,0,0,0,null]}}"));
        if let Some(removals) = removals {
            server.ask(&format!("hset {keys}:removals old {removals}"));
        }
        let heard = node.exchange(&Arc::default(), &Arc::default()).await.unwrap().heard;
        let view = heard.iter().find(|heard| heard.node.as_str() == "old").unwrap();
        let votes: Vec<_> = view.view.votes().map(|(_, vote)| vote).collect();
        assert_eq!(votes, [Vote::Down(expected)], "{removals:?}");
    }
}

#[tokio::test]
async fn a_summary_that_is_missing_or_makes_no_sense_leaves_the_view() {
    let server = testbed::Redis::start(&[]);
    let (node, peer, keys) = pair(&server);
    assert_eq!((heard(&peer).await, heard(&node).await), ((0, 0), (1, 0)));
    let second = || server.ask("time").lines().next().unwrap().parse::<u64>().unwrap();
    let long = format!("6:{{\"version\":\"{}\"}}", "x".repeat(9_000));
    for (number, summary, expected) in [
        (1, None, None),
        (2, Some(r#"2:{"version":"9.0.0","later":1}"#), Some("9.0.0")),
        (3, Some("3:nonsense"), None),
        (4, Some(r#"4:{"version":7}"#), None),
        // A node that went back to an earlier version leaves what it said of another number.
        (5, Some(r#"4:{"version":"9.0.0"}"#), None),
        (6, Some(&*long), None),
    ] {
        server.ask(&format!("zadd {keys}:said {}000 old", second()));
        server.ask(&format!("hset {keys}:numbers old {number}"));
        server.ask(&format!("hset {keys}:bodies old {{}}"));
        if let Some(summary) = summary {
            server.ask(&format!("hset {keys}:summaries old {summary}"));
        }
        let exchanged = node.exchange(&Arc::default(), &Arc::default()).await.unwrap();
        let old = exchanged.heard.iter().find(|heard| heard.node.as_str() == "old").unwrap();
        let version = old.summary.as_ref().map(|summary| summary.version.as_str());
        assert_eq!((version, exchanged.refused), (expected, 0), "{summary:?}");
        let skew = exchanged.clock.expect("Redis has a clock").skew();
        assert!(skew.magnitude().as_secs() < 60, "it is the clock of this machine: {skew}");
    }
}

#[tokio::test]
async fn keys_of_another_kind_are_replaced() {
    let server = testbed::Redis::start(&[]);
    let (node, peer, keys) = pair(&server);
    assert_eq!((heard(&peer).await, heard(&node).await), ((0, 0), (1, 0)));
    for name in ["said", "numbers", "bodies", "removals", "summaries"] {
        server.ask(&format!("set {keys}:{name} nonsense"));
        heard(&node).await;
        heard(&peer).await;
        assert_eq!(heard(&node).await, (1, 0), "{name}");
    }
}

#[tokio::test]
async fn buckets_that_make_no_sense_let_through_what_a_full_one_does() {
    let server = testbed::Redis::start(&[]);
    let counters = counters(redis(&server.url(), "b")).await;
    let (rate, key) = (Rate::per_second(10).unwrap(), CounterKey { purpose: "test", number: 1 });
    let name = "b:{rate1}:test:0000000000000001";
    for nonsense in ["set NAME nonsense", "set NAME nan", "set NAME -inf", "lpush NAME a b"] {
        server.ask(&format!("del {name}"));
        server.ask(&nonsense.replace("NAME", name));
        let lease = async || {
            let request = (key, LeaseRequest { spent: 0, wanted: 100 });
            counters.lease(rate, 0, vec![request]).await.unwrap()[0]
        };
        assert_eq!(lease().await, Some(10), "{nonsense}");
        assert!(lease().await < Some(10), "{nonsense} is written over");
    }
}

#[tokio::test]
async fn buckets_that_cannot_be_asked_for_fail_alone() {
    let server = testbed::Redis::start(&[]);
    server.ask("acl setuser node on >secret ~c:{rate0}:* ~c:{rate1}:* +@all");
    let url = server.url().replace("redis://", "redis://node:secret@");
    let counters = counters(redis(&url, "c")).await;
    let rate = Rate::per_second(10).unwrap();
    let lease = async |numbers: &[u64]| {
        let requests = numbers.iter().map(|&number| {
            let request = LeaseRequest { spent: 0, wanted: 4 };
            (CounterKey { purpose: "test", number }, request)
        });
        counters.lease(rate, 0, requests.collect()).await
    };
    assert_eq!(lease(&[2, 1, 3, 8]).await.unwrap(), [None, Some(4), None, Some(4)]);
    let error = Chain(&lease(&[2, 3]).await.unwrap_err()).to_string();
    assert!(error.contains("NOPERM"), "{error}");
}

#[tokio::test]
async fn what_was_forgotten_is_said_again() {
    let mut server = testbed::Redis::start(&[]);
    let (node, peer, _) = pair(&server);
    assert_eq!((heard(&peer).await, heard(&node).await), ((0, 0), (1, 0)));
    server.ask("flushall");
    assert_eq!((heard(&peer).await, heard(&node).await), ((0, 0), (1, 0)));
    server.kill();
    assert!(node.exchange(&Arc::default(), &Arc::default()).await.is_err());
    server.start_again();
    heard(&peer).await;
    assert_eq!(heard(&node).await, (1, 0));
}
