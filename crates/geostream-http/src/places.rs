//! Shared pools of which one holder cannot take all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// A number of places, of which each holder (a token, a client network) has only a part.
///
/// Memory is bounded by the number of places, since only holders of one are remembered.
#[derive(Debug)]
pub(crate) struct Places {
    all: usize,
    each: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    by_holder: BTreeMap<u64, usize>,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoPlace {
    /// All are taken.
    Full,
    /// This holder has its part already.
    HasItsPart,
}

/// Places that are taken until this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    holder: u64,
    number: usize,
}

impl Places {
    /// Makes this many places, of which each holder may have so many.
    pub(crate) fn new(all: usize, each: usize) -> Arc<Self> {
        Arc::new(Self { all, each, taken: Mutex::default() })
    }

    /// Returns how many there are.
    pub(crate) fn all(&self) -> usize {
        self.all
    }

    /// Takes this many places for a holder.
    pub(crate) fn take(self: &Arc<Self>, holder: u64, number: usize) -> Result<Place, NoPlace> {
        let mut taken = self.taken();
        if taken.total + number > self.all {
            return Err(NoPlace::Full);
        }
        let has = taken.by_holder.get(&holder).copied().unwrap_or(0);
        if has + number > self.each {
            return Err(NoPlace::HasItsPart);
        }
        taken.by_holder.insert(holder, has + number);
        taken.total += number;
        drop(taken);
        Ok(Place { places: Arc::clone(self), holder, number })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Makes bytes that take the place as long as anything holds a part of them, such as a
    /// connection whose client does not read.
    pub(crate) fn holding(self, bytes: Vec<u8>) -> Bytes {
        Bytes::from_owner(Held { bytes: bytes.into_boxed_slice(), _place: self })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.total -= self.number;
        let has = taken.by_holder.get(&self.holder).copied().unwrap_or(0);
        if has > self.number {
            taken.by_holder.insert(self.holder, has - self.number);
        } else {
            taken.by_holder.remove(&self.holder);
        }
    }
}

struct Held {
    bytes: Box<[u8]>,
    _place: Place,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_leaves_places_for_others() {
        let places = Places::new(6, 4);
        let mut mine: Vec<_> = (0..4).map(|_| places.take(1, 1).unwrap()).collect();
        assert_eq!(places.take(1, 1).unwrap_err(), NoPlace::HasItsPart);
        let other = places.take(2, 2).unwrap();
        assert_eq!(places.take(3, 1).unwrap_err(), NoPlace::Full);
        mine.pop();
        drop(other);
        assert!(places.take(1, 1).is_ok());
        drop(mine);
        assert!(places.taken().by_holder.is_empty());
    }

    #[test]
    fn a_place_is_taken_until_the_last_piece_of_an_answer_is_gone() {
        let places = Places::new(1, 1);
        let mut answer = places.take(1, 1).unwrap().holding(vec![7; 100]);
        let piece = answer.split_to(10);
        drop(answer);
        assert!(places.take(2, 1).is_err(), "a piece is still to be sent");
        drop(piece);
        assert!(places.take(2, 1).is_ok());
    }
}
