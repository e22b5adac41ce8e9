//! The candidates for one kind of client, laid out so that the best are found fast.

use crate::place::Direction;
use crate::routing::best::Best;
use crate::routing::candidate::{Candidate, Contender, Seeker};
use crate::routing::leaf::{self, Column, LEAF, Leaf};
use crate::routing::rank::exact;
use crate::routing::yardstick::Yardstick;

/// The candidates for one kind of client: a k-d tree over their unit vectors.
///
/// Each node bounds the rank of what it holds from below, so one search serves every objective:
/// it goes to the better half first and leaves out what cannot be among the best. Few candidates
/// are a tree of one leaf, which is a plain scan.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    /// A node's first child follows it.
    nodes: Box<[Node]>,
    leaves: Box<[Leaf]>,
    /// The terms of each leaf; empty where all are zero, as are the biases.
    terms: Box<[Column]>,
    biases_km: Box<[Column]>,
    contenders: Box<[[Contender; LEAF]]>,
    /// In the order of the leaves, as are the contenders.
    candidates: Box<[Candidate]>,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    low: [f32; 3],
    high: [f32; 3],
    least_bias_km: f64,
    least_term: f64,
    least_place: u32,
    below: Below,
}

#[derive(Clone, Copy, Debug)]
enum Below {
    /// The leaf of this number.
    Leaf(u32),
    /// The next node, and the node of this number.
    Nodes(u32),
}

impl Pool {
    pub(crate) fn new(mut candidates: Vec<Candidate>) -> Self {
        let mut nodes = Vec::new();
        if !candidates.is_empty() {
            grow(&mut candidates, 0, &mut nodes);
        }
        let columns = |of: fn(&Candidate) -> f64| {
            if candidates.iter().all(|candidate| of(candidate) == 0.0) {
                return Box::default();
            }
            candidates.chunks(LEAF).map(|held| leaf::column(held, of)).collect()
        };
        Self {
            nodes: nodes.into(),
            leaves: candidates.chunks(LEAF).map(Leaf::new).collect(),
            terms: columns(|candidate| exact::term(candidate.term)),
            biases_km: columns(|candidate| candidate.bias_km),
            contenders: candidates.chunks(LEAF).map(leaf::contenders).collect(),
            candidates: candidates.into(),
        }
    }

    pub(crate) fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// Finds the best of the admitted candidates, as many as are wanted.
    pub(crate) fn search(
        &self,
        yardstick: &Yardstick,
        seeker: Seeker,
        wanted: usize,
        admits: impl Fn(&Contender) -> bool,
    ) -> Best<'_> {
        let mut best = Best::new(wanted, self.contenders.as_flattened(), seeker.key);
        if self.nodes.is_empty() {
            return best;
        }
        let mut waiting = Waiting::new();
        let (mut at, mut bound) = (0, 0.0);
        loop {
            if bound <= best.worst() {
                match self.nodes[at as usize].below {
                    Below::Leaf(leaf) => {
                        self.scan(leaf as usize, yardstick, seeker, &admits, &mut best);
                    }
                    Below::Nodes(second) => {
                        let children = [at + 1, second];
                        let bounds =
                            children.map(|at| self.nodes[at as usize].bound(yardstick, seeker));
                        let near = usize::from(bounds[1] < bounds[0]);
                        waiting.push(children[1 - near], bounds[1 - near]);
                        (at, bound) = (children[near], bounds[near]);
                        continue;
                    }
                }
            }
            match waiting.pop() {
                Some(next) => (at, bound) = next,
                None => return best,
            }
        }
    }

    fn scan(
        &self,
        leaf: usize,
        yardstick: &Yardstick,
        seeker: Seeker,
        admits: impl Fn(&Contender) -> bool,
        best: &mut Best<'_>,
    ) {
        let held = LEAF.min(self.candidates.len() - leaf * LEAF);
        let fixed = self.terms.get(leaf).unwrap_or(&ZEROS);
        let (angles, terms) = match seeker.direction {
            Some(client) => {
                let angles = self.leaves[leaf].angles(client, held);
                let biases_km = self.biases_km.get(leaf).unwrap_or(&ZEROS);
                (angles, leaf::terms(yardstick, &angles, biases_km, fixed, held))
            }
            None => ([f32::NAN; LEAF], self.terms_without_location(leaf, fixed)),
        };
        let contenders = &self.contenders[leaf];
        let enough =
            if best.is_full() {
                best.worst()
            } else {
                let admitted = std::array::from_fn(|at| {
                    if admits(&contenders[at]) { terms[at] } else { exact::WORST }
                });
                leaf::enough(&admitted, best.wanted())
            };
        let mut interesting = leaf::up_to(enough, &terms, held);
        while interesting != 0 {
            let at = interesting.trailing_zeros();
            interesting &= interesting - 1;
            let (position, at) = (narrow(leaf * LEAF) + at, at as usize % LEAF);
            if admits(&contenders[at]) {
                best.insert(position, terms[at], angles[at]);
            } else {
                best.refuse(position, terms[at], angles[at]);
            }
        }
    }

    fn terms_without_location(&self, leaf: usize, fixed: &Column) -> Column {
        let mut terms = [exact::WORST; LEAF];
        let candidates = self.candidates[leaf * LEAF..].iter().take(LEAF);
        for ((terms, term), candidate) in terms.iter_mut().zip(fixed).zip(candidates) {
            *terms = exact::without_location(*term, candidate.place);
        }
        terms
    }
}

