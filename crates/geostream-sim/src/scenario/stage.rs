//! Where a script is played: what each command does, and what is seen of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use geostream_consensus::{
    Body, Config, Effect, Entry, Index, Input, Lease, LogId, Message, Moment, NodeId, Payload,
    Promise, Proposal, Raft, Role, SessionLimits, Stored, Term, Ticket, Timing, View, Word,
};

use super::member::{Member, Text};
use crate::show;

/// A cluster to which nothing happens but what a script says.
#[derive(Debug)]
pub(super) struct Stage {
    members: BTreeMap<NodeId, Member>,
    config: Config,
    sessions: SessionLimits,
    now: Moment,
    /// What was sent, and neither delivered nor lost.
    wire: VecDeque<Message<Text>>,
    /// What clients asked for.
    asked: BTreeMap<Ticket, String>,
    starts: u64,
    trace: Vec<String>,
}

impl Default for Stage {
    fn default() -> Self {
        Self {
            members: BTreeMap::new(),
            config: Config::new(NodeId(0)),
            sessions: SessionLimits::DEFAULT,
            now: Moment::from_micros(1_000_000),
            wire: VecDeque::new(),
            asked: BTreeMap::new(),
            starts: 0,
            trace: Vec::new(),
        }
    }
}

impl Stage {
    /// Returns what was seen since this was last asked.
    pub(super) fn take_trace(&mut self) -> String {
        let trace = std::mem::take(&mut self.trace);
        if trace.is_empty() { "nothing".to_owned() } else { trace.join("\n") }
    }

    pub(super) fn note(&mut self, line: String) {
        self.trace.push(line);
    }

    /// Does what a line of a script says.
    pub(super) fn execute(&mut self, words: &[&str]) -> anyhow::Result<()> {
        match words {
            ["limit", name, value] => self.limit(name, value.parse()?),
            ["lease"] => {
                self.config.lease = Some(Lease { drift_ppm: 10_000 });
                Ok(())
            }
            ["nodes", count] => {
                self.found(count.parse()?);
                self.start_all(1..=count.parse()?)
            }
            ["disks", count] => {
                self.found(count.parse()?);
                Ok(())
            }
            ["log", node, terms @ ..] => self.write_log(id(node)?, terms),
            ["join", node] => {
                self.let_in(id(node)?, Stored::joining());
                self.start(id(node)?)
            }
            ["start", nodes @ ..] => ids(nodes)?.into_iter().try_for_each(|node| self.start(node)),
            ["crash", node] => {
                self.member(id(node)?)?.crash();
                Ok(())
            }
            ["stall", node] => {
                self.member(id(node)?)?.stall();
                Ok(())
            }
            ["flush", node] => self.flush(id(node)?, usize::MAX),
            ["flush", node, count] => self.flush(id(node)?, count.parse()?),
            ["wait", ms] => {
                self.now = self.now + Duration::from_millis(ms.parse()?);
                Ok(())
            }
            ["clock", node, "back", ms] => {
                self.member(id(node)?)?.behind += Duration::from_millis(ms.parse()?);
                Ok(())
            }
            ["tick", node] => self.step(id(node)?, Input::Tick),
            ["campaign", node] => self.campaign(id(node)?),
            ["propose", node, word] => {
                let ticket = self.ticket(word);
                let command = Text((*word).to_owned());
                self.step(id(node)?, Input::Propose(vec![Proposal { ticket, command }]))
            }
            ["read", node] => {
                let ticket = self.ticket("read");
                self.step(id(node)?, Input::Read { ticket })
            }
            ["change", node, "to", members @ ..] => self.change(id(node)?, members),
            ["transfer", node, "to", to] => self.step(id(node)?, Input::Transfer { to: id(to)? }),
            ["compact", node] => self.step(id(node)?, Input::Compact),
            ["deliver", from, to, what @ ..] => self.deliver(id(from)?, id(to)?, &what.join(" ")),
            ["lose", "all"] => {
                self.lose(|_| true);
                Ok(())
            }
            ["elect", node, "by", voters @ ..] => self.elect(id(node)?, ids(voters)?),
            ["leader", node] => self.make_leader(id(node)?),
            ["lose", "from", node] => {
                let node = id(node)?;
                self.lose(|message| message.from == node);
                Ok(())
            }
            ["lose", "to", node] => {
                let node = id(node)?;
                self.lose(|message| message.to == node);
                Ok(())
            }
            ["lose", from, to, what @ ..] => {
                let (from, to, what) = (id(from)?, id(to)?, what.join(" "));
                self.lose(|message| is_like(message, from, to, &what));
                Ok(())
            }
            ["stabilize"] => self.stabilize(&self.members.keys().copied().collect()),
            ["stabilize", nodes @ ..] => self.stabilize(&ids(nodes)?),
            ["under", "way"] => {
                let lines: Vec<_> = self.wire.iter().map(show::message).collect();
                self.trace.extend(lines);
                Ok(())
            }
            ["show"] => self.show(&self.members.keys().copied().collect()),
            ["show", nodes @ ..] => self.show(&ids(nodes)?),
            _ => bail!("this is not a command"),
        }
    }

