//! Raft as a pure machine.
//!
//! A [`Raft`] is one node. What happens to it goes in as an [`Input`], with the time; what is to
//! be done comes out as [`Effect`]s. It has no clock, no network, no disk and no thread, and draws
//! its random numbers from a seed: the same inputs give the same effects, so a whole cluster can
//! be run, and broken, in one thread.

mod change;
mod clock;
mod commit;
mod config;
mod effect;
mod election;
mod entry;
mod error;
mod following;
mod id;
mod input;
mod leading;
mod load;
mod log;
mod membership;
mod memberships;
mod message;
mod outbox;
mod progress;
mod raft;
mod reads;
mod replication;
mod restart;
mod rng;
mod sessions;
mod snapshot;
mod state;
#[cfg(test)]
mod storm;
#[cfg(test)]
mod testing;
mod time;
mod transfer;
mod view;

pub use crate::config::{Config, Lease, Limits, Timing};
pub use crate::effect::{Committed, Effect, HardState, Op, Write};
pub use crate::entry::{Command, Entry, Payload, SnapshotMeta};
pub use crate::error::{ConfigError, HaltReason, MembershipError, Refusal, RestoreError};
pub use crate::id::{Index, LogId, NodeId, Term, Ticket, WriteId};
pub use crate::input::{Input, Piece, Proposal};
pub use crate::log::Log;
pub use crate::membership::Membership;
pub use crate::message::{AppendEntries, Body, Message, Probe, Promise, SnapshotChunk, Word};
pub use crate::progress::{Mode, Progress, Sending};
pub use crate::raft::Raft;
pub use crate::restart::Stored;
pub use crate::sessions::{
    Call, Reply, Request, Session, SessionError, SessionId, SessionLimits, Sessions,
};
pub use crate::time::Moment;
pub use crate::view::{Held, Received, Role, View};
