//! The built server, over its sockets.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod bad_input;
mod cache;
mod cached_nodes;
mod company;
mod control;
mod decisions;
mod health;
mod limits;
mod postgres;
mod server;
mod survival;
mod tls;
