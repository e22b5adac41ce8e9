//! What several nodes see of the regions, and the verdict that it adds up to.
//!
//! A node votes on a region that it has seen itself, and within its last three probes: one that is
//! too busy to look says nothing. Nor does one that sees nobody well: it may have lost its own
//! network. A region is unhealthy while more than half of those who vote see
//! it down; a tie speaks for the region.
//!
//! | nodes that vote | to remove it | to have it back |
//! |---|---|---|
//! | none | each node acts on its own view, if it has one | the same |
//! | one | its word | its word |
//! | two | both | one that sees it well |
//! | three | two | two that see it well |
//! | n | more than half | half of them that see it well |
//!
//! A node that sees a region down says how sure that is ([`Removal`]). Votes are ordered from well
//! over held back and unproven to proven, and the verdict is the most severe one that more than
//! half of the votes reach: a proven verdict needs proof at more than half of the nodes that vote,
//! as a removal needs more than half. A node of an earlier version says nothing of proof, so its
//! vote counts as unproven.
//!
//! The verdict is a function of the votes alone and not of what was before, so whoever hears the
//! same comes to the same verdict. Whoever hears nobody acts on its own view. What a node says holds
//! for [`VIEW_HOLDS`] and no longer: a region that dies together with a node is removed by the
//! others as soon as that is over, if they have seen it down by then. Between nodes that live there
//! is nothing to wait for: each finds out by itself, and says so at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::health::load::Load;
use crate::health::votes::{Vote, Votes};
use crate::name::{NodeId, RegionId};

/// How long a node's view holds after it was said.
///
/// Long enough for a question that is not answered, and the next one; short enough that a node that
/// is gone keeps no dead region in service for three seconds.
pub const VIEW_HOLDS: Duration = Duration::from_secs(2);

/// How often a node says again what it sees, though nothing has changed.
pub const VIEW_REPEATS: Duration = Duration::from_millis(500);

/// The most nodes whose views count, the own one included.
pub const MOST_NODES: usize = 64;

/// What a node tells the others of the regions that it sees.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeView {
    /// The regions that it votes on, or knows a load of.
    pub regions: BTreeMap<RegionId, Sight>,
}

impl NodeView {
    /// Returns what the node votes, in the order of the regions' ids.
    pub fn votes(&self) -> impl Iterator<Item = (&RegionId, Vote)> {
        self.regions.iter().filter_map(|(region, sight)| Some((region, sight.vote?)))
    }
}

/// What a node sees of a region.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sight {
    /// Its vote; `None` if it abstains.
    pub vote: Option<Vote>,
    /// Its share of the region's load.
    pub load: LoadShare,
}

/// What a node knows of a region's load.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LoadShare {
    /// The clients a second that the node sends there, and who would go there anyway.
    pub own: Load,
    /// Those it sends there past another region.
    pub displaced: Load,
    /// Those who would go there, and are sent past it.
    pub away: Load,
    /// The load that the region itself reports, in the unit of its capacity: all of it, not a share.
    pub reported: Option<Load>,
}

/// What another node has said.
#[derive(Clone, Debug, PartialEq)]
pub struct HeardView {
    /// The node.
    pub node: NodeId,
    /// What it has said.
    pub view: Arc<NodeView>,
    /// When that holds no longer.
    pub until: Instant,
}

impl LoadShare {
    /// Returns what two nodes know together: shares add up; of two reports of the whole the higher
    /// one counts, so that nobody is overloaded by an old one.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let higher = |one: Load, two: Load| if one < two { two } else { one };
        Self {
            own: self.own.plus(other.own),
            displaced: self.displaced.plus(other.displaced),
            away: self.away.plus(other.away),
            reported: match (self.reported, other.reported) {
                (Some(one), Some(two)) => Some(higher(one, two)),
                (one, two) => one.or(two),
            },
        }
    }

    /// Returns the region's load: what it reports, or else the clients that it is sent.
    #[must_use]
    pub fn all(self) -> Load {
        self.reported.unwrap_or_else(|| self.own.plus(self.displaced))
    }

    /// Returns the load that the region's own clients would make if it had all of them, and nobody
    /// else's; `None` while what it reports tells nothing of them, since nobody is sent there.
    #[must_use]
    pub fn demand(self) -> Option<Load> {
        let (sent, wanted) = (self.own.plus(self.displaced), self.own.plus(self.away));
        match self.reported {
            None => Some(wanted),
            Some(reported) if sent == wanted => Some(reported),
            Some(_) if sent == Load::default() => None,
            Some(reported) => Some(reported.times(wanted.units() / sent.units())),
        }
    }
}

/// What the other nodes say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Quorum {
    others: BTreeMap<NodeId, (Arc<NodeView>, Instant)>,
}

