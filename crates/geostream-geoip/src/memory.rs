//! A file's content in memory, which goes back to the system as soon as it is no longer needed: an
//! allocator may keep what it is given back.

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
