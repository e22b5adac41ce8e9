//! Why a connection is over, and how it learns of that.

use std::future::poll_fn;
use std::sync::OnceLock;
use std::task::{Context, Poll, Waker};

/// Why a connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// Nothing is under way.
    Idle,
    /// What is under way stands still: its client takes nothing more.
    Stalled,
    /// What it holds is needed for others.
    Shed,
    /// The server is about to stop, and a request on this connection has been answered since.
    Leaving,
    /// The server drains.
    Stopping,
}

/// What the task beside a connection tells it: looked at whenever the connection moves, it takes
/// less than asking after the task would.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    over: OnceLock<Over>,
    connection: OnceLock<Waker>,
}

impl Verdict {
    /// Tells the connection that it is over, and whether that was not told before.
    pub(crate) fn tell(&self, over: Over) -> bool {
        let is_first = self.over.set(over).is_ok();
        if let Some(connection) = self.connection.get() {
            connection.wake_by_ref();
        }
        is_first
    }

    /// Returns what was told.
    #[cfg(test)]
    pub(crate) fn over(&self) -> Option<Over> {
        self.over.get().copied()
    }

    /// Waits until it is told, on the connection's task.
    pub(crate) async fn heard(&self) -> Over {
        poll_fn(|context| self.told(context).map_or(Poll::Pending, Poll::Ready)).await
    }

    /// Returns what was told; what is told later wakes the connection's task, which stays the same.
    pub(crate) fn told(&self, context: &Context<'_>) -> Option<Over> {
        self.connection.get_or_init(|| context.waker().clone());
        self.over.get().copied()
    }
}