    fn limit(&mut self, name: &str, value: u64) -> anyhow::Result<()> {
        match name {
            "sessions" => self.sessions.sessions = usize::try_from(value)?,
            "answers" => self.sessions.answers = usize::try_from(value)?,
            "idle" => self.sessions.idle = Duration::from_millis(value),
            _ => *self.limit_of_node(name)? = value,
        }
        Ok(())
    }

    fn limit_of_node(&mut self, name: &str) -> anyhow::Result<&mut u64> {
        let limits = &mut self.config.limits;
        Ok(match name {
            "snapshot-after" => &mut limits.snapshot_after_entries,
            "keep" => &mut limits.keep_entries,
            "chunk" => &mut limits.chunk_bytes,
            "message" => &mut limits.message_entries,
            "inflight" => &mut limits.inflight_entries,
            "uncommitted" => &mut limits.uncommitted_entries,
            _ => bail!("there is no such limit"),
        })
    }

    /// Gives the founders of a cluster their disks.
    fn found(&mut self, count: u64) {
        for node in 1..=count {
            let disk = Stored::founding((1..=count).map(NodeId));
            self.let_in(NodeId(node), disk);
        }
    }

    fn let_in(&mut self, node: NodeId, disk: Stored<Text>) {
        self.members.insert(node, Member::new(disk, self.sessions));
    }

    /// Lets a founder's log go on with entries of these terms.
    fn write_log(&mut self, node: NodeId, terms: &[&str]) -> anyhow::Result<()> {
        let disk = &mut self.member(node)?.disk;
        for term in terms {
            let term = Term::new(term.parse()?);
            let id = LogId::new(term, Index::new(disk.entries.len() as u64 + 1));
            disk.entries.push(Entry { id, payload: Payload::Blank });
            disk.hard_state.term = term;
        }
        Ok(())
    }

    fn start_all(&mut self, nodes: impl Iterator<Item = u64>) -> anyhow::Result<()> {
        nodes.map(NodeId).try_for_each(|node| self.start(node))
    }

    fn start(&mut self, node: NodeId) -> anyhow::Result<()> {
        self.starts += 1;
        let (config, now, seed) =
            (Config { id: node, ..self.config.clone() }, self.now, self.starts);
        let member = self.member(node)?;
        let now = member.time(now);
        ensure!(member.raft.is_none(), "{node} is up");
        let stored = member.read();
        member.raft = Some(Raft::restore(config, stored, now, seed)?);
        Ok(())
    }

    fn member(&mut self, node: NodeId) -> anyhow::Result<&mut Member> {
        self.members.get_mut(&node).with_context(|| format!("there is no {node}"))
    }

    fn ticket(&mut self, what: &str) -> Ticket {
        let ticket = Ticket(self.asked.len() as u64 + 1);
        self.asked.insert(ticket, what.to_owned());
        ticket
    }

    /// Asks for these voters and, after the word `learners`, these learners.
    fn change(&mut self, node: NodeId, members: &[&str]) -> anyhow::Result<()> {
        let mut parts = members.split(|word| *word == "learners");
        let mut part = || ids(parts.next().unwrap_or_default());
        let (voters, learners) = (part()?, part()?);
        let ticket = self.ticket("change");
        self.step(node, Input::ChangeMembership { ticket, voters, learners })
    }

