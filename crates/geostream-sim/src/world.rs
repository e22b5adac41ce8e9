//! A cluster and all around it, in one thread.

mod faults;
mod perform;
mod requests;

use std::any::Any;
use std::hash::Hash as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use geostream_consensus::{
    Committed, Config, Effect, Input, LogId, Membership, Message, NodeId, Raft, Role, SessionId,
    SnapshotMeta, Stored, Term, WriteId,
};

use crate::agenda::{Agenda, Micros};
use crate::checkers::{
    Acknowledged, Cause, CheckQuorum, Checker as _, Checkers, Linearizability, Member,
    MembershipChanges, Progress, Repaired, Seen, Violation,
};
use crate::clients::{Client, What};
use crate::clock::Clock;
use crate::disk::Disk;
use crate::history::History;
use crate::machine::{Append, Machine, Wanted};
use crate::network::Network;
use crate::operator::{Errand, latest};
use crate::plan::Plan;
use crate::rng::{Digest, Rng};
use crate::show;

/// How often an operator and, at the end, an observer look.
const LOOK: Micros = 50_000;

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was wrong, if anything was.
    pub violation: Option<Violation>,
    /// Differs for runs in which anything differs.
    pub hash: u64,
    /// How long the run took in the world, in microseconds.
    pub simulated: u64,
    /// How many things happened.
    pub events: u64,
    /// How many requests of clients were answered.
    pub answers: u64,
    /// How many leaders were elected.
    pub elections: u64,
    /// How long each crash of a leader was without the next one's first commit, in microseconds.
    pub outages: Vec<u64>,
    /// A line for everything that happened, if that was wanted.
    pub trace: Vec<String>,
}

/// Makes a run.
#[must_use]
pub fn run(plan: &Plan, with_trace: bool) -> Outcome {
    let mut world = World::new(plan.clone(), with_trace);
    let lived = catch_unwind(AssertUnwindSafe(|| world.live()));
    let violation = match lived {
        Ok(lived) => lived.err(),
        Err(panic) => Some(world.violation("no panic", message(&*panic))),
    };
    if let Some(violation) = &violation {
        world.say(|| format!("VIOLATION {violation}"));
    }
    Outcome {
        violation,
        hash: world.digest.0,
        simulated: world.now,
        events: world.events,
        answers: world.answers,
        elections: world.elections,
        outages: world.outages,
        trace: world.trace.unwrap_or_default(),
    }
}

/// Returns what a panic says.
pub(crate) fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref().copied()).unwrap_or("a panic").to_owned()
}

#[derive(Debug)]
struct World {
    plan: Plan,
    now: Micros,
    agenda: Agenda<Event>,
    nodes: Vec<Node>,
    disks: Vec<Disk>,
    network: Network,
    clients: Vec<Client>,
    errand: Option<Errand>,
    checkers: Checkers,
    check_quorum: CheckQuorum,
    history: History,
    linearizability: Linearizability,
    acknowledged: Acknowledged,
    changes: MembershipChanges,
    rng: Rng,
    /// Nothing goes wrong any more.
    is_healed: bool,
    /// Kept between steps for its memory.
    effects: Vec<Effect<Wanted>>,
    /// When a leader lost power, and in which term, until there is another that commits.
    outage: Option<(Micros, Term)>,
    outages: Vec<u64>,
    elections: u64,
    digest: Digest,
    events: u64,
    answers: u64,
    trace: Option<Vec<String>>,
}

/// A process on its machine; its disk is elsewhere, for all to see.
#[derive(Debug)]
struct Node {
    id: NodeId,
    /// Nothing while it is down.
    raft: Option<Raft<Wanted>>,
    machine: Machine,
    /// What the state machine is busy with.
    page: Vec<Committed<Wanted>>,
    clock: Clock,
    /// How often it was started: what an earlier process was to get is dropped.
    starts: u32,
    ticks_at: Micros,
    stands_until: Micros,
    disk_stalls_until: Micros,
    machine_hangs_until: Micros,
    /// Its time was odd since its last step.
    is_odd: bool,
    /// It was told to be gone.
    is_retired: bool,
    rng: Rng,
}

