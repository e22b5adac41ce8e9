//! What each of several nodes sees of the regions, for the others.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use geostream_domain::{ClockReading, NodeId, NodeSummary, NodeView};

use crate::Unavailable;

/// Where nodes tell each other what they see.
///
/// One exchange does both: it says what this node sees, and returns what the others have said lately.
/// How old that is is measured where it is kept, so that no two clocks are compared and nothing that
/// was held up on its way is taken for new.
pub trait SharedViews: Send + Sync + 'static {
    /// Says what this node sees, in place of what it has said before, and returns what others have
    /// said within [`VIEW_HOLDS`](geostream_domain::VIEW_HOLDS): at most
    /// [`MOST_NODES`](geostream_domain::MOST_NODES) of them. Whoever has said something may be missing,
    /// since it was lost; a node that goes says so by a view of nothing.
    ///
    /// A view that is the same as before is returned as the same `Arc`. A node whose words cannot be
    /// understood is left out, and counted.
    ///
    /// The summary travels beside the view, for operators. It decides nothing, so one that is
    /// missing or cannot be understood leaves the view as it is.
    fn exchange(
        &self,
        said: &Arc<NodeView>,
        summary: &Arc<NodeSummary>,
    ) -> impl Future<Output = Result<Exchanged, Unavailable>> + Send;

    /// Returns when somebody votes otherwise from now on, or may do so. It is no promise: whoever
    /// waits has to look by himself now and then.
    fn news(&self) -> impl Future<Output = ()> + Send;
}

/// What an exchange has brought.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exchanged {
    /// What the others say, in the order of their names.
    pub heard: Vec<Heard>,
    /// How many could not be understood.
    pub refused: usize,
    /// What the clock showed that ages are measured by; `None` if there is no such clock.
    pub clock: Option<ClockReading>,
}

/// What another node says.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// The node.
    pub node: NodeId,
    /// What it sees.
    pub view: Arc<NodeView>,
    /// What it says of itself; `None` from a node of an earlier version.
    pub summary: Option<Arc<NodeSummary>>,
    /// How long ago it has said so, when the exchange was answered.
    pub age: Duration,
}
