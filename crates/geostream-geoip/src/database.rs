//! One file of GeoIP data, read and checked.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::SystemTime;

use geostream_domain::{Location, Timestamp};
use geostream_ports::{Families, Network, Place};
use maxminddb::{MaxMindDbError, Metadata, Reader};
use thiserror::Error;

use crate::memory;
use crate::networks::{Family, Networks};
use crate::record::Schema;
use crate::tree::Tree;

/// A file of GeoIP data: all that it says of places, in memory, and nothing else of it.
pub struct Database {
    networks: Networks,
    /// By their numbers.
    places: Vec<Location>,
    kind: String,
    built: Timestamp,
    version: FileVersion,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { networks, places, kind, built, .. } = self;
        let mut debug = f.debug_struct("Database");
        debug.field("kind", kind).field("built", built).field("networks", networks);
        debug.field("places", &places.len()).finish_non_exhaustive()
    }
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
    /// The search tree leads in a circle, further than an address has bits, or out of the file.
    #[error("the file's search tree is damaged")]
    Tree,
    /// The file has more networks or places than are counted by 31 bits.
    #[error("the file holds too many networks or places")]
    TooLarge,
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
        let file = memory::read(path)?;
        let reader = Reader::from_source(&file[..])?;
        let (networks, places) = read(&reader, &file)?;
        let Metadata { database_type: kind, build_epoch, .. } = reader.metadata();
        let built = Timestamp::from_unix_millis(build_epoch.saturating_mul(1000));
        Ok(Self { networks, places, kind: kind.clone(), built, version })
    }

    /// Finds an address; `None` if the data says nothing of it.
    #[must_use]
    pub fn find(&self, address: IpAddr) -> Option<Place> {
        let (place, prefix) = self.networks.find(address)?;
        let network = Network { address: first_of(address, prefix), prefix };
        Some(Place { location: self.places[place], network: Some(network) })
    }

    /// Returns the type that the file says it is of.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Returns when the data was made.
    #[must_use]
    pub fn built(&self) -> Timestamp {
        self.built
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
        match (self.networks.has_ipv4(), self.networks.has_ipv6()) {
            (true, false) => Families::V4,
            (true, true) => Families::Both,
            (false, _) => Families::V6,
        }
    }

    pub(crate) fn version(&self) -> FileVersion {
        self.version
    }
}

impl FileVersion {
    pub(crate) fn of(metadata: &fs::Metadata) -> Self {
        Self { modified: metadata.modified().ok(), inode: metadata.ino(), bytes: metadata.len() }
    }
}

/// Returns the first address of the network of this length in which an address is.
fn first_of(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let others = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & !others).into()
        }
        IpAddr::V6(address) => {
            let others = u128::MAX.checked_shr(prefix.into()).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & !others).into()
        }
    }
}

/// Takes over the whole tree, and reads every record once.
///
/// The reader's own check would refuse files whose maker left the description empty, as
/// ip-location-db does.
fn read(reader: &Reader<&[u8]>, file: &[u8]) -> Result<(Networks, Vec<Location>), DatabaseError> {
    let metadata = reader.metadata();
    let family = if metadata.ip_version == 4 { Family::Ipv4 } else { Family::Ipv6 };
    let tree = Tree::new(file, metadata.node_count, metadata.record_size);
    let mut places = Vec::new();
    let mut schema = None;
    let mut seen = HashMap::new();
    let networks = Networks::new(tree, family, |record, first| {
        Ok(match seen.entry(record) {
            Entry::Occupied(number) => *number.get(),
            Entry::Vacant(number) => {
                let found = reader.lookup(family.address(first))?;
                if schema.is_none() {
                    schema = Schema::of(&found)?;
                }
                places.push(match schema {
                    Some(schema) => schema.read(&found)?,
                    None => Location::UNKNOWN,
                });
                *number.insert(places.len() - 1)
            }
        })
    })?;
    match schema {
        Some(_) => Ok((networks, places)),
        None if places.is_empty() => Err(DatabaseError::Empty),
        None => Err(DatabaseError::NoPlaces(metadata.database_type.clone())),
    }
}
