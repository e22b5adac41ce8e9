//! Whether anything answers the probes of a node.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Instant;

use crate::health::evidence::{ProbeFailure, ProbeOutcome};
use crate::name::RegionId;

/// Who is asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A region.
    Region(RegionId),
    /// An address that tells whether this node still has a network.
    Canary(SocketAddr),
}

/// Whether anything answers the probes of a node as its check expects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Answering {
    /// The node probes nothing.
    #[default]
    Unprobed,
    /// The latest probe of a subject succeeded, or its first one is still to be answered.
    Answered,
    /// The latest probe of every subject failed, since this moment.
    Unanswered(Instant),
}

/// The subjects that are probed, and which of them failed their latest probe.
///
/// A failure of this node itself ([`ProbeFailure::Local`]) counts here, although it says nothing of
/// the subject: a node that cannot send probes gets no answers either.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answers {
    /// Without those that this node may not probe.
    probed: BTreeSet<Subject>,
    failing: BTreeSet<Subject>,
    unanswered: Option<Instant>,
}

impl Answers {
    /// Expects an answer of a subject; until its first outcome, it may be there.
    pub(crate) fn expect(&mut self, subject: Subject) {
        self.failing.remove(&subject);
        self.probed.insert(subject);
    }

    /// Expects no answer of a subject any more; [`Answers::settle`] follows.
    pub(crate) fn forget(&mut self, subject: &Subject) {
        self.probed.remove(subject);
        self.failing.remove(subject);
    }

    pub(crate) fn handle_outcome(
        &mut self,
        subject: &Subject,
        outcome: ProbeOutcome,
        now: Instant,
    ) {
        match outcome {
            ProbeOutcome::NotAsked => return,
            ProbeOutcome::Failed(ProbeFailure::Forbidden) => self.forget(subject),
            ProbeOutcome::Failed(_) => {
                insert(&mut self.probed, subject);
                insert(&mut self.failing, subject);
            }
            ProbeOutcome::Well(_) => {
                insert(&mut self.probed, subject);
                self.failing.remove(subject);
                self.unanswered = None;
            }
        }
        self.settle(now);
    }

    /// Notes since when all subjects fail.
    ///
    /// A new subject does not end that, only an answer does: frequent writes of the configuration
    /// must not hide a loss.
    pub(crate) fn settle(&mut self, now: Instant) {
        if self.probed.is_empty() {
            self.unanswered = None;
        } else if self.failing.len() == self.probed.len() {
            self.unanswered.get_or_insert(now);
        }
    }

    pub(crate) fn answering(&self) -> Answering {
        match self.unanswered {
            Some(since) => Answering::Unanswered(since),
            None if self.probed.is_empty() => Answering::Unprobed,
            None => Answering::Answered,
        }
    }
}

/// Inserts a subject, and copies it only where it is not there yet.
fn insert(subjects: &mut BTreeSet<Subject>, subject: &Subject) {
    if !subjects.contains(subject) {
        subjects.insert(subject.clone());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const WELL: ProbeOutcome = ProbeOutcome::Well(Duration::from_millis(1));
    const REFUSED: ProbeOutcome = ProbeOutcome::Failed(ProbeFailure::Refused);

    #[test]
    fn a_loss_begins_when_the_last_subject_fails_and_ends_with_an_answer() {
        let start = begin();
        let at = |seconds| start + Duration::from_secs(seconds);
        let [eu, us] = [region("eu"), region("us")];
        let mut answers = Answers::default();
        assert_eq!(answers.answering(), Answering::Unprobed);
        answers.expect(eu.clone());
        answers.expect(us.clone());
        answers.handle_outcome(&eu, REFUSED, at(1));
        assert_eq!(answers.answering(), Answering::Answered, "the other was not asked yet");
        answers.handle_outcome(&us, REFUSED, at(2));
        answers.handle_outcome(&us, REFUSED, at(3));
        assert_eq!(answers.answering(), Answering::Unanswered(at(2)));
        answers.handle_outcome(&eu, WELL, at(4));
        assert_eq!(answers.answering(), Answering::Answered);
    }

    #[test]
    fn a_new_subject_does_not_hide_a_loss_and_the_end_of_the_last_answering_one_begins_it() {
        let start = begin();
        let later = start + Duration::from_secs(1);
        let [eu, us, ap] = [region("eu"), region("us"), region("ap")];
        let mut answers = Answers::default();
        answers.expect(eu.clone());
        answers.handle_outcome(&eu, REFUSED, start);
        answers.expect(us.clone());
        answers.settle(later);
        assert_eq!(answers.answering(), Answering::Unanswered(start));
        answers.handle_outcome(&us, WELL, later);
        answers.forget(&us);
        answers.expect(ap.clone());
        answers.settle(later);
        assert_eq!(answers.answering(), Answering::Answered, "the new one may be there");
        answers.forget(&ap);
        answers.settle(later);
        assert_eq!(answers.answering(), Answering::Unanswered(later));
        answers.forget(&eu);
        answers.settle(later);
        assert_eq!(answers.answering(), Answering::Unprobed);
    }

    #[test]
    fn what_may_not_be_probed_or_was_not_asked_is_no_loss_and_what_cannot_be_sent_is() {
        let start = begin();
        let failed = |failure| ProbeOutcome::Failed(failure);
        let eu = region("eu");
        for (outcome, answering) in [
            (ProbeOutcome::NotAsked, Answering::Answered),
            (failed(ProbeFailure::Forbidden), Answering::Unprobed),
            (failed(ProbeFailure::Status(500)), Answering::Unanswered(start)),
            (failed(ProbeFailure::Local), Answering::Unanswered(start)),
        ] {
            let mut answers = Answers::default();
            answers.expect(eu.clone());
            answers.handle_outcome(&eu, outcome, start);
            assert_eq!(answers.answering(), answering, "{outcome:?}");
        }
    }

    fn region(id: &str) -> Subject {
        Subject::Region(id.parse().unwrap())
    }

    #[expect(clippy::disallowed_methods, reason = "any moment will do")]
    fn begin() -> Instant {
        Instant::now()
    }
}
