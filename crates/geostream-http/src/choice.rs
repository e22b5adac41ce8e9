//! Regions as an answer names them.
//!
//! All that changes of a region from one answer to the next is its latency. What is around it is
//! written once for each region and thread, and then copied.

use std::sync::Arc;

use geostream_domain::{Endpoint, Latency, Region, RegionIndex, RoutingTable, Rtt};

use crate::json::{Object, key, write_scaled};

/// What is written of regions, each by its index: no more than a configuration may have regions.
pub(crate) struct Choices {
    written: Vec<Option<Written>>,
}

/// What is written of a region before its latency and behind it.
struct Written {
    /// As long as it is kept, no other region can have its address.
    region: Arc<Region>,
    before: Box<[u8]>,
    after: Box<[u8]>,
}

impl Written {
    fn of(region: &Arc<Region>) -> Self {
        let fields = |write: &dyn Fn(&mut Object<'_>)| {
            let mut out = Vec::new();
            write(&mut Object::begin(&mut out));
            out.into_boxed_slice()
        };
        Self {
            region: Arc::clone(region),
            before: fields(&|object| {
                object.plain(key!("region"), region.id.as_str());
                object.key(key!("latency_ms"));
            }),
            after: fields(&|object| {
                let endpoint = region.endpoint.as_ref().map(Endpoint::as_str);
                object.plain_or_null(key!("endpoint"), endpoint);
            }),
        }
    }
}

impl Choices {
    pub(crate) const fn new() -> Self {
        Self { written: Vec::new() }
    }

    /// Writes a region's id, latency and endpoint.
    pub(crate) fn write(
        &mut self,
        object: &mut Object<'_>,
        table: &RoutingTable,
        index: RegionIndex,
        latency: Option<Latency>,
    ) {
        let region = &table.regions()[index.get()].region;
        let written = match self.written.get(index.get()) {
            Some(Some(written)) if Arc::ptr_eq(&written.region, region) => written,
            Some(_) | None => self.keep(index, region),
        };
        let out = object.written(&written.before);
        match latency {
            Some(latency) => write_scaled::<1>(out, tenths_of_ms(latency.rtt)),
            None => out.extend_from_slice(b"null"),
        }
        object.written(&written.after);
    }

    #[cold]
    fn keep(&mut self, index: RegionIndex, region: &Arc<Region>) -> &Written {
        if self.written.len() <= index.get() {
            self.written.resize_with(index.get() + 1, || None);
        }
        self.written[index.get()].insert(Written::of(region))
    }
}

fn tenths_of_ms(rtt: Rtt) -> u64 {
    (u64::from(rtt.as_micros()) + 50) / 100
}
