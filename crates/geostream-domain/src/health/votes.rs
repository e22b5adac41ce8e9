//! What nodes say of a region: whether they see it down, and with what proof.

use std::fmt;

/// Whether a node sees a region well.
///
/// The order is the severity, least severe first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Vote {
    /// It does.
    Well,
    /// It sees it down, as surely as this.
    Down(Removal),
}

/// How sure it is that an unhealthy region cannot serve, least sure first.
///
/// The order is the severity of the evidence: verdicts take the most severe removal that enough
/// votes reach, and routing prefers the less severe region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Removal {
    /// Its probes succeed; it is held back because it was removed repeatedly within a short time.
    Held,
    /// Its checks or its clients report failures that one faulty resolver, clock, CA file, check or
    /// reporter produces for every region at once. The removal budget limits these.
    #[default]
    Unproven,
    /// Connections to it fail while another endpoint or a reachability target answers.
    Proven,
}

impl Removal {
    /// Returns its name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Unproven => "unproven",
            Self::Proven => "proven",
        }
    }
}

/// How many nodes see a region down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Votes {
    /// So many do.
    pub down: u8,
    /// Of these, so many hold it back though its probes succeed.
    pub held: u8,
    /// Of these, so many have proof.
    pub proven: u8,
    /// Of so many that vote.
    pub nodes: u8,
}

impl Votes {
    /// Returns what they add up to; `None` if nobody votes.
    pub(crate) fn verdict(self) -> Option<Vote> {
        let is_majority = |votes: u8| u16::from(votes) * 2 > u16::from(self.nodes);
        (self.nodes > 0).then_some(if is_majority(self.proven) {
            Vote::Down(Removal::Proven)
        } else if is_majority(self.down - self.held) {
            Vote::Down(Removal::Unproven)
        } else if is_majority(self.down) {
            Vote::Down(Removal::Held)
        } else {
            Vote::Well
        })
    }

    pub(crate) fn count(&mut self, vote: Option<Vote>) {
        self.nodes += u8::from(vote.is_some());
        let Some(Vote::Down(removal)) = vote else { return };
        self.down += 1;
        self.held += u8::from(removal == Removal::Held);
        self.proven += u8::from(removal == Removal::Proven);
    }
}

impl fmt::Display for Votes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seen down by {} of {} nodes", self.down, self.nodes)
    }
}
