//! A few nodes in memory, with perfect disks and a network that does as it is told: for unit tests.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::config::{Config, Timing};
use crate::effect::{Effect, Op, Write};
use crate::entry::Payload;
use crate::error::Refusal;
use crate::id::{Index, LogId, NodeId, Term, Ticket};
use crate::input::{Input, Piece, Proposal};
use crate::message::{Body, Message, Word};
use crate::raft::Raft;
use crate::restart::Stored;
use crate::time::Moment;
use crate::view::{Role, View};

pub(crate) type Bytes = Vec<u8>;

pub(crate) const A: NodeId = NodeId(1);
pub(crate) const B: NodeId = NodeId(2);
pub(crate) const C: NodeId = NodeId(3);

/// What became of a request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Applied(LogId),
    Read(Index),
    Refused(Refusal),
}

#[derive(Debug)]
struct Member {
    raft: Raft<Bytes>,
    disk: Stored<Bytes>,
    /// The snapshot that is being received, and what there is of it.
    staged: (LogId, Vec<u8>),
    /// What each snapshot says, by its end.
    snapshots: BTreeMap<LogId, Vec<u8>>,
    /// The state machine: all commands.
    state: Vec<u8>,
    /// Writes are kept back.
    stalled: Option<VecDeque<Write<Bytes>>>,
    /// The state machine hangs: what it was to do.
    hung: Option<VecDeque<Effect<Bytes>>>,
}

#[derive(Debug)]
pub(crate) struct Cluster {
    members: BTreeMap<NodeId, Member>,
    pub(crate) config: Config,
    pub(crate) now: Moment,
    pub(crate) wire: VecDeque<Message<Bytes>>,
    /// Links that lose everything.
    cut: BTreeSet<(NodeId, NodeId)>,
    pub(crate) answers: BTreeMap<Ticket, Answer>,
    tickets: u64,
    starts: u64,
}

impl Cluster {
    pub(crate) fn of(count: u64) -> Self {
        let mut config = Config::new(A);
        config.timing = Timing::LAN;
        Self::with(count, config)
    }

    pub(crate) fn with(count: u64, config: Config) -> Self {
        Self::seeded(count, config, 0)
    }

    pub(crate) fn seeded(count: u64, config: Config, seed: u64) -> Self {
        let mut cluster = Self {
            members: BTreeMap::new(),
            config,
            now: Moment::from_micros(1_000_000),
            wire: VecDeque::new(),
            cut: BTreeSet::new(),
            answers: BTreeMap::new(),
            tickets: 0,
            starts: seed,
        };
        for id in 1..=count {
            cluster.start(NodeId(id), Stored::founding((1..=count).map(NodeId)));
        }
        cluster
    }

    /// Starts a node with this on its disk.
    pub(crate) fn start(&mut self, id: NodeId, disk: Stored<Bytes>) {
        self.starts += 1;
        let config = Config { id, ..self.config.clone() };
        let raft = Raft::restore(config, disk.clone(), self.now, self.starts).unwrap();
        let member = Member {
            raft,
            disk,
            staged: (LogId::ORIGIN, Vec::new()),
            snapshots: BTreeMap::new(),
            state: Vec::new(),
            stalled: None,
            hung: None,
        };
        self.members.insert(id, member);
    }

    /// Stops a node, and starts it from its disk; writes that were kept back are lost.
    pub(crate) fn restart(&mut self, id: NodeId) {
        let Member { disk, snapshots, .. } = self.members.remove(&id).unwrap();
        self.wire.retain(|message| message.to != id);
        let applied = disk.snapshot.last.index;
        let state = snapshots.get(&disk.snapshot.last).cloned().unwrap_or_default();
        self.start(id, Stored { applied, ..disk });
        let member = self.members.get_mut(&id).unwrap();
        (member.state, member.snapshots) = (state, snapshots);
    }

