//! All that can happen to a small cluster, within bounds: a second opinion on the core.
//!
//! The simulator draws one run after another, with all that can go wrong. Here a model checker goes through
//! *every* run of three nodes that stays within its bounds: any message next, or lost; any node on time or
//! late; power lost after any write. The node is the real one, a state is all that it has in memory and on disk, and
//! the same properties are judged after every step.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use geostream_consensus::{
    Call, Config, Effect, Index, Input, Limits, Message, Moment, NodeId, Proposal, Raft, Request,
    SessionId, Stored, Term, Ticket, Timing,
};
use stateright::{Checker as _, Model, Property};

use crate::checkers::{Cause, Checkers, Seen, Violation};
use crate::disk::Disk;
use crate::history::History;
use crate::machine::{Append, Wanted};
use crate::show;

#[cfg(mutants)]
use geostream_consensus::mutants::activate;

#[cfg(not(mutants))]
fn activate(_mutant: u8) {}

/// How many nodes there are.
const NODES: usize = 3;

/// The shortest times that a node takes, and none of them random, so that equal states look equal.
const TIMING: Timing = Timing {
    heartbeat: Duration::from_micros(1),
    election_least: Duration::from_micros(2),
    election_most: Duration::from_micros(3),
    chunk: Duration::from_secs(1),
};

const PROPERTY: &str = "nothing goes wrong";

/// Within what bounds all runs are looked at.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// What they let happen.
    pub name: &'static str,
    /// Whether the first node leads at the beginning; else nobody does, and everybody wants to.
    pub is_led: bool,
    /// What may happen only so often.
    pub left: Left,
    /// How many messages are on their way at a time.
    pub messages: usize,
    /// The last term that is entered.
    pub term: Term,
    /// How many steps a run has, at most.
    pub steps: usize,
}

/// How often something may still happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Left {
    /// So much time passes that whoever hears of no leader wants an election.
    pub waits: u8,
    /// A client wants a command in a leader's log.
    pub commands: u8,
    /// A client reads at a leader.
    pub reads: u8,
    /// An operator has a leader remove the third node.
    pub changes: u8,
    /// A disk begins to hold writes back.
    pub stalls: u8,
    /// A node loses power, and starts again.
    pub crashes: u8,
}

/// What is looked at: elections from nothing, a leader's work and its end, reads, and a change of members.
pub const CHECKS: [Bounds; 5] = [
    Bounds {
        name: "an election from nothing",
        is_led: false,
        left: Left { crashes: 1, ..Left::NOTHING },
        messages: 6,
        term: Term::new(2),
        steps: 10,
    },
    Bounds {
        name: "a command and the next election",
        is_led: true,
        left: Left { waits: 1, commands: 1, ..Left::NOTHING },
        messages: 6,
        term: Term::new(2),
        steps: 10,
    },
    Bounds {
        name: "a command and a loss of power",
        is_led: true,
        left: Left { commands: 1, stalls: 1, crashes: 1, ..Left::NOTHING },
        messages: 6,
        term: Term::new(2),
        steps: 9,
    },
    Bounds {
        name: "a read and the next election",
        is_led: true,
        left: Left { waits: 1, reads: 1, commands: 1, ..Left::NOTHING },
        messages: 6,
        term: Term::new(2),
        steps: 10,
    },
    Bounds {
        name: "a change of members and the next election",
        is_led: true,
        left: Left { waits: 1, changes: 1, ..Left::NOTHING },
        messages: 6,
        term: Term::new(2),
        steps: 11,
    },
];

impl Left {
    const NOTHING: Self =
        Self { waits: 0, commands: 0, reads: 0, changes: 0, stalls: 0, crashes: 0 };
}

/// What came of looking at all runs.
#[derive(Clone, Debug)]
pub struct Checked {
    /// How many different states there are.
    pub states: usize,
    /// How many steps lead from one to another.
    pub steps: usize,
    /// What goes wrong, and the shortest way there.
    pub violation: Option<(Violation, Vec<String>)>,
}

/// Looks at all runs within bounds.
#[must_use]
pub fn check(bounds: Bounds) -> Checked {
    look(Small { bounds, mutant: 0 })
}