impl Quorum {
    /// Takes in what others say by now; tells whether it is anything new.
    ///
    /// What a node has said holds for its time, even if that node is missing now: whoever keeps the
    /// views may have lost them, and nobody is to act alone for that.
    pub(crate) fn handle_views(&mut self, views: Vec<HeardView>, now: Instant) -> bool {
        let mut others = self.others.clone();
        others.extend(views.into_iter().map(|heard| (heard.node, (heard.view, heard.until))));
        others.retain(|_, (_, until)| now < *until);
        while others.len() >= MOST_NODES {
            others.pop_last();
        }
        let views = |others: &BTreeMap<NodeId, (Arc<NodeView>, Instant)>| {
            others.values().map(|(view, _)| Arc::as_ptr(view)).collect::<Vec<_>>()
        };
        let is_new = !others.keys().eq(self.others.keys()) || views(&others) != views(&self.others);
        self.others = others;
        is_new
    }

    /// Forgets what holds no longer; tells whether that is anything.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> bool {
        let before = self.others.len();
        self.others.retain(|_, (_, until)| now < *until);
        self.others.len() != before
    }

    /// Returns when the first view holds no longer.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.others.values().map(|(_, until)| *until).min()
    }

    /// Counts the votes on a region; `None` if nobody else is heard.
    pub(crate) fn votes(&self, region: &RegionId, own: Option<Vote>) -> Option<Votes> {
        if self.others.is_empty() {
            return None;
        }
        let mut votes = Votes::default();
        votes.count(own);
        for sight in self.sights(region) {
            votes.count(sight.vote);
        }
        Some(votes)
    }

    /// Returns what the others know of a region's load.
    pub(crate) fn load(&self, region: &RegionId) -> LoadShare {
        let shares = self.sights(region).map(|sight| sight.load);
        shares.fold(LoadShare::default(), LoadShare::and)
    }

    /// Returns the nodes that are heard.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &NodeId> {
        self.others.keys()
    }

    fn sights(&self, region: &RegionId) -> impl Iterator<Item = &Sight> {
        self.others.values().filter_map(|(view, _)| view.regions.get(region))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::votes::Removal;
    use proptest::prelude::*;

    /// Returns the verdict of votes such as `dw-`: down, well, abstains; `h` and `p` are down as
    /// well, held back and proven.
    fn verdict(votes: &str) -> Option<Vote> {
        let mut counted = Votes::default();
        votes.chars().for_each(|letter| counted.count(vote(letter)));
        counted.verdict()
    }

    fn vote(letter: char) -> Option<Vote> {
        match letter {
            'h' => Some(Vote::Down(Removal::Held)),
            'd' => Some(Vote::Down(Removal::Unproven)),
            'p' => Some(Vote::Down(Removal::Proven)),
            'w' => Some(Vote::Well),
            _ => None,
        }
    }

    fn heard(node: &str, vote: Option<Vote>, until: Instant) -> HeardView {
        let sight = Sight { vote, ..Sight::default() };
        let regions = BTreeMap::from([(region(), sight)]);
        HeardView { node: node.parse().unwrap(), view: Arc::new(NodeView { regions }), until }
    }

    fn region() -> RegionId {
        "eu".parse().unwrap()
    }

    #[test]
    fn more_than_half_of_those_who_vote_remove_a_region() {
        use Vote::Well;
        for (votes, expected) in [
            ("", None),
            ("---", None),
            ("d", Some(DOWN)),
            ("w", Some(Well)),
            ("d--", Some(DOWN)),
            ("dw", Some(Well)),
            ("dd", Some(DOWN)),
            ("dww", Some(Well)),
            ("ddw", Some(DOWN)),
            ("dw-", Some(Well)),
            ("dd-", Some(DOWN)),
            ("ddww", Some(Well)),
            ("dddw", Some(DOWN)),
            ("dddww", Some(DOWN)),
        ] {
            assert_eq!(verdict(votes), expected, "{votes}");
        }
    }

    #[test]
    fn a_removal_is_as_sure_as_more_than_half_of_the_votes_reach() {
        use crate::health::votes::Removal::{Held, Proven, Unproven};
        for (votes, expected) in [
            ("p", Vote::Down(Proven)),
            ("pp", Vote::Down(Proven)),
            ("pd", Vote::Down(Unproven)),
            ("pw", Vote::Well),
            ("ppw", Vote::Down(Proven)),
            ("pdw", Vote::Down(Unproven)),
            ("pdd", Vote::Down(Unproven)),
            ("ppd", Vote::Down(Proven)),
            ("h", Vote::Down(Held)),
            ("hp", Vote::Down(Held)),
            ("hd", Vote::Down(Held)),
            ("hw", Vote::Well),
            ("hhw", Vote::Down(Held)),
            ("hpw", Vote::Down(Held)),
            ("hpp", Vote::Down(Proven)),
            ("hdp", Vote::Down(Unproven)),
        ] {
            assert_eq!(verdict(votes), Some(expected), "{votes}");
        }
    }

    #[test]
    fn a_view_holds_until_its_time_even_where_it_is_lost() {
        let (mut quorum, now) = (Quorum::default(), start());
        let until = now + VIEW_HOLDS;
        let views = vec![heard("a", Some(DOWN), until), heard("b", None, now)];
        assert!(quorum.handle_views(views.clone(), now));
        assert!(!quorum.handle_views(views, now), "the same is nothing new");
        let own = Some(Vote::Well);
        assert_eq!(
            quorum.votes(&region(), own),
            Some(Votes { down: 1, nodes: 2, ..Votes::default() })
        );
        assert_eq!(quorum.poll_timeout(), Some(until));
        assert!(!quorum.handle_timeout(until - Duration::from_millis(1)));
        assert!(quorum.handle_timeout(until));
        assert_eq!(quorum.votes(&region(), own), None, "it is alone");
        assert!(quorum.handle_views(vec![heard("a", None, until)], now));
        assert!(!quorum.handle_views(Vec::new(), now));
        assert_eq!(quorum.nodes().count(), 1);
        assert!(quorum.handle_views(Vec::new(), until));
        assert_eq!(quorum.nodes().count(), 0);
    }

    #[test]
    fn the_number_of_nodes_is_bounded() {
        let (mut quorum, now) = (Quorum::default(), start());
        let many = (0..1000).map(|n| heard(&format!("n{n:03}"), Some(DOWN), now + VIEW_HOLDS));
        quorum.handle_views(many.collect(), now);
        let votes = quorum.votes(&region(), Some(Vote::Well)).unwrap();
        assert_eq!(usize::from(votes.nodes), MOST_NODES);
    }

    #[test]
    fn shares_add_up_and_what_a_region_reports_is_the_whole() {
        let load = |units| Load::new(units).unwrap();
        let share = |own, displaced, away, reported: Option<f64>| LoadShare {
            own: load(own),
            displaced: load(displaced),
            away: load(away),
            reported: reported.map(load),
        };
        let both = share(10.0, 5.0, 0.0, None).and(share(20.0, 5.0, 20.0, None));
        assert_eq!((both.all(), both.demand()), (load(40.0), Some(load(50.0))));
        let reports = [80.0, 70.0].map(|units| share(0.0, 0.0, 0.0, Some(units)));
        let reported = both.and(reports[0]).and(reports[1]);
        assert_eq!((reported.all(), reported.demand()), (load(80.0), Some(load(100.0))));
        assert_eq!(reports[0].demand(), Some(load(80.0)), "of clients that nobody here sends");
        assert_eq!(
            share(0.0, 0.0, 9.0, Some(80.0)).demand(),
            None,
            "a client makes who knows what"
        );
        let most = share(Load::MAX, Load::MAX, Load::MAX, None);
        assert_eq!(most.and(most).all(), load(Load::MAX));
    }

    const DOWN: Vote = Vote::Down(Removal::Unproven);

    proptest! {
        #[test]
        fn a_verdict_is_the_most_severe_that_more_than_half_reach(votes in "[whdp-]{0,63}") {
            let given: Vec<Vote> = votes.chars().filter_map(vote).collect();
            let reach = |severity: Vote| given.iter().filter(|vote| **vote >= severity).count();
            let removals = [Removal::Held, Removal::Unproven, Removal::Proven].map(Vote::Down);
            let severest = removals.into_iter().rfind(|vote| reach(*vote) * 2 > given.len());
            let expected = (!given.is_empty()).then(|| severest.unwrap_or(Vote::Well));
            prop_assert_eq!(verdict(&votes), expected);
        }

        #[test]
        fn one_node_alone_neither_removes_a_region_that_two_see_well_nor_brings_one_back(
            votes in "[dw-]{0,63}",
        ) {
            let count = |letter| votes.chars().filter(|found| *found == letter).count();
            if count('w') >= 2 && count('d') <= 1 {
                prop_assert_eq!(verdict(&votes), Some(Vote::Well));
            }
            if count('d') >= 2 && count('w') <= 1 {
                prop_assert_eq!(verdict(&votes), Some(DOWN));
            }
        }

        #[test]
        fn the_order_of_votes_does_not_matter_and_abstaining_changes_nothing(
            votes in "[whdp-]{0,63}",
        ) {
            let mut sorted: Vec<_> = votes.chars().filter(|letter| *letter != '-').collect();
            sorted.sort_unstable();
            prop_assert_eq!(verdict(&votes), verdict(&sorted.into_iter().collect::<String>()));
        }
    }

    #[expect(clippy::disallowed_methods, reason = "any moment will do")]
    fn start() -> Instant {
        Instant::now()
    }
}