/// Something that happens.
#[derive(Debug)]
enum Event {
    Arrives(Message<Wanted>),
    Node {
        node: usize,
        starts: u32,
        what: Local,
    },
    Starts {
        node: usize,
    },
    /// A client's request arrives at a node.
    Asked {
        node: usize,
        append: Append,
        what: What,
    },
    /// An answer arrives at a client: a place in the list, or that it must try again.
    Told {
        append: Append,
        place: Option<u64>,
        hint: Option<NodeId>,
    },
    /// A client has a session.
    Welcomed {
        append: Append,
        session: SessionId,
    },
    /// The same for a read: how long the list is, and its digest.
    Shown {
        append: Append,
        length: u64,
        digest: u64,
    },
    /// A client wants something new.
    Calls {
        client: usize,
    },
    /// A client's request has timed out.
    TimedOut {
        append: Append,
    },
    Fault {
        number: usize,
    },
    Operator,
}

/// Something that happens within a machine.
#[derive(Debug)]
enum Local {
    Tick,
    Synced(WriteId),
    /// A write failed, or a snapshot could not be kept.
    Failed(Option<WriteId>),
    Applied,
    Restored(SnapshotMeta),
    Kept(LogId, std::sync::Arc<[u8]>),
    Read {
        to: NodeId,
        snapshot: LogId,
        offset: u64,
        limit: u64,
    },
}

impl World {
    fn new(plan: Plan, with_trace: bool) -> Self {
        let seed = plan.seed;
        let clients = (0..plan.clients).map(|number| Client::new(seed, number)).collect();
        let mut world = Self {
            now: 0,
            agenda: Agenda::new(),
            nodes: Vec::new(),
            disks: Vec::new(),
            network: Network::new(seed, plan.weather),
            clients,
            errand: None,
            checkers: Checkers::default(),
            check_quorum: CheckQuorum::default(),
            history: History::default(),
            linearizability: Linearizability::default(),
            acknowledged: Acknowledged::default(),
            changes: MembershipChanges::default(),
            rng: Rng::of(seed, 3),
            is_healed: false,
            effects: Vec::new(),
            outage: None,
            outages: Vec::new(),
            elections: 0,
            digest: Digest(seed),
            events: 0,
            answers: 0,
            trace: with_trace.then(Vec::new),
            plan,
        };
        for _ in 0..world.plan.founders {
            let founders = (1..=world.plan.founders).map(NodeId);
            let node = world.build(Stored::founding(founders));
            world.agenda.push(0, Event::Starts { node });
        }
        world.fill_agenda();
        world
    }

    /// Sets up a machine with what is on its disk, and returns its place.
    fn build(&mut self, stored: Stored<Wanted>) -> usize {
        let node = self.nodes.len();
        let mut rng = Rng::of(self.plan.seed, 2_000 + node as u64);
        let drift = self.plan.weather.drift;
        let speed = 1_000_000 - drift + rng.below(2 * drift + 1);
        self.nodes.push(Node {
            id: NodeId(node as u64 + 1),
            raft: None,
            machine: Machine::default(),
            page: Vec::new(),
            clock: Clock::new(self.now, rng.between(10_000_000, 1_000_000_000), speed),
            starts: 0,
            ticks_at: 0,
            stands_until: 0,
            disk_stalls_until: 0,
            machine_hangs_until: 0,
            is_odd: false,
            is_retired: false,
            rng,
        });
        self.disks.push(Disk::new(stored));
        self.network.grow(self.nodes.len());
        node
    }

    fn fill_agenda(&mut self) {
        for client in 0..self.clients.len() {
            let rest = self.plan.rest;
            let at = 100_000 + self.clients[client].rng.below(rest);
            self.agenda.push(at, Event::Calls { client });
        }
        for (number, (at, _)) in self.plan.faults.iter().enumerate() {
            self.agenda.push(*at, Event::Fault { number });
        }
        self.agenda.push(LOOK, Event::Operator);
    }

    /// Lets everything go wrong for as long as the plan says, and then nothing.
    fn live(&mut self) -> Result<(), Violation> {
        self.run_until(self.plan.length)?;
        self.heal();
        let mut progress = Progress::since(self.now);
        while !self.is_working(&mut progress)? {
            self.run_until(self.now + LOOK)?;
        }
        self.survives()
    }

    fn run_until(&mut self, end: Micros) -> Result<(), Violation> {
        while let Some((at, event)) = self.agenda.pop(end) {
            self.now = at;
            self.events += 1;
            self.handle(event)?;
        }
        self.now = end;
        Ok(())
    }