    pub(crate) fn view(&self, id: NodeId) -> View<'_, Bytes> {
        self.members[&id].raft.view()
    }

    pub(crate) fn state(&self, id: NodeId) -> &[u8] {
        &self.members[&id].state
    }

    /// Returns the ends of all snapshots that a node has had.
    pub(crate) fn snapshots(&self, id: NodeId) -> Vec<Index> {
        self.members[&id].snapshots.keys().map(|last| last.index).collect()
    }

    pub(crate) fn stored(&self, id: NodeId) -> &Stored<Bytes> {
        &self.members[&id].disk
    }

    /// Hands an input to a node, and does what it wants.
    pub(crate) fn step(&mut self, id: NodeId, input: Input<Bytes>) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let mut out = Vec::new();
            self.members.get_mut(&id).unwrap().raft.step(self.now, input, &mut out);
            for effect in out {
                inputs.extend(self.perform(id, effect));
            }
        }
    }

    pub(crate) fn propose(&mut self, id: NodeId, command: &[u8]) -> Ticket {
        let ticket = self.ticket();
        self.step(id, Input::Propose(vec![Proposal { ticket, command: command.to_vec() }]));
        ticket
    }

    pub(crate) fn read(&mut self, id: NodeId) -> Ticket {
        let ticket = self.ticket();
        self.step(id, Input::Read { ticket });
        ticket
    }

    pub(crate) fn change(&mut self, id: NodeId, voters: &[u64], learners: &[u64]) -> Ticket {
        let ticket = self.ticket();
        let ids = |ids: &[u64]| ids.iter().copied().map(NodeId).collect();
        let (voters, learners) = (ids(voters), ids(learners));
        self.step(id, Input::ChangeMembership { ticket, voters, learners });
        ticket
    }

    pub(crate) fn answer(&self, ticket: Ticket) -> Option<&Answer> {
        self.answers.get(&ticket)
    }

    /// Lets all messages arrive, and what follows from them, at this moment.
    pub(crate) fn deliver(&mut self) {
        while self.deliver_one() {}
    }

    pub(crate) fn deliver_one(&mut self) -> bool {
        let Some(message) = self.wire.pop_front() else { return false };
        let lost = self.cut.contains(&(message.from, message.to));
        if !lost && self.members.contains_key(&message.to) {
            self.step(message.to, Input::Message(message));
        }
        true
    }

    /// Lets messages arrive, and time pass, just until something is so.
    pub(crate) fn until(&mut self, is_so: impl Fn(&Self) -> bool) {
        for _ in 0..100_000 {
            if is_so(self) {
                return;
            }
            if !self.deliver_one() {
                self.tick_next();
            }
        }
        panic!("it never comes to that");
    }

    pub(crate) fn tick_next(&mut self) {
        let due = |(id, member): (&NodeId, &Member)| Some((member.raft.next_deadline()?, *id));
        if let Some((deadline, id)) = self.members.iter().filter_map(due).min() {
            self.now = self.now.max(deadline);
            self.step(id, Input::Tick);
        }
    }

    /// Lets time pass, with everything that falls due.
    pub(crate) fn pass(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        loop {
            self.deliver();
            let due = |(id, member): (&NodeId, &Member)| Some((member.raft.next_deadline()?, *id));
            let next = self.members.iter().filter_map(due).min();
            let Some((deadline, id)) = next.filter(|(deadline, _)| *deadline <= end) else { break };
            self.now = self.now.max(deadline);
            self.step(id, Input::Tick);
        }
        self.now = end;
    }

    /// Lets time pass in which nothing happens.
    pub(crate) fn skip(&mut self, ms: u64) {
        self.now = self.now + Duration::from_millis(ms);
    }

    /// Lets time pass until somebody leads and all others that hear it follow.
    pub(crate) fn elect(&mut self) -> NodeId {
        for _ in 0..1_000 {
            self.pass(5);
            if let Some(leader) = self.leader() {
                return leader;
            }
        }
        panic!("nobody leads after 5 s");
    }

    /// Returns who leads in the latest term, if a command could be committed.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        let views = self.members.values().map(|member| member.raft.view());
        let leads = views.filter(|view| view.role == Role::Leader).max_by_key(|view| view.term);
        let led =
            leads.filter(|view| view.log.id_at(view.commit).is_some_and(|id| id.term == view.term));
        led.map(|view| view.id)
    }

    /// Makes this node the leader.
    pub(crate) fn make_leader(&mut self, id: NodeId) {
        for _ in 0..100 {
            let leader = self.elect();
            if leader == id {
                return;
            }
            self.step(leader, Input::Transfer { to: id });
            self.pass(20);
        }
        panic!("{id} does not become leader");
    }

    /// Lets nobody hear a node, which goes on to hear the others.
    pub(crate) fn mute(&mut self, id: NodeId) {
        let others = self.members.keys().copied().filter(|other| *other != id);
        self.cut.extend(others.map(|other| (id, other)));
    }

    pub(crate) fn isolate(&mut self, id: NodeId) {
        for other in self.members.keys().copied().filter(|other| *other != id) {
            self.cut.extend([(id, other), (other, id)]);
        }
    }

    pub(crate) fn heal(&mut self) {
        self.cut.clear();
    }

    /// Keeps back all writes of a node from now on.
    pub(crate) fn stall_disk(&mut self, id: NodeId) {
        self.members.get_mut(&id).unwrap().stalled.get_or_insert_default();
    }

    /// Performs the writes that were kept back.
    pub(crate) fn resume_disk(&mut self, id: NodeId) {
        while let Some(write) = self.next_stalled(id) {
            let confirmed = self.members.get_mut(&id).unwrap().write(write);
            self.step(id, confirmed);
        }
        self.members.get_mut(&id).unwrap().stalled = None;
    }

    /// Lets the state machine of a node do nothing from now on.
    pub(crate) fn hang_machine(&mut self, id: NodeId) {
        self.members.get_mut(&id).unwrap().hung.get_or_insert_default();
    }

    /// Lets it do all that it was to do.
    pub(crate) fn free_machine(&mut self, id: NodeId) {
        for effect in self.members.get_mut(&id).unwrap().hung.take().unwrap_or_default() {
            if let Some(input) = self.perform(id, effect) {
                self.step(id, input);
            }
        }
    }

    /// Returns how many entries are on their way to a node.
    pub(crate) fn entries_under_way(&self, to: NodeId) -> usize {
        let entries = |message: &Message<Bytes>| match &message.body {
            Body::Word(Word::AppendEntries(append)) if message.to == to => append.entries.len(),
            Body::Word(_) | Body::Promise(_) => 0,
        };
        self.wire.iter().map(entries).sum()
    }

    fn next_stalled(&mut self, id: NodeId) -> Option<Write<Bytes>> {
        self.members.get_mut(&id)?.stalled.as_mut()?.pop_front()
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    fn perform(&mut self, id: NodeId, effect: Effect<Bytes>) -> Option<Input<Bytes>> {
        let member = self.members.get_mut(&id)?;
        if let Some(hung) = &mut member.hung
            && matches!(effect, Effect::Apply(_) | Effect::Restore(_) | Effect::TakeSnapshot(_))
        {
            hung.push_back(effect);
            return None;
        }
        match effect {
            Effect::Write(write) => match &mut member.stalled {
                Some(stalled) => stalled.push_back(write),
                None => return Some(member.write(write)),
            },
            Effect::Send(message) => self.wire.push_back(message),
            Effect::Apply(page) => {
                let mut through = Index::ORIGIN;
                for committed in page {
                    through = committed.entry.id.index;
                    if let Payload::Command(command) = &committed.entry.payload {
                        member.state.extend(command);
                    }
                    let applied = Answer::Applied(committed.entry.id);
                    self.answers.extend(committed.ticket.map(|ticket| (ticket, applied)));
                }
                return Some(Input::Applied { through });
            }
            Effect::Restore(meta) => {
                member.state = member.snapshots[&meta.last].clone();
                return Some(Input::Applied { through: meta.last.index });
            }
            Effect::TakeSnapshot(meta) => {
                member.snapshots.insert(meta.last, member.state.clone());
                return Some(Input::SnapshotTaken(meta.last));
            }
            Effect::ReadChunk { to, snapshot, offset, limit } => {
                let piece = member.snapshots.get(&snapshot).map(|all| piece(all, offset, limit));
                return Some(Input::ChunkRead { to, snapshot, offset, piece });
            }
            Effect::ReadReady { ticket, index } => {
                self.answers.insert(ticket, Answer::Read(index));
            }
            Effect::Refused { ticket, why } => {
                self.answers.insert(ticket, Answer::Refused(why));
            }
            Effect::Leads { .. } | Effect::Halt(_) => {}
        }
        None
    }
}

