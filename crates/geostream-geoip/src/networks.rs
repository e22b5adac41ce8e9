//! Which place belongs to which network, in a form in which a search seldom waits for memory.
//!
//! The tree of an `.mmdb` file takes a step for each bit of an address, and many of them to memory that
//! no cache holds. Here a step takes four bits, and leads to a few words next to each other, as in a
//! poptrie: H. Asai, Y. Ohara, "Poptrie", SIGCOMM 2015. For IPv4, a table takes the first five steps at once.
//! Neighbours with the same record are one, as in gdnsd.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use crate::error::DatabaseError;
use crate::memory::Scratch;
use crate::tree::{Branch, Tree};

/// How many bits of an address a step takes.
const STEP: u8 = 4;

/// How many steps there are from a node.
const STEPS: u32 = 1 << STEP;

/// How many bits of an IPv4 address a table takes at once.
const DIRECT: u8 = 20;

/// How many words a cache of the processor holds for sure: with no more of them, there is no table.
const CACHED: usize = 1 << 16;

/// The places of all networks of an address family, or of both.
pub(crate) struct Networks {
    /// The nodes, one after the other: each its [`Starts`], and the [`Target`] of each range.
    words: Vec<u32>,
    ipv4: Option<Node>,
    ipv6: Option<Node>,
    /// Where the first bits of an IPv4 address lead; empty if there is no table.
    direct: Vec<Direct>,
}

/// Where the first bits of an address lead.
#[derive(Clone, Copy, Debug)]
struct Direct {
    target: Target,
    /// For a place, how many leading bits its network shares.
    shared: u8,
}

/// A node, by where it begins. Its ranges have all steps that an address may take from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Node(u32);

/// What belongs to a range: a place, by its number; nothing; or a node, in the upper half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Target(u32);

enum Leads {
    To(Node),
    Place(usize),
    Nowhere,
}

impl Target {
    const NODE: u32 = 1 << 31;
    const NOWHERE: Self = Self(Self::NODE - 1);

    /// `None` if there are too many places.
    fn place(number: usize) -> Option<Self> {
        let number = u32::try_from(number).ok()?;
        (number < Self::NOWHERE.0).then_some(Self(number))
    }

    /// `None` if there are too many nodes.
    fn node(Node(at): Node) -> Option<Self> {
        (at < Self::NOWHERE.0).then_some(Self(at | Self::NODE))
    }

    /// Tells whether two ranges are one if these belong to them.
    fn is_one_with(self, other: Self) -> bool {
        self == other && self.0 & Self::NODE == 0
    }

    fn leads(self) -> Leads {
        match self.0 {
            node if node & Self::NODE != 0 => Leads::To(Node(node & !Self::NODE)),
            _ if self == Self::NOWHERE => Leads::Nowhere,
            number => Leads::Place(number as usize),
        }
    }
}

/// Which steps begin a range, one bit for each; the first one does.
#[derive(Clone, Copy, Debug)]
struct Starts(u32);

impl Starts {
    fn of(steps: impl Iterator<Item = u32>) -> Self {
        Self(steps.fold(0, |starts, step| starts | 1 << step))
    }

    /// Returns which of the ranges has a step.
    fn range(self, step: u32) -> usize {
        (self.0 & up_to(step)).count_ones() as usize - 1
    }

    /// Returns how many leading bits of a step the largest network around it shares that lies within
    /// its range.
    #[expect(clippy::cast_possible_truncation, reason = "at most four bits")]
    fn shared_bits(self, step: u32) -> u8 {
        let start = (self.0 & up_to(step)).ilog2();
        let next = (self.0 & !up_to(step)).trailing_zeros();
        let apart = |outside: u32| STEP - (step ^ outside).ilog2() as u8;
        let before = start.checked_sub(1).map_or(0, apart);
        let behind = if next < STEPS { apart(next) } else { 0 };
        before.max(behind)
    }
}

