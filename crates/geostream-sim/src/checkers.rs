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
mod monotonic;
mod pre_vote;
mod promises;
mod read_index;
mod state_machine_safety;
mod transfer;

use std::fmt;

use geostream_consensus::{
    Body, Effect, Input, Limits, Message, NodeId, Term, Ticket, Timing, View, Word,
};

use crate::agenda::Micros;
use crate::chronicle::{Brief, Chronicle};
use crate::disk::Disk;
use crate::machine::Wanted;

pub(crate) use acknowledged::Acknowledged;
pub(crate) use linearizability::Linearizability;

/// A property that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    pub(crate) chronicle: &'a Chronicle,
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

/// All properties of the protocol itself.
pub(crate) struct Checkers(Vec<Box<dyn Checker>>);

impl Checkers {
    pub(crate) fn new() -> Self {
        Self(vec![
            Box::<election_safety::ElectionSafety>::default(),
            Box::<leader_append_only::LeaderAppendOnly>::default(),
            Box::<log_matching::LogMatching>::default(),
            Box::<leader_completeness::LeaderCompleteness>::default(),
            Box::<state_machine_safety::StateMachineSafety>::default(),
            Box::<durable_quorum::DurableQuorum>::default(),
            Box::<committed_immutable::CommittedImmutable>::default(),
            Box::<monotonic::Monotonic>::default(),
            Box::<promises::Promises>::default(),
            Box::<configuration::Configuration>::default(),
            Box::<pre_vote::PreVote>::default(),
            Box::<check_quorum::CheckQuorum>::default(),
            Box::<read_index::ReadIndex>::default(),
            Box::<transfer::Transfer>::default(),
            Box::<bounds::Bounds>::default(),
        ])
    }

    pub(crate) fn judge(&mut self, seen: &Seen<'_>) -> Result<(), Violation> {
        for checker in &mut self.0 {
            checker.judge(seen).map_err(|what| Violation {
                property: checker.name(),
                at: seen.now,
                what,
            })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Checkers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|checker| checker.name())).finish()
    }
}
