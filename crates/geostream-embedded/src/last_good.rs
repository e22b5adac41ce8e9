//! What the last routing table was made of, in a file.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use geostream_api::{Time, WholeConfig};
use geostream_domain::{Revision, Snapshot};
use geostream_ports::{LastGood, SavedTable, Unavailable};
use serde::{Deserialize, Serialize};

/// Keeps what the last routing table was made of in one file, which is replaced as a whole.
#[derive(Clone, Debug)]
pub struct LastGoodFile {
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Document {
    revision: u64,
    at: Time,
    #[serde(flatten)]
    config: WholeConfig,
}

impl LastGoodFile {
    /// Keeps it in this file.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }
}

impl LastGood for LastGoodFile {
    async fn save(&self, table: &SavedTable) -> Result<(), Unavailable> {
        let document = Document {
            revision: table.snapshot.revision.get(),
            at: Time(table.at),
            config: (&*table.snapshot.config).into(),
        };
        let path = self.path.clone();
        blocking(move || replace(&path, &document)).await
    }

    async fn load(&self) -> Result<Option<SavedTable>, Unavailable> {
        let path = self.path.clone();
        blocking(move || read(&path)).await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Unavailable> {
    let done = tokio::task::spawn_blocking(work).await;
    let result = done.map_err(io::Error::other).flatten();
    result.map_err(|error| Unavailable::new("the last-good file", error))
}

/// Writes a new file beside the old one and puts it in its place: a crash leaves one of them whole.
fn replace(path: &Path, document: &Document) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(&serde_json::to_vec(document)?)?;
    file.sync_all()?;
    put_in_place(&new, path)
}

/// Gives a file that is whole its name, for good.
pub(crate) fn put_in_place(new: &Path, path: &Path) -> io::Result<()> {
    fs::rename(new, path)?;
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

fn read(path: &Path) -> io::Result<Option<SavedTable>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match parse(&bytes) {
        Ok(table) => Ok(Some(table)),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "the last-good file is damaged");
            Ok(None)
        }
    }
}

fn parse(bytes: &[u8]) -> Result<SavedTable, String> {
    let document: Document = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let config = document.config.to_domain().map_err(|error| error.to_string())?;
    let snapshot =
        Snapshot { revision: Revision::new(document.revision), config: Arc::new(config) };
    Ok(SavedTable { snapshot, at: document.at.0 })
}
