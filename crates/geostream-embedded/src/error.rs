//! Why the database cannot be used.

use std::io;
use std::panic::{self, AssertUnwindSafe};

use geostream_ports::Unavailable;
use thiserror::Error;

/// The format that this version reads and writes.
pub(crate) const THIS_FORMAT: u64 = 1;

/// Why the database cannot be read or written.
#[derive(Debug, Error)]
pub enum LogError {
    /// The database itself failed: the disk, the file, or another process that holds it.
    #[error("the database cannot be used")]
    Database(#[from] redb::Error),
    /// The file was written by a later version.
    #[error("the database has format {0}, and this version reads format {THIS_FORMAT}")]
    Format(u64),
    /// What is kept cannot be understood.
    #[error("the database holds {what} {key} that cannot be read")]
    Damaged {
        /// The kind of entry.
        what: &'static str,
        /// The entry's key.
        key: u64,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What has the file's name is not what is open.
    #[error(
        "the database's file was removed or replaced while it was open; what is written now is \
         lost with the next start"
    )]
    Replaced,
    /// There is no file to copy.
    #[error("the database is in memory and has no file")]
    InMemory,
    /// The work on the database panicked, as redb does on what it cannot believe.
    #[error("the work on the database panicked")]
    Panicked,
}

impl LogError {
    /// Tells whether another process has the database open.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        matches!(self, Self::Database(redb::Error::DatabaseAlreadyOpen))
    }
}

macro_rules! from_redb {
    ($($error:ident)*) => {$(
        impl From<redb::$error> for LogError {
            fn from(error: redb::$error) -> Self {
                Self::Database(error.into())
            }
        }
    )*};
}

from_redb!(CommitError DatabaseError StorageError TableError TransactionError);

impl From<io::Error> for LogError {
    fn from(error: io::Error) -> Self {
        Self::Database(error.into())
    }
}

pub(crate) fn damaged(
    what: &'static str,
    key: u64,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> LogError {
    LogError::Damaged { what, key, source: source.into() }
}

/// Does what may panic on a damaged file.
///
/// Whoever gets the error drops what was worked on: nobody sees it half done.
pub(crate) fn surviving<T>(work: impl FnOnce() -> T) -> Result<T, LogError> {
    panic::catch_unwind(AssertUnwindSafe(work)).map_err(|_panic| LogError::Panicked)
}

pub(crate) fn unavailable(error: LogError) -> Unavailable {
    Unavailable::new("the embedded store", error)
}