/// Returns the bits of all steps up to this one.
fn up_to(step: u32) -> u32 {
    (2 << step) - 1
}

impl Networks {
    /// Takes over a file's tree.
    ///
    /// `number` gives each record of the tree the number of its place; it is told the first address that
    /// leads to it.
    pub(crate) fn new(
        tree: Tree<'_>,
        family: Family,
        number: impl FnMut(u32, u128) -> Result<usize, DatabaseError>,
    ) -> Result<Self, DatabaseError> {
        // The memory for all is there before it is needed, and what is not needed is never touched: as
        // a rule, nothing is moved to where there is more.
        let words = Vec::with_capacity(tree.nodes() as usize * 5 / 4);
        // IPv4 lies at `::/96`, or is all there is.
        let to_ipv4 = family.bits() - 32;
        let ipv4 = tree.below(0, 0, to_ipv4.into())?;
        let made = Scratch::new(tree.nodes() as usize)?;
        let mut builder = Builder { tree, length: family.bits(), words, made, number };
        let all = builder.target(Branch::Node(0), 0, 0)?;
        let ipv4 = builder.target(ipv4, 0, to_ipv4)?;
        let ipv4 = builder.root(ipv4)?;
        let ipv6 = match family {
            Family::Ipv4 => None,
            Family::Ipv6 => builder.root(all)?,
        };
        let networks = Self { words: builder.words, ipv4, ipv6, direct: Vec::new() };
        let direct = ipv4.filter(|_| networks.words.len() > CACHED);
        let direct = direct.map_or_else(Vec::new, |ipv4| networks.direct(ipv4));
        Ok(Self { direct, ..networks })
    }

    /// Makes the table for searches that begin with a node.
    fn direct(&self, node: Node) -> Vec<Direct> {
        let mut table = vec![Direct { target: Target::NOWHERE, shared: 0 }; 1 << DIRECT];
        self.fill(&mut table, node, 0);
        table
    }

    /// Fills the part of a table to which so many bits lead, and then this node.
    fn fill(&self, part: &mut [Direct], node: Node, taken: u8) {
        let below = part.len() / STEPS as usize;
        for (step, part) in (0..STEPS).zip(part.chunks_mut(below)) {
            let (target, shared) = self.step(node, step);
            match target.leads() {
                Leads::To(node) if below > 1 => self.fill(part, node, taken + STEP),
                Leads::To(_) | Leads::Place(_) | Leads::Nowhere => {
                    part.fill(Direct { target, shared: taken + shared });
                }
            }
        }
    }

    /// Returns the number of an address's place, and how many leading bits the addresses share that are
    /// there with it.
    pub(crate) fn find(&self, address: IpAddr) -> Option<(usize, u8)> {
        match address {
            IpAddr::V4(address) => {
                let bits = address.to_bits();
                let left = u128::from(bits) << 96;
                match self.direct.get((bits >> (32 - DIRECT)) as usize) {
                    None => self.search(self.ipv4?, left, 0..32),
                    Some(Direct { target, shared }) => match target.leads() {
                        Leads::To(node) => self.search(node, left << DIRECT, DIRECT..32),
                        Leads::Place(place) => Some((place, *shared)),
                        Leads::Nowhere => None,
                    },
                }
            }
            IpAddr::V6(address) => self.search(self.ipv6?, address.to_bits(), 0..128),
        }
    }

    /// Goes on from a node by these bits, which stand at these places in the address.
    fn search(&self, mut node: Node, mut bits: u128, at: Range<u8>) -> Option<(usize, u8)> {
        for taken in at.step_by(STEP.into()) {
            let (target, shared) = self.step(node, next_step(bits));
            match target.leads() {
                Leads::To(next) => node = next,
                Leads::Place(place) => return Some((place, taken + shared)),
                Leads::Nowhere => return None,
            }
            bits <<= STEP;
        }
        None
    }