/// Looks at all runs with a bug switched on, until something goes wrong.
#[cfg(mutants)]
#[must_use]
pub fn check_mutant(bounds: Bounds, mutant: u8) -> Checked {
    look(Small { bounds, mutant })
}

/// Goes breadth first in one thread, so that each state is reached in as few steps as can be.
///
/// The checker counts the first state as deep as 1, and does not look at the states at its target.
fn look(model: Small) -> Checked {
    let depth = model.bounds.steps + 2;
    let checker = model.checker().target_max_depth(depth).spawn_bfs().join();
    let violation = checker.discovery(PROPERTY).and_then(|path| {
        let violation = path.last_state().violation.clone()?;
        Some((violation, path.into_actions().iter().map(ToString::to_string).collect()))
    });
    Checked { states: checker.unique_state_count(), steps: checker.state_count(), violation }
}

/// A small cluster, and what may happen to it.
#[derive(Debug)]
struct Small {
    bounds: Bounds,
    /// The bug that is switched on; 0 if none is, as in any build but one that has bugs.
    mutant: u8,
}

/// All that there is at a moment. What a step does not change is shared with the moment before.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Cluster {
    nodes: Vec<Arc<Raft<Wanted>>>,
    disks: Arc<Vec<Disk>>,
    /// Whose disk holds writes back.
    stalled: BTreeSet<usize>,
    /// What is on its way, in an order that tells nothing: by a digest.
    wire: BTreeMap<u64, Arc<Message<Wanted>>>,
    /// By all clocks.
    now: Moment,
    /// How often nodes were started.
    starts: u64,
    left: Left,
    checkers: Arc<Checkers>,
    history: Arc<History>,
    violation: Option<Violation>,
}

/// Something that happens next.
#[derive(Clone, Debug, PartialEq)]
enum Action {
    Deliver(Arc<Message<Wanted>>),
    Wait,
    Tick(usize),
    Propose(usize),
    Read(usize),
    Change(usize),
    Stall(usize),
    /// A disk that holds writes back performs one.
    Sync(usize),
    /// So many operations that were not synced stay.
    Crash(usize, usize),
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deliver(message) => write!(f, "{}", show::message(message)),
            Self::Wait => write!(f, "time passes"),
            Self::Tick(node) => write!(f, "n{} has waited", node + 1),
            Self::Propose(node) => write!(f, "n{} is given a command", node + 1),
            Self::Read(node) => write!(f, "n{} is asked to read", node + 1),
            Self::Change(node) => write!(f, "n{} is to remove n3", node + 1),
            Self::Stall(node) => write!(f, "n{}'s disk holds writes back", node + 1),
            Self::Sync(node) => write!(f, "n{}'s disk performs a write", node + 1),
            Self::Crash(node, stays) => {
                write!(f, "n{} loses power; {stays} operations stay", node + 1)
            }
        }
    }
}

impl Model for Small {
    type State = Cluster;
    type Action = Action;

    fn init_states(&self) -> Vec<Cluster> {
        activate(self.mutant);
        vec![Cluster::new(self.bounds)]
    }

    fn actions(&self, state: &Cluster, actions: &mut Vec<Action>) {
        if state.violation.is_none() {
            state.offer(actions);
        }
    }

    fn next_state(&self, state: &Cluster, action: Action) -> Option<Cluster> {
        activate(self.mutant);
        let mut next = state.clone();
        next.violation = next.handle(action).err();
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always(PROPERTY, |_, state: &Cluster| state.violation.is_none())]
    }

    fn within_boundary(&self, state: &Cluster) -> bool {
        let terms = state.nodes.iter().map(|node| node.view().term);
        state.wire.len() <= self.bounds.messages && terms.max() <= Some(self.bounds.term)
    }
}

impl Cluster {
    fn new(bounds: Bounds) -> Self {
        let founding = || Stored::founding((1..=NODES as u64).map(NodeId));
        let disks: Vec<Disk> = (0..NODES).map(|_| Disk::new(founding())).collect();
        let node = |node| Arc::new(restored(node, founding(), Moment::START, 0));
        let mut cluster = Self {
            nodes: (0..NODES).map(node).collect(),
            disks: Arc::new(disks),
            stalled: BTreeSet::new(),
            wire: BTreeMap::new(),
            now: Moment::START,
            starts: 0,
            left: bounds.left,
            checkers: Arc::default(),
            history: Arc::default(),
            violation: None,
        };
        cluster.violation = cluster.begin(bounds.is_led).err();
        cluster
    }

