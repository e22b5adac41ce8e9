//! The place of a region in one routing table.

/// A region's place in one routing table; it means nothing in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegionIndex(u16);

impl RegionIndex {
    pub(crate) const FIRST: Self = Self(0);

    pub(crate) fn new(place: usize) -> Self {
        Self(u16::try_from(place).expect("a configuration holds at most 20,000 regions"))
    }

    /// Returns the place as a number, below the number of regions.
    #[must_use]
    pub fn get(self) -> usize {
        usize::from(self.0)
    }
}