    fn handle(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Arrives(message) => self.arrive(message),
            Event::Node { node, starts, what } => self.handle_local(node, starts, what),
            Event::Starts { node } => self.start(node),
            Event::Asked { node, append, what } => self.ask(node, append, what),
            Event::Told { append, place, hint } => self.tell(append, place, hint),
            Event::Shown { append, length, digest } => self.show(append, length, digest),
            Event::Welcomed { append, session } => {
                self.welcome(append, session);
                Ok(())
            }
            Event::Calls { client } => {
                self.call(client);
                Ok(())
            }
            Event::TimedOut { append } => {
                self.time_out(append);
                Ok(())
            }
            Event::Fault { number } => self.inject(number),
            Event::Operator => self.operate(),
        }
    }

    fn arrive(&mut self, message: Message<Wanted>) -> Result<(), Violation> {
        let Some(node) = self.place(message.to) else { return Ok(()) };
        let until = self.nodes[node].stands_until;
        if until > self.now {
            self.agenda.push(until, Event::Arrives(message));
            return Ok(());
        }
        (self.now, &message).hash(&mut self.digest);
        if self.nodes[node].raft.is_some() {
            self.say(|| format!("n{} gets {}", node + 1, show::message(&message)));
        }
        self.step(node, Input::Message(message))
    }

    fn handle_local(&mut self, node: usize, starts: u32, what: Local) -> Result<(), Violation> {
        let until = self.nodes[node].stands_until;
        if starts != self.nodes[node].starts || self.nodes[node].raft.is_none() {
            return Ok(());
        }
        let is_tick = matches!(what, Local::Tick);
        if is_tick && self.nodes[node].ticks_at != self.now {
            return Ok(());
        }
        if until > self.now {
            if is_tick {
                self.nodes[node].ticks_at = until;
            }
            self.agenda.push(until, Event::Node { node, starts, what });
            return Ok(());
        }
        self.local(node, what)
    }

    /// Gives a node an input, has everything judged that it does, and does what it wants.
    fn step(&mut self, node: usize, input: Input<Wanted>) -> Result<(), Violation> {
        let mut effects = std::mem::take(&mut self.effects);
        let cause = Cause::of(&input);
        let (now, place) = (self.now, node);
        let node = &mut self.nodes[place];
        let Some(raft) = &mut node.raft else { return Ok(()) };
        raft.step(node.clock.shows(now), input, &mut effects);
        let judged = self.judge(place, cause, &effects);
        self.say_step(place, &effects);
        judged?;
        for effect in effects.drain(..) {
            self.perform(place, effect)?;
        }
        self.effects = effects;
        self.arm(place);
        Ok(())
    }

    fn judge(
        &mut self,
        node: usize,
        cause: Cause,
        effects: &[Effect<Wanted>],
    ) -> Result<(), Violation> {
        let is_odd = std::mem::take(&mut self.nodes[node].is_odd);
        let Some(raft) = &self.nodes[node].raft else { return Ok(()) };
        let (view, before) = (raft.view(), self.history.seen[node]);
        self.history.absorb(node, effects);
        let seen = Seen {
            now: self.now,
            node,
            before,
            cause,
            is_odd,
            view,
            effects,
            disks: &self.disks,
            history: &self.history,
            timing: self.plan.timing,
            limits: self.plan.limits,
        };
        self.checkers.judge(&seen)?;
        self.check_quorum.holds(&seen)?;
        self.history.note(node, &view);
        (node, self.history.seen[node], effects).hash(&mut self.digest);
        let led = before.is_some_and(|before| before.role == Role::Leader);
        self.elections += u64::from(view.leads() && !led);
        if let Some((since, term)) = self.outage
            && view.term > term
            && view.log.id_at(view.commit).is_some_and(|id| id.term > term)
        {
            self.outages.push(self.now - since);
            self.outage = None;
        }
        Ok(())
    }

    /// Sees to it that the node's next deadline is not missed.
    fn arm(&mut self, place: usize) {
        let node = &mut self.nodes[place];
        let Some(deadline) = node.raft.as_ref().and_then(Raft::next_deadline) else { return };
        let at = node.clock.reaches(deadline).max(self.now);
        if at < node.ticks_at {
            node.ticks_at = at;
            let starts = node.starts;
            self.agenda.push(at, Event::Node { node: place, starts, what: Local::Tick });
        }
    }

    fn start(&mut self, place: usize) -> Result<(), Violation> {
        if self.nodes[place].raft.is_some() || self.nodes[place].is_retired {
            return Ok(());
        }
        let read = self.disks[place].read();
        let (stored, machine) = read.map_err(|what| self.violation("disk", what))?;
        let node = &mut self.nodes[place];
        node.starts += 1;
        node.machine = machine;
        node.page.clear();
        node.ticks_at = Micros::MAX;
        node.disk_stalls_until = 0;
        node.machine_hangs_until = 0;
        let config = Config {
            id: node.id,
            timing: self.plan.timing,
            limits: self.plan.limits,
            lease: self.plan.lease,
        };
        let (now, seed) = (node.clock.shows(self.now), node.rng.next_u64());
        let raft = Raft::restore(config, stored, now, seed);
        let raft = raft.map_err(|error| self.violation("restart", format!("{error}")))?;
        self.history.start(place, &raft.view());
        self.nodes[place].raft = Some(raft);
        self.judge(place, Cause::Start, &[])?;
        self.say(|| format!("n{} starts", place + 1));
        self.step(place, Input::Tick)
    }

    /// Takes the power from a machine.
    fn crash(&mut self, place: usize) -> Result<(), Violation> {
        if self.nodes[place].raft.take().is_none() {
            return Ok(());
        }
        self.say(|| format!("n{} crashes", place + 1));
        let node = &mut self.nodes[place];
        node.stands_until = 0;
        self.history.seen[place] = None;
        let lost = self.disks[place].crash(&mut node.rng);
        lost.map_err(|what| self.violation("disk", what))
    }

    /// Repairs everything, and starts everybody.
    fn heal(&mut self) {
        self.say(|| "all is repaired".to_owned());
        self.is_healed = true;
        self.errand = None;
        self.plan.weather = self.plan.weather.cleared();
        self.network.heal(self.plan.weather);
        for place in 0..self.nodes.len() {
            let node = &mut self.nodes[place];
            node.stands_until = node.stands_until.min(self.now);
            node.disk_stalls_until = 0;
            node.machine_hangs_until = 0;
            self.disks[place].breaks = false;
            self.disks[place].loses_snapshot = false;
            let started = node.starts > 0 || (place as u64) < self.plan.founders;
            if node.raft.is_none() && started && !node.is_retired {
                self.agenda.push(self.now, Event::Starts { node: place });
            }
        }
        // What was asked before may be answered by luck; what is asked now must be.
        for client in 0..self.clients.len() {
            self.clients[client].wish = None;
            self.agenda.push(self.now + 1, Event::Calls { client });
        }
        self.answers = 0;
    }

    /// Tells whether the repaired cluster works again.
    fn is_working(&self, progress: &mut Progress) -> Result<bool, Violation> {
        let cluster = Repaired {
            now: self.now,
            membership: self.membership(),
            answers: self.answers,
            clients: self.plan.clients,
            committed: self.history.last_committed(),
        };
        let made = progress.is_made(&cluster, |id| self.member(id));
        made.map_err(|what| self.violation(Progress::NAME, what))
    }

    /// Returns the membership that the latest leader has.
    fn membership(&self) -> Option<&Membership> {
        let views = self.nodes.iter().filter_map(|node| node.raft.as_ref()).map(Raft::view);
        latest(views)
    }

    fn member(&self, id: NodeId) -> Option<Member> {
        let node = &self.nodes[self.place(id)?];
        Some(Member {
            is_up: node.raft.is_some(),
            has_started: node.starts > 0,
            applied: node.machine.applied,
        })
    }

    /// What clients were told is there, in the list of every member that is up.
    fn survives(&self) -> Result<(), Violation> {
        let members = self.membership().into_iter().flat_map(Membership::members);
        let nodes = members.filter_map(|id| Some(&self.nodes[self.place(id)?]));
        for Node { id, machine, .. } in nodes.filter(|node| node.raft.is_some()) {
            let left = self.acknowledged.survives(*id, machine.applied, machine.length);
            left.map_err(|what| self.violation(Acknowledged::NAME, what))?;
        }
        Ok(())
    }

    fn place(&self, id: NodeId) -> Option<usize> {
        let place = usize::try_from(id.0.checked_sub(1)?).ok()?;
        (place < self.nodes.len()).then_some(place)
    }

    fn violation(&self, property: &'static str, what: String) -> Violation {
        Violation { property, at: self.now, what }
    }

    fn say(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>12.3} ms  {}", self.now as f64 / 1_000.0, line()));
        }
    }

    fn say_step(&mut self, node: usize, effects: &[Effect<Wanted>]) {
        if self.trace.is_none() {
            return;
        }
        for effect in effects {
            if let Some(line) = show::effect(effect) {
                self.say(|| format!("n{}   {line}", node + 1));
            }
        }
    }
}
