//! The use cases over the embedded store.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod access;
mod audit;
mod clocks;
mod configuration;
mod follow;
mod health;
mod peers;
mod route;
mod trace;
mod world;
