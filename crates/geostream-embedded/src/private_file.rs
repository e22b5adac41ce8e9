//! Files of the data directory, which are their owner's alone.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// Writes a new file beside the old one and puts it in its place: a crash leaves one of them whole.
///
/// What is written is its owner's alone to read.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(PRIVATE).open(&new)?;
    make_private(&file)?;
    file.write_all(content)?;
    file.sync_all()?;
    put_in_place(&new, path)
}

/// The mode of every file in the data directory: its owner reads and writes it.
pub(crate) const PRIVATE: u32 = 0o600;

/// Makes a file its owner's alone.
///
/// The mode with which a file is opened holds only for a new one, and less what the umask takes.
pub(crate) fn make_private(file: &File) -> io::Result<()> {
    file.set_permissions(fs::Permissions::from_mode(PRIVATE))
}

/// Gives a file that is whole its name, for good.
pub(crate) fn put_in_place(new: &Path, path: &Path) -> io::Result<()> {
    fs::rename(new, path)?;
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}
