//! Nothing is promised before it is durable: no vote, no acknowledgement, no entry for the state machine
//! (Raft paper, §5; thesis, §10.2.1).

use geostream_consensus::{Body, Effect, Message, Promise, Role};

use super::{Checker, Seen};
use crate::disk::remembers_vote;
use crate::machine::Wanted;

/// Needs to remember nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Promises;

impl Checker for Promises {
    fn name(&self) -> &'static str {
        "nothing promised before it is durable"
    }

    fn judge(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        let image = &seen.disks[seen.node].image;
        for effect in seen.effects {
            let kept = match effect {
                Effect::Send(message) => is_kept(seen, message),
                Effect::Apply(page) => page.iter().all(|committed| image.has(committed.entry.id)),
                Effect::Restore(meta) => image.snapshot.last >= meta.last,
                Effect::Write(_)
                | Effect::TakeSnapshot(_)
                | Effect::ReadChunk { .. }
                | Effect::ReadReady { .. }
                | Effect::Refused { .. }
                | Effect::Leads { .. }
                | Effect::Halt(_) => true,
            };
            if !kept {
                let has = (image.hard, image.last());
                return Err(format!("{} has {has:?} on disk, and wants {effect:?}", seen.id()));
            }
        }
        Ok(())
    }
}

fn is_kept(seen: &Seen<'_>, message: &Message<Wanted>) -> bool {
    let Body::Promise(promise) = &message.body else { return true };
    let image = &seen.disks[seen.node].image;
    let (hard, term) = (image.hard, message.term);
    // Whoever has entered a later term for good gives nothing away in this one any more.
    if hard.term > term {
        return true;
    }
    let kept = match *promise {
        Promise::RequestVote { last, .. } => {
            // Whoever follows a leader of that term by now stands no longer: votes for it count
            // nowhere, and on disk may already be the leader's log, which can end earlier.
            let stands = seen.view.term == term && seen.view.role != Role::Follower;
            remembers_vote(hard, term, message.from) && (image.last() >= last || !stands)
        }
        Promise::Vote => remembers_vote(hard, term, message.to),
        Promise::AppendAck { matched, .. } => {
            // A snapshot may have taken the place of the log that it acknowledged. And a node that has
            // entered a later term, not yet for good, may have another entry there by now; on disk
            // there is still the one that it acknowledged.
            let past = seen.view.term > term;
            let same = |id| past || seen.view.log.id_at(matched).is_none_or(|now| now == id);
            matched <= image.snapshot.last.index || image.at(matched).is_some_and(same)
        }
        Promise::Staged { snapshot, next } => {
            // If a newer one has replaced it since, the sender has begun that one itself.
            let replaced = image.staged_name().is_some_and(|name| name > snapshot);
            image.staged(snapshot) >= next || image.snapshot.last >= snapshot || replaced
        }
    };
    hard.term == term && kept
}
