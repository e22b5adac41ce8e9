//! GeoStream's configuration, tokens, log of health and audit trail in PostgreSQL, for several nodes.
//!
//! [`PgStore`] keeps the log of changes and, beside it, tables of what the log adds up to, which
//! people may read. Every operation is one short transaction with a time limit. Nothing is kept in a
//! session: statements have no names, and settings end with the transaction, so that a pooler in
//! between and a schema that grows meanwhile are no special cases. Commits are announced to all
//! nodes, and whoever has missed an announcement finds out within a second.
//!
//! [`Target`] says where the database is, and [`migrate`] prepares it.

mod audit;
mod clock;
mod error;
mod health;
mod import;
mod listen;
mod log;
mod look;
pub mod migrate;
mod session;
mod store;
mod tables;
mod target;
mod tokens;
mod trail;

pub use error::PgError;
pub use store::PgStore;
pub use target::{Password, Target, TargetError};
