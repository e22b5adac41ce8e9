//! The locations that a thread has read lately.
//!
//! Decoding a record takes twice as long as finding it and deciding, and most clients of a service
//! come from few places: neighbouring networks share a record.

use std::cell::RefCell;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};

use geostream_domain::Location;

/// Tells one set of data from every other that this process has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DataId(NonZeroU64);

impl DataId {
    /// Returns one that nobody has.
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(NonZeroU64::new(id).expect("a counter of 64 bits does not come around"))
    }
}

/// The locations that a thread keeps; each takes some fifty bytes.
const KEPT: usize = 4096;

/// A record's location, and which record of which data it is.
#[derive(Clone, Copy)]
struct Kept {
    record: (DataId, usize),
    location: Location,
}

thread_local! {
    static RECENT: RefCell<Vec<Option<Kept>>> = RefCell::new(vec![None; KEPT]);
}

/// Returns the location of a record, which is read only if this thread has not read it lately.
pub(crate) fn location<E>(
    data: DataId,
    offset: usize,
    read: impl FnOnce() -> Result<Location, E>,
) -> Result<Location, E> {
    let record = (data, offset);
    RECENT.with_borrow_mut(|recent| {
        // Fibonacci hashing: records lie close to each other.
        let slot = offset.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (usize::BITS - KEPT.ilog2());
        match recent[slot] {
            Some(kept) if kept.record == record => Ok(kept.location),
            Some(_) | None => {
                let location = read()?;
                recent[slot] = Some(Kept { record, location });
                Ok(location)
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    #[test]
    fn a_record_is_read_once_and_another_datas_is_not_taken_for_it() {
        let (old, new) = (DataId::new(), DataId::new());
        let berlin = Location::somewhere_in("DE".parse().unwrap());
        let paris = Location::somewhere_in("FR".parse().unwrap());
        let read = |data, offset, place| location(data, offset, || Ok::<_, Infallible>(place));
        assert_eq!(read(old, 7, berlin), Ok(berlin));
        assert_eq!(read(old, 7, paris), Ok(berlin), "kept");
        assert_eq!(read(new, 7, paris), Ok(paris), "of other data");
        for offset in 0..10 * KEPT {
            let place = if offset % 2 == 0 { berlin } else { paris };
            assert_eq!(read(new, offset + 100, place), Ok(place), "whatever shares its slot");
        }
    }
}
