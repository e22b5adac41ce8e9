//! How many commands a second three nodes commit on one core, without disk or network, and how often
//! they allocate for each.
//!
//! `cargo bench -p geostream-consensus`

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use geostream_consensus::{
    Command, Config, Effect, Index, Input, Message, Moment, NodeId, Proposal, Raft, Stored, Ticket,
};

/// 256 bytes that are cheap to clone.
#[derive(Clone, Debug, PartialEq)]
struct Payload(Arc<[u8]>);

impl Command for Payload {
    fn size(&self) -> usize {
        self.0.len()
    }
}

struct Cluster {
    nodes: BTreeMap<NodeId, Raft<Payload>>,
    network: VecDeque<Message<Payload>>,
    effects: Vec<Effect<Payload>>,
    now: Moment,
    applied: u64,
}

impl Cluster {
    fn founded() -> Self {
        let founders = [NodeId(1), NodeId(2), NodeId(3)];
        let node = |id: NodeId| {
            let stored = Stored::founding(founders);
            (id, Raft::restore(Config::new(id), stored, Moment::START, id.0).expect("a node"))
        };
        let nodes = founders.into_iter().map(node).collect();
        let (network, effects) = (VecDeque::new(), Vec::new());
        Self { nodes, network, effects, now: Moment::START, applied: 0 }
    }

    fn step(&mut self, id: NodeId, input: Input<Payload>) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            node.step(self.now, input, &mut self.effects);
            for effect in self.effects.drain(..) {
                match effect {
                    Effect::Write(write) => inputs.push_back(Input::Written(write.id)),
                    Effect::Send(message) => self.network.push_back(message),
                    Effect::Apply(page) => {
                        let through = page.last().map_or(Index::ORIGIN, |last| last.entry.id.index);
                        self.applied +=
                            page.iter().filter(|done| done.ticket.is_some()).count() as u64;
                        inputs.push_back(Input::Applied { through });
                    }
                    Effect::TakeSnapshot(meta) => inputs.push_back(Input::SnapshotTaken(meta.last)),
                    Effect::Leads { .. }
                    | Effect::Refused { .. }
                    | Effect::ReadReady { .. }
                    | Effect::Restore(_)
                    | Effect::ReadChunk { .. }
                    | Effect::Halt(_) => {}
                }
            }
        }
    }

    fn deliver(&mut self) {
        while let Some(message) = self.network.pop_front() {
            self.step(message.to, Input::Message(message));
        }
    }

    fn elect(&mut self) -> NodeId {
        loop {
            self.deliver();
            if let Some((id, _)) = self.nodes.iter().find(|(_, node)| node.view().leads()) {
                return *id;
            }
            let due = self.nodes.iter().map(|(id, node)| (node.next_deadline(), *id)).min();
            if let Some((Some(deadline), id)) = due {
                self.now = self.now.max(deadline);
                self.step(id, Input::Tick);
            }
        }
    }

    fn commit(&mut self, leader: NodeId, batch: usize, payload: &Payload) {
        let proposal = Proposal { ticket: Ticket(1), command: payload.clone() };
        self.step(leader, Input::Propose(vec![proposal; batch]));
        self.deliver();
    }
}

fn main() {
    let payload = Payload(Arc::from([7_u8; 256]));
    for batch in [1, 16, 64] {
        let mut cluster = Cluster::founded();
        let leader = cluster.elect();
        let rate = commits_per_second(&mut cluster, leader, batch, &payload);
        let allocations = allocation_counter::measure(|| {
            for _ in 0..100 {
                cluster.commit(leader, batch, &payload);
            }
        });
        let each = allocations.count_total / (100 * batch as u64);
        println!("{batch:>3} commands at a time: {rate:>9} commits/s, {each} allocations each");
    }
}

#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
fn commits_per_second(
    cluster: &mut Cluster,
    leader: NodeId,
    batch: usize,
    payload: &Payload,
) -> u128 {
    let begin = Instant::now();
    cluster.applied = 0;
    while begin.elapsed() < Duration::from_secs(2) {
        for _ in 0..100 {
            cluster.commit(leader, batch, payload);
        }
    }
    u128::from(cluster.applied) * 1_000_000 / begin.elapsed().as_micros()
}
