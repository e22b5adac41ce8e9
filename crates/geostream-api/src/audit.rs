//! The audit trail.

use geostream_domain as domain;
use serde::{Deserialize, Serialize};

use crate::control::{Difference, LogLevel, Token};
use crate::time::Time;

/// A page of the audit trail, newest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditPage {
    /// The entries.
    pub entries: Vec<AuditEntry>,
    /// Where the next page begins, as the query parameter `below`; null on the last page.
    pub next_below: Option<u64>,
}

/// Somebody wanted something, and this came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Its place in the trail.
    pub number: u64,
    /// When it was asked for.
    pub at: Time,
    /// The node that was asked.
    pub node: String,
    /// The name of the token, or of what the node did by itself; null without a valid token.
    pub who: Option<String>,
    /// The token's id; null where none was used.
    pub token: Option<String>,
    /// The token's scope; null where none was used.
    pub scope: Option<String>,
    /// The address that it was asked from; null for the node itself, and for many client networks
    /// that are counted together.
    pub address: Option<String>,
    /// What was to be done, as an `operationId`.
    pub action: String,
    /// The path that it was to be done to.
    pub target: String,
    /// What came of it.
    pub outcome: AuditOutcome,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditOutcome {
    /// It was done.
    Done {
        /// The revision that it led to; null if it was no change of the configuration.
        revision: Option<u64>,
        /// Why; null where nobody is asked for a reason.
        reason: Option<String>,
        /// What was changed.
        #[serde(flatten)]
        changes: KeptChanges,
    },
    /// It was refused, or failed.
    Refused {
        /// The status of the answer.
        status: u16,
        /// The last part of the problem's `type`.
        problem: String,
        /// What was wrong.
        detail: String,
        /// How many requests this stands for.
        #[serde(default = "once")]
        count: u64,
    },
}

fn once() -> u64 {
    1
}

/// As much of what was changed as the trail keeps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KeptChanges {
    /// The parts that were changed. One whose documents are too large has neither.
    pub changes: Vec<Difference>,
    /// How many documents or whole parts are left out.
    pub left_out: usize,
}

impl KeptChanges {
    /// The most bytes that are kept of an action.
    pub const BYTES: usize = 16 << 10;

    /// Keeps as much as there is room for, the first parts first.
    #[must_use]
    pub fn of(changes: Vec<Difference>) -> Self {
        let mut room = Self::BYTES;
        let mut kept = Self::default();
        for change in changes {
            let bare = Difference { path: change.path.clone(), before: None, after: None };
            let fitting = [change, bare].into_iter().zip([0, 1]).find_map(|(change, left_out)| {
                room = room.checked_sub(size(&change))?;
                Some((change, left_out))
            });
            match fitting {
                Some((change, left_out)) => {
                    kept.changes.push(change);
                    kept.left_out += left_out;
                }
                None => kept.left_out += 1,
            }
        }
        kept
    }

    /// Keeps what differs between two configurations.
    #[must_use]
    pub fn between(old: &domain::Config, new: &domain::Config) -> Self {
        Self::of(Difference::between(old, new))
    }

    /// Keeps that a token was made or revoked.
    #[must_use]
    pub fn of_token(before: Option<&Token>, after: Option<&Token>) -> Self {
        let id = before.or(after).map(|token| token.id.clone()).unwrap_or_default();
        Self::of(vec![Difference::of_documents(format!("tokens/{id}"), before, after)])
    }

    /// Keeps that a node logs something else.
    #[must_use]
    pub fn of_log_level(before: &LogLevel, after: &LogLevel) -> Self {
        Self::of(vec![Difference::of_documents("log-level".to_owned(), Some(before), Some(after))])
    }
}

fn size(change: &Difference) -> usize {
    serde_json::to_string(change).map_or(usize::MAX, |text| text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(path: &str, bytes: usize) -> Difference {
        Difference { path: path.to_owned(), before: None, after: Some("x".repeat(bytes).into()) }
    }

    #[test]
    fn what_is_too_large_is_named_and_what_comes_after_it_is_kept() {
        let KeptChanges { changes, left_out } = KeptChanges::of(vec![
            change("a", 10),
            change("b", KeptChanges::BYTES),
            change("c", 10),
        ]);
        assert_eq!(left_out, 1);
        let bare = Difference { path: "b".to_owned(), before: None, after: None };
        assert_eq!(changes, [change("a", 10), bare, change("c", 10)]);
    }

    #[test]
    fn there_is_an_end_to_what_is_kept() {
        let changes = (0..10_000).map(|number| change(&number.to_string(), 100)).collect();
        let kept = KeptChanges::of(changes);
        assert!(kept.changes.iter().map(size).sum::<usize>() <= KeptChanges::BYTES);
        let whole = kept.changes.iter().filter(|change| change.after.is_some()).count();
        assert_eq!(whole + kept.left_out, 10_000);
    }
}
