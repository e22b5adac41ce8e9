//! How often somebody has asked, at several nodes together.

use std::future::Future;

use geostream_domain::{LeaseRequest, Rate};

use crate::Unavailable;

/// Buckets of tokens that nodes share: one for each key, by a clock of their own.
pub trait SharedCounters: Send + Sync + 'static {
    /// Charges what has passed already, and hands out as much as is wanted, as long as so many
    /// tokens are left in the bucket as are reserved.
    ///
    /// What is charged is taken even from an empty bucket, whose debt is a burst at most. The tokens
    /// are in the order of the requests, of which there are at most [`MOST_LEASES`]; `None` for a
    /// bucket that could not be asked for, though others could: whether it was charged is not known.
    ///
    /// # Errors
    ///
    /// If nobody answers: that is then not known of any.
    fn lease(
        &self,
        rate: Rate,
        reserved: u32,
        requests: Vec<(CounterKey, LeaseRequest)>,
    ) -> impl Future<Output = Result<Vec<Option<u32>>, Unavailable>> + Send;
}

/// The most buckets that are asked for at once.
pub const MOST_LEASES: usize = 1_000;

/// Which bucket is meant: those of one purpose are told apart by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CounterKey {
    /// What is limited.
    pub purpose: &'static str,
    /// Who.
    pub number: u64,
}
