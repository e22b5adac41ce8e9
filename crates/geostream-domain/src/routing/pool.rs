//! The candidates for one kind of client, laid out so that the best are found fast.

use crate::place::DirectionBox;
use crate::routing::best::Best;
use crate::routing::candidate::{Candidate, PlacedCandidate, Query};
use crate::routing::leaf::{self, Column, LEAF, Leaf};
use crate::routing::metric::Metric;
use crate::routing::rank::exact;

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
    candidates: Box<[[Candidate; LEAF]]>,
    /// In the order of the leaves, as are the candidates.
    placed: Box<[PlacedCandidate]>,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    bounds: DirectionBox,
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
    pub(crate) fn new(mut placed: Vec<PlacedCandidate>) -> Self {
        let mut nodes = Vec::new();
        if !placed.is_empty() {
            grow(&mut placed, 0, &mut nodes);
        }
        let columns = |of: fn(&PlacedCandidate) -> f64| {
            if placed.iter().all(|placed| of(placed) == 0.0) {
                return Box::default();
            }
            placed.chunks(LEAF).map(|held| leaf::column(held, of)).collect()
        };
        Self {
            nodes: nodes.into(),
            leaves: placed.chunks(LEAF).map(Leaf::new).collect(),
            terms: columns(|placed| exact::term(placed.term)),
            biases_km: columns(|placed| placed.bias_km),
            candidates: placed.chunks(LEAF).map(leaf::candidates).collect(),
            placed: placed.into(),
        }
    }

    pub(crate) fn placed(&self) -> &[PlacedCandidate] {
        &self.placed
    }

    /// Finds the best of the admitted candidates, as many as are wanted.
    pub(crate) fn search(
        &self,
        metric: &Metric,
        query: Query,
        wanted: usize,
        admits: impl Fn(&Candidate) -> bool,
    ) -> Best<'_> {
        let mut best = Best::new(wanted, self.candidates.as_flattened(), query.key);
        if self.nodes.is_empty() {
            return best;
        }
        let mut waiting = Waiting::new();
        let (mut at, mut bound) = (0, 0.0);
        loop {
            if bound <= best.worst() {
                match self.nodes[at as usize].below {
                    Below::Leaf(leaf) => {
                        self.scan(leaf as usize, metric, query, &admits, &mut best);
                    }
                    Below::Nodes(second) => {
                        let children = [at + 1, second];
                        let bounds =
                            children.map(|at| self.nodes[at as usize].bound(metric, query));
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
        metric: &Metric,
        query: Query,
        admits: impl Fn(&Candidate) -> bool,
        best: &mut Best<'_>,
    ) {
        let held = LEAF.min(self.placed.len() - leaf * LEAF);
        let fixed = self.terms.get(leaf).unwrap_or(&ZEROS);
        let (angles, terms) = match query.direction {
            Some(client) => {
                let angles = self.leaves[leaf].angles(client, held);
                let biases_km = self.biases_km.get(leaf).unwrap_or(&ZEROS);
                (angles, leaf::terms(metric, &angles, biases_km, fixed, held))
            }
            None => ([f32::NAN; LEAF], self.terms_without_location(leaf, fixed)),
        };
        let candidates = &self.candidates[leaf];
        let enough =
            if best.is_full() {
                best.worst()
            } else {
                let admitted = std::array::from_fn(|at| {
                    if admits(&candidates[at]) { terms[at] } else { exact::WORST }
                });
                leaf::enough(&admitted, best.wanted())
            };
        let mut interesting = leaf::up_to(enough, &terms, held);
        while interesting != 0 {
            let at = interesting.trailing_zeros();
            interesting &= interesting - 1;
            let (position, at) = (narrow(leaf * LEAF) + at, at as usize % LEAF);
            if admits(&candidates[at]) {
                best.insert(position, terms[at], angles[at]);
            } else {
                best.refuse(position, terms[at], angles[at]);
            }
        }
    }

    fn terms_without_location(&self, leaf: usize, fixed: &Column) -> Column {
        let mut terms = [exact::WORST; LEAF];
        let placed = self.placed[leaf * LEAF..].iter().take(LEAF);
        for ((terms, term), placed) in terms.iter_mut().zip(fixed).zip(placed) {
            *terms = exact::without_location(*term, placed.place);
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
    fn bound(&self, metric: &Metric, query: Query) -> f64 {
        let Some(client) = query.direction else {
            return exact::without_location(self.least_term, self.least_place);
        };
        metric.lower_bound(self.bounds.chord_from(client), self.least_bias_km, self.least_term)
    }
}

/// Builds the subtree over these candidates, sorts them into its leaves, and returns its root.
///
/// All leaves are full but the last, which `first_leaf`, the number of the subtree's first leaf,
/// counts on.
fn grow(placed: &mut [PlacedCandidate], first_leaf: usize, nodes: &mut Vec<Node>) -> u32 {
    let at = nodes.len();
    nodes.push(Node::over(placed, first_leaf));
    let leaves = placed.len().div_ceil(LEAF);
    if leaves > 1 {
        let axis = nodes[at].bounds.widest_axis();
        let left_leaves = leaves / 2;
        let middle = left_leaves * LEAF;
        placed.select_nth_unstable_by(middle, |a, b| {
            let along = |placed: &PlacedCandidate| placed.direction.0[axis];
            let region = |placed: &PlacedCandidate| placed.candidate.region;
            along(a).total_cmp(&along(b)).then_with(|| region(a).cmp(&region(b)))
        });
        let (left, right) = placed.split_at_mut(middle);
        grow(left, first_leaf, nodes);
        nodes[at].below = Below::Nodes(grow(right, first_leaf + left_leaves, nodes));
    }
    narrow(at)
}

impl Node {
    fn over(held: &[PlacedCandidate], leaf: usize) -> Self {
        let mut node = Self {
            bounds: DirectionBox::EMPTY,
            least_bias_km: f64::INFINITY,
            least_term: f64::INFINITY,
            least_place: u32::MAX,
            below: Below::Leaf(narrow(leaf)),
        };
        for placed in held {
            node.bounds.include(placed.direction);
            node.least_bias_km = node.least_bias_km.min(placed.bias_km);
            node.least_term = node.least_term.min(exact::term(placed.term));
            node.least_place = node.least_place.min(placed.place);
        }
        node
    }
}

fn narrow(count: usize) -> u32 {
    u32::try_from(count).expect("a pool holds at most as many placed as there are regions")
}
