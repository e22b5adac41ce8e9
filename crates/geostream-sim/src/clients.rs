//! Clients that append and read, and try again until they are told how it went.

use geostream_consensus::SessionId;

use crate::machine::Append;
use crate::rng::Rng;

/// One client: it has one request under way at a time.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) number: u16,
    request: u32,
    attempt: u16,
    pub(crate) session: Option<SessionId>,
    /// What it wants; nothing while it rests.
    pub(crate) wish: Option<Wish>,
    /// The node it will ask next, by its place.
    pub(crate) at: usize,
    pub(crate) rng: Rng,
}

/// What a client can want.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Open,
    Append(SessionId),
    Read,
}

/// A request under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    pub(crate) what: What,
    /// What was answered to anybody before it was called.
    pub(crate) floor: u64,
}

impl Client {
    pub(crate) fn new(seed: u64, number: u16) -> Self {
        let rng = Rng::of(seed, 1_000 + u64::from(number));
        Self { number, request: 0, attempt: 0, session: None, wish: None, at: 0, rng }
    }

    /// Wants something new.
    pub(crate) fn call(&mut self, floor: u64, reads: u32) {
        let is_read = self.rng.hits(reads);
        let append = self.session.map_or(What::Open, What::Append);
        let what = if is_read { What::Read } else { append };
        self.request += 1;
        self.attempt = 0;
        self.wish = Some(Wish { what, floor });
    }

    /// Returns the present attempt, which names a read as well.
    pub(crate) fn attempt(&self) -> Append {
        Append { client: self.number, request: self.request, attempt: self.attempt }
    }

    /// Tries the same once more.
    pub(crate) fn try_again(&mut self) {
        self.attempt = self.attempt.wrapping_add(1);
    }

    /// Tells whether an answer to this is still waited for.
    pub(crate) fn waits_for(&self, append: Append) -> bool {
        self.wish.is_some() && append.client == self.number && append.request == self.request
    }
}
