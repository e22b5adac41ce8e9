//! How many requests a second are let through.

use thiserror::Error;

use crate::limit::Rate;

/// A limit of requests a second; 0 lets any number through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestLimit(u32);

/// A number that is no limit of requests.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{0} is not a number of requests a second from 0 to {max}", max = RequestLimit::MAX)]
pub struct RequestLimitError(u64);

impl RequestLimit {
    /// Lets any number through.
    pub const NONE: Self = Self(0);

    /// The highest limit.
    pub const MAX: u32 = 1_000_000_000;

    /// Takes a number from 0, which means no limit, to [`RequestLimit::MAX`].
    ///
    /// # Errors
    ///
    /// Refuses more.
    pub fn new(per_second: u64) -> Result<Self, RequestLimitError> {
        let within = u32::try_from(per_second).ok().filter(|number| *number <= Self::MAX);
        within.map(Self).ok_or(RequestLimitError(per_second))
    }

    /// Returns the number.
    #[must_use]
    pub fn per_second(self) -> u32 {
        self.0
    }

    /// Returns the rate that a bucket of tokens is filled at; `None` without a limit.
    #[must_use]
    pub fn rate(self) -> Option<Rate> {
        Rate::per_second(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_number_that_a_bucket_can_have_and_zero_is_none() {
        assert_eq!(RequestLimit::new(0), Ok(RequestLimit::NONE));
        assert_eq!(RequestLimit::NONE.rate(), None);
        for number in [1, 50, RequestLimit::MAX] {
            let limit = RequestLimit::new(number.into()).unwrap();
            assert_eq!(limit.per_second(), number);
            assert_eq!(limit.rate(), Rate::per_second(number));
            assert!(limit.rate().is_some(), "{number}");
        }
        for number in [u64::from(RequestLimit::MAX) + 1, u64::MAX] {
            assert_eq!(RequestLimit::new(number), Err(RequestLimitError(number)));
        }
    }
}
