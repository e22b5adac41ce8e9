//! The status codes that count as a success.

use std::fmt;

use thiserror::Error;

/// Status codes from one to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StatusRange {
    from: u16,
    to: u16,
}

/// Numbers that are no range of status codes.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{from} to {to} is no range of status codes from 100 to 599")]
pub struct StatusRangeError {
    from: u16,
    to: u16,
}

impl StatusRange {
    /// Takes a range within 100 to 599.
    ///
    /// # Errors
    ///
    /// Refuses what lies outside, and what is empty.
    pub fn new(from: u16, to: u16) -> Result<Self, StatusRangeError> {
        if 100 <= from && from <= to && to <= 599 {
            Ok(Self { from, to })
        } else {
            Err(StatusRangeError { from, to })
        }
    }

    /// Tells whether the range contains a status code.
    #[must_use]
    pub fn contains(self, status: u16) -> bool {
        (self.from..=self.to).contains(&status)
    }

    /// Returns the first and the last code.
    #[must_use]
    pub fn bounds(self) -> (u16, u16) {
        (self.from, self.to)
    }
}

impl fmt::Display for StatusRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.from == self.to {
            write!(f, "{}", self.from)
        } else {
            write!(f, "{}-{}", self.from, self.to)
        }
    }
}

/// The status codes that count as a success: ranges in ascending order, with a gap between any two.
///
/// One form for each set of codes, so that configurations which mean the same are equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusCodes(Vec<StatusRange>);

/// Why ranges are no set of status codes.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum StatusCodesError {
    /// There is no range.
    #[error("at least one status code is expected")]
    None,
    /// There are more than [`StatusCodes::MAX_RANGES`].
    #[error("more than {} status codes and ranges", StatusCodes::MAX_RANGES)]
    TooMany,
}

impl StatusCodes {
    /// The most ranges of a set.
    pub const MAX_RANGES: usize = 16;

    /// Merges ranges that overlap or adjoin.
    ///
    /// # Errors
    ///
    /// Refuses no range at all, and more than [`StatusCodes::MAX_RANGES`].
    pub fn new(ranges: impl IntoIterator<Item = StatusRange>) -> Result<Self, StatusCodesError> {
        let mut ranges: Vec<_> = ranges.into_iter().take(Self::MAX_RANGES + 1).collect();
        if ranges.is_empty() {
            return Err(StatusCodesError::None);
        }
        if ranges.len() > Self::MAX_RANGES {
            return Err(StatusCodesError::TooMany);
        }
        ranges.sort_unstable();
        ranges.dedup_by(|next, last| {
            let adjoins = next.from <= last.to + 1;
            if adjoins {
                last.to = last.to.max(next.to);
            }
            adjoins
        });
        Ok(Self(ranges))
    }

    /// Tells whether a status code counts as a success.
    #[must_use]
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|range| range.contains(status))
    }
}

impl From<StatusRange> for StatusCodes {
    fn from(range: StatusRange) -> Self {
        Self(vec![range])
    }
}

impl Default for StatusCodes {
    /// `200-299`.
    fn default() -> Self {
        StatusRange { from: 200, to: 299 }.into()
    }
}

impl fmt::Display for StatusCodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, range) in self.0.iter().enumerate() {
            let separator = if number == 0 { "" } else { "," };
            write!(f, "{separator}{range}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(ranges: &[(u16, u16)]) -> Result<StatusCodes, StatusCodesError> {
        StatusCodes::new(ranges.iter().map(|&(from, to)| StatusRange::new(from, to).unwrap()))
    }

    #[test]
    fn a_set_has_one_form_however_it_is_written() {
        for (ranges, text) in [
            (&[(200, 299)][..], "200-299"),
            (&[(204, 204), (200, 200)], "200,204"),
            (&[(300, 399), (200, 299)], "200-399"),
            (&[(200, 250), (240, 260), (401, 401)], "200-260,401"),
            (&[(200, 299), (210, 220), (301, 301)], "200-299,301"),
        ] {
            assert_eq!(codes(ranges).unwrap().to_string(), text);
        }
        let few = codes(&[(200, 200), (300, 399)]).unwrap();
        for (status, is_contained) in [(199, false), (200, true), (201, false), (302, true)] {
            assert_eq!(few.contains(status), is_contained, "{status}");
        }
    }

    #[test]
    fn a_set_has_1_to_16_ranges() {
        let apart: Vec<_> = (0..17).map(|n| (100 + 2 * n, 100 + 2 * n)).collect();
        assert!(codes(&apart[..16]).is_ok());
        assert_eq!(codes(&apart), Err(StatusCodesError::TooMany));
        assert_eq!(codes(&[]), Err(StatusCodesError::None));
    }
}
