//! Several nodes that tell each other what they see, and the verdicts that they come to.

use std::sync::Arc;
use std::time::{Duration, Instant};

use geostream_domain::{
    Change, Config, GeoPoint, Health, HealthWatch, HeardView, NodeView, Region, RegionId, Removal,
    Report, Share, Sight, VIEW_HOLDS, VIEW_REPEATS, Vote, WatchedHealth,
};

use crate::simulation::{Fault, Simulation, begin};

/// How long a view is under way.
const STEP: Duration = Duration::from_millis(20);

/// Nodes over the same three regions.
struct Cluster {
    nodes: Vec<Node>,
    /// Whether they hear each other.
    is_linked: bool,
}

struct Node {
    simulation: Simulation,
    is_alive: bool,
    said: Option<(Arc<NodeView>, Instant)>,
}

impl Cluster {
    fn new(nodes: u64, seed: u64) -> Self {
        let start = begin();
        let node = |number| Node {
            simulation: Simulation::begin_at(start, 3, seed * 100 + number),
            is_alive: true,
            said: None,
        };
        let mut cluster = Self { nodes: (0..nodes).map(node).collect(), is_linked: true };
        cluster.run(Duration::from_millis(10_000 + seed * 37));
        cluster
    }

    fn run(&mut self, duration: Duration) {
        for _ in 0..duration.as_millis() / STEP.as_millis() {
            for node in self.nodes.iter_mut().filter(|node| node.is_alive) {
                node.simulation.run(STEP);
                if self.is_linked {
                    node.say();
                }
            }
            if self.is_linked {
                self.hear();
            }
        }
    }

    fn hear(&mut self) {
        let said: Vec<_> = (0..).zip(&self.nodes).filter_map(|(n, node)| node.heard(n)).collect();
        for (number, node) in (0_u64..).zip(&mut self.nodes) {
            let own = name(number);
            let others = said.iter().filter(|heard| heard.node.as_str() != own).cloned();
            node.simulation.watch.handle_views(others.collect(), node.simulation.now);
        }
    }

    /// Runs until all nodes that live have this verdict on the region, and returns how long it took.
    fn until_all_say(&mut self, health: Health, region: &str) -> Duration {
        let mut took = Duration::ZERO;
        while !self.all_say(health, region) {
            self.run(STEP);
            took += STEP;
            assert!(
                took < Duration::from_secs(10),
                "{health:?} of {region}: {:?}",
                self.of(region)
            );
        }
        took
    }

    fn all_say(&self, health: Health, region: &str) -> bool {
        self.of(region).iter().all(|seen| seen.health == health)
    }

    /// Returns how each node that lives sees a region.
    fn of(&self, region: &str) -> Vec<WatchedHealth> {
        let living = self.nodes.iter().filter(|node| node.is_alive);
        living.map(|node| node.simulation.of(region)).collect()
    }

    fn break_region(&mut self, nodes: &[usize], region: &str, fault: Fault) {
        for &number in nodes {
            self.nodes[number].simulation.break_region(region, fault);
        }
    }
}

impl Node {
    fn say(&mut self) {
        let Simulation { watch, now, .. } = &mut self.simulation;
        let is_due = self.said.as_ref().is_none_or(|(_, at)| *now >= *at + VIEW_REPEATS);
        if watch.poll_news() || is_due {
            let sights = watch.votes(*now).map(|(id, vote)| {
                let sight = Sight { vote, ..Sight::default() };
                (id.clone(), sight)
            });
            self.said = Some((Arc::new(NodeView { regions: sights.collect() }), *now));
        }
    }

    fn heard(&self, number: u64) -> Option<HeardView> {
        let (view, at) = self.said.clone()?;
        let node = name(number).parse().unwrap();
        Some(HeardView { node, view, until: at + VIEW_HOLDS })
    }
}

fn name(number: u64) -> String {
    format!("n{number}")
}

const BOUND: Duration = Duration::from_secs(3);

#[test]
fn a_dead_region_is_removed_by_all_nodes_within_three_seconds() {
    for nodes in [2, 3, 5] {
        for seed in 0..30 {
            let mut cluster = Cluster::new(nodes, seed);
            let fault = if seed % 2 == 0 { Fault::Silent } else { Fault::Refuses };
            let all: Vec<_> = (0..cluster.nodes.len()).collect();
            cluster.break_region(&all, "r1", fault);
            let took = cluster.until_all_say(Health::Unhealthy, "r1");
            assert!(took < BOUND, "{took:?} with {nodes} nodes");
            let why = cluster.nodes[0].simulation.changes.last().unwrap().1.why().to_string();
            assert!(why.ends_with(" nodes") && why.contains("seen down by "), "{why}");
        }
    }
}

