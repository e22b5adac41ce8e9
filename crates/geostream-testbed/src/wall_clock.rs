//! A wall clock of its own for a process, by libfaketime.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

/// What a process takes for the wall time; it can be set while the process runs.
///
/// The monotonic clock stays the system's, as it does where a real clock is set.
#[derive(Debug)]
pub struct WallClock {
    directory: TempDir,
}

impl WallClock {
    /// Makes a clock that is off by this, such as `+2h` or `-1d`.
    #[must_use]
    pub fn off_by(offset: &str) -> Self {
        let clock = Self { directory: tempfile::tempdir().expect("a temporary directory") };
        clock.set(offset);
        clock
    }

    /// Sets the clock, so that it is off by this from now on.
    pub fn set(&self, offset: &str) {
        // The process may read at any moment, so it finds the old offset or the new one.
        let new = self.directory.path().join("new");
        fs::write(&new, format!("{offset}\n")).expect("the offset is written");
        fs::rename(new, self.file()).expect("the offset is put in place");
    }

    /// Gives the clock to a process that is about to start.
    pub fn give_to<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("LD_PRELOAD", library())
            .env("FAKETIME_TIMESTAMP_FILE", self.file())
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("offset")
    }
}

/// Returns where Debian's package `libfaketime` has put the library.
fn library() -> PathBuf {
    let directories = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let mut libraries =
        directories.map(|directory| directory.path().join("faketime/libfaketimeMT.so.1"));
    libraries.find(|library| library.exists()).expect("libfaketime is installed")
}
