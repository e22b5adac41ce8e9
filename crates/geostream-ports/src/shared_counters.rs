//! How often somebody has asked, at several nodes together.

use std::future::Future;
use std::time::Duration;

use geostream_domain::{LeaseRequest, Rate};

use crate::Unavailable;

/// Buckets of tokens that nodes share: one for each key, by a clock of their own.
pub trait SharedCounters: Send + Sync + 'static {
    /// Charges what has passed already, and hands out as much as is wanted and there.
    ///
    /// What is charged is taken even from an empty bucket, whose debt is a burst at most. The grants
    /// are in the order of the requests, of which there are at most [`MOST_LEASES`].
    ///
    /// # Errors
    ///
    /// If nobody answers: it is then not known whether anything was charged.
    fn lease(
        &self,
        rate: Rate,
        requests: Vec<(CounterKey, LeaseRequest)>,
    ) -> impl Future<Output = Result<Vec<Grant>, Unavailable>> + Send;
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

/// What a bucket hands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// So many tokens.
    pub tokens: u32,
    /// How long it takes until the next one is there.
    pub wait: Duration,
}
