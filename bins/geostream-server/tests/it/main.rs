//! The built server, over its sockets.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod alerts;
mod attacks;
mod audit;
mod bad_input;
mod cache;
mod cached_nodes;
mod clock;
mod control;
mod decisions;
mod deploy;
mod fences;
mod forbidden;
mod header_fields;
mod health;
mod limited_tokens;
mod limits;
mod listeners;
mod logs;
mod peers;
mod postgres;
mod proxies;
mod restart;
mod server;
mod settings;
mod store_state;
mod stored_fences;
mod survival;
mod tls;
mod traces;
mod watched;
