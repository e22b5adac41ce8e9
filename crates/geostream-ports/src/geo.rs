//! Where an address is.

use std::fmt;
use std::net::IpAddr;

use geostream_domain::{Location, Timestamp};

/// Finds the place of a client's address.
///
/// It is asked on the hot path: it does no I/O, takes no lock and never fails. An address that is
/// private, reserved or unknown has an unknown location.
pub trait GeoLocator: Send + Sync + 'static {
    /// Returns the place of an address; an IPv4-mapped IPv6 address is IPv4.
    fn locate(&self, address: IpAddr) -> Place;

    /// Describes the files that answers come from, or would if they were well.
    fn databases(&self) -> Vec<GeoDatabase>;

    /// Tells whether all the data that it was told to use is in use.
    fn is_complete(&self) -> bool;
}

/// Where an address is, and which addresses are there too.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// The location.
    pub location: Location,
    /// A network around the address that is all at this location; `None` where the data says nothing.
    pub network: Option<Network>,
}

impl Place {
    /// The place of an address of which nothing is known.
    pub const UNKNOWN: Self = Self { location: Location::UNKNOWN, network: None };
}

/// A network in CIDR notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Its first address.
    pub address: IpAddr,
    /// How many leading bits its addresses share.
    pub prefix: u8,
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// A file that a locator answers from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeoDatabase {
    /// The file's path, for people.
    pub path: String,
    /// The data in use; `None` if the file has never been well.
    pub data: Option<GeoData>,
    /// Why what lies there is not used.
    pub refused: Option<String>,
    /// Whether it is not used because it says nothing of places, and does not have to, as an ASN
    /// file beside others.
    pub is_of_no_use: bool,
}

/// Data that is in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeoData {
    /// The type that the file says it is of, such as `GeoLite2-City`.
    pub kind: String,
    /// When the data was made.
    pub built: Timestamp,
    /// The size of the file in bytes.
    pub bytes: u64,
    /// Whether it describes IPv4, IPv6 or both.
    pub families: Families,
    /// What has to be shown beside results for people, where the licence asks for it.
    pub attribution: Option<&'static str>,
}

/// The address families that a file describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Families {
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
    /// Both.
    Both,
}
