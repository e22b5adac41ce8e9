//! The membership in force is the last one in the log, and each one is a safe step from the one before
//! (Raft paper, §6; thesis, §4.1 and §4.3).

use geostream_consensus::{Effect, Index, Membership, Role};

use super::{Checker, Seen};

/// Needs to remember nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Configuration;

impl Checker for Configuration {
    fn name(&self) -> &'static str {
        "configuration in force = last in log"
    }

    fn judge(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        let view = &seen.view;
        let known = seen.history.logs[seen.node].memberships();
        let Some((at, last)) = known.last() else { return Ok(()) };
        let changed = *at != view.membership_at
            || !seen.history.added.is_empty()
            || !seen.history.removed.is_empty()
            || seen.before.is_none();
        if changed && (*at != view.membership_at || last != view.membership) {
            let used = view.membership_at;
            return Err(format!("{} uses the membership of {used}, not of {at}", view.id));
        }
        for effect in seen.effects {
            if let Effect::TakeSnapshot(meta) = effect {
                let place = known.partition_point(|(at, _)| *at <= meta.last.index);
                if known[..place].last().is_none_or(|(_, there)| *there != meta.membership) {
                    return Err(format!("{}'s snapshot has {:?}", view.id, meta.membership));
                }
            }
        }
        is_voter(seen, known)?;
        let proposes = view.role == Role::Leader;
        let added = seen.history.added.iter().filter(|added| added.is_membership);
        for added in added.filter(|added| proposes && added.id.term == view.term) {
            let place = known.partition_point(|(at, _)| *at < added.id.index);
            let [(before_at, before), (_, after), ..] = &known[place - 1..] else { continue };
            is_safe_step(seen, *before_at, before, after)?;
        }
        Ok(())
    }
}

/// Whoever stands for election votes, in the last committed membership or a later one.
fn is_voter(seen: &Seen<'_>, known: &[(Index, Membership)]) -> Result<(), String> {
    let view = &seen.view;
    let stood = seen.before.is_some_and(|before| before.term == view.term);
    let stands = matches!(view.role, Role::Candidate | Role::Leader) && !stood;
    let committed = known.partition_point(|(at, _)| *at <= view.commit).saturating_sub(1);
    if stands && !known[committed..].iter().any(|(_, there)| there.is_voter(view.id)) {
        return Err(format!("{} stands for election, and does not vote", view.id));
    }
    Ok(())
}

fn is_safe_step(
    seen: &Seen<'_>,
    before_at: Index,
    before: &Membership,
    after: &Membership,
) -> Result<(), String> {
    let view = &seen.view;
    if before_at > view.commit {
        return Err(format!("{} changes a membership that is not committed", view.id));
    }
    let enters = !before.is_joint() && after.is_joint() && after.outgoing() == before.voters();
    let leaves = before.is_joint() && !after.is_joint() && after.voters() == before.voters();
    let same = !before.is_joint() && !after.is_joint() && after.voters() == before.voters();
    if !(enters || leaves || same) {
        return Err(format!("quorums of {before:?} and {after:?} need not overlap"));
    }
    // Whoever leads leaves a joint membership in the same way, so that needs no such proof.
    if !leaves && view.log.id_at(view.commit).is_none_or(|id| id.term != view.term) {
        return Err(format!("{} changes the membership before its first commit", view.id));
    }
    let reused = after.members().find(|id| !before.contains(*id) && Some(*id) <= before.newest());
    reused.map_or(Ok(()), |id| Err(format!("{id} joins a second time")))
}
