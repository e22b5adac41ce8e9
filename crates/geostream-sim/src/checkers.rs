//! What must be true at every moment, one file for each property.

mod acknowledged;
mod bounds;
mod check_quorum;
mod committed_immutable;
mod configuration;
mod durable_quorum;
mod election_safety;
mod leader_append_only;
mod leader_completeness;
mod linearizability;
mod log_matching;
mod membership_changes;
mod monotonic;
mod pre_vote;
mod progress;
mod promises;
mod read_index;
mod state_machine_safety;
mod transfer;

use std::fmt;

use geostream_consensus::{
    Body, Effect, Input, Limits, Message, NodeId, Term, Ticket, Timing, View, Word,
};

use crate::agenda::Micros;
use crate::disk::Disk;
use crate::history::{Brief, History};
use crate::machine::Wanted;

pub(crate) use acknowledged::Acknowledged;
pub(crate) use check_quorum::CheckQuorum;
pub(crate) use linearizability::Linearizability;
pub(crate) use membership_changes::MembershipChanges;
pub(crate) use progress::{Member, Progress, Repaired};

/// A property that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Violation {
    /// Which property.
    pub property: &'static str,
    /// When it was seen not to hold, in microseconds.
    pub at: u64,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {} ms: {}", self.property, self.at / 1_000, self.what)
    }
}

/// What is seen of one step of one node.
pub(crate) struct Seen<'a> {
    pub(crate) now: Micros,
    pub(crate) node: usize,
    /// What it was before; `None` if it has just started.
    pub(crate) before: Option<Brief>,
    pub(crate) cause: Cause,
    /// It stood still before, or its clock jumped.
    pub(crate) is_odd: bool,
    pub(crate) view: View<'a, Wanted>,
    pub(crate) effects: &'a [Effect<Wanted>],
    pub(crate) disks: &'a [Disk],
    /// Its logs are as this step leaves them, what is committed as it was before.
    pub(crate) history: &'a History,
    pub(crate) timing: Timing,
    pub(crate) limits: Limits,
}

/// What made a node do something.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cause {
    /// It has just started.
    Start,
    Heard(Heard),
    Read(Ticket),
    Propose,
    Other,
}

/// A message, as far as properties depend on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heard {
    pub(crate) from: NodeId,
    pub(crate) term: Term,
    /// It would vote for who asked in this round.
    pub(crate) granted: Option<u64>,
    /// It wants the node to stand for election.
    pub(crate) urges: bool,
}

impl Cause {
    pub(crate) fn of(input: &Input<Wanted>) -> Self {
        match input {
            Input::Message(message) => Self::Heard(Heard::of(message)),
            Input::Read { ticket } => Self::Read(*ticket),
            Input::Propose(_) => Self::Propose,
            Input::Tick
            | Input::ChangeMembership { .. }
            | Input::Transfer { .. }
            | Input::Written(_)
            | Input::DiskFailed { .. }
            | Input::Applied { .. }
            | Input::Compact
            | Input::SnapshotTaken(_)
            | Input::ChunkRead { .. } => Self::Other,
        }
    }
}

impl Heard {
    fn of(message: &Message<Wanted>) -> Self {
        let (granted, urges) = match &message.body {
            Body::Word(Word::PreVoteReply { round, granted: true }) => (Some(*round), false),
            Body::Word(Word::TimeoutNow) => (None, true),
            Body::Word(_) | Body::Promise(_) => (None, false),
        };
        Self { from: message.from, term: message.term, granted, urges }
    }
}

/// A property that is looked at after every step.
pub(crate) trait Checker {
    /// The name it has in the paper.
    fn name(&self) -> &'static str;

    /// Judges a step; an error says what is wrong.
    fn judge(&mut self, seen: &Seen<'_>) -> Result<(), String>;

    /// Judges a step; an error names the property, too.
    fn holds(&mut self, seen: &Seen<'_>) -> Result<(), Violation> {
        let judged = self.judge(seen);
        judged.map_err(|what| Violation { property: self.name(), at: seen.now, what })
    }
}

impl Seen<'_> {
    pub(crate) fn id(&self) -> NodeId {
        self.view.id
    }

    /// Returns what was sent.
    pub(crate) fn sent(&self) -> impl Iterator<Item = &Message<Wanted>> {
        self.effects.iter().filter_map(|effect| {
            let Effect::Send(message) = effect else { return None };
            Some(message)
        })
    }
}

/// All properties of the protocol that do not depend on time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Checkers {
    election_safety: election_safety::ElectionSafety,
    leader_append_only: leader_append_only::LeaderAppendOnly,
    log_matching: log_matching::LogMatching,
    leader_completeness: leader_completeness::LeaderCompleteness,
    state_machine_safety: state_machine_safety::StateMachineSafety,
    durable_quorum: durable_quorum::DurableQuorum,
    committed_immutable: committed_immutable::CommittedImmutable,
    monotonic: monotonic::Monotonic,
    promises: promises::Promises,
    configuration: configuration::Configuration,
    pre_vote: pre_vote::PreVote,
    read_index: read_index::ReadIndex,
    transfer: transfer::Transfer,
    bounds: bounds::Bounds,
}

impl Checkers {
    pub(crate) fn judge(&mut self, seen: &Seen<'_>) -> Result<(), Violation> {
        let all: [&mut dyn Checker; 14] = [
            &mut self.election_safety,
            &mut self.leader_append_only,
            &mut self.log_matching,
            &mut self.leader_completeness,
            &mut self.state_machine_safety,
            &mut self.durable_quorum,
            &mut self.committed_immutable,
            &mut self.monotonic,
            &mut self.promises,
            &mut self.configuration,
            &mut self.pre_vote,
            &mut self.read_index,
            &mut self.transfer,
            &mut self.bounds,
        ];
        all.into_iter().try_for_each(|checker| checker.holds(seen))
    }
}
