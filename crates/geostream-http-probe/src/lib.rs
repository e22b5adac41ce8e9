//! Asks regions how they are: over HTTP, TCP, or gRPC's health protocol.
//!
//! A probe follows no redirect, reads at most 64 KiB, and makes a new connection, so that whatever
//! keeps new clients out is noticed by the next probe. The connection stays open until the next
//! probe has made another, since its end tells of a crash at once. Names are resolved for each
//! connection, and addresses that are not public are left alone unless the configuration permits
//! their network: so a token that may change a region's URL cannot have this node look around in its own
//! network.

mod body;
mod connection;
mod grpc;
mod pace;
mod prober;

pub use prober::{HttpProber, TrustError};
