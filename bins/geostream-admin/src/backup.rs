//! `backup`

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::Args;
use serde_json::json;

use crate::End;
use crate::client::{Client, Download};
use crate::output::{Output, end_progress, progress, say};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The file to write, for the owner's eyes only; one of that name is replaced
    file: PathBuf,
}

/// How much is written at once.
const PIECE: usize = 256 << 10;
const MEGABYTE: f64 = 1e6;

/// Takes a copy of all that the server keeps, and gives it its name once it is whole.
pub(crate) fn run(client: &Client, output: Output, arguments: &Arguments) -> anyhow::Result<End> {
    let path = &arguments.file;
    let unfinished = path.with_added_extension("part");
    let Download { length, mut content } = client.download("/api/v1/backup")?;
    let written = write(&unfinished, &mut content, length);
    end_progress();
    let written = written.and_then(|()| {
        fs::rename(&unfinished, path).with_context(|| format!("naming {}", path.display()))
    });
    if let Err(error) = written {
        // The error that is told is the first one.
        drop(fs::remove_file(&unfinished));
        return Err(error);
    }
    output.show(&json!({ "file": path, "bytes": length }), || {
        say(format_args!(
            "{} has the configuration and its history, tokens, the history of health and the audit \
             trail ({:.1} MB); keep it as secret as the server's data directory",
            path.display(),
            as_megabytes(length)
        ));
    })
}

fn write(path: &Path, content: &mut impl Read, length: u64) -> anyhow::Result<()> {
    let writing = || format!("writing {}", path.display());
    let mut file = create_private(path).with_context(writing)?;
    let mut piece = vec![0; PIECE];
    let mut done = 0;
    loop {
        let read = content.read(&mut piece).context("the server broke the backup off")?;
        if read == 0 {
            break;
        }
        file.write_all(&piece[..read]).with_context(writing)?;
        done += read as u64;
        progress(&format!("{:.0} of {:.0} MB", as_megabytes(done), as_megabytes(length)));
    }
    ensure!(done == length, "the server broke the backup off after {done} of {length} bytes");
    file.sync_all().with_context(writing)
}

/// Makes a file that only its owner may read, also where one of the name was left behind.
pub(crate) fn create_private(path: &Path) -> std::io::Result<File> {
    if path.exists() {
        fs::remove_file(path)?;
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

#[expect(clippy::cast_precision_loss, reason = "it is shown with one decimal")]
fn as_megabytes(bytes: u64) -> f64 {
    bytes as f64 / MEGABYTE
}
