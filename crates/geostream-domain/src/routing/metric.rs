//! An objective made ready for ranking: how an angle becomes terms.

use crate::config::{Bias, Objective};
use crate::latency::{FLOOR_MS, KM_PER_RADIAN, Latency, MS_PER_RADIAN};
use crate::routing::rank::exact;

/// What an objective measures between a client and a region, and in which bands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Metric {
    /// What is measured at no distance.
    offset: f64,
    per_radian: f64,
    bands_per_unit: f64,
    allowance: f64,
}

impl Metric {
    pub(crate) fn new(objective: Objective) -> Self {
        let latency = |band_ms: f64, allowance: f64| Self {
            offset: FLOOR_MS,
            per_radian: MS_PER_RADIAN,
            bands_per_unit: 1.0 / band_ms,
            allowance,
        };
        match objective {
            Objective::Latency { band } | Objective::Priority { band } => {
                latency(band.as_millis(), f64::INFINITY)
            }
            Objective::Cost { allowance, band } | Objective::Load { allowance, band } => {
                latency(band.as_millis(), allowance.as_millis())
            }
            Objective::Proximity { band } => Self {
                // A bias may be negative, and bands are not.
                offset: f64::from(Bias::MAX_KM),
                per_radian: KM_PER_RADIAN,
                bands_per_unit: 1.0 / band.as_km(),
                allowance: f64::INFINITY,
            },
            Objective::Weighted => {
                Self { offset: 0.0, per_radian: 0.0, bands_per_unit: 0.0, allowance: f64::INFINITY }
            }
        }
    }

    /// Returns terms that no region is better than of which the straight line to the client, in Earth
    /// radii, the bias and the term are not less than these.
    #[inline]
    pub(crate) fn lower_bound(&self, chord: f32, bias_km: f64, term: f64) -> f64 {
        // A chord is shorter than its arc, and for near points hardly so.
        self.terms(f64::from(chord) * (1.0 - ROUNDING), bias_km, term)
    }

    /// Estimates the latency of a region at an angle from the client; `None` where the angle is no
    /// number, as of a client without a location.
    pub(crate) fn latency(&self, angle: f32) -> Option<Latency> {
        (!angle.is_nan()).then(|| Latency::over_angle(angle))
    }

    /// Returns the terms of a region at an angle from the client.
    ///
    /// Grows with each of its arguments, which [`Metric::lower_bound`] relies on.
    #[inline]
    pub(crate) fn terms(&self, angle: f64, bias_km: f64, term: f64) -> f64 {
        let measure = self.offset + angle * self.per_radian + bias_km;
        let before_band = if measure <= self.allowance { term } else { exact::BEYOND };
        before_band + round(measure * self.bands_per_unit)
    }
}

/// More than what rounding adds to an angle, as a share of it: a bound must not be worse than what
/// it bounds.
const ROUNDING: f64 = 1e-6;

/// Rounds a number from 0 to 2^51 to a whole one, in two additions that vectorise.
///
/// From 2^52 on, an `f64` has no bits for fractions.
#[inline]
fn round(number: f64) -> f64 {
    const TWO_POW_52: f64 = 4_503_599_627_370_496.0;
    (number + TWO_POW_52) - TWO_POW_52
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Band;
    use crate::latency::Rtt;
    use crate::routing::rank::{Reach, Terms};

    #[test]
    fn bands_are_centred_on_multiples_of_their_width() {
        for (number, rounded) in [(0.0, 0.0), (0.49, 0.0), (0.51, 1.0), (6.4, 6.0), (1e6, 1e6)] {
            assert_eq!(round(number), rounded);
        }
    }

    #[test]
    fn beyond_the_allowance_only_latency_counts() {
        let allowance = Rtt::from_millis(FLOOR_MS + MS_PER_RADIAN).unwrap();
        let cost = Metric::new(Objective::Cost { allowance, band: Band::default() });
        let terms = |angle, term| Terms::from_exact(cost.terms(angle, 0.0, exact::term(term)));
        assert_eq!((terms(0.9, 7).reach(), terms(0.9, 7).term()), (Reach::Within, 7));
        assert_eq!((terms(1.1, 7).reach(), terms(1.1, 7).term()), (Reach::Beyond, 0));
        assert!(terms(1.1, 7) < terms(1.2, 3));
        assert!(terms(0.9, 7) < terms(0.1, 8));
    }
}
