//! Three nodes in one thread: one is elected, takes commands, and dies; another goes on.
//!
//! `cargo run -p geostream-consensus --example cluster`
#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use std::collections::{BTreeMap, VecDeque};

use geostream_consensus::{
    Config, Effect, Index, Input, Message, Moment, NodeId, Payload, Proposal, Raft, RestoreError,
    Stored, Ticket,
};

/// A node, and the state machine that it feeds: here, all commands in a row.
struct Node {
    raft: Raft<Vec<u8>>,
    state: String,
}

#[derive(Default)]
struct Cluster {
    nodes: BTreeMap<NodeId, Node>,
    network: VecDeque<Message<Vec<u8>>>,
    now: Moment,
}

impl Cluster {
    /// Hands an input to a node, and does what it wants; here a write is done at once.
    fn step(&mut self, id: NodeId, input: Input<Vec<u8>>) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let (mut inputs, mut effects) = (VecDeque::from([input]), Vec::new());
        while let Some(input) = inputs.pop_front() {
            node.raft.step(self.now, input, &mut effects);
            for effect in effects.drain(..) {
                match effect {
                    Effect::Write(write) => inputs.push_back(Input::Written(write.id)),
                    Effect::Send(message) => self.network.push_back(message),
                    Effect::Apply(page) => {
                        let through = page.last().map_or(Index::ORIGIN, |last| last.entry.id.index);
                        for committed in page {
                            if let Payload::Command(text) = committed.entry.payload {
                                node.state += &String::from_utf8_lossy(&text);
                            }
                        }
                        inputs.push_back(Input::Applied { through });
                    }
                    Effect::Leads { term, leader } => {
                        println!("{}: {id} in term {term} knows {leader:?}", self.now);
                    }
                    Effect::Refused { .. } | Effect::ReadReady { .. } | Effect::Halt(_) => {}
                    Effect::Restore(_) | Effect::TakeSnapshot(_) | Effect::ReadChunk { .. } => {}
                }
            }
        }
    }

    /// Lets messages arrive and time pass until some node leads and all have this state.
    fn run_until(&mut self, state: &str) -> NodeId {
        loop {
            while let Some(message) = self.network.pop_front() {
                self.step(message.to, Input::Message(message));
            }
            let agree = self.nodes.values().all(|node| node.state == state);
            let mut leaders = self.nodes.iter().filter(|(_, node)| node.raft.view().leads());
            if let Some((id, _)) = leaders.next().filter(|_| agree) {
                return *id;
            }
            let due = self.nodes.iter().map(|(id, node)| (node.raft.next_deadline(), *id)).min();
            if let Some((Some(deadline), id)) = due {
                self.now = self.now.max(deadline);
                self.step(id, Input::Tick);
            }
        }
    }
}

fn main() -> Result<(), RestoreError> {
    let mut cluster = Cluster::default();
    let founders = [NodeId(1), NodeId(2), NodeId(3)];
    for id in founders {
        let raft = Raft::restore(Config::new(id), Stored::founding(founders), cluster.now, id.0)?;
        cluster.nodes.insert(id, Node { raft, state: String::new() });
    }
    let propose =
        |text: &str| Input::Propose(vec![Proposal { ticket: Ticket(1), command: text.into() }]);
    let first = cluster.run_until("");
    cluster.step(first, propose("hello, "));
    cluster.run_until("hello, ");
    cluster.nodes.remove(&first);
    let second = cluster.run_until("hello, ");
    cluster.step(second, propose("world"));
    cluster.run_until("hello, world");
    println!("{}: {first} died, {second} leads, nothing is lost", cluster.now);
    Ok(())
}

#[test]
fn it_runs() {
    main().unwrap();
}
