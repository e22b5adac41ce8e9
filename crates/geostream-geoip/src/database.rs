//! One file of GeoIP data, read into memory and checked.

use std::collections::HashSet;
use std::fs::{self, Metadata};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::SystemTime;

use geostream_domain::{Location, Timestamp};
use geostream_ports::{Families, Network, Place};
use maxminddb::{MaxMindDbError, Reader, WithinOptions};
use thiserror::Error;

use crate::memory::Memory;
use crate::recent::{self, DataId};
use crate::record::Schema;

/// A file of GeoIP data, all of it in memory: a copy of the file and nothing beside it.
#[derive(Debug)]
pub struct Database {
    reader: Reader<Memory>,
    schema: Schema,
    version: FileVersion,
    id: DataId,
}

/// What tells one version of a file from the next without reading it.
///
/// The inode as well, since a file system's clock may stand still for several milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileVersion {
    modified: Option<SystemTime>,
    inode: u64,
    bytes: u64,
}

/// Why a file is no GeoIP data.
#[derive(Debug, Error)]
pub enum DatabaseError {
    /// The file cannot be read.
    #[error("the file cannot be read")]
    Read(#[from] io::Error),
    /// The file is damaged or no `.mmdb` at all.
    #[error("the file is damaged, or no .mmdb file")]
    Damaged(#[from] MaxMindDbError),
    /// The file has no records.
    #[error("the file holds no networks")]
    Empty,
    /// The file is about something else.
    #[error("the file is of type {0:?} and says nothing of countries or coordinates")]
    NoPlaces(String),
    /// Records follow each other in a circle, or there are more than the file has room for.
    #[error("the file's search tree is damaged")]
    Tree,
}

impl Database {
    /// Reads a file and checks every record.
    ///
    /// Takes seconds for a large file: keep it off threads that answer requests.
    ///
    /// # Errors
    ///
    /// If any part of the file cannot be read or understood.
    pub fn open(path: &Path) -> Result<Self, DatabaseError> {
        // Taken before the content: a file that changes in between is read again.
        let version = FileVersion::of(&fs::metadata(path)?);
        let reader = Reader::from_source(Memory::read(path)?)?;
        let schema = check(&reader)?;
        Ok(Self { reader, schema, version, id: DataId::new() })
    }

    /// Finds an address; `None` if the data says nothing of it.
    ///
    /// # Errors
    ///
    /// If the record is damaged.
    pub fn find(&self, address: IpAddr) -> Result<Option<Place>, MaxMindDbError> {
        let found = self.reader.lookup(address)?;
        let Some(offset) = found.offset() else { return Ok(None) };
        let location = recent::location(self.id, offset, || self.schema.read(&found))?;
        let network = found.network()?;
        let network = Network { address: network.ip(), prefix: network.prefix() };
        Ok(Some(Place { location, network: Some(network) }))
    }

    /// Returns the type that the file says it is of.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.reader.metadata().database_type
    }

    /// Returns when the data was made.
    #[must_use]
    pub fn built(&self) -> Timestamp {
        Timestamp::from_unix_millis(self.reader.metadata().build_epoch.saturating_mul(1000))
    }

    /// Returns the size of the file in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.version.bytes
    }

    /// Returns which addresses the file describes.
    ///
    /// A tree for IPv6 holds IPv4 under `::/96`, unless its maker left that branch empty.
    #[must_use]
    pub fn families(&self) -> Families {
        if self.reader.metadata().ip_version == 4 {
            return Families::V4;
        }
        let all_ipv4 = "0.0.0.0/0".parse().ok();
        let described =
            all_ipv4.and_then(|all| self.reader.within(all, <_>::default()).ok()?.next());
        if described.is_some() { Families::Both } else { Families::V6 }
    }

    pub(crate) fn version(&self) -> FileVersion {
        self.version
    }
}

impl FileVersion {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self { modified: metadata.modified().ok(), inode: metadata.ino(), bytes: metadata.len() }
    }
}

/// Walks the whole tree and reads every record once.
///
/// The reader's own check would refuse files whose maker left the description empty, as
/// ip-location-db does.
fn check(reader: &Reader<Memory>) -> Result<Schema, DatabaseError> {
    let mut schema = None;
    let mut seen = HashSet::new();
    // A tree of n nodes has at most n + 1 leaves.
    let mut leaves_left = u64::from(reader.metadata().node_count) + 1;
    for found in reader.networks(WithinOptions::default())? {
        let found = found?;
        leaves_left = leaves_left.checked_sub(1).ok_or(DatabaseError::Tree)?;
        if !found.offset().is_some_and(|offset| seen.insert(offset)) {
            continue;
        }
        if schema.is_none() {
            schema = Schema::of(&found)?;
        }
        if let Some(schema) = schema {
            let _location: Location = schema.read(&found)?;
        }
    }
    match schema {
        Some(schema) => Ok(schema),
        None if seen.is_empty() => Err(DatabaseError::Empty),
        None => Err(DatabaseError::NoPlaces(reader.metadata().database_type.clone())),
    }
}
