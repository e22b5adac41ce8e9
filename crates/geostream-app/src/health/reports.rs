//! Reports on their way to the driver.
//!
//! Gateways report each request that they serve, from many threads. A report goes into a bounded
//! queue without a lock, and the driver takes all of them in when it acts next: the order and the
//! number of reports matter to a breaker, so they are not summed up on the way.

use std::net::IpAddr;
use std::time::Duration;

use geostream_domain::{Load, RegionId};
use tokio::sync::mpsc;

/// What a client, a gateway or a region itself reports.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The region.
    pub region: RegionId,
    /// Whether it served; `None` where only its load is reported.
    pub is_well: Option<bool>,
    /// Who used it, if that is known.
    pub client: Option<IpAddr>,
    /// How long the way there and back took.
    pub rtt: Option<Duration>,
    /// The region's load, in the unit of its capacity.
    pub load: Option<Load>,
}

/// What has become of reports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reported {
    /// How many are taken.
    pub accepted: usize,
    /// How many are lost, since more came than the driver can take in.
    pub dropped: u64,
    /// The region of each report that is of no configured one.
    pub unknown: Vec<RegionId>,
}

/// The reports that may wait for the driver: a third of a second at 200,000 a second.
const WAITING: usize = 65_536;

/// The reports that the driver takes in before it looks after its probes again: some milliseconds.
pub(crate) const AT_ONCE: usize = 8_192;

/// Makes a queue of reports.
pub(crate) fn queue() -> (mpsc::Sender<Outcome>, mpsc::Receiver<Outcome>) {
    mpsc::channel(WAITING)
}