    fn begin(&mut self, is_led: bool) -> Result<(), Violation> {
        (0..NODES).try_for_each(|node| self.start(node))?;
        self.now = self.now + TIMING.election_least;
        if is_led {
            self.step(0, Input::Tick)?;
            while let Some(message) = self.wire.values().next().cloned() {
                self.handle(Action::Deliver(message))?;
            }
        }
        Ok(())
    }

    /// Adds what can happen next.
    fn offer(&self, actions: &mut Vec<Action>) {
        actions.extend(self.wire.values().cloned().map(Action::Deliver));
        actions.extend((self.left.waits > 0).then_some(Action::Wait));
        for node in 0..NODES {
            self.offer_node(node, actions);
        }
    }

    fn offer_node(&self, node: usize, actions: &mut Vec<Action>) {
        let (raft, left) = (&self.nodes[node], self.left);
        let leads = raft.view().leads();
        let stalled = self.stalled.contains(&node);
        let offers = [
            (raft.next_deadline().is_some_and(|at| at <= self.now), Action::Tick(node)),
            (leads && left.commands > 0, Action::Propose(node)),
            (leads && left.reads > 0, Action::Read(node)),
            (leads && left.changes > 0, Action::Change(node)),
            (!stalled && left.stalls > 0, Action::Stall(node)),
            (stalled, Action::Sync(node)),
        ];
        actions.extend(offers.into_iter().filter(|(can, _)| *can).map(|(_, action)| action));
        if left.crashes > 0 {
            let stays = 0..=self.disks[node].unsynced_ops();
            actions.extend(stays.map(|stays| Action::Crash(node, stays)));
        }
    }

    fn handle(&mut self, action: Action) -> Result<(), Violation> {
        match action {
            Action::Deliver(message) => {
                self.wire.remove(&digest(&message));
                self.arrive(&message)
            }
            Action::Wait => {
                self.left.waits -= 1;
                self.now = self.now + TIMING.election_least;
                Ok(())
            }
            Action::Tick(node) => self.step(node, Input::Tick),
            Action::Propose(node) => self.propose(node),
            Action::Read(node) => {
                self.left.reads -= 1;
                self.step(node, Input::Read { ticket: Ticket(u64::from(self.left.reads)) })
            }
            Action::Change(node) => self.change(node),
            Action::Stall(node) => {
                self.left.stalls -= 1;
                self.stalled.insert(node);
                Ok(())
            }
            Action::Sync(node) => self.sync(node),
            Action::Crash(node, stays) => {
                self.left.crashes -= 1;
                self.crash(node, stays)
            }
        }
    }

    fn arrive(&mut self, message: &Message<Wanted>) -> Result<(), Violation> {
        let node = (0..NODES).find(|node| id(*node) == message.to);
        node.map_or(Ok(()), |node| self.step(node, Input::Message(message.clone())))
    }

    fn propose(&mut self, node: usize) -> Result<(), Violation> {
        self.left.commands -= 1;
        let request = u32::from(self.left.commands);
        let append = Append { client: 1, request, attempt: 0 };
        let number = u64::from(request);
        let call = Call::Once {
            session: SessionId(Index::ORIGIN),
            number,
            answered_below: 0,
            command: append,
        };
        let command = Request { at_micros: 0, call };
        self.step(node, Input::Propose(vec![Proposal { ticket: append.ticket(), command }]))
    }

    fn change(&mut self, node: usize) -> Result<(), Violation> {
        self.left.changes -= 1;
        let voters = [id(0), id(1)].into();
        let change =
            Input::ChangeMembership { ticket: Ticket(u64::MAX), voters, learners: [].into() };
        self.step(node, change)
    }

