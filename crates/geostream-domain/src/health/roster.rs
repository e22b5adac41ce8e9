//! Which other nodes there are, what each says of itself, and which of them fell silent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::Revision;
use crate::health::quorum::{MOST_NODES, VIEW_HOLDS};
use crate::name::NodeId;
use crate::skew::Skew;
use crate::time::Timestamp;

/// How long a node that fell silent without a good-bye is told of.
pub const MISSING_HOLDS: Duration = Duration::from_secs(600);

/// What a node says of itself, for operators who look at all nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeSummary {
    /// The server's version.
    pub version: String,
    /// When it was started, by its own clock.
    pub started: Timestamp,
    /// The revision that it decides by.
    pub revision: Revision,
    /// A word for how its store is, or where its configuration comes from.
    pub store: String,
    /// The revision that a start without the store would have, if there is one.
    pub last_good: Option<Revision>,
    /// The codes of its warnings.
    pub warnings: Vec<String>,
    /// Its settled skew against the store's clock, if that is known.
    pub store_skew: Option<Skew>,
    /// The same against the cache's clock.
    pub cache_skew: Option<Skew>,
    /// The limits in force, by the names of their settings.
    pub limits: BTreeMap<String, u32>,
    /// Whether it is about to stop.
    pub is_leaving: bool,
}

/// What was heard of another node.
#[derive(Clone, Debug)]
pub struct HeardNode {
    /// The node.
    pub node: NodeId,
    /// What it says of itself; `None` from a node of an earlier version.
    pub summary: Option<Arc<NodeSummary>>,
    /// Whether its view is empty, as that of a node is which says good-bye.
    pub is_empty: bool,
    /// How long ago it said so.
    pub age: Duration,
}

/// The other nodes that were heard lately.
#[derive(Clone, Debug, Default)]
pub struct Roster {
    members: BTreeMap<NodeId, Member>,
}

#[derive(Clone, Debug)]
struct Member {
    summary: Option<Arc<NodeSummary>>,
    first_heard: Instant,
    heard: Instant,
}

/// A node of the roster.
#[derive(Clone, Debug)]
pub struct RosterEntry {
    /// The node.
    pub node: NodeId,
    /// What it said of itself last.
    pub summary: Option<Arc<NodeSummary>>,
    /// How long it has said nothing.
    pub silent: Duration,
    /// Whether it has been silent for longer than what it says holds.
    pub is_missing: bool,
}

impl Roster {
    /// Takes in what is heard now.
    ///
    /// A node that says good-bye leaves the roster at once. One that falls silent stays for
    /// [`MISSING_HOLDS`], or until a node of the same name comes in its place: a restart gives a
    /// node another id.
    pub fn handle_heard(&mut self, heard: impl IntoIterator<Item = HeardNode>, now: Instant) {
        for HeardNode { node, summary, is_empty, age } in heard {
            let leaves = summary.as_ref().map_or(is_empty, |summary| summary.is_leaving);
            if leaves {
                self.members.remove(&node);
                continue;
            }
            let heard = now.checked_sub(age).unwrap_or(now);
            let known = self.members.get(&node);
            let first_heard = known.map_or(heard, |member| member.first_heard);
            self.members.insert(node, Member { summary, first_heard, heard });
        }
        self.forget(now);
    }

    /// Returns the nodes in the order of their ids.
    pub fn entries(&self, now: Instant) -> impl Iterator<Item = RosterEntry> {
        self.members.iter().map(move |(node, member)| {
            let silent = now.saturating_duration_since(member.heard);
            let is_missing = silent > VIEW_HOLDS;
            RosterEntry { node: node.clone(), summary: member.summary.clone(), silent, is_missing }
        })
    }

