//! A file's content in memory, on large pages.
//!
//! A search for an address goes to twenty places in more than a hundred megabytes. On pages of 4 kB the
//! processor has to look most of them up first; on pages of 2 MB it knows where they are.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use memmap2::{Mmap, MmapMut};

/// A copy of a file's content: what is written to the file later does not change it.
#[derive(Debug)]
pub(crate) struct Memory(Mmap);

impl Memory {
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        let mut memory = MmapMut::map_anon(length)?;
        advise(&memory);
        file.read_exact(&mut memory)?;
        if file.read(&mut [0])? != 0 {
            return Err(io::Error::other("the file grows while it is read"));
        }
        Ok(Self(memory.make_read_only()?))
    }
}

impl AsRef<[u8]> for Memory {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Asks for large pages. A kernel that has none gives small ones.
#[cfg(target_os = "linux")]
fn advise(memory: &MmapMut) {
    if let Err(error) = memory.advise(memmap2::Advice::HugePage) {
        tracing::debug!(%error, "no large pages for GeoIP data");
    }
}

#[cfg(not(target_os = "linux"))]
fn advise(_memory: &MmapMut) {}
