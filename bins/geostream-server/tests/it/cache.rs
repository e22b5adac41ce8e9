//! A store under a cache: PostgreSQL and Redis as they are, without a server around them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use geostream_app::{CacheTally, Cached, Configuration, Intent, Publisher, StoreState, WriteError};
use geostream_domain::{
    Change, Config, GeoPoint, Line, Region, Revision, Service, Snapshot, Timestamp,
};
use geostream_pg::{PgStore, Target, migrate};
use geostream_ports::{
    Cache as _, ConfigStore, Head, Kept, Marked, MarkedStore as _, Proposal, ProposeError,
    SystemClock, TokenStore as _, contract,
};
use geostream_redis::{Redis, RedisCache};
use geostream_testbed as testbed;
use geostream_testbed::Postgres;
use tokio::time::timeout;

/// A database and a part of Redis that belong together.
struct Ground {
    database: Target,
    database_url: String,
    prefix: String,
}

type Node = Cached<PgStore, RedisCache>;

impl Ground {
    async fn new(server: &Postgres) -> Self {
        let database_url = server.database();
        let database = Target::parse(&database_url, None).unwrap();
        migrate::up(&database).await.unwrap();
        Self { database, database_url, prefix: testbed::Redis::prefix() }
    }

    async fn node(&self) -> Node {
        Cached::new(self.store(), self.cache().await)
    }

    async fn nodes(&self, count: usize) -> Vec<Node> {
        let mut nodes = Vec::new();
        while nodes.len() < count {
            nodes.push(self.node().await);
        }
        nodes
    }

    fn store(&self) -> PgStore {
        PgStore::new(self.database.clone(), 30, 1)
    }

    /// Returns a handle to the cache that is connected, however busy the machine is.
    async fn cache(&self) -> RedisCache {
        let url = format!("{}?prefix={}", testbed::Redis::shared().url(), self.prefix);
        let target = geostream_redis::Target::parse(&url, None).unwrap();
        let cache = RedisCache::new(Redis::new(target).unwrap(), 1).unwrap();
        let connecting = async { while cache.claim(&nobody()).await.is_err() {} };
        timeout(BOUND, connecting).await.expect("it connects in the end");
        cache
    }

    fn ask(&self, command: &str) -> String {
        testbed::Redis::shared().ask(&command.replace("PREFIX", &self.prefix))
    }
}

