//! How a server stops, stage by stage.

/// The stages of a server, in their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The server accepts and serves.
    #[default]
    Serving,
    /// The server says that it is not ready, and accepts and serves nevertheless, so that balancers
    /// can stop sending requests before any is refused. Each connection ends with its next answer.
    Leaving,
    /// The server accepts nothing, closes idle connections, and finishes the requests under way.
    Draining,
}