#[test]
fn a_region_that_one_node_cannot_reach_stays() {
    for nodes in [2, 3] {
        let mut cluster = Cluster::new(nodes, 1);
        cluster.break_region(&[0], "r1", Fault::Silent);
        cluster.run(Duration::from_secs(60));
        assert!(cluster.all_say(Health::Healthy, "r1"));
        let seen = cluster.of("r1");
        assert_eq!((seen[0].own, seen[1].own), (Health::Unhealthy, Health::Healthy));
        let votes = seen[1].votes.unwrap();
        assert_eq!((votes.down, u64::from(votes.nodes)), (1, nodes));
        assert!(cluster.nodes.iter().all(|node| node.simulation.removals().is_empty()));
        // Whose route is mended has lost no clients, and loses none now.
        cluster.break_region(&[0], "r1", Fault::None);
        cluster.run(Duration::from_secs(6));
        let seen = cluster.of("r1");
        assert_eq!((seen[0].own, seen[0].share), (Health::Healthy, Share::ALL));
    }
}

#[test]
fn two_of_three_remove_a_region_and_two_bring_it_back_slowly() {
    let mut cluster = Cluster::new(3, 2);
    cluster.break_region(&[0, 1], "r1", Fault::Silent);
    assert!(cluster.until_all_say(Health::Unhealthy, "r1") < BOUND);
    let outvoted = cluster.of("r1")[2];
    assert_eq!(outvoted.own, Health::Healthy);
    cluster.run(Duration::from_secs(20));
    cluster.break_region(&[0], "r1", Fault::None);
    cluster.until_all_say(Health::Healthy, "r1");
    cluster.run(Duration::from_secs(1));
    for seen in cluster.of("r1") {
        assert!(seen.share.fraction() < 0.2, "{seen:?}");
    }
    cluster.run(Duration::from_secs(31));
    assert!(cluster.of("r1").iter().all(|seen| seen.share == Share::ALL));
}

#[test]
fn a_node_that_is_cut_off_does_not_vote() {
    let mut cluster = Cluster::new(3, 3);
    for region in ["r0", "r1", "r2"] {
        cluster.break_region(&[0], region, Fault::Silent);
    }
    cluster.run(Duration::from_secs(20));
    for region in ["r0", "r1", "r2"] {
        assert!(cluster.all_say(Health::Healthy, region));
        assert!(cluster.of(region).iter().all(|seen| seen.votes.unwrap().nodes == 2));
    }
    assert!(cluster.nodes[0].simulation.watch.is_blind());
    cluster.break_region(&[1, 2], "r1", Fault::Refuses);
    assert!(cluster.until_all_say(Health::Unhealthy, "r1") < BOUND, "two of two");
    // Two that are cut off keep nobody away whom the third sees well again.
    for region in ["r0", "r1", "r2"] {
        cluster.break_region(&[1], region, Fault::Silent);
    }
    cluster.break_region(&[2], "r1", Fault::None);
    cluster.until_all_say(Health::Healthy, "r1");
}

#[test]
fn a_node_that_is_too_busy_to_ask_does_not_vote() {
    let mut cluster = Cluster::new(2, 6);
    cluster.break_region(&[0], "r1", Fault::NotAsked);
    cluster.run(Duration::from_secs(6));
    cluster.break_region(&[1], "r1", Fault::Silent);
    assert!(cluster.until_all_say(Health::Unhealthy, "r1") < BOUND, "one of one");
}

#[test]
fn views_that_are_lost_where_they_are_kept_drop_no_region() {
    let mut cluster = Cluster::new(3, 7);
    cluster.break_region(&[0], "r1", Fault::Silent);
    cluster.run(Duration::from_secs(10));
    for node in &mut cluster.nodes {
        node.simulation.watch.handle_views(Vec::new(), node.simulation.now);
    }
    assert!(cluster.all_say(Health::Healthy, "r1"));
    cluster.run(VIEW_HOLDS * 2);
    assert!(cluster.nodes.iter().all(|node| node.simulation.removals().is_empty()));
}

