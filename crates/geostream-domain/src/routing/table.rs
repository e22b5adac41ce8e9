//! The routing table: configuration, observations and overrides, compiled for deciding.

use std::collections::BTreeSet;

use crate::config::{Config, Override, Region, Revision, Snapshot};
use crate::health::Observations;
use crate::name::RegionId;
use crate::routing::entry::{RegionEntry, index_among};
use crate::routing::index::RegionIndex;
use crate::routing::service_table::ServiceTable;
use crate::time::Timestamp;

/// Everything that a decision reads, as one immutable value.
///
/// Compiling cannot fail, since a [`Config`] is valid. What a decision would have to filter, it
/// filters here: a service has one pool of candidates for each kind of client that its geofence
/// tells apart.
#[derive(Clone, Debug)]
pub struct RoutingTable {
    snapshot: Snapshot,
    compiled_at: Timestamp,
    expires: Option<Timestamp>,
    regions: Box<[RegionEntry]>,
    services: Box<[ServiceTable]>,
}

impl RoutingTable {
    /// Compiles a configuration and what was observed into a table.
    ///
    /// The previous table tells which regions were able last, for services that ask for it when
    /// all are down.
    #[must_use]
    pub fn compile(
        snapshot: Snapshot,
        observations: &Observations,
        now: Timestamp,
        previous: Option<&Self>,
    ) -> Self {
        let config = &snapshot.config;
        let overrides = config.overrides().values().filter(|wish| wish.holds_at(now));
        let expires = overrides.filter_map(|wish| wish.expires).min();
        let regions = config.regions().values();
        let regions: Box<[RegionEntry]> =
            regions.map(|region| RegionEntry::new(region, config, observations, now)).collect();
        let services = config
            .services()
            .values()
            .enumerate()
            .map(|(index, service)| {
                let last_good = |origin| {
                    let before = previous.and_then(|table| {
                        Some((table, table.service(service.id.as_str())?.last_good(origin)))
                    });
                    let Some((table, last_good)) = before else { return BTreeSet::new() };
                    let ids = last_good.iter().map(|&index| &table.region(index).id);
                    ids.filter_map(|id| index_among(&regions, id)).collect()
                };
                ServiceTable::compile(service, index, config, &regions, now, last_good)
            })
            .collect();
        Self { snapshot, compiled_at: now, expires, regions, services }
    }

    /// Returns the configuration that the table was compiled from.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.snapshot.config
    }

    /// Returns the revision of the configuration that the table was compiled from.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.snapshot.revision
    }

    /// Returns when the table was compiled.
    #[must_use]
    pub fn compiled_at(&self) -> Timestamp {
        self.compiled_at
    }

    /// Returns when the next override ends and the table has to be compiled again.
    #[must_use]
    pub fn expires(&self) -> Option<Timestamp> {
        self.expires
    }

    /// Returns the overrides that the table before was made with, and that have ended since.
    pub fn ended_since<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = &'a Override> {
        let held = before.regions.iter().filter_map(|entry| entry.overridden.as_ref());
        held.filter(|wish| {
            // One that was taken back, or replaced, has not ended by itself.
            self.config().overrides().get(&wish.region) == Some(*wish)
                && !wish.holds_at(self.compiled_at)
        })
    }

    /// Returns the regions by their index, in the order of their ids.
    #[must_use]
    pub fn regions(&self) -> &[RegionEntry] {
        &self.regions
    }

    /// Returns what is known of a region, by its id.
    #[must_use]
    pub fn entry(&self, id: &RegionId) -> Option<&RegionEntry> {
        self.index_of(id).map(|index| &self.regions[index.get()])
    }

    /// Tells whether a region is filled above its capacity, since one of its services has more
    /// clients than its regions have room for.
    #[must_use]
    pub fn is_overfull(&self, id: &RegionId) -> bool {
        let is_member = |service: &&ServiceTable| service.service().members.contains_key(id);
        self.services.iter().filter(|s| s.is_overfull()).any(|service| is_member(&service))
    }

    /// Returns a region's place in this table, by its id.
    #[must_use]
    pub fn index_of(&self, id: &RegionId) -> Option<RegionIndex> {
        index_among(&self.regions, id)
    }

    /// Returns the region of a decision that this table made.
    ///
    /// # Panics
    ///
    /// If the index is of a larger table.
    #[must_use]
    pub fn region(&self, index: RegionIndex) -> &Region {
        &self.regions[index.get()].region
    }

    /// Returns a service by its id.
    #[must_use]
    pub fn service(&self, id: &str) -> Option<&ServiceTable> {
        let found = self.services.binary_search_by(|service| service.service().id.as_str().cmp(id));
        found.ok().map(|index| &self.services[index])
    }

    /// Returns the services, in the order of their ids.
    #[must_use]
    pub fn services(&self) -> &[ServiceTable] {
        &self.services
    }

    /// Returns the service that requests without one mean.
    #[must_use]
    pub fn default_service(&self) -> Option<&ServiceTable> {
        self.service(self.config().settings().default_service.as_ref()?.as_str())
    }
}
