//! A handful of candidates, measured several at a time.

use crate::place::{Direction, angle};
use crate::routing::candidate::{Candidate, PlacedCandidate};
use crate::routing::decision::SLOTS;
use crate::routing::metric::Metric;
use crate::routing::rank::exact;

/// The places of up to [`LEAF`] candidates, laid out for vector instructions.
#[derive(Clone, Debug)]
pub(crate) struct Leaf {
    xs: [f32; LEAF],
    ys: [f32; LEAF],
    zs: [f32; LEAF],
}

/// The most candidates that a leaf holds: a scan of so many costs no more than another level.
pub(crate) const LEAF: usize = 32;

/// A number for each candidate of a leaf, and zeros behind them.
pub(crate) type Column = [f64; LEAF];

impl Leaf {
    pub(crate) fn new(held: &[PlacedCandidate]) -> Self {
        let axis = |axis: usize| {
            std::array::from_fn(|at| held.get(at).map_or(0.0, |c| c.direction.0[axis]))
        };
        Self { xs: axis(0), ys: axis(1), zs: axis(2) }
    }

    /// Returns the angle between the client and each of the leaf's candidates.
    pub(crate) fn angles(&self, client: Direction, held: usize) -> [f32; LEAF] {
        let mut angles = [0.0; LEAF];
        for block in blocks(held) {
            for at in block {
                let place = [self.xs[at], self.ys[at], self.zs[at]];
                angles[at] = angle(Direction::chord_squared(place, client.0));
            }
        }
        angles
    }
}

/// Returns the places of so many candidates, a few at a time, which vectorises; the last few go
/// beyond the last candidate.
fn blocks(held: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    const BLOCK: usize = 8;
    (0..LEAF)
        .step_by(BLOCK)
        .take_while(move |&first| first < held)
        .map(|first| first..first + BLOCK)
}

/// Makes a column of what each candidate brings.
pub(crate) fn column(held: &[PlacedCandidate], of: impl Fn(&PlacedCandidate) -> f64) -> Column {
    std::array::from_fn(|at| held.get(at).map_or(0.0, &of))
}

/// Makes a column of candidates; behind the last candidate, the first one stands in.
pub(crate) fn candidates(held: &[PlacedCandidate]) -> [Candidate; LEAF] {
    std::array::from_fn(|at| held.get(at).unwrap_or(&held[0]).candidate)
}

/// Returns the terms of each of the leaf's candidates, and the worst behind the last.
pub(crate) fn terms(
    metric: &Metric,
    angles: &[f32; LEAF],
    biases_km: &Column,
    fixed: &Column,
    held: usize,
) -> Column {
    let mut terms = [exact::WORST; LEAF];
    for block in blocks(held) {
        for at in block {
            terms[at] = metric.terms(f64::from(angles[at]), biases_km[at], fixed[at]);
        }
    }
    terms[held..].fill(exact::WORST);
    terms
}

/// Returns terms that as many of the candidates as are wanted are not worse than, and few others.
///
/// Computed without a branch that depends on the terms: for random ones, guessing wrong would cost
/// more than all the comparisons.
pub(crate) fn enough(terms: &Column, wanted: usize) -> f64 {
    // If four groups have a member as good, so have four candidates.
    let halves = lesser::<_, { LEAF / 2 }>(*terms);
    match wanted {
        ..=4 => last_of_least::<4>(&lesser::<_, { LEAF / 4 }>(halves)),
        _ => last_of_least::<SLOTS>(&halves),
    }
}

/// Returns the lesser of each number of the first half and its counterpart in the second.
fn lesser<const N: usize, const HALF: usize>(numbers: [f64; N]) -> [f64; HALF] {
    std::array::from_fn(|at| smaller(numbers[at], numbers[at + HALF]))
}

/// As [`f64::min`] for numbers that are numbers, which takes a single instruction.
fn smaller(a: f64, b: f64) -> f64 {
    if a < b { a } else { b }
}

/// Returns which candidates' terms are not worse than these, one bit each; without a branch for each.
pub(crate) fn up_to(enough: f64, terms: &Column, held: usize) -> u32 {
    let mut bits = 0;
    for block in blocks(held) {
        let first = block.start;
        let terms = terms[block].iter().rev();
        bits |= terms.fold(0, |bits, &terms| bits << 1 | u32::from(terms <= enough)) << first;
    }
    bits & (u32::MAX >> (LEAF - held))
}

/// Returns the greatest of the `N` least numbers.
fn last_of_least<const N: usize>(numbers: &[f64]) -> f64 {
    // Two columns are sorted side by side, which vectorises, and then merged.
    let mut least = [[f64::INFINITY; 2]; N];
    for pair in numbers.as_chunks::<2>().0 {
        let mut larger = *pair;
        for slot in &mut least {
            for lane in 0..2 {
                let (number, held) = (larger[lane], slot[lane]);
                slot[lane] = smaller(number, held);
                larger[lane] = if number < held { held } else { number };
            }
        }
    }
    // Of two ascending columns, the N least: each from one end against the other's other end.
    let merged = (0..N).map(|at| smaller(least[at][0], least[N - 1 - at][1]));
    merged.fold(f64::NEG_INFINITY, |a, b| if a < b { b } else { a })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enough_keeps_as_many_as_are_wanted_and_few_others() {
        for round in 0..1_000_usize {
            let mut terms = [f64::INFINITY; LEAF];
            for (at, term) in terms.iter_mut().enumerate().take(round % (LEAF + 1)) {
                *term = f64::from(u32::try_from((at * 7919 + round * 104_729) % 97).unwrap());
            }
            for wanted in 1..=SLOTS {
                let enough = enough(&terms, wanted);
                let mut sorted = terms;
                sorted.sort_by(f64::total_cmp);
                assert!(sorted[wanted - 1] <= enough, "{wanted} of {sorted:?}");
                assert!(sorted.contains(&enough));
            }
        }
    }
}