#[test]
fn what_was_seen_too_long_ago_is_no_vote() {
    let (mut watch, start) = (HealthWatch::new(7), begin());
    let id: RegionId = "r0".parse().unwrap();
    let region = Region::new(id.clone(), GeoPoint::new(1.0, 2.0).unwrap());
    let config = Config::default().after([Change::from(region)]).unwrap();
    watch.handle_config(&config, |_| Health::Unknown, start);
    watch.handle_report(&id, Report { is_well: true, client: None }, start);
    let down = Sight { vote: Some(Vote::Down(Removal::Unproven)), ..Sight::default() };
    let view = Arc::new(NodeView { regions: [(id.clone(), down)].into() });
    let until = start + Duration::from_secs(60);
    watch.handle_views(vec![HeardView { node: "n1".parse().unwrap(), view, until }], start);
    let health = |watch: &HealthWatch, now| watch.regions(now).next().unwrap().1.health;
    assert_eq!(health(&watch, start), Health::Healthy, "a tie");
    let ends = start + Duration::from_secs(30);
    assert_eq!(watch.votes(start).next(), Some((&id, Some(Vote::Well))));
    assert_eq!(watch.votes(ends).next(), Some((&id, None)), "though nobody drives it");
    while let Some(due) = watch.poll_timeout().filter(|due| *due <= ends) {
        watch.handle_timeout(due);
    }
    assert_eq!(health(&watch, ends), Health::Unhealthy, "one of one");
}

#[test]
fn a_node_that_dies_with_a_region_does_not_keep_it_in_service() {
    for nodes in [2, 3] {
        for seed in 0..20 {
            let mut cluster = Cluster::new(nodes, seed);
            let rest: Vec<_> = (1..cluster.nodes.len()).collect();
            cluster.nodes[0].is_alive = false;
            cluster.break_region(&rest, "r1", Fault::Silent);
            let took = cluster.until_all_say(Health::Unhealthy, "r1");
            assert!(took < BOUND, "{took:?} with {nodes} nodes and seed {seed}");
        }
    }
}

#[test]
fn whoever_hears_nobody_acts_on_its_own_view() {
    let mut cluster = Cluster::new(3, 4);
    cluster.break_region(&[0], "r1", Fault::Silent);
    cluster.run(Duration::from_secs(10));
    cluster.is_linked = false;
    cluster.run(VIEW_HOLDS + STEP);
    let alone: Vec<_> = cluster.of("r1").iter().map(|seen| (seen.health, seen.votes)).collect();
    let (down, well) = ((Health::Unhealthy, None), (Health::Healthy, None));
    assert_eq!(alone, [down, well, well]);
    cluster.is_linked = true;
    assert!(cluster.until_all_say(Health::Healthy, "r1") <= STEP);
    cluster.run(STEP);
    let why = cluster.nodes[0].simulation.changes.last().unwrap().1.why().to_string();
    assert_eq!(why, "seen down by 1 of 3 nodes");
}

#[test]
fn a_node_that_is_cut_off_has_its_regions_confirmed_by_those_it_hears() {
    let mut cluster = Cluster::new(3, 7);
    let unconfirmed = |cluster: &Cluster| -> Vec<_> {
        cluster.of("r1").iter().map(|seen| (seen.abstains, seen.is_unconfirmed)).collect()
    };
    for region in ["r0", "r1", "r2"] {
        cluster.break_region(&[0], region, Fault::Silent);
    }
    cluster.run(Duration::from_secs(5));
    let here = (true, false);
    let elsewhere = (false, false);
    assert_eq!(unconfirmed(&cluster), [here, elsewhere, elsewhere], "the others see them well");

    cluster.is_linked = false;
    cluster.run(VIEW_HOLDS + STEP);
    assert_eq!(unconfirmed(&cluster), [(true, true), elsewhere, elsewhere]);
    cluster.is_linked = true;
    cluster.run(STEP * 2);
    assert_eq!(unconfirmed(&cluster), [here, elsewhere, elsewhere]);

    for region in ["r0", "r1", "r2"] {
        cluster.break_region(&[1, 2], region, Fault::Silent);
    }
    cluster.run(Duration::from_secs(5));
    assert_eq!(unconfirmed(&cluster), [(true, true); 3], "no node votes any more");
}

#[test]
fn clients_reports_count_where_they_are_and_for_others_as_a_vote() {
    let mut cluster = Cluster::new(3, 5);
    let report = |cluster: &mut Cluster, nodes: &[usize]| {
        for _ in 0..60 {
            for &number in nodes {
                let Simulation { watch, now, .. } = &mut cluster.nodes[number].simulation;
                let report = Report { is_well: false, client: None };
                watch.handle_report(&"r1".parse().unwrap(), report, *now);
            }
            cluster.run(STEP);
        }
    };
    report(&mut cluster, &[0]);
    let healths =
        |cluster: &Cluster| -> Vec<_> { cluster.of("r1").iter().map(|seen| seen.health).collect() };
    let (down, well) = (Health::Unhealthy, Health::Healthy);
    assert_eq!(healths(&cluster), [down, well, well]);
    report(&mut cluster, &[0, 1]);
    assert_eq!(healths(&cluster), [down, down, down]);
}
