//! Asks regions how they are: over HTTP, TCP, or gRPC's health protocol.
//!
//! A probe reads at most 64 KiB, follows redirects only where its check says so, and makes a new
//! connection, so that whatever keeps new clients out is noticed by the next probe. The connection
//! stays open until the next probe has made another, since its end tells of a crash at once. Names
//! are resolved for each connection, and addresses that are not public are left alone unless the
//! configuration permits their network: so a token that may change a region's URL cannot have this
//! node look around in its own network, and neither can a region that redirects.

mod body;
mod connection;
mod grpc;
mod hop;
mod pace;
mod prober;

pub use prober::HttpProber;