impl Member {
    fn write(&mut self, write: Write<Bytes>) -> Input<Bytes> {
        for op in write.ops {
            self.write_op(op);
        }
        Input::Written(write.id)
    }

    fn write_op(&mut self, op: Op<Bytes>) {
        let entries = &mut self.disk.entries;
        match op {
            Op::SetHardState(hard_state) => self.disk.hard_state = hard_state,
            Op::Truncate { from } => entries.retain(|entry| entry.id.index < from),
            Op::Append(more) => entries.extend(more),
            Op::Stage { snapshot, offset, data } => {
                let (staged, bytes) = &mut self.staged;
                assert!(offset == 0 || *staged == snapshot);
                *staged = snapshot;
                bytes.truncate(usize::try_from(offset).unwrap());
                bytes.extend(data.iter());
            }
            Op::UseTaken(meta) => self.disk.snapshot = meta,
            Op::UseStaged(meta) => {
                let (last, bytes) = std::mem::take(&mut self.staged);
                assert_eq!(last, meta.last);
                self.snapshots.insert(last, bytes);
                self.disk.snapshot = meta;
            }
            Op::Purge { through } => entries.retain(|entry| entry.id.index > through),
        }
    }
}

/// Names the entry of this term at this index.
pub(crate) const fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(Term::new(term), Index::new(index))
}

fn piece(all: &[u8], offset: u64, limit: u64) -> Piece {
    let begin = usize::try_from(offset).unwrap().min(all.len());
    let end = begin.saturating_add(usize::try_from(limit).unwrap()).min(all.len());
    Piece { data: all[begin..end].into(), is_last: end == all.len() }
}
