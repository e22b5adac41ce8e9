//! Terms, commits and what is applied only grow, and a vote is given once a term, also across restarts.

use std::collections::BTreeMap;

use geostream_consensus::{Body, Index, Message, NodeId, Promise, Term};

use super::{Cause, Checker, Seen};
use crate::machine::Wanted;

/// The last vote that each node has told anybody of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Monotonic {
    votes: Vec<Option<(Term, NodeId)>>,
    /// What each leader knew its followers to have, by the terms.
    matched: BTreeMap<(Term, NodeId), Index>,
}

impl Checker for Monotonic {
    fn name(&self) -> &'static str {
        "monotonic terms, votes and commits"
    }

    fn judge(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        self.votes.resize(self.votes.len().max(seen.node + 1), None);
        grow(seen)?;
        are_in_order(seen)?;
        self.followers(seen)?;
        for message in seen.sent() {
            self.vote(seen, message)?;
        }
        match self.votes[seen.node] {
            Some((term, _)) if term > seen.view.term => {
                Err(format!("{} was in term {term}, and is in {}", seen.id(), seen.view.term))
            }
            Some((term, to)) if term == seen.view.term && seen.view.vote != Some(to) => {
                Err(format!("{} has forgotten its vote for {to} in term {term}", seen.id()))
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl Monotonic {
    /// A leader never knows a follower to have less than before.
    fn followers(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        let (Cause::Heard(heard), Some(progress)) = (seen.cause, seen.view.progress) else {
            return Ok(());
        };
        let Some(now) = progress.get(&heard.from).map(|progress| progress.matched) else {
            return Ok(());
        };
        let matched = self.matched.entry((seen.view.term, heard.from)).or_insert(now);
        if now < *matched {
            let (id, from) = (seen.id(), heard.from);
            return Err(format!("{id} knew {from} to have {matched}, and now {now}"));
        }
        *matched = now;
        Ok(())
    }

    fn vote(&mut self, seen: &Seen<'_>, message: &Message<Wanted>) -> Result<(), String> {
        let to = match &message.body {
            Body::Promise(Promise::Vote) => message.to,
            Body::Promise(Promise::RequestVote { .. }) => message.from,
            Body::Promise(Promise::AppendAck { .. } | Promise::Staged { .. }) | Body::Word(_) => {
                return Ok(());
            }
        };
        let vote = &mut self.votes[seen.node];
        match *vote {
            Some((term, other)) if term == message.term && other != to => {
                Err(format!("{} votes for {other} and {to} in term {term}", seen.id()))
            }
            Some((term, _)) if term > message.term => Ok(()),
            Some(_) | None => {
                *vote = Some((message.term, to));
                Ok(())
            }
        }
    }
}

fn grow(seen: &Seen<'_>) -> Result<(), String> {
    let Some(before) = seen.before else { return Ok(()) };
    let (id, view) = (seen.id(), &seen.view);
    let changed = before.vote.is_some() && before.vote != view.vote;
    if view.term == before.term && changed {
        return Err(format!("{id} changes its vote from {:?} to {:?}", before.vote, view.vote));
    }
    let numbers = [
        ("term", before.term.get(), view.term.get()),
        ("commit", before.commit.get(), view.commit.get()),
        ("applied", before.applied.get(), view.applied.get()),
        ("snapshot", before.snapshot.get(), view.snapshot.last.index.get()),
    ];
    match numbers.into_iter().find(|(_, before, after)| before > after) {
        Some((what, before, after)) => Err(format!("{id}'s {what} falls from {before} to {after}")),
        None => Ok(()),
    }
}

fn are_in_order(seen: &Seen<'_>) -> Result<(), String> {
    let view = &seen.view;
    let order = [
        ("purged", view.log.base().index, "snapshot", view.snapshot.last.index),
        ("snapshot", view.snapshot.last.index, "commit", view.commit),
        ("applied", view.applied, "commit", view.commit),
        ("commit", view.commit, "last", view.log.last().index),
        ("durable", view.durable, "last", view.log.last().index),
    ];
    match order.into_iter().find(|(_, less, _, more)| less > more) {
        Some((one, less, other, more)) => {
            Err(format!("{}'s {one} is {less}, and its {other} {more}", view.id))
        }
        None => Ok(()),
    }
}
