//! What an operator is told of a change of members is so: one that is answered as applied is committed, and one that
//! is refused never takes effect, unless nobody can know (Raft paper, §6; thesis, §4.3).
//!
//! The answer comes with the membership that ends the change: with a joint one, who leaves is still needed.

use std::collections::{BTreeMap, BTreeSet};

use geostream_consensus::{LogId, Membership, NodeId, Refusal, Ticket};

use crate::history::History;

/// All changes of members that were asked for.
#[derive(Debug, Default)]
pub(crate) struct MembershipChanges {
    asked: u64,
    /// Those without an answer; a leader that loses power gives none.
    waiting: BTreeMap<Ticket, Change>,
    /// Entries of changes that were refused for good.
    refused: BTreeSet<LogId>,
}

/// A change that an operator waits for.
#[derive(Debug)]
struct Change {
    voters: BTreeSet<NodeId>,
    learners: BTreeSet<NodeId>,
    /// The first entry that is to bring it, once a leader has proposed it.
    entry: Option<LogId>,
}

/// No client's ticket is as great.
const FIRST: u64 = 0xffff << 48;

impl MembershipChanges {
    pub(crate) const NAME: &'static str = "membership changes as answered";

    /// Takes note that an operator asks for these members, and returns a ticket that no other change has.
    pub(crate) fn ask(&mut self, voters: &BTreeSet<NodeId>, learners: &BTreeSet<NodeId>) -> Ticket {
        let ticket = Ticket(FIRST + self.asked);
        self.asked += 1;
        let (voters, learners) = (voters.clone(), learners.clone());
        self.waiting.insert(ticket, Change { voters, learners, entry: None });
        ticket
    }

    /// Takes note of the entry by which a leader begins a change, if it has not refused it.
    pub(crate) fn proposed(&mut self, ticket: Ticket, entry: LogId) {
        if let Some(change) = self.waiting.get_mut(&ticket) {
            change.entry = Some(entry);
        }
    }

    /// Judges that a node applies a membership, and answers somebody with it.
    pub(crate) fn applied(
        &mut self,
        entry: LogId,
        membership: &Membership,
        ticket: Option<Ticket>,
        history: &History,
    ) -> Result<(), String> {
        if self.refused.contains(&entry) {
            return Err(format!("{entry} was refused, and is committed"));
        }
        let Some(ticket) = ticket else { return Ok(()) };
        let change = self.waiting.remove(&ticket);
        let change = change.ok_or_else(|| format!("{ticket:?} is answered without need"))?;
        let Change { voters, learners, entry: first } = &change;
        let same = membership.voters() == voters && membership.learners() == learners;
        if !same || membership.is_joint() {
            return Err(format!("{change:?} is answered with {membership:?}"));
        }
        let is_committed = |id: LogId| history.committed(id.index) == Some(id);
        if !is_committed(entry) || !first.is_some_and(is_committed) {
            return Err(format!("{change:?} is answered with {entry}, and not committed"));
        }
        Ok(())
    }

    /// Judges that a node refuses a change.
    pub(crate) fn refused(
        &mut self,
        ticket: Ticket,
        why: Refusal,
        history: &History,
    ) -> Result<(), String> {
        let change = self.waiting.remove(&ticket);
        let change = change.ok_or_else(|| format!("{ticket:?} is refused without need"))?;
        let Some(entry) = change.entry.filter(|_| why != Refusal::Unknown) else { return Ok(()) };
        if history.committed(entry.index) == Some(entry) {
            return Err(format!("{change:?} is refused: {why}; and it is committed"));
        }
        self.refused.insert(entry);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use geostream_consensus::{Index, Term};

    const ENTRY: LogId = LogId::new(Term::new(1), Index::new(2));

    #[test]
    fn a_change_that_takes_effect_after_it_was_refused_is_seen() {
        let (voters, learners) = (BTreeSet::from([NodeId(1)]), BTreeSet::from([NodeId(2)]));
        let (history, entry) = (History::default(), ENTRY);
        let membership = Membership::from_parts(voters.clone(), [].into(), learners.clone(), None);
        for (why, seen) in [(Refusal::Lost, true), (Refusal::Unknown, false)] {
            let mut changes = MembershipChanges::default();
            let ticket = changes.ask(&voters, &learners);
            changes.proposed(ticket, entry);
            assert_eq!(changes.refused(ticket, why, &history), Ok(()));
            assert!(changes.refused(ticket, why, &history).is_err(), "it is answered twice");
            assert_eq!(changes.applied(entry, &membership, None, &history).is_err(), seen);
        }
    }

    #[test]
    fn a_change_that_is_answered_before_it_is_committed_is_seen() {
        let (voters, learners) = (BTreeSet::from([NodeId(1)]), BTreeSet::new());
        let mut changes = MembershipChanges::default();
        let ticket = changes.ask(&voters, &learners);
        changes.proposed(ticket, ENTRY);
        let membership = Membership::of(voters);
        let history = History::default();
        let judged = changes.applied(ENTRY, &membership, Some(ticket), &history);
        assert!(judged.is_err());
    }
}
