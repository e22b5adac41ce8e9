//! How well a region would serve a client, as a value that is compared and never summed.

use std::fmt;

use crate::routing::index::RegionIndex;

/// How well a region would serve a client; the least rank wins.
///
/// Field order is the order of comparison. Each field depends on this region and this client
/// alone, so a region that comes or goes changes no other region's rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// What the objective compares.
    pub terms: Terms,
    /// The client's draw for the region: it settles near-ties, and each equal gets its share.
    pub draw: u64,
    /// Settles what is left, so that the order is total.
    pub region: RegionIndex,
}

/// The part of a rank that the objective makes: three fields in one number, since comparing them
/// is most of what a decision does.
///
/// From the most significant bit, which is the order of comparison: [`Reach`] (1 bit), the term
/// (32), the band (20). The 53 bits are exact in an `f64`, in which they are computed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Terms(u64);

/// Whether a region lies within the objective's allowance; without one, every region does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// The estimated round-trip time is good enough.
    Within,
    /// It is not: only latency counts.
    Beyond,
}

const BAND_BITS: u32 = 20;
const REACH_BIT: u32 = 32 + BAND_BITS;

impl Terms {
    /// Takes terms that were computed in floating point.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the terms of a region are a whole number of at most 53 bits"
    )]
    pub(crate) fn from_exact(terms: f64) -> Self {
        Self(terms as u64)
    }

    /// Returns whether the region is near enough for the objective's allowance.
    #[must_use]
    pub fn reach(self) -> Reach {
        if self.0 >> REACH_BIT == 0 { Reach::Within } else { Reach::Beyond }
    }

    /// Returns what the region brings whoever the client is: its cost in millionths of a dollar,
    /// its load in steps of 10 %, or its tier; the highest number where that is unknown, and 0
    /// where the objective does not look at it.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the upper bits are another field's")]
    pub fn term(self) -> u32 {
        (self.0 >> BAND_BITS) as u32
    }

    /// Returns the band of near-ties in latency or distance, from 0; for a client without a
    /// location, the region's place in the policy's order.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the upper bits are other fields'")]
    pub fn band(self) -> u32 {
        self.0 as u32 & ((1 << BAND_BITS) - 1)
    }
}

/// The same terms in floating point: what the hot path adds up, two regions at a time.
pub(crate) mod exact {
    use super::{BAND_BITS, REACH_BIT};

    /// Terms that none are worse than.
    pub(crate) const WORST: f64 = f64::INFINITY;

    /// The reach of a region beyond the allowance.
    pub(crate) const BEYOND: f64 = (1_u64 << REACH_BIT) as f64;

    /// A region's term, which is known before the client is.
    pub(crate) fn term(term: u32) -> f64 {
        f64::from(term) * f64::from(1_u32 << BAND_BITS)
    }

    /// The terms of a region whose distance from the client nobody knows.
    pub(crate) fn without_location(term: f64, place: u32) -> f64 {
        term + f64::from(place)
    }
}

impl fmt::Debug for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terms")
            .field("reach", &self.reach())
            .field("term", &self.term())
            .field("band", &self.band())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_compare_by_reach_then_term_then_band() {
        const MAX_BAND: u32 = (1 << BAND_BITS) - 1;
        let in_order = [
            (Reach::Within, 0, 1),
            (Reach::Within, 0, 7),
            (Reach::Within, 3, 0),
            (Reach::Within, u32::MAX, MAX_BAND),
            (Reach::Beyond, 0, 0),
            (Reach::Beyond, 0, 9),
        ];
        let terms = in_order.map(|(reach, term, band)| {
            let term = match reach {
                Reach::Within => exact::term(term),
                Reach::Beyond => exact::BEYOND,
            };
            Terms::from_exact(term + f64::from(band))
        });
        assert!(terms.is_sorted());
        assert_eq!(terms.map(|t| (t.reach(), t.term(), t.band())), in_order);
    }
}