    /// Takes a step from a node, and returns how many of its bits the largest network around it shares
    /// that lies within its range.
    #[inline]
    fn step(&self, Node(at): Node, step: u32) -> (Target, u8) {
        let at = at as usize;
        let starts = Starts(self.words[at]);
        (Target(self.words[at + 1 + starts.range(step)]), starts.shared_bits(step))
    }

    pub(crate) fn has_ipv4(&self) -> bool {
        self.ipv4.is_some()
    }

    pub(crate) fn has_ipv6(&self) -> bool {
        self.ipv6.is_some()
    }
}

impl fmt::Debug for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { words, ipv4, ipv6, .. } = self;
        let mut debug = f.debug_struct("Networks");
        debug
            .field("words", &words.len())
            .field("ipv4", ipv4)
            .field("ipv6", ipv6)
            .finish_non_exhaustive()
    }
}

/// Returns the first step that these bits take.
fn next_step(bits: u128) -> u32 {
    u32::from(bits.to_be_bytes()[0]) >> STEP
}

/// Which addresses a file's tree has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Ipv4,
    Ipv6,
}

impl Family {
    fn bits(self) -> u8 {
        match self {
            Self::Ipv4 => 32,
            Self::Ipv6 => 128,
        }
    }

    /// Returns the address that these bits are, of which IPv4 has the last ones.
    #[expect(clippy::cast_possible_truncation, reason = "an address of IPv4 has 32 bits")]
    pub(crate) fn address(self, bits: u128) -> IpAddr {
        match self {
            Self::Ipv4 => Ipv4Addr::from_bits(bits as u32).into(),
            Self::Ipv6 => Ipv6Addr::from_bits(bits).into(),
        }
    }
}

/// Makes [`Networks`] of a file's tree.
struct Builder<'a, N> {
    tree: Tree<'a>,
    /// How many bits its addresses have.
    length: u8,
    words: Vec<u32>,
    /// What became of each of the tree's nodes, if it has been met: several ways may lead to one, as to
    /// IPv4, or where a writer keeps equal parts once.
    made: Scratch,
    number: N,
}

