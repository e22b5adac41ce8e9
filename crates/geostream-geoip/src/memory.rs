//! Memory that goes back to the system as soon as it is no longer needed: an allocator may keep what it
//! is given back.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use memmap2::{Mmap, MmapMut};

/// Returns a copy of a file's content: what is written to the file later does not change it.
pub(crate) fn read(path: &Path) -> io::Result<Mmap> {
    let mut file = File::open(path)?;
    let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    let mut memory = MmapMut::map_anon(length)?;
    file.read_exact(&mut memory)?;
    if file.read(&mut [0])? != 0 {
        return Err(io::Error::other("the file grows while it is read"));
    }
    memory.make_read_only()
}

/// A number for each of many things, none at first.
#[derive(Debug)]
pub(crate) struct Scratch(MmapMut);

impl Scratch {
    pub(crate) fn new(count: usize) -> io::Result<Self> {
        MmapMut::map_anon(count.max(1) * size_of::<u32>()).map(Self)
    }

    /// Returns the number of a thing, if it has one.
    pub(crate) fn get(&self, thing: usize) -> Option<u32> {
        let number = u32::from_ne_bytes(self.0.as_chunks().0[thing]);
        (number != 0).then_some(!number)
    }

    /// Gives a thing a number, which is not [`u32::MAX`].
    pub(crate) fn set(&mut self, thing: usize, number: u32) {
        self.0.as_chunks_mut().0[thing] = (!number).to_ne_bytes();
    }
}