    /// Hands an input to a node, and does all that follows from it at that node.
    fn step(&mut self, node: NodeId, input: Input<Text>) -> anyhow::Result<()> {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let (now, mut effects) = (self.now, Vec::new());
            let member = self.member(node)?;
            let now = member.time(now);
            let raft = member.raft.as_mut();
            raft.with_context(|| format!("{node} is down"))?.step(now, input, &mut effects);
            for effect in effects {
                self.tell(node, &effect);
                inputs.extend(self.perform(node, effect)?);
            }
        }
        Ok(())
    }

    /// Writes down what a node does. What it sends is seen when it arrives.
    fn tell(&mut self, node: NodeId, effect: &Effect<Text>) {
        let asked = |ticket: &Ticket| self.asked.get(ticket).map_or("nobody", String::as_str);
        let lines = match effect {
            Effect::Send(_) => Vec::new(),
            Effect::ReadReady { ticket, index } => {
                vec![format!("answers {} with all up to {index}", asked(ticket))]
            }
            Effect::Refused { ticket, why } => vec![format!("refuses {}: {why}", asked(ticket))],
            Effect::Write(_)
            | Effect::Apply(_)
            | Effect::Restore(_)
            | Effect::TakeSnapshot(_)
            | Effect::ReadChunk { .. }
            | Effect::Leads { .. }
            | Effect::Halt(_) => show::effect(effect).into_iter().collect(),
        };
        self.trace.extend(lines.into_iter().map(|line| format!("  {node} {line}")));
    }

    /// Writes down that a client is answered, with what the state machine says if it says anything.
    fn answer(&mut self, node: NodeId, ticket: Ticket, said: Option<String>) {
        let asked = self.asked.get(&ticket).map_or("nobody", String::as_str);
        let said = said.map_or_else(String::new, |said| format!(" with {said}"));
        self.trace.push(format!("  {node} answers {asked}{said}"));
    }

    fn perform(
        &mut self,
        node: NodeId,
        effect: Effect<Text>,
    ) -> anyhow::Result<Option<Input<Text>>> {
        let member = self.members.get_mut(&node).context("there is no such node")?;
        let input = match effect {
            Effect::Write(write) => return member.write(write),
            Effect::Send(message) => {
                self.wire.push_back(message);
                return Ok(None);
            }
            Effect::Apply(page) => {
                let answers = member.apply(&page);
                let through = page.last().map_or(Index::ORIGIN, |last| last.entry.id.index);
                answers.into_iter().for_each(|(ticket, said)| self.answer(node, ticket, said));
                Input::Applied { through }
            }
            Effect::Restore(meta) => {
                member.restore(meta.last);
                Input::Applied { through: meta.last.index }
            }
            Effect::TakeSnapshot(meta) => {
                member.take_snapshot(meta.last);
                Input::SnapshotTaken(meta.last)
            }
            Effect::ReadChunk { to, snapshot, offset, limit } => {
                let piece = member.piece(snapshot, offset, limit);
                Input::ChunkRead { to, snapshot, offset, piece }
            }
            Effect::Halt(_) => {
                member.crash();
                return Ok(None);
            }
            Effect::ReadReady { .. } | Effect::Refused { .. } | Effect::Leads { .. } => {
                return Ok(None);
            }
        };
        Ok(Some(input))
    }

    /// Lets a disk that holds writes back do so many things; if all, it holds back nothing more.
    fn flush(&mut self, node: NodeId, count: usize) -> anyhow::Result<()> {
        for _ in 0..count {
            let Some((what, written)) = self.member(node)?.flush_one()? else {
                self.member(node)?.resume();
                return Ok(());
            };
            self.trace.push(format!("  {node} has on disk: {what}"));
            if let Some(write) = written {
                self.step(node, Input::Written(write))?;
            }
        }
        Ok(())
    }

    /// Lets the first message arrive that is on this link and has these words in it.
    fn deliver(&mut self, from: NodeId, to: NodeId, what: &str) -> anyhow::Result<()> {
        let place = self.wire.iter().position(|message| is_like(message, from, to, what));
        self.arrive(place.context("no such message is under way")?)
    }

    fn arrive(&mut self, place: usize) -> anyhow::Result<()> {
        let Some(message) = self.wire.remove(place) else { return Ok(()) };
        let is_up = self.members.get(&message.to).is_some_and(|member| member.raft.is_some());
        let arrives = if is_up { "" } else { "lost: " };
        self.trace.push(format!("{arrives}{}", show::message(&message)));
        if is_up { self.step(message.to, Input::Message(message)) } else { Ok(()) }
    }

    fn lose(&mut self, is_lost: impl Fn(&Message<Text>) -> bool) {
        let (lost, kept): (VecDeque<_>, _) =
            std::mem::take(&mut self.wire).into_iter().partition(is_lost);
        self.wire = kept;
        self.trace.extend(lost.iter().map(|message| format!("lost: {}", show::message(message))));
    }

    /// Lets all messages arrive that these nodes send each other, until there are none.
    fn stabilize(&mut self, nodes: &BTreeSet<NodeId>) -> anyhow::Result<()> {
        self.deliver_while(|message| nodes.contains(&message.from) && nodes.contains(&message.to))
    }

    fn deliver_while(&mut self, wanted: impl Fn(&Message<Text>) -> bool) -> anyhow::Result<()> {
        for _ in 0..10_000 {
            let Some(place) = self.wire.iter().position(&wanted) else { return Ok(()) };
            self.arrive(place)?;
        }
        bail!("it never becomes stable")
    }

    /// Lets a node stand for election when all have long been without a leader, and be heard by these.
    fn elect(&mut self, node: NodeId, mut voters: BTreeSet<NodeId>) -> anyhow::Result<()> {
        voters.insert(node);
        self.campaign(node)?;
        self.deliver_while(|message| {
            is_of_election(message)
                && voters.contains(&message.from)
                && voters.contains(&message.to)
        })
    }

    fn campaign(&mut self, node: NodeId) -> anyhow::Result<()> {
        self.now = self.now + Timing::LAN.election_most;
        self.step(node, Input::Tick)
    }

    /// Makes a node the leader of all, and does not tell how.
    fn make_leader(&mut self, node: NodeId) -> anyhow::Result<()> {
        self.campaign(node)?;
        self.stabilize(&self.members.keys().copied().collect())?;
        self.trace.clear();
        self.show(&BTreeSet::from([node]))
    }

    fn show(&mut self, nodes: &BTreeSet<NodeId>) -> anyhow::Result<()> {
        for node in nodes {
            let member = self.member(*node)?;
            let line = match &member.raft {
                Some(raft) => format!("{node} {} {:?}", state(&raft.view()), member.state.text),
                None => {
                    let disk = &member.disk;
                    format!(
                        "{node} is down, term {} {}",
                        disk.hard_state.term,
                        show::entries(&disk.entries)
                    )
                }
            };
            self.trace.push(line);
        }
        Ok(())
    }
}