impl<N: FnMut(u32, u128) -> Result<usize, DatabaseError>> Builder<'_, N> {
    /// Takes over what is below a branch, to which so many bits lead from the first of these addresses
    /// on.
    fn target(&mut self, branch: Branch, first: u128, taken: u8) -> Result<Target, DatabaseError> {
        let at = match branch {
            Branch::Node(at) => at,
            Branch::Record(record) => {
                let place = (self.number)(record, first)?;
                return Target::place(place).ok_or(DatabaseError::TooLarge);
            }
            Branch::Nothing => return Ok(Target::NOWHERE),
        };
        // A circle comes here before any of its nodes is made.
        if taken >= self.length {
            return Err(DatabaseError::Tree);
        }
        if let Some(made) = self.made.get(at as usize) {
            return Ok(Target(made));
        }
        let mut ranges: Vec<(u32, Target)> = Vec::with_capacity(STEPS as usize);
        for step in 0..STEPS {
            let below = self.tree.below(at, step.into(), STEP.into())?;
            let first = first | u128::from(step) << (self.length - taken - STEP);
            let target = self.target(below, first, taken + STEP)?;
            if !ranges.last().is_some_and(|(_, before)| before.is_one_with(target)) {
                ranges.push((step, target));
            }
        }
        let target = match ranges[..] {
            [(_, all)] => all,
            _ => Target::node(self.keep(&ranges)?).ok_or(DatabaseError::TooLarge)?,
        };
        self.made.set(at as usize, target.0);
        Ok(target)
    }

    /// Returns a node from which all searches go on that this target is for; `None` if they lead nowhere.
    fn root(&mut self, target: Target) -> Result<Option<Node>, DatabaseError> {
        match target.leads() {
            Leads::To(node) => Ok(Some(node)),
            Leads::Place(_) => self.keep(&[(0, target)]).map(Some),
            Leads::Nowhere => Ok(None),
        }
    }

    fn keep(&mut self, ranges: &[(u32, Target)]) -> Result<Node, DatabaseError> {
        let at = u32::try_from(self.words.len()).map_err(|_| DatabaseError::TooLarge)?;
        self.words.push(Starts::of(ranges.iter().map(|(start, _)| *start)).0);
        self.words.extend(ranges.iter().map(|(_, target)| target.0));
        Ok(Node(at))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::planted::Planted;

    /// Makes networks of a tree in which these have these places.
    fn networks(family: Family, planted: &[(&str, usize)]) -> Networks {
        let mut tree = Planted::default();
        for (network, place) in planted {
            tree.plant(network, *place);
        }
        over(family, &tree).unwrap()
    }

    fn over(family: Family, tree: &Planted) -> Result<Networks, DatabaseError> {
        Networks::new(tree.tree(), family, |record, _| Ok(record as usize - 1))
    }

    fn check(networks: &Networks, expected: &[(&str, Option<(usize, u8)>)]) {
        let direct = networks.ipv4.map_or_else(Vec::new, |ipv4| networks.direct(ipv4));
        let Networks { ref words, ipv4, ipv6, .. } = *networks;
        let with_table = Networks { words: words.clone(), ipv4, ipv6, direct };
        for (address, expected) in expected {
            let address = address.parse().unwrap();
            assert_eq!(networks.find(address), *expected, "{address}");
            assert_eq!(with_table.find(address), *expected, "{address}, by the table");
        }
    }

    #[test]
    fn neighbours_at_one_place_are_one_network() {
        let networks = networks(
            Family::Ipv4,
            &[
                ("128.0.0.0/9", 1),
                ("128.128.0.0/24", 2),
                ("128.128.1.0/24", 2),
                ("128.128.2.0/24", 3),
                ("128.128.3.0/24", 3),
                ("128.128.4.0/22", 3),
            ],
        );
        let expected = [
            ("0.0.0.0", None),
            ("127.255.255.255", None),
            ("128.127.255.255", Some((1, 9))),
            ("128.128.1.255", Some((2, 23))),
            ("128.128.3.0", Some((3, 23))),
            ("128.128.7.0", Some((3, 22))),
            ("128.128.8.0", None),
            ("255.255.255.255", None),
            ("::1", None),
        ];
        check(&networks, &expected);
        assert!(networks.has_ipv4() && !networks.has_ipv6());
    }

    #[test]
    fn several_ways_lead_to_ipv4() {
        let mut tree = Planted::default();
        tree.plant("::4000:0/104", 1);
        tree.plant("::4100:0/104", 2);
        tree.plant("2001:200::/32", 3);
        for other_way in ["::ffff:0:0/96", "2001::/32", "2002::/16"] {
            tree.lead(other_way, "::/96");
        }
        let networks = over(Family::Ipv6, &tree).unwrap();
        let expected = [
            ("64.1.2.3", Some((1, 8))),
            ("66.1.2.3", None),
            ("::4101:203", Some((2, 104))),
            ("::ffff:65.1.2.3", Some((2, 104))),
            ("2002:4101:203::", Some((2, 24))),
            ("2001:0:4001:203::", Some((1, 40))),
            ("2001:200::1", Some((3, 32))),
            ("2003::1", None),
        ];
        check(&networks, &expected);
        assert!(networks.has_ipv4() && networks.has_ipv6());
    }

    #[test]
    fn ipv4_may_be_all_in_one_place_or_nowhere() {
        for (planted, expected) in [
            (&[("::/96", 1)][..], Some((1, 0))),
            (&[("::/97", 1), ("::8000:0/97", 1), ("2000::/3", 2)], Some((1, 0))),
            (&[("::/1", 1), ("8000::/1", 2)], Some((1, 0))),
            (&[("::/0", 1)], Some((1, 0))),
            (&[("2000::/3", 1)], None),
            (&[("::/128", 1)], Some((1, 32))),
        ] {
            let networks = networks(Family::Ipv6, planted);
            check(&networks, &[("0.0.0.0", expected)]);
            assert_eq!(networks.has_ipv4(), expected.is_some(), "{planted:?}");
        }
    }

    #[test]
    fn circles_are_refused() {
        let mut circle = Planted::default();
        circle.lead("8000::/1", "::/0");
        assert!(matches!(over(Family::Ipv6, &circle), Err(DatabaseError::Tree)));
        let mut within = Planted::default();
        within.plant("::1/128", 1);
        within.lead("::80:0/105", "::/96");
        assert!(matches!(over(Family::Ipv6, &within), Err(DatabaseError::Tree)));
    }

    #[test]
    fn parts_that_are_kept_once_are_taken_over_once() {
        // Each node is below the one before twice: there are more ways than there is time for.
        let mut shared = Planted::default();
        for bits in 0..100 {
            let zeros = format!("::/{}", bits + 1);
            shared.plant(&format!("::/{}", bits + 2), bits);
            shared
                .lead(&format!("{}/{}", Ipv6Addr::from_bits(1 << (127 - bits)), bits + 1), &zeros);
        }
        let networks = over(Family::Ipv6, &shared).unwrap();
        let expected = [
            ("::", Some((99, 101))),
            ("::800:0", Some((98, 101))),
            ("ffff:ffff:ffff:ffff:ffff:ffff:f7ff:ffff", Some((99, 101))),
            ("ffff:ffff:ffff:ffff:ffff:ffff:f800:0", Some((98, 101))),
        ];
        check(&networks, &expected);
        assert!(networks.words.len() < 100 * 16);
    }

    proptest! {
        #[test]
        fn every_address_is_where_the_last_network_around_it_was_planted(
            planted in prop::collection::vec((any::<u128>(), 0_u32..=128, 0_usize..4), 1..60),
            addresses in prop::collection::vec((any::<prop::sample::Index>(), any::<u128>()), 60),
        ) {
            let mut tree = Planted::default();
            let planted: Vec<_> = planted
                .into_iter()
                // Most share their first bits with others.
                .map(|(bits, prefix, place)| (bits & (0b1010 << 124 | 0b11 << 64 | 0xff00_00ff), prefix, place))
                .collect();
            for (bits, prefix, place) in &planted {
                tree.plant(&format!("{}/{prefix}", Ipv6Addr::from_bits(*bits)), *place);
            }
            let networks = over(Family::Ipv6, &tree).unwrap();
            let place_of = |bits: u128| {
                let is_within = |(network, prefix, _): &&(u128, u32, usize)| {
                    (network ^ bits).leading_zeros() >= *prefix
                };
                planted.iter().rev().find(is_within).map(|(_, _, place)| *place)
            };
            for (near, far) in addresses {
                let (bits, prefix, _) = *near.get(&planted);
                let address = bits ^ far.checked_shr(prefix).unwrap_or(0);
                let found = networks.find(Ipv6Addr::from_bits(address).into());
                prop_assert_eq!(found.map(|(place, _)| place), place_of(address));
                if let Some((place, prefix)) = found {
                    let rest = u128::MAX.checked_shr(prefix.into()).unwrap_or(0);
                    let ends = [address & !rest, address | rest];
                    prop_assert_eq!(ends.map(place_of), [Some(place); 2]);
                    let within = planted.iter().filter(|(network, ..)| (network ^ address) & !rest == 0);
                    for (network, ..) in within {
                        prop_assert_eq!(place_of(*network), Some(place));
                    }
                }
                if let Ok(ipv4) = u32::try_from(address) {
                    let ipv4 = networks.find(IpAddr::V4(ipv4.into()));
                    prop_assert_eq!(ipv4.map(|(place, _)| place), place_of(address));
                }
            }
        }
    }
}
