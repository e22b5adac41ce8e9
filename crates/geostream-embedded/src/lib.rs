//! GeoStream's configuration, tokens, history of health and audit trail in one local file, or in memory
//! for tests.
//!
//! [`EmbeddedStore`] keeps the log of changes in a redb database. One thread owns it: a commit is
//! an fsync, which no caller's thread should wait for, and a database that has seen an I/O error
//! has to be opened again by somebody. [`LastGoodFile`] keeps what the last routing table was made
//! of in a file of its own, for the day on which the database cannot be read, and
//! [`KnownTokensFile`] what is known of the tokens.

mod audit;
mod database;
mod documents;
mod error;
mod health;
mod import;
mod known_tokens;
mod last_good;
mod log;
mod lost;
mod private_file;
mod store;

pub use error::LogError;
pub use known_tokens::KnownTokensFile;
pub use last_good::LastGoodFile;
pub use store::EmbeddedStore;