/// Tells whether a message is on this link, and has these words in it.
fn is_like(message: &Message<Text>, from: NodeId, to: NodeId, what: &str) -> bool {
    (message.from, message.to) == (from, to) && show::message(message).contains(what)
}

fn is_of_election(message: &Message<Text>) -> bool {
    match &message.body {
        Body::Word(word) => {
            matches!(word, Word::PreVote { .. } | Word::PreVoteReply { .. } | Word::VoteRefused)
        }
        Body::Promise(promise) => matches!(promise, Promise::RequestVote { .. } | Promise::Vote),
    }
}

/// Writes what a node is and has: `leads in term 2 [0.1:voters n1 2.2] commit 2`.
fn state(view: &View<'_, Text>) -> String {
    let role = match view.role {
        Role::Follower => "follows",
        Role::PreCandidate => "asks",
        Role::Candidate => "stands",
        Role::Leader => "leads",
    };
    let after = match view.log.base() {
        LogId::ORIGIN => String::new(),
        base => format!("after {base} "),
    };
    let log = show::entries(view.log.iter_from(view.log.base().index.next()));
    let membership = show::membership(view.membership);
    let (term, commit) = (view.term, view.commit);
    format!("{role} in term {term} {after}{log} commit {commit} {membership}")
}

fn id(word: &str) -> anyhow::Result<NodeId> {
    Ok(NodeId(word.parse().with_context(|| format!("`{word}` is no node"))?))
}

fn ids(words: &[&str]) -> anyhow::Result<BTreeSet<NodeId>> {
    words.iter().map(|word| id(word)).collect()
}