static ZEROS: Column = [0.0; LEAF];

/// The nodes that a search has still to look at, the most promising on top.
struct Waiting {
    nodes: [(u32, f64); Self::DEPTH],
    length: usize,
}

impl Waiting {
    /// Each level leaves one node waiting, and 20,000 candidates down to a leaf take 10 levels.
    const DEPTH: usize = 16;

    fn new() -> Self {
        Self { nodes: [(0, 0.0); Self::DEPTH], length: 0 }
    }

    fn push(&mut self, node: u32, bound: f64) {
        self.nodes[self.length] = (node, bound);
        self.length += 1;
    }

    fn pop(&mut self) -> Option<(u32, f64)> {
        self.length = self.length.checked_sub(1)?;
        Some(self.nodes[self.length])
    }
}

impl Node {
    /// Returns terms that no candidate below the node is better than.
    fn bound(&self, yardstick: &Yardstick, seeker: Seeker) -> f64 {
        let Some(Direction(client)) = seeker.direction else {
            return exact::without_location(self.least_term, self.least_place);
        };
        let mut chord_squared = 0.0;
        for (axis, at) in client.into_iter().enumerate() {
            let (below, above) = (self.low[axis] - at, at - self.high[axis]);
            let outside = if below > above { below } else { above };
            let outside = if outside > 0.0 { outside } else { 0.0 };
            chord_squared += outside * outside;
        }
        // A chord is shorter than its arc, and for near points hardly so.
        let least_angle = f64::from(chord_squared.sqrt()) * (1.0 - ROUNDING);
        yardstick.terms(least_angle, self.least_bias_km, self.least_term)
    }
}

/// More than what rounding adds to an angle, as a share of it: a bound must not be worse than what
/// it bounds.
const ROUNDING: f64 = 1e-6;

/// Builds the subtree over these candidates, sorts them into its leaves, and returns its root.
///
/// All leaves are full but the last, which `first_leaf`, the number of the subtree's first leaf,
/// counts on.
fn grow(candidates: &mut [Candidate], first_leaf: usize, nodes: &mut Vec<Node>) -> u32 {
    let at = nodes.len();
    nodes.push(Node::over(candidates, first_leaf));
    let leaves = candidates.len().div_ceil(LEAF);
    if leaves > 1 {
        let axis = nodes[at].widest_axis();
        let left_leaves = leaves / 2;
        let middle = left_leaves * LEAF;
        candidates.select_nth_unstable_by(middle, |a, b| {
            let along = |candidate: &Candidate| candidate.direction.0[axis];
            let region = |candidate: &Candidate| candidate.contender.region;
            along(a).total_cmp(&along(b)).then_with(|| region(a).cmp(&region(b)))
        });
        let (left, right) = candidates.split_at_mut(middle);
        grow(left, first_leaf, nodes);
        nodes[at].below = Below::Nodes(grow(right, first_leaf + left_leaves, nodes));
    }
    narrow(at)
}

impl Node {
    fn over(held: &[Candidate], leaf: usize) -> Self {
        let mut node = Self {
            low: [f32::INFINITY; 3],
            high: [f32::NEG_INFINITY; 3],
            least_bias_km: f64::INFINITY,
            least_term: f64::INFINITY,
            least_place: u32::MAX,
            below: Below::Leaf(narrow(leaf)),
        };
        for candidate in held {
            for axis in 0..3 {
                let at = candidate.direction.0[axis];
                node.low[axis] = node.low[axis].min(at);
                node.high[axis] = node.high[axis].max(at);
            }
            node.least_bias_km = node.least_bias_km.min(candidate.bias_km);
            node.least_term = node.least_term.min(exact::term(candidate.term));
            node.least_place = node.least_place.min(candidate.place);
        }
        node
    }

    fn widest_axis(&self) -> usize {
        let width = |axis: &usize| self.high[*axis] - self.low[*axis];
        (0..3).max_by(|a, b| width(a).total_cmp(&width(b))).unwrap_or_default()
    }
}

fn narrow(count: usize) -> u32 {
    u32::try_from(count).expect("a pool holds at most as many candidates as there are regions")
}
