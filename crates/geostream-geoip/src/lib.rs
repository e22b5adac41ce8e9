//! Where a client's address is, from `.mmdb` files.
//!
//! [`GeoIp`] answers from memory and never fails: what is damaged or missing is an unknown place.
//! The layouts of many makers are read (`record.rs`). A file that changes on disk is read and checked
//! as a whole beside the one in use, which stays if the new one is worse.

mod database;
mod error;
mod locator;
mod memory;
mod networks;
#[cfg(test)]
mod planted;
mod record;
mod special;
mod tree;

pub use error::DatabaseError;

pub use database::Database;
pub use locator::GeoIp;
