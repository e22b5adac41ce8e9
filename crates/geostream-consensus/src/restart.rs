//! Starting from what is on disk.

use crate::effect::HardState;
use crate::entry::{Command, Entry, Payload, SnapshotMeta};
use crate::id::{Index, LogId, NodeId};
use crate::membership::Membership;

/// What is on disk when a node starts.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored<C> {
    /// The last one written.
    pub hard_state: HardState,
    /// The last one in use; what stands for nothing, if there was none.
    pub snapshot: SnapshotMeta,
    /// All entries, in order. They may begin before the snapshot's end.
    pub entries: Vec<Entry<C>>,
    /// How far the state machine is: at the snapshot, unless it keeps its own state on disk.
    pub applied: Index,
}

impl<C: Command> Stored<C> {
    /// Returns what a founder of a cluster starts with: a log whose first entry says who founds it.
    ///
    /// All founders start with the same; each writes it to its disk before its first start, once.
    #[must_use]
    pub fn founding(founders: impl IntoIterator<Item = NodeId>) -> Self {
        let payload = Payload::Membership(Membership::of(founders));
        let first = Entry { id: LogId::new(0, 1), payload };
        Self { entries: vec![first], ..Self::joining() }
    }

    /// Returns what a node starts with that waits to be let into a cluster: nothing.
    #[must_use]
    pub fn joining() -> Self {
        Self {
            hard_state: HardState::default(),
            snapshot: SnapshotMeta::default(),
            entries: Vec::new(),
            applied: 0,
        }
    }
}
