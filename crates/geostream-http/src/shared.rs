//! What the requests of all threads share: pools of places, and what they note for operators.

use std::sync::Arc;
use std::time::Instant;

use crate::explanations::Explanations;
use crate::exposition::Exposition;
use crate::forwarding::Forwarding;
use crate::places::Places;

/// The most streams of events at once, and how many of them one token may have: the others are for
/// other operators.
const LISTENERS: usize = 64;
pub(crate) const LISTENERS_OF_ONE: usize = 8;

/// The most copies at once: each takes as much of the disk as the store does.
const BACKUPS: usize = 1;

/// The pools that the requests of all threads share, and what they note for operators.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) exposition: Exposition,
    pub(crate) listeners: Arc<Places>,
    pub(crate) backups: Arc<Places>,
    pub(crate) explanations: Explanations,
    pub(crate) forwarding: Forwarding,
}

impl Shared {
    /// Makes empty pools; `now` is when the server starts.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            exposition: Exposition::new(),
            listeners: Places::new(LISTENERS, LISTENERS_OF_ONE),
            backups: Places::new(BACKUPS, BACKUPS),
            explanations: Explanations::new(),
            forwarding: Forwarding::new(now),
        }
    }
}
