//! Asks regions how they are: over HTTP, TCP, or gRPC's health protocol.
//!
//! A probe follows no redirect and reads at most 64 KiB; every second one makes a new connection.
//! Names are resolved for each connection, and addresses that are not public are left alone unless
//! the configuration permits their network: so nobody who may change a region's URL can have this
//! node look around in its own network.

mod connection;
mod grpc;
mod pace;
mod prober;

pub use prober::{HttpProber, TrustError};
