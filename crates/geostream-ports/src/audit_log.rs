//! Who wanted what of the server, and what came of it.

use std::future::Future;
use std::net::IpAddr;
use std::time::Duration;

use geostream_domain::{Line, NodeId, Revision, Timestamp};

use crate::{Scope, TokenId, Unavailable};

/// Keeps the audit trail.
///
/// What changes configuration or tokens is recorded with the change itself, or neither is done:
/// whoever asks for the change says whose [`Attempt`] it is. [`AuditLog::record`] takes the rest.
pub trait AuditLog: Send + Sync + 'static {
    /// Keeps records, in this order: all of them or none.
    fn record(
        &self,
        records: Vec<AuditRecord>,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// Returns the latest records that are wanted, newest first.
    fn trail(
        &self,
        wanted: TrailQuery,
    ) -> impl Future<Output = Result<Vec<Audited>, Unavailable>> + Send;

    /// Forgets what is older than an age now, as [`geostream_domain::outlived`] judges it over all
    /// parts together; then, of each [`AuditPart`], all but the newest so many. So a clock that is
    /// wrong never erases the trail, and records of one part never displace those of another.
    fn forget(
        &self,
        age: Duration,
        now: Timestamp,
        most: usize,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;
}

/// A record and its place in the trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audited {
    /// Grows with every record.
    pub number: u64,
    /// The record.
    pub record: AuditRecord,
}

/// Somebody wanted something, and this came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// Who wanted what.
    pub attempt: Attempt,
    /// What came of it.
    pub outcome: AuditOutcome,
}

/// The parts of the trail, each of which is cut by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditPart {
    /// What was done.
    Done,
    /// What was refused to a known token.
    Refused,
    /// What was refused without a valid token: strangers can cause any number of these.
    Anonymous,
}

impl AuditRecord {
    /// Returns the part of the trail that this record belongs to.
    #[must_use]
    pub fn part(&self) -> AuditPart {
        match (&self.outcome, &self.attempt.who) {
            (AuditOutcome::Done(_), _) => AuditPart::Done,
            (AuditOutcome::Refused { .. }, Some(_)) => AuditPart::Refused,
            (AuditOutcome::Refused { .. }, None) => AuditPart::Anonymous,
        }
    }
}

/// Somebody wants something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// When it was asked for.
    pub at: Timestamp,
    /// The node that was asked.
    pub node: NodeId,
    /// Who asked; `None` for somebody without a valid token.
    pub who: Option<Actor>,
    /// From where; `None` for the node itself, and for refusals of many client networks that are
    /// counted together.
    pub address: Option<IpAddr>,
    /// What is to be done: an operation of the API, such as `putRegion`.
    pub action: String,
    /// What it is to be done to: a path of the API.
    pub target: String,
}

/// Somebody who is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The name of the token, or of what the node does by itself.
    pub name: Line,
    /// The token that was used; `None` for the node itself.
    pub token: Option<(TokenId, Scope)>,
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditOutcome {
    /// It was done.
    Done(Effect),
    /// It was refused, or failed.
    Refused {
        /// The status of the answer.
        status: u16,
        /// The kind of problem.
        problem: String,
        /// What was wrong.
        detail: String,
        /// How many requests this stands for: the first of them is recorded, the others counted.
        count: u64,
    },
}

/// What an action has led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// The revision of the configuration; `None` if something else was changed.
    pub revision: Option<Revision>,
    /// Why; `None` where nobody is asked for a reason.
    pub reason: Option<Line>,
    /// What was changed, before and after: JSON, as the API writes it.
    pub changes: String,
}

impl Attempt {
    /// Records that it was done.
    #[must_use]
    pub fn done(self, effect: Effect) -> AuditRecord {
        AuditRecord { attempt: self, outcome: AuditOutcome::Done(effect) }
    }
}

/// Which records are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrailQuery {
    /// Only those below this number.
    pub below: Option<u64>,
    /// How many at the most.
    pub limit: usize,
    /// Only those of attempts since then.
    pub since: Option<Timestamp>,
    /// Only those of attempts before then.
    pub until: Option<Timestamp>,
    /// Only those of attempts at this node, by its configured name or that of one start.
    pub node: Option<NodeId>,
    /// Only those of whoever has this name or this token's id.
    pub who: Option<String>,
    /// Only those of this action, or whose target contains this.
    pub what: Option<String>,
}

impl TrailQuery {
    /// Wants the latest, of whatever kind.
    #[must_use]
    pub fn latest(limit: usize) -> Self {
        Self { below: None, limit, since: None, until: None, node: None, who: None, what: None }
    }

    /// Tells whether a record is of the wanted kind.
    #[must_use]
    pub fn wants(&self, AuditRecord { attempt, .. }: &AuditRecord) -> bool {
        let is_whose = |wanted: &String| match &attempt.who {
            Some(Actor { name, token }) => {
                name.as_str() == wanted || token.is_some_and(|(id, _)| id.to_string() == *wanted)
            }
            None => false,
        };
        self.since.is_none_or(|since| attempt.at >= since)
            && self.until.is_none_or(|until| attempt.at < until)
            && self.node.as_ref().is_none_or(|node| attempt.node.is_called(node))
            && self.who.as_ref().is_none_or(is_whose)
            && self.what.as_ref().is_none_or(|what| {
                attempt.action == *what || attempt.target.contains(what.as_str())
            })
    }
}
