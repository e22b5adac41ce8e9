//! Random numbers that a seed determines.

use std::time::Duration;

use crate::time::micros;

/// A source of random numbers that its seed determines: the generator SplitMix64.
///
/// Good for jitter; not for secrets. Source: G. Steele, D. Lea, C. Flood, "Fast Splittable
/// Pseudorandom Number Generators", OOPSLA 2014.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns one of these, if there is any.
    pub(crate) fn one_of<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        let at = self.next_u64().checked_rem(all.len() as u64)?;
        all.get(usize::try_from(at).ok()?)
    }

    /// Returns a duration from `least` on, and below `most`.
    pub(crate) fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let span = micros(most.saturating_sub(least)).max(1);
        least + Duration::from_micros(self.next_u64() % span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_stay_between_their_bounds_and_repeat_with_their_seed() {
        let (least, most) = (Duration::from_millis(75), Duration::from_millis(150));
        let mut rng = Rng::new(7);
        let drawn: Vec<_> = (0..1_000).map(|_| rng.between(least, most)).collect();
        assert!(drawn.iter().all(|d| (least..most).contains(d)));
        assert_eq!(Rng::new(7).between(least, most), drawn[0]);
        assert_eq!(rng.between(least, least), least);
    }
}
