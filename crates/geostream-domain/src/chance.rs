//! Chance that can be repeated.

/// A source of random numbers that its seed determines: the generator SplitMix64.
///
/// Good for jitter; not for secrets. Source: G. Steele, D. Lea, C. Flood, "Fast Splittable
/// Pseudorandom Number Generators", OOPSLA 2014.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// Begins the sequence of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns the next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        crate::hash::mix(self.0)
    }

    /// Returns the next fraction, from 0 up to but not 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
    pub fn fraction(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_spread_evenly_and_repeat_with_their_seed() {
        let mut chance = Chance::new(1);
        let fractions: Vec<f64> = (0..10_000).map(|_| chance.fraction()).collect();
        assert!(fractions.iter().all(|f| (0.0..1.0).contains(f)));
        let mean = fractions.iter().sum::<f64>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
        assert_eq!(Chance::new(1).fraction(), fractions[0]);
    }
}
