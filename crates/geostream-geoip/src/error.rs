//! Why a file is no GeoIP data.

use std::io;
use std::net::IpAddr;

use maxminddb::MaxMindDbError;
use thiserror::Error;

/// Why a file is no GeoIP data.
#[derive(Debug, Error)]
pub enum DatabaseError {
    /// The file cannot be read.
    #[error("the file cannot be read")]
    Read(#[from] io::Error),
    /// The file is damaged or no `.mmdb` at all.
    #[error("the file is damaged, or no .mmdb file")]
    Damaged(#[from] MaxMindDbError),
    /// There is no regular file of this name: a directory, a pipe or a device.
    #[error("there is no regular file of this name, so the file cannot be read")]
    NotAFile,
    /// The file is larger than any that is read.
    #[error("the file has {0} bytes, and {LARGEST} at most are read")]
    TooManyBytes(u64),
    /// The file does not end as `.mmdb` files do.
    #[error("the file is damaged, or no .mmdb file: it has no metadata of MaxMind DB at its end")]
    NoMetadata,
    /// The file has no records.
    #[error("the file holds no networks")]
    Empty,
    /// The file says something of places in a way that is not known.
    #[error("the layout of the file is not known: at {network}, {why}")]
    Layout {
        /// Where the file says so.
        network: IpAddr,
        /// What is not known.
        why: String,
    },
    /// The file is about something else.
    #[error("the file is of type {0:?} and says nothing of countries or coordinates")]
    NoPlaces(String),
    /// The search tree leads in a circle, further than an address has bits, or out of the file.
    #[error("the file's search tree is damaged")]
    Tree,
    /// The file has more networks or places than are counted by 31 bits.
    #[error("the file holds too many networks or places")]
    TooLarge,
}

/// The largest file that is read; the largest that makers offer have about 1 GB.
pub(crate) const LARGEST: u64 = 2 << 30;