    fn sync(&mut self, node: usize) -> Result<(), Violation> {
        let Some(write) = self.disks[node].first_unsynced() else {
            self.stalled.remove(&node);
            return Ok(());
        };
        self.disk(node).sync(write).map_err(|what| self.violation("disk", what))?;
        self.step(node, Input::Written(write))
    }

    fn crash(&mut self, node: usize, stays: usize) -> Result<(), Violation> {
        let lost = self.disk(node).lose_power(stays, |_| 0);
        lost.map_err(|what| self.violation("disk", what))?;
        self.stalled.remove(&node);
        self.start(node)
    }

    fn start(&mut self, node: usize) -> Result<(), Violation> {
        let (stored, _) = self.disks[node].read().map_err(|what| self.violation("disk", what))?;
        self.starts += 1;
        let raft = restored(node, stored, self.now, self.starts);
        let history = Arc::make_mut(&mut self.history);
        history.start(node, &raft.view());
        history.seen[node] = None;
        self.nodes[node] = Arc::new(raft);
        self.judge(node, Cause::Start, &[])
    }

    /// Gives a node an input, has everything judged that it does, and does what it wants.
    fn step(&mut self, node: usize, input: Input<Wanted>) -> Result<(), Violation> {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let (cause, mut effects) = (Cause::of(&input), Vec::new());
            Arc::make_mut(&mut self.nodes[node]).step(self.now, input, &mut effects);
            self.judge(node, cause, &effects)?;
            for effect in effects {
                inputs.extend(self.perform(node, effect)?);
            }
        }
        Ok(())
    }

    fn perform(
        &mut self,
        node: usize,
        effect: Effect<Wanted>,
    ) -> Result<Option<Input<Wanted>>, Violation> {
        match effect {
            Effect::Write(write) => {
                let id = write.id;
                self.disk(node).submit(write);
                if self.stalled.contains(&node) {
                    return Ok(None);
                }
                self.disk(node).sync(id).map_err(|what| self.violation("disk", what))?;
                Ok(Some(Input::Written(id)))
            }
            Effect::Send(message) => {
                self.wire.insert(digest(&message), Arc::new(message));
                Ok(None)
            }
            Effect::Apply(page) => {
                let through =
                    page.last().map_or(Index::ORIGIN, |committed| committed.entry.id.index);
                Ok(Some(Input::Applied { through }))
            }
            Effect::Halt(reason) => Err(self.violation("no contradiction", reason.to_string())),
            // The log never grows so long that a snapshot is taken.
            Effect::Restore(_)
            | Effect::TakeSnapshot(_)
            | Effect::ReadChunk { .. }
            | Effect::ReadReady { .. }
            | Effect::Refused { .. }
            | Effect::Leads { .. } => Ok(None),
        }
    }

    fn judge(
        &mut self,
        node: usize,
        cause: Cause,
        effects: &[Effect<Wanted>],
    ) -> Result<(), Violation> {
        let view = self.nodes[node].view();
        Arc::make_mut(&mut self.history).absorb(node, effects);
        let seen = Seen {
            now: self.now.as_micros(),
            node,
            before: self.history.seen[node],
            cause,
            is_odd: false,
            view,
            effects,
            disks: &self.disks,
            history: &self.history,
            timing: TIMING,
            limits: Limits::DEFAULT,
        };
        Arc::make_mut(&mut self.checkers).judge(&seen)?;
        Arc::make_mut(&mut self.history).note(node, &view);
        Ok(())
    }

    fn disk(&mut self, node: usize) -> &mut Disk {
        &mut Arc::make_mut(&mut self.disks)[node]
    }

    fn violation(&self, property: &'static str, what: String) -> Violation {
        Violation { property, at: self.now.as_micros(), what }
    }
}

fn digest(message: &Message<Wanted>) -> u64 {
    let mut hasher = DefaultHasher::new();
    message.hash(&mut hasher);
    hasher.finish()
}

fn id(node: usize) -> NodeId {
    NodeId(node as u64 + 1)
}

fn restored(node: usize, stored: Stored<Wanted>, now: Moment, starts: u64) -> Raft<Wanted> {
    let config = Config { timing: TIMING, ..Config::new(id(node)) };
    Raft::restore(config, stored, now, starts << 8 | node as u64).expect("a node wrote it")
}
