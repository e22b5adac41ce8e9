//! What services would lack without a region.

use std::fmt;
use std::sync::Arc;

use crate::config::{Config, Service};
use crate::health::{Load, Observations};
use crate::name::{RegionId, ServiceId};
use crate::routing::entry::RegionEntry;
use crate::routing::service_table::kinds_of_client;
use crate::time::Timestamp;

/// What a service would lack if a region were drained.
#[derive(Clone, Debug, PartialEq)]
pub struct Shortage {
    /// The service.
    pub service: ServiceId,
    /// What it would lack.
    pub lack: Lack,
}

/// What a service lacks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Lack {
    /// A region that can serve, for all or some of its clients.
    Region,
    /// Declared room for the drained region's load.
    Room {
        /// The room that the others have left, in units of capacity.
        left: f64,
        /// The drained region's load.
        load: Load,
    },
}

impl Shortage {
    /// Returns what draining a region would leave each of its services without, in their order.
    #[must_use]
    pub fn without(
        region: &RegionId,
        config: &Config,
        observed: &Observations,
        now: Timestamp,
    ) -> Vec<Self> {
        let entry = |id: &RegionId| {
            Some(RegionEntry::new(config.regions().get(id)?, config, observed, now))
        };
        let Some(drained) = entry(region) else { return Vec::new() };
        let services = config.services().values();
        let concerned = services.filter(|service| service.members.contains_key(region));
        let shortage = |service: &Arc<Service>| {
            let others = service.members.keys().filter(|id| *id != region).filter_map(entry);
            let left: Vec<_> = others.filter(RegionEntry::can_serve).collect();
            let lack = lack(service, &drained, &left)?;
            Some(Self { service: service.id.clone(), lack })
        };
        concerned.filter_map(shortage).collect()
    }
}

/// Returns what a service lacks with only these able to serve.
fn lack(service: &Service, drained: &RegionEntry, left: &[RegionEntry]) -> Option<Lack> {
    // A geofence may leave some clients with nobody while others have enough.
    let (origins, _) = kinds_of_client(service);
    let is_bereft = origins.into_iter().any(|origin| {
        let serves =
            |entry: &RegionEntry| service.geofence.forbids(origin, &entry.region.labels).is_none();
        serves(drained) && !left.iter().any(serves)
    });
    if is_bereft {
        return Some(Lack::Region);
    }
    // The clients of one that does not serve are among the others' load already.
    let load = drained.load().filter(|_| drained.can_serve())?;
    // Where one has no declared capacity, there is no limit.
    let left = left.iter().map(RegionEntry::spare).sum::<Option<f64>>()?;
    (left < load.units()).then_some(Lack::Room { left, load })
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, lack } = self;
        match lack {
            Lack::Region => write!(f, "{service}: no region is left that can serve its clients"),
            Lack::Room { left, load } => write!(
                f,
                "{service}: the regions that are left have room for {left:.0}, and the drained \
                 one has a load of {:.0}",
                load.units()
            ),
        }
    }
}
