//! Nodes that tell each other what they see.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use geostream_app::{
    Clocks, HealthDriver, KnownNodes, Outcome, Publisher, RegionHealth, RegionStatus, StoreState,
    Tracer, ViewExchange,
};
use geostream_domain::{
    Change, Config, GeoPoint, Health, HealthCheck, Load, NodeId, NodeSummary, NodeView,
    ProbeFailure, ProbeOutcome, ProbeTarget, Region, Removal, Revision, Snapshot, VIEW_HOLDS,
    Votes,
};
use geostream_ports::{
    Exchanged, Heard, Probed, Prober, SharedViews, TraceContext, Unavailable, contract,
};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::health::Log;
use crate::world::SetClock;

/// Where nodes of one process tell each other what they see; an exchange takes a millisecond.
#[derive(Clone, Default)]
struct Hub {
    said: Arc<Mutex<BTreeMap<NodeId, Said>>>,
    is_away: Arc<Mutex<bool>>,
    news: Arc<Notify>,
}

type Said = (Arc<NodeView>, Arc<NodeSummary>, Instant);

/// What a node has of it.
struct Seat {
    hub: Hub,
    node: NodeId,
}

impl Hub {
    fn seats(&self) -> [Seat; 3] {
        ["n0", "n1", "n2"].map(|node| Seat { hub: self.clone(), node: node.parse().unwrap() })
    }

    fn lose_all(&self) {
        self.said.lock().unwrap().clear();
    }

    fn set_away(&self, is_away: bool) {
        *self.is_away.lock().unwrap() = is_away;
    }
}

impl SharedViews for Seat {
    async fn exchange(
        &self,
        view: &Arc<NodeView>,
        summary: &Arc<NodeSummary>,
    ) -> Result<Exchanged, Unavailable> {
        sleep(Duration::from_millis(1)).await;
        if *self.hub.is_away.lock().unwrap() {
            return Err(Unavailable::new("the hub", "it is away"));
        }
        let (mut said, now) = (self.hub.said.lock().unwrap(), Instant::now());
        said.retain(|_, (_, _, at)| now - *at < VIEW_HOLDS);
        let words = (Arc::clone(view), Arc::clone(summary), now);
        let before = said.insert(self.node.clone(), words);
        if before.is_none_or(|(before, ..)| before != *view) {
            self.hub.news.notify_waiters();
        }
        let others = said.iter().filter(|(node, _)| **node != self.node);
        let heard = others.map(|(node, (view, summary, at))| Heard {
            node: node.clone(),
            view: Arc::clone(view),
            summary: Some(Arc::clone(summary)),
            age: now - *at,
        });
        Ok(Exchanged { heard: heard.collect(), refused: 0, clock: None })
    }

