//! The latest commits that a node has seen, and those of them that its store's log has lost.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::config::commit::Commit;
use crate::config::document::{Change, Config, Revision};
use crate::time::Timestamp;

/// The latest commits of a log, without a gap, as one node has seen them.
///
/// A store that is restored from a backup, or fails over to a replica that was behind, goes on
/// without its last commits. A node that keeps them can name what is gone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RecentCommits {
    commits: VecDeque<Commit>,
}

/// What a node had decided by and its store's log lacks.
#[derive(Clone, Debug, PartialEq)]
pub struct LostCommits {
    /// The first revision that is lost.
    pub first: Revision,
    /// The last one: the revision that the node had decided by.
    pub last: Revision,
    /// The commits among them that the node has kept, in order.
    pub commits: Vec<Commit>,
    /// The configuration at the last one, as far as the node has it.
    pub config: Arc<Config>,
    /// The changes that would lead from the store's configuration to that one.
    pub changes: Vec<Change>,
    /// The latest revision of the store's log when they were missed.
    pub store: Revision,
    /// When they were missed.
    pub found: Timestamp,
}

impl RecentCommits {
    /// The most commits that are kept.
    pub const MOST: usize = 100;

    /// The most changes that they have together, unless the latest commit alone has more.
    pub const MOST_CHANGES: usize = 500;

    /// Takes in a commit of the log, in place of the one of that number and of later ones.
    ///
    /// A commit that does not follow the last one begins anew: what lies between is not known.
    pub fn push(&mut self, commit: Commit) {
        while self.commits.back().is_some_and(|last| last.revision >= commit.revision) {
            self.commits.pop_back();
        }
        if self.commits.back().is_some_and(|last| last.revision.next() != commit.revision) {
            self.commits.clear();
        }
        self.commits.push_back(commit);
        while self.commits.len() > 1 && !self.is_within_limits() {
            self.commits.pop_front();
        }
    }

    /// Takes in a commit that this node has made, unless that number is known already: the log says
    /// better what was committed.
    pub fn note(&mut self, commit: Commit) {
        if self.last().is_none_or(|last| commit.revision > last.revision) {
            self.push(commit);
        }
    }

    /// Returns the first commit that is kept.
    #[must_use]
    pub fn first(&self) -> Option<&Commit> {
        self.commits.front()
    }

    /// Returns the latest commit.
    #[must_use]
    pub fn last(&self) -> Option<&Commit> {
        self.commits.back()
    }

    /// Returns the commits, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Commit> {
        self.commits.iter()
    }

    /// Returns the commits that a log lacks, of which this is a part, oldest first, and which ends
    /// with this revision.
    ///
    /// A commit whose number the part does not have is not taken for lost: the log may have
    /// forgotten it. All between the first and the last lost one are lost, since they followed it.
    #[must_use]
    pub fn missing_in(&self, log: &[Commit], latest: Revision) -> Vec<Commit> {
        let is_missing = |ours: &Commit| {
            let found = log.binary_search_by_key(&ours.revision, |theirs| theirs.revision);
            ours.revision > latest || found.is_ok_and(|place| !is_same(ours, &log[place]))
        };
        let Some(first) = self.commits.iter().position(is_missing) else { return Vec::new() };
        let last = self.commits.iter().rposition(is_missing).unwrap_or(first);
        self.commits.range(first..=last).cloned().collect()
    }

    fn is_within_limits(&self) -> bool {
        let changes: usize = self.commits.iter().map(|commit| commit.changes.len()).sum();
        self.commits.len() <= Self::MOST && changes <= Self::MOST_CHANGES
    }
}

impl FromIterator<Commit> for RecentCommits {
    fn from_iter<I: IntoIterator<Item = Commit>>(commits: I) -> Self {
        let mut recent = Self::default();
        commits.into_iter().for_each(|commit| recent.push(commit));
        recent
    }
}

/// Tells whether two commits of one number are one.
///
/// Times are left out: a store may keep them by a clock of its own.
fn is_same(one: &Commit, other: &Commit) -> bool {
    let is_same_change = |(one, other): (&Change, &Change)| match (one, other) {
        (Change::SetOverride(one), Change::SetOverride(other)) => {
            (&one.region, one.action, &one.owner, &one.reason)
                == (&other.region, other.action, &other.owner, &other.reason)
        }
        _ => one == other,
    };
    one.author == other.author
        && one.reason == other.reason
        && one.changes.len() == other.changes.len()
        && one.changes.iter().zip(&other.changes).all(is_same_change)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::operator::Flag;

    fn commit(revision: u64, reason: &str) -> Commit {
        Commit {
            revision: Revision::new(revision),
            changes: vec![Change::SetFlag(Flag::ALL[0], true)],
            author: "ops".parse().unwrap(),
            reason: reason.parse().unwrap(),
            at: Timestamp::from_unix_millis(revision),
        }
    }

    fn commits(revisions: std::ops::RangeInclusive<u64>, reason: &str) -> Vec<Commit> {
        revisions.map(|revision| commit(revision, reason)).collect()
    }

    fn revisions<'a>(commits: impl IntoIterator<Item = &'a Commit>) -> Vec<u64> {
        commits.into_iter().map(|commit| commit.revision.get()).collect()
    }

    #[test]
    fn commits_are_lost_from_the_first_that_differs_or_lies_beyond_the_log() {
        let ours: RecentCommits = commits(5..=8, "ours").into_iter().collect();
        let missing =
            |log: &[Commit], latest| revisions(&ours.missing_in(log, Revision::new(latest)));
        assert_eq!(missing(&commits(5..=8, "ours"), 8), [0; 0]);
        assert_eq!(missing(&commits(5..=6, "ours"), 6), [7, 8], "the log ends earlier");
        assert_eq!(missing(&[], 3), [5, 6, 7, 8], "the log ends before what is kept");
        assert_eq!(missing(&commits(8..=9, "ours"), 9), [0; 0], "what is forgotten is not lost");
        let branch = [commits(5..=6, "ours"), commits(7..=9, "theirs")].concat();
        assert_eq!(missing(&branch, 9), [7, 8], "another branch was taken");
        let later = [commits(5..=7, "theirs"), commits(8..=8, "ours")].concat();
        assert_eq!(missing(&later, 8), [5, 6, 7], "the last one was made on that branch");
        let mut later = commits(5..=8, "ours");
        later.iter_mut().for_each(|commit| commit.at = Timestamp::from_unix_millis(99));
        assert_eq!(missing(&later, 8), [0; 0], "the store has a clock of its own");
    }

    #[test]
    fn what_is_kept_has_no_gap_and_is_limited() {
        let mut recent: RecentCommits = commits(1..=150, "a").into_iter().collect();
        assert_eq!((recent.first(), recent.iter().count()), (Some(&commit(51, "a")), 100));
        recent.note(commit(150, "mine"));
        assert_eq!(recent.last(), Some(&commit(150, "a")), "the log's own is there");
        recent.push(commit(149, "b"));
        assert_eq!(recent.last(), Some(&commit(149, "b")), "another branch takes its place");
        recent.note(commit(150, "mine"));
        assert_eq!(recent.last(), Some(&commit(150, "mine")));
        recent.push(commit(200, "c"));
        assert_eq!(revisions(recent.iter()), [200]);
        let mut large = commit(201, "d");
        large.changes = vec![Change::SetFlag(Flag::ALL[0], true); 600];
        recent.push(large);
        assert_eq!(revisions(recent.iter()), [201], "the latest is kept, whatever it has");
    }
}