    fn forget(&mut self, now: Instant) {
        let silent = |member: &Member| now.saturating_duration_since(member.heard);
        let arrivals: Vec<_> = self
            .members
            .iter()
            .filter(|(_, member)| silent(member) <= VIEW_HOLDS)
            .map(|(node, member)| (name_of(node).to_owned(), member.first_heard))
            .collect();
        self.members.retain(|node, member| {
            let is_replaced = |(name, came): &(String, Instant)| {
                silent(member) > VIEW_HOLDS && name == name_of(node) && *came > member.heard
            };
            silent(member) <= MISSING_HOLDS && !arrivals.iter().any(is_replaced)
        });
        while self.members.len() > MOST_NODES {
            let longest = self.members.iter().max_by_key(|(_, member)| silent(member));
            let Some(node) = longest.map(|(node, _)| node.clone()) else { return };
            self.members.remove(&node);
        }
    }
}

/// Returns the name that an operator gave a node: its id without the number of the start.
fn name_of(node: &NodeId) -> &str {
    match node.as_str().rsplit_once('-') {
        Some((name, number))
            if number.len() == 16 && number.bytes().all(|byte| byte.is_ascii_hexdigit()) =>
        {
            name
        }
        Some(_) | None => node.as_str(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "any moment will do")]
    fn start() -> Instant {
        Instant::now()
    }

    fn heard(node: &str) -> HeardNode {
        HeardNode {
            node: node.parse().expect("a name"),
            summary: Some(Arc::default()),
            is_empty: false,
            age: Duration::ZERO,
        }
    }

    fn seen(roster: &Roster, now: Instant) -> Vec<(String, bool)> {
        let entries = roster.entries(now);
        entries.map(|entry| (entry.node.to_string(), entry.is_missing)).collect()
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_node_that_falls_silent_is_missing_for_ten_minutes() {
        let mut roster = Roster::default();
        let began = start();
        roster.handle_heard([heard("a"), heard("b")], began);
        roster.handle_heard([heard("a")], began + seconds(3));
        let both = [("a".to_owned(), false), ("b".to_owned(), true)];
        assert_eq!(seen(&roster, began + seconds(3)), both);
        roster.handle_heard([heard("a")], began + seconds(601));
        assert_eq!(seen(&roster, began + seconds(601)), both[..1]);
    }

    #[test]
    fn a_node_that_says_good_bye_is_not_missing() {
        let mut roster = Roster::default();
        let began = start();
        let leaving = NodeSummary { is_leaving: true, ..NodeSummary::default() };
        roster.handle_heard([heard("a"), heard("b")], began);
        let of_earlier_version = HeardNode { summary: None, is_empty: true, ..heard("a") };
        let says_so = HeardNode { summary: Some(Arc::new(leaving)), ..heard("b") };
        roster.handle_heard([of_earlier_version, says_so], began + seconds(1));
        assert_eq!(seen(&roster, began + seconds(9)), []);
    }

    #[test]
    fn a_node_that_starts_again_takes_the_place_of_its_former_self() {
        let mut roster = Roster::default();
        let began = start();
        let ids = ["n1-00000000000000aa", "n1-00000000000000bb", "n2-00000000000000cc"];
        roster.handle_heard([heard(ids[0]), heard(ids[2])], began);
        roster.handle_heard([heard(ids[1])], began + seconds(5));
        let told = [(ids[1].to_owned(), false), (ids[2].to_owned(), true)];
        assert_eq!(seen(&roster, began + seconds(5)), told);
    }

    #[test]
    fn two_living_nodes_of_one_name_do_not_hide_a_third_that_is_missing() {
        let mut roster = Roster::default();
        let began = start();
        let ids = ["n-00000000000000aa", "n-00000000000000bb"];
        roster.handle_heard(ids.map(heard), began);
        roster.handle_heard([heard(ids[0])], began + seconds(5));
        let told = [(ids[0].to_owned(), false), (ids[1].to_owned(), true)];
        assert_eq!(seen(&roster, began + seconds(5)), told);
    }

    #[test]
    fn the_roster_is_bounded() {
        let mut roster = Roster::default();
        let began = start();
        for number in 0..200 {
            roster.handle_heard([heard(&format!("n{number}"))], began + seconds(number));
        }
        let all = seen(&roster, began + seconds(200));
        assert_eq!(all.len(), MOST_NODES);
        assert!(all.iter().any(|(node, _)| node == "n199"), "the newest stay");
    }
}