#[tokio::test]
async fn it_keeps_the_contract_of_a_config_store() {
    contract::config_store(async || Ground::new(Postgres::shared()).await.node().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_nodes_that_start_one_asks_the_database() {
    const NODES: usize = 20;
    let server = Postgres::start(&["max_connections=100"]);
    let ground = Ground::new(&server).await;
    let written = commit(&ground.store(), Revision::ZERO, "a").await;
    let before = reads(&server, &ground, "flags").await;
    let nodes = ground.nodes(NODES).await;
    for node in &nodes {
        // Connections take a busy machine long to open, and a reader is not waited for for ever.
        node.tokens().await.unwrap();
    }
    let loading =
        nodes.iter().cloned().map(|node| tokio::spawn(async move { node.load().await.unwrap() }));
    for loaded in loading.collect::<Vec<_>>() {
        assert_eq!(loaded.await.unwrap(), written);
    }
    assert_eq!(nodes.iter().map(|node| node.tally().hits()).sum::<u64>(), NODES as u64 - 1);
    drop(nodes);
    assert_eq!(reads(&server, &ground, "flags").await, before + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn most_of_what_nodes_read_comes_from_the_cache() {
    const NODES: usize = 20;
    const CHANGES: usize = 100;
    let server = Postgres::start(&["max_connections=200"]);
    let ground = Ground::new(&server).await;
    let mut latest = commit(&ground.store(), Revision::ZERO, "a").await;
    let nodes = ground.nodes(NODES).await;
    all_follow(&nodes, Revision::ZERO, &latest).await;
    for change in 0..CHANGES {
        let before = latest.revision;
        latest = commit(&nodes[change % NODES], before, &format!("r{change}")).await;
        all_follow(&nodes, before, &latest).await;
    }
    let sum = |count: fn(&CacheTally) -> u64| nodes.iter().map(|n| count(&n.tally())).sum::<u64>();
    let (requests, hits) = (sum(CacheTally::requests), sum(CacheTally::hits));
    assert!(hits * 100 > requests * 80, "{hits} of {requests}");
    drop(nodes);
    let heads = reads(&server, &ground, "config_head").await;
    let logs = reads(&server, &ground, "config_log").await;
    let tables = reads(&server, &ground, "flags").await;
    println!(
        "{NODES} nodes, {CHANGES} changes: {requests} requests to Redis, {hits} hits; PostgreSQL was \
         asked {heads} times for the head, {logs} for a part of the log, {tables} for the tables"
    );
}

/// Has all nodes hear of a commit and load it, all at once.
async fn all_follow(nodes: &[Node], before: Revision, latest: &Snapshot) {
    let following = nodes.iter().cloned().map(|node| {
        tokio::spawn(async move {
            node.changed(before).await.unwrap();
            node.load().await.unwrap()
        })
    });
    for followed in following.collect::<Vec<_>>() {
        assert_eq!(followed.await.unwrap(), *latest);
    }
}

#[tokio::test]
async fn nothing_having_been_declared_is_kept_as_well() {
    let ground = Ground::new(Postgres::shared()).await;
    for hits in [0, 1] {
        let node = ground.node().await;
        assert_eq!(node.load().await.unwrap(), Snapshot::default());
        assert_eq!((node.tally().requests(), node.tally().hits()), (1, hits));
    }
}

#[tokio::test]
async fn a_change_is_put_where_others_find_it() {
    let ground = Ground::new(Postgres::shared()).await;
    let (node, other) = (ground.node().await, ground.node().await);
    let written = commit(&node, Revision::ZERO, "a").await;
    assert_eq!(other.changed(Revision::ZERO).await.unwrap(), written.revision);
    assert_eq!(other.load().await.unwrap(), written);
    assert_eq!(other.load().await.unwrap(), written, "and this time it knows");
    assert_eq!(other.tally().requests(), 1);
    assert_eq!(commit(&other, written.revision, "b").await.config.regions().len(), 2);
}

#[tokio::test]
async fn old_entries_and_old_messages_turn_nobody_back() {
    let ground = Ground::new(Postgres::shared()).await;
    let (node, cache) = (ground.node().await, ground.cache().await);
    let first = commit(&node, Revision::ZERO, "a").await;
    let old = known(&ground).await;
    let second = commit(&node, first.revision, "b").await;
    // Somebody is late, and then the entry that kept him away is gone.
    cache.put(&old).await.unwrap();
    assert_eq!(ground.node().await.load().await.unwrap(), second);
    ground.ask("del PREFIX:config");
    cache.put(&old).await.unwrap();
    for node in [&node, &ground.node().await] {
        assert_eq!(node.load().await.unwrap(), second);
    }
    assert_eq!(known_revision(&cache, &ground).await, second.revision, "it was put in its place");
    let waiting = node.changed(second.revision);
    let lying = async {
        for revision in [1, 2, 99] {
            ground.ask(&format!("publish PREFIX:config:put {revision}"));
        }
        commit(&ground.store(), second.revision, "c").await
    };
    let (told, third) = tokio::join!(waiting, lying);
    assert_eq!(told.unwrap(), third.revision);
    assert_eq!(node.load().await.unwrap(), third);
}

#[tokio::test]
async fn no_change_is_thought_out_on_what_somebody_has_planted() {
    let ground = Ground::new(Postgres::shared()).await;
    let first = commit(&ground.store(), Revision::ZERO, "a").await;
    let ghost = Config::default().after([put("ghost")]).unwrap();
    let planted = Snapshot { revision: first.revision, config: ghost.into() };
    let mark = known(&ground).await.mark;
    ground.cache().await.put(&Marked { mark, snapshot: planted.clone() }).await.unwrap();
    let node = ground.node().await;
    assert_eq!(node.load().await.unwrap(), planted, "it is decided by");
    let publisher = Arc::new(Publisher::new(SystemClock));
    publisher.publish(planted, StoreState::Current);
    let configuration = Configuration::new(node.clone(), Arc::clone(&publisher), SystemClock);
    let write = async |changes| {
        let Proposal { expected, author, reason, attempt, .. } = proposal(first.revision, vec![]);
        configuration.write(Intent { expected, author, reason, attempt }, changes).await
    };
    let of_ghost = write(vec![Change::RemoveRegion("ghost".parse().unwrap())]).await;
    assert!(matches!(of_ghost, Err(WriteError::Invalid(_))), "{of_ghost:?}");
    let of_ghost = node.propose(proposal(first.revision, vec![member("ghost")])).await;
    assert!(matches!(of_ghost, Err(ProposeError::Invalid(_))), "{of_ghost:?}");
    let written = write(vec![put("b"), member("a")]).await.unwrap();
    assert_eq!(written.before, first.config);
    let expected = first.config.after([put("b"), member("a")]).unwrap();
    assert_eq!(*written.after.config, expected);
    for store in [ground.store(), ground.store()] {
        assert_eq!(*store.load().await.unwrap().config, expected, "in the tables");
        assert_eq!(*store.at(written.after.revision).await.unwrap().unwrap(), expected);
    }
    assert_eq!(publisher.snapshot(), written.after, "and the node decides by it again");
    assert_eq!(ground.node().await.load().await.unwrap(), written.after);
}

#[tokio::test]
async fn entries_of_a_commit_that_the_database_has_lost_are_forgotten() {
    let server = Postgres::shared();
    let ground = Ground::new(server).await;
    let node = ground.node().await;
    let kept = commit(&node, Revision::ZERO, "kept").await;
    let lost = commit(&node, kept.revision, "lost").await;
    server.sql(
        &ground.database_url,
        "DELETE FROM config_log WHERE revision = 2; DELETE FROM regions WHERE id = 'lost';
         UPDATE config_head SET (revision, mark) = (SELECT revision, mark FROM config_log)",
    );
    assert_eq!(ground.node().await.load().await.unwrap(), kept);
    assert_eq!(known_revision(&ground.cache().await, &ground).await, kept.revision);
    let instead = commit(&ground.node().await, kept.revision, "instead").await;
    assert_eq!(instead.revision, lost.revision);
    for node in [&node, &ground.node().await] {
        assert_eq!(node.load().await.unwrap(), instead, "the same number is not the same commit");
    }
}

#[tokio::test]
async fn databases_that_share_a_prefix_by_mistake_are_not_confused() {
    let ground = Ground::new(Postgres::shared()).await;
    let other = Ground { prefix: ground.prefix.clone(), ..Ground::new(Postgres::shared()).await };
    let (node, stranger) = (ground.node().await, other.node().await);
    let mut latest = [Snapshot::default(), Snapshot::default()];
    for name in ["a", "b", "c"] {
        latest[0] = commit(&node, latest[0].revision, name).await;
        latest[1] = commit(&stranger, latest[1].revision, &format!("other-{name}")).await;
        assert_eq!(ground.node().await.load().await.unwrap(), latest[0]);
        assert_eq!(other.node().await.load().await.unwrap(), latest[1]);
    }
}

#[tokio::test]
async fn whoever_has_claimed_a_read_and_is_gone_is_not_waited_for_long() {
    let ground = Ground::new(Postgres::shared()).await;
    let written = commit(&ground.store(), Revision::ZERO, "a").await;
    let head = ground.store().head().await.unwrap();
    assert!(ground.cache().await.claim(&head).await.unwrap());
    let node = ground.node().await;
    assert_eq!(timeout(BOUND, node.load()).await.unwrap().unwrap(), written);
    assert_eq!(node.tally().hits(), 0);
}

#[tokio::test]
async fn nonsense_is_replaced() {
    let ground = Ground::new(Postgres::shared()).await;
    let written = commit(&ground.node().await, Revision::ZERO, "a").await;
    for nonsense in ["set PREFIX:config x", "hset PREFIX:config config x"] {
        ground.ask("del PREFIX:config");
        let mark = known(&ground).await.mark;
        ground.ask(nonsense);
        if nonsense.starts_with("hset") {
            ground.ask(&format!("hset PREFIX:config revision 1 mark {mark}"));
        }
        assert_eq!(ground.node().await.load().await.unwrap(), written);
        let healed = ground.node().await;
        assert_eq!(healed.load().await.unwrap(), written);
        assert_eq!(healed.tally().hits(), 1, "after {nonsense}");
    }
}

const BOUND: Duration = Duration::from_secs(30);

async fn commit(store: &impl ConfigStore, expected: Revision, name: &str) -> Snapshot {
    store.propose(proposal(expected, vec![put(name)])).await.unwrap()
}

fn proposal(expected: Revision, changes: Vec<Change>) -> Proposal {
    let at = Timestamp::from_unix_millis(1_700_000_000_123);
    let (author, reason) = (line("ops"), line("because"));
    Proposal { expected, changes, author, reason, at, lasting: BTreeMap::new(), attempt: None }
}

fn put(name: &str) -> Change {
    let region = Region::new(name.parse().unwrap(), GeoPoint::new(1.0, 2.0).unwrap());
    Change::from(region)
}

/// A service of one region.
fn member(region: &str) -> Change {
    Change::from(Service::new("api".parse().unwrap(), [region.parse().unwrap()]))
}

fn line(text: &str) -> Line {
    text.parse().unwrap()
}

/// Returns what the database has, with its mark.
async fn known(ground: &Ground) -> Marked {
    let store = ground.store();
    store.load().await.unwrap();
    store.known()
}

fn nobody() -> Head {
    Head { revision: Revision::ZERO, mark: "nobody's".to_owned() }
}

/// Returns the revision of what the cache keeps.
async fn known_revision(cache: &RedisCache, ground: &Ground) -> Revision {
    match cache.look(&nobody()).await.unwrap() {
        Kept::Other(head) => head.revision,
        kept @ (Kept::Nothing | Kept::This(_)) => panic!("{kept:?}: {}", ground.prefix),
    }
}

/// Counts how often a table was read, once nobody is connected any more: only then has everybody
/// reported what was read. `flags` is read with all other tables, and never by whoever writes.
async fn reads(server: &Postgres, ground: &Ground, table: &str) -> u64 {
    let url = &ground.database_url;
    let connected = "SELECT count(*) FROM pg_stat_activity
                     WHERE application_name = 'geostream' AND datname = current_database()";
    let leaving = async {
        while server.sql(url, connected) != "0" {
            tokio::task::yield_now().await;
        }
    };
    timeout(BOUND, leaving).await.expect("all leave in the end");
    let reads = "SELECT seq_scan + coalesce(idx_scan, 0) FROM pg_stat_user_tables";
    server.sql(url, &format!("{reads} WHERE relname = '{table}'")).parse().unwrap()
}
