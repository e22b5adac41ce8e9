//! GeoStream's schema in PostgreSQL: where the database is, and the steps that prepare it.

mod error;
pub mod migrate;
mod target;

pub use error::PgError;
pub use target::{Password, Target, TargetError};
