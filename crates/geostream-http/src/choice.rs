//! Regions as an answer names them.
//!
//! All that changes of a region from one answer to the next is its latency. What is around it is
//! written once for each thread and region, and then copied.

use std::cell::RefCell;
use std::sync::Arc;

use geostream_domain::{Endpoint, Region, RegionIndex, RoutingTable, Rtt};

use crate::json::{Object, key, write_decimal_or_null};

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

thread_local! {
    /// By the regions' index, of which there are no more than a configuration may have regions.
    static WRITTEN: RefCell<Vec<Option<Written>>> = const { RefCell::new(Vec::new()) };
}

/// Writes a region's id, latency and endpoint.
pub(crate) fn write_choice(
    object: &mut Object<'_>,
    table: &RoutingTable,
    index: RegionIndex,
    rtt: Option<Rtt>,
) {
    let region = &table.regions()[index.get()].region;
    WRITTEN.with_borrow_mut(|kept| {
        if kept.len() <= index.get() {
            kept.resize_with(index.get() + 1, || None);
        }
        let slot = &mut kept[index.get()];
        let written = match slot {
            Some(written) if Arc::ptr_eq(&written.region, region) => written,
            Some(_) | None => slot.insert(Written::of(region)),
        };
        let latency_ms = object.written(&written.before);
        write_decimal_or_null::<1>(latency_ms, rtt.map(Rtt::as_millis));
        object.written(&written.after);
    });
}
