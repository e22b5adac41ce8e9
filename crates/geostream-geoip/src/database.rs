//! One file of GeoIP data, read and checked.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::SystemTime;

use geostream_domain::{Location, Timestamp};
use geostream_ports::{Families, Network, Place};
use maxminddb::{Metadata, Reader};

use crate::error::{DatabaseError, LARGEST};
use crate::memory;
use crate::networks::{Family, Networks};
use crate::record::{Record, Said};
use crate::special;
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
        let version = check(path)?;
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

    /// Tells whether this is of the type of another one, and of all address families that it has.
    pub(crate) fn describes_all_of(&self, other: &Self) -> bool {
        let (has, had) = (&self.networks, &other.networks);
        self.kind == other.kind
            && (has.has_ipv4() || !had.has_ipv4())
            && (has.has_ipv6() || !had.has_ipv6())
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

/// What stands before the metadata of a file, which are at its end (the format 2.0 of `MaxMind`).
const METADATA: &[u8] = b"\xab\xcd\xefMaxMind.com";

/// Within how many bytes of the end the metadata begin.
const END: u64 = 128 << 10;

/// Looks at the size, the kind and the end of a file, before all of it is read.
fn check(path: &Path) -> Result<FileVersion, DatabaseError> {
    let metadata = fs::metadata(path)?;
    // Opening a pipe would wait for another program.
    if !metadata.is_file() {
        return Err(DatabaseError::NotAFile);
    }
    if metadata.len() > LARGEST {
        return Err(DatabaseError::TooManyBytes(metadata.len()));
    }
    let mut file = fs::File::open(path)?;
    file.seek(SeekFrom::Start(metadata.len().saturating_sub(END)))?;
    let mut end = Vec::new();
    file.take(END).read_to_end(&mut end)?;
    if !end.windows(METADATA.len()).any(|bytes| bytes == METADATA) {
        return Err(DatabaseError::NoMetadata);
    }
    Ok(FileVersion::of(&metadata))
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
    let mut says_places = false;
    let mut seen = HashMap::new();
    let networks = Networks::new(tree, family, |record, first| {
        Ok(match seen.entry(record) {
            Entry::Occupied(number) => *number.get(),
            Entry::Vacant(number) => {
                let network = family.address(first);
                places.push(match Record::read(&reader.lookup(network)?)? {
                    Said::Nothing => Location::UNKNOWN,
                    Said::Place(location) => {
                        says_places = true;
                        location
                    }
                    Said::Unknown(why) => {
                        // IPv4 lies within the tree of IPv6.
                        let network = special::embedded(network);
                        return Err(DatabaseError::Layout { network, why });
                    }
                });
                *number.insert(places.len() - 1)
            }
        })
    })?;
    match (says_places, places.is_empty()) {
        (true, _) => Ok((networks, places)),
        (false, true) => Err(DatabaseError::Empty),
        (false, false) => Err(DatabaseError::NoPlaces(metadata.database_type.clone())),
    }
}
