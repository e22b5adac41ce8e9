//! A short storm over a few nodes: a first look before the simulator's long one.

use crate::error::Refusal;
use crate::id::{NodeId, Ticket};
use crate::input::Input;
use crate::rng::Rng;
use crate::testing::{Answer, Cluster};

struct Storm {
    cluster: Cluster,
    rng: Rng,
    nodes: Vec<NodeId>,
    /// What was proposed.
    kept: Vec<(Ticket, [u8; 3])>,
    sent: u32,
}

impl Storm {
    fn new(seed: u64) -> Self {
        let mut config = Cluster::of(0).config;
        config.limits.snapshot_after_entries = 12;
        config.limits.keep_entries = 3;
        config.limits.chunk_bytes = 16;
        config.limits.message_entries = 4;
        config.limits.inflight_entries = 9;
        config.limits.apply_bytes = 90;
        let rng = Rng::new(seed);
        let cluster = Cluster::seeded(3, config, seed << 20);
        let nodes = (1..=3).map(NodeId).collect();
        Self { cluster, rng, nodes, kept: Vec::new(), sent: 0 }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.rng.next_u64() % bound
    }

    fn node(&mut self) -> NodeId {
        let count = self.nodes.len() as u64;
        let at = usize::try_from(self.below(count)).unwrap();
        self.nodes[at]
    }

    fn gust(&mut self) {
        let node = self.node();
        match self.below(100) {
            0..64 => self.one_message(),
            64..70 => self.cluster.tick_next(),
            70..85 => {
                self.sent += 1;
                let bytes = self.sent.to_be_bytes();
                let command = [bytes[1], bytes[2], bytes[3]];
                let at = self.cluster.leader().unwrap_or(node);
                let ticket = self.cluster.propose(at, &command);
                self.kept.push((ticket, command));
            }
            85 => self.cluster.restart(node),
            86..89 => self.cluster.stall_disk(node),
            89..93 => self.cluster.resume_disk(node),
            93 => self.cluster.step(node, Input::Transfer { to: NodeId(1) }),
            94 => self.cluster.step(node, Input::Compact),
            95 => self.cluster.isolate(node),
            96 => self.change(node),
            97 => drop(self.cluster.read(node)),
            _ => self.cluster.heal(),
        }
    }

    /// Delivers, repeats or loses any message that is on its way.
    fn one_message(&mut self) {
        let count = self.cluster.wire.len() as u64;
        if count == 0 {
            return self.cluster.tick_next();
        }
        let early = count.min(6);
        let at = usize::try_from(self.below(early)).unwrap();
        let Some(message) = self.cluster.wire.remove(at) else { return };
        if self.below(20) == 0 {
            self.cluster.wire.push_back(message.clone());
        }
        if self.below(20) != 0 {
            self.cluster.wire.push_front(message);
            self.cluster.deliver_one();
        }
    }

    fn change(&mut self, at: NodeId) {
        let voters = [&[1, 2, 3][..], &[1, 2], &[2, 3]];
        let which = usize::try_from(self.below(3)).unwrap();
        let learners: Vec<u64> = (1..=3).filter(|id| !voters[which].contains(id)).collect();
        self.cluster.change(at, voters[which], &learners);
    }

    fn check(&self) {
        let states: Vec<&[u8]> = self.nodes.iter().map(|id| self.cluster.state(*id)).collect();
        for one in &states {
            for other in &states {
                let common = one.len().min(other.len());
                assert_eq!(one[..common], other[..common]);
            }
        }
        for id in &self.nodes {
            assert_eq!(self.cluster.view(*id).halted, None);
        }
    }

    /// After the storm all agree, on all that was acknowledged and once.
    fn calm(&mut self) {
        self.cluster.heal();
        for id in self.nodes.clone() {
            self.cluster.resume_disk(id);
        }
        self.cluster.pass(10_000);
        self.check();
        let leader = self.cluster.leader().expect("somebody leads");
        let last = self.cluster.propose(leader, b"end");
        self.cluster.pass(2_000);
        assert!(matches!(self.cluster.answer(last), Some(Answer::Applied(_))));
        for id in self.nodes.clone() {
            assert_eq!(self.cluster.state(id), self.cluster.state(leader), "{id}");
            let held = self.cluster.view(id).held;
            assert_eq!((held.uncommitted_entries, held.reads, held.writes), (0, 0, 0));
        }
        let state: Vec<&[u8]> = self.cluster.state(leader).chunks(3).collect();
        for (ticket, command) in &self.kept {
            let applied = state.iter().filter(|done| **done == command).count();
            match self.cluster.answer(*ticket) {
                Some(Answer::Applied(_)) => assert_eq!(applied, 1),
                Some(Answer::Refused(Refusal::Unknown)) | None => {
                    assert!(applied <= 1);
                }
                Some(Answer::Refused(_) | Answer::Read(_)) => assert_eq!(applied, 0),
            }
        }
    }
}

#[test]
fn after_a_storm_all_agree_on_all_that_was_acknowledged() {
    for seed in 1..=40 {
        println!("seed {seed}");
        let mut storm = Storm::new(seed);
        for _ in 0..3_000 {
            storm.gust();
            storm.check();
        }
        storm.calm();
    }
}
