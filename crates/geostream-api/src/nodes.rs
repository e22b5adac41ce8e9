//! What nodes say of themselves and of each other, for operators who look at all of them.

use std::collections::BTreeMap;

use geostream_domain as domain;
use serde::{Deserialize, Serialize};

use crate::time::Time;

/// A node as another one, or it itself, tells of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// The node.
    pub node: String,
    /// How it is known.
    pub state: NodeState,
    /// How long it has said nothing; 0 for the node that answers.
    pub silent_ms: u64,
    /// What it said of itself last; null for a node of an earlier version.
    pub summary: Option<NodeSummary>,
}

/// How a node is known to the one that tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// It is the one that tells.
    Answers,
    /// It is heard by way of the cache.
    Heard,
    /// It fell silent without a good-bye.
    Missing,
}

/// What a node says of itself. Fields of a later version are not read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeSummary {
    /// The server's version.
    pub version: String,
    /// When it was started, by its own clock.
    pub started: Option<Time>,
    /// The revision that it decides by.
    pub revision: u64,
    /// How its store is, `unreadable` or `read_only`, or else where its configuration comes from:
    /// `current`, `last_good`, `behind`, `unread` or `nothing`.
    pub store: String,
    /// The revision in `last-good.json`, which a start without the store would have; null if there
    /// is none.
    pub last_good: Option<u64>,
    /// The codes of its warnings.
    pub warnings: Vec<String>,
    /// How far its clock is ahead of others.
    pub clock_skew_ms: ClockSkews,
    /// The limits in force, by the names of their settings; one that is missing is off.
    pub limits: BTreeMap<String, u32>,
    /// Whether it is about to stop.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub leaving: bool,
}

/// How many milliseconds a node's clock is ahead of others, as far as that is known; negative if it
/// is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClockSkews {
    /// Of the store's clock; null before it was read, and where the store has none of its own.
    pub store: Option<i64>,
    /// Of the cache's clock; null without a cache.
    pub cache: Option<i64>,
    /// Of the node's that differs most, as measured by the cache's clock; null if none is heard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peers: Option<i64>,
}

/// The most bytes of a version, a word, a code of a warning or the name of a limit.
const MOST_BYTES: usize = 64;

/// The most warnings and limits of a summary.
const MOST_ENTRIES: usize = 64;

impl NodeSummary {
    /// Turns what another node says into the domain's words; `None` if it says what no node may.
    #[must_use]
    pub fn to_domain(&self) -> Option<domain::NodeSummary> {
        let Self { version, store, warnings, limits, .. } = self;
        let words = [version, store].into_iter().chain(warnings).chain(limits.keys());
        let is_bounded = warnings.len() <= MOST_ENTRIES
            && limits.len() <= MOST_ENTRIES
            && words.into_iter().all(|word| is_plain(word));
        let skew = |millis: Option<i64>| millis.map(domain::Skew::from_millis);
        is_bounded.then(|| domain::NodeSummary {
            version: version.clone(),
            started: self.started.map_or(domain::Timestamp::EPOCH, |started| started.0),
            revision: domain::Revision::new(self.revision),
            store: store.clone(),
            last_good: self.last_good.map(domain::Revision::new),
            warnings: warnings.clone(),
            store_skew: skew(self.clock_skew_ms.store),
            cache_skew: skew(self.clock_skew_ms.cache),
            limits: limits.clone(),
            is_leaving: self.leaving,
        })
    }
}

/// Tells whether a word is short, and can be shown in a terminal.
fn is_plain(word: &str) -> bool {
    word.len() <= MOST_BYTES && !word.contains(char::is_control)
}

impl From<&domain::NodeSummary> for NodeSummary {
    fn from(summary: &domain::NodeSummary) -> Self {
        let skew = |skew: Option<domain::Skew>| skew.map(domain::Skew::millis);
        Self {
            version: summary.version.clone(),
            started: Some(Time(summary.started)),
            revision: summary.revision.get(),
            store: summary.store.clone(),
            last_good: summary.last_good.map(domain::Revision::get),
            warnings: summary.warnings.clone(),
            clock_skew_ms: ClockSkews {
                store: skew(summary.store_skew),
                cache: skew(summary.cache_skew),
                peers: None,
            },
            limits: summary.limits.clone(),
            leaving: summary.is_leaving,
        }
    }
}

impl From<&domain::Skews> for ClockSkews {
    fn from(skews: &domain::Skews) -> Self {
        let millis = |known: Option<domain::KnownSkew>| known.map(|known| known.skew.millis());
        Self { store: millis(skews.store), cache: millis(skews.cache), peers: millis(skews.peers) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_of_another_version_is_read_as_far_as_it_is_known() {
        let later = r#"{"version": "9.0.0", "revision": 7, "mood": {"good": true}}"#;
        let summary: NodeSummary = serde_json::from_str(later).expect("it can be read");
        let read = summary.to_domain().expect("it is short");
        assert_eq!((read.version.as_str(), read.revision.get()), ("9.0.0", 7));
        assert_eq!((read.store_skew, read.is_leaving), (None, false));
    }

    #[test]
    fn a_summary_that_says_what_no_node_may_is_none() {
        let long = NodeSummary { version: "x".repeat(MOST_BYTES + 1), ..NodeSummary::default() };
        let warnings = vec![String::new(); MOST_ENTRIES + 1];
        let many = NodeSummary { warnings, ..NodeSummary::default() };
        let escape = NodeSummary { store: "\x1b[2J".to_owned(), ..NodeSummary::default() };
        for summary in [long, many, escape] {
            assert_eq!(summary.to_domain(), None, "{summary:?}");
        }
    }
}