    async fn news(&self) {
        self.hub.news.notified().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_hub_keeps_the_contract() {
    contract::shared_views(async || Hub::default().seats()).await;
}

/// Finds these regions refusing, and all others well.
#[derive(Clone, Default)]
struct Routes(Arc<Mutex<BTreeSet<&'static str>>>);

impl Prober for Routes {
    async fn probe(&self, check: &HealthCheck, _: Option<TraceContext>) -> Probed {
        sleep(Duration::from_millis(5)).await;
        let host = check.target.url().host().to_owned();
        let outcome = if self.0.lock().unwrap().contains(host.as_str()) {
            ProbeOutcome::Failed(ProbeFailure::Refused)
        } else {
            ProbeOutcome::Well(Duration::from_millis(5))
        };
        Probed::new(outcome)
    }
}

struct Node {
    health: Arc<RegionHealth<Log, SetClock>>,
    routes: Routes,
    nodes: Arc<KnownNodes>,
    stop: CancellationToken,
}

impl Node {
    fn start(seat: Seat, seed: u64) -> Self {
        let clock = SetClock::default();
        let publisher = Arc::new(Publisher::new(clock.clone()));
        let put = |id: &str| {
            let mut region = Region::new(id.parse().unwrap(), GeoPoint::new(1.0, 2.0).unwrap());
            let url = format!("http://{id}/").parse().unwrap();
            region.check = Some(HealthCheck::of(ProbeTarget::new(url).unwrap()));
            Change::from(region)
        };
        let config = Arc::new(Config::default().after(["eu", "us"].map(put)).unwrap());
        publisher.publish(Snapshot { revision: Revision::new(1), config }, StoreState::Current);
        let health =
            Arc::new(RegionHealth::new(publisher, Log(Some(Vec::new())), clock, &[], seed));
        let (routes, nodes, stop) = (Routes::default(), Arc::default(), CancellationToken::new());
        let driver = HealthDriver::resume(Arc::clone(&health), routes.clone(), Tracer::OFF);
        let exchange =
            ViewExchange::new(seat, Arc::clone(&health), Arc::clone(&nodes), Clocks::default());
        let stopped = stop.clone();
        tokio::spawn(async { driver.await.run(stopped).await });
        let version = format!("1.0.{seed}");
        let summarize = move || NodeSummary { version: version.clone(), ..NodeSummary::default() };
        tokio::spawn(exchange.run(summarize, stop.clone()));
        Self { health, routes, nodes, stop }
    }

    fn of(&self, region: &str) -> RegionStatus {
        let regions = self.health.regions();
        regions.into_iter().find(|status| status.region.as_str() == region).unwrap()
    }

    fn refuse(&self, region: &'static str) {
        self.routes.0.lock().unwrap().insert(region);
    }
}

async fn three(hub: &Hub) -> Vec<Node> {
    let nodes: Vec<_> =
        (1..).zip(hub.seats()).map(|(seed, seat)| Node::start(seat, seed)).collect();
    sleep(Duration::from_secs(3)).await;
    nodes
}

fn healths(nodes: &[Node], region: &str) -> Vec<Health> {
    nodes.iter().map(|node| node.of(region).watched.health).collect()
}

use Health::{Healthy, Unhealthy};

#[tokio::test(start_paused = true)]
async fn what_one_sees_is_told_and_what_two_see_is_done() {
    let hub = Hub::default();
    let nodes = three(&hub).await;
    assert_eq!(healths(&nodes, "eu"), [Healthy; 3]);
    nodes[0].refuse("eu");
    sleep(Duration::from_secs(10)).await;
    assert_eq!(healths(&nodes, "eu"), [Healthy; 3]);
    let seen = nodes[2].of("eu");
    assert_eq!(
        seen.watched.votes,
        Some(Votes { down: 1, proven: 1, nodes: 3, ..Votes::default() })
    );
    assert_eq!(seen.observed.unwrap().votes, seen.watched.votes, "and the table knows");
    nodes[1].refuse("eu");
    sleep(Duration::from_secs(2)).await;
    assert_eq!(healths(&nodes, "eu"), [Unhealthy; 3]);
    assert_eq!(nodes[2].of("eu").evidence, "seen down by 2 of 3 nodes");
    let removal = nodes[2].of("eu").observed.unwrap().removal;
    assert_eq!(removal, Removal::Proven, "two of three have proof, and this one takes their word");
    let evidence = nodes[1].of("eu").evidence;
    let expected =
        "5 probes in a row failed, the last one: connection refused; seen down by 2 of 3";
    assert!(evidence.starts_with(expected), "{evidence}");
}

#[tokio::test(start_paused = true)]
async fn without_the_others_each_goes_on_alone_and_says_so() {
    let hub = Hub::default();
    let nodes = three(&hub).await;
    nodes[0].refuse("eu");
    sleep(Duration::from_secs(3)).await;
    hub.set_away(true);
    sleep(VIEW_HOLDS + Duration::from_millis(100)).await;
    assert_eq!(healths(&nodes, "eu"), [Unhealthy, Healthy, Healthy]);
    let peers = nodes[0].health.peers().unwrap();
    assert_eq!((peers.nodes.len(), peers.is_blind), (0, false));
    assert_eq!(peers.error.as_deref(), Some("the hub is unavailable: it is away"));
    assert_eq!(nodes[0].nodes.count(), 3, "it remembers how many there were");
    hub.set_away(false);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(healths(&nodes, "eu"), [Healthy; 3]);
    assert_eq!(nodes[0].health.peers().unwrap().error, None);
    hub.lose_all();
    for _ in 0..100 {
        sleep(Duration::from_millis(10)).await;
        assert_eq!(healths(&nodes, "eu"), [Healthy; 3], "nobody acts alone");
        assert_eq!(nodes[0].nodes.count(), 3, "nor takes the whole of a limit");
    }
    // Whoever stops says so, and is not waited for.
    nodes[1].stop.cancel();
    sleep(Duration::from_millis(100)).await;
    assert_eq!(
        nodes[0].of("eu").watched.votes,
        Some(Votes { down: 1, proven: 1, nodes: 2, ..Votes::default() })
    );
}

#[tokio::test(start_paused = true)]
async fn a_load_that_is_reported_to_one_node_is_known_to_all() {
    let nodes = three(&Hub::default()).await;
    let load = Load::new(420.0).ok();
    let region = "us".parse().unwrap();
    let report = Outcome { region, is_well: None, client: None, rtt: None, load };
    assert_eq!(nodes[0].health.report([report]).accepted, 1);
    sleep(Duration::from_secs(2)).await;
    for node in &nodes {
        assert_eq!((node.of("us").load, node.of("us").observed.unwrap().load), (load, load));
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_killed_is_missed_and_one_that_stops_is_not() {
    let hub = Hub::default();
    let mut nodes = three(&hub).await;
    let told = |node: &Node| {
        let others = node.nodes.others(Instant::now().into_std());
        let told = others.into_iter().map(|other| {
            let version = other.summary.map(|summary| summary.version.clone());
            (other.node.to_string(), version.unwrap_or_default(), other.is_missing)
        });
        told.collect::<Vec<_>>()
    };
    let entry =
        |node: &str, version: &str, is_missing| (node.to_owned(), version.to_owned(), is_missing);
    let both = [entry("n1", "1.0.2", false), entry("n2", "1.0.3", false)];
    assert_eq!(told(&nodes[0]), both);
    nodes.pop().unwrap().stop.cancel();
    sleep(Duration::from_secs(3)).await;
    assert_eq!(told(&nodes[0]), both[..1], "it has said good-bye");
    hub.set_away(true);
    sleep(Duration::from_secs(3)).await;
    assert_eq!(told(&nodes[0]), [entry("n1", "1.0.2", true)], "it is not heard any more");
    hub.set_away(false);
    sleep(Duration::from_secs(3)).await;
    assert_eq!(told(&nodes[0]), both[..1]);
}
