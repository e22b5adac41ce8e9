//! What the last routing table was made of, in a file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use geostream_api::{Commit, Time, WholeConfig};
use geostream_domain::{LostCommits, RecentCommits, Revision, Snapshot};
use geostream_ports::{LastGood, SavedTable, Unavailable};
use serde::{Deserialize, Serialize};

use crate::lost;
use crate::private_file::replace;

/// Keeps what the last routing table was made of in one file, which is replaced as a whole, and
/// lost commits in files beside it.
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
    /// Absent in the files of earlier versions.
    #[serde(default)]
    recent: Vec<Commit>,
}

impl LastGoodFile {
    /// Keeps it in this file.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Works in the directory where the file is.
    async fn beside<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Unavailable> {
        let directory = self.path.parent().unwrap_or_else(|| Path::new(".")).to_owned();
        blocking("the data directory", move || work(&directory)).await
    }
}

impl LastGood for LastGoodFile {
    async fn save(&self, table: &SavedTable) -> Result<(), Unavailable> {
        let document = Document {
            revision: table.snapshot.revision.get(),
            at: Time(table.at),
            config: (&*table.snapshot.config).into(),
            recent: table.recent.iter().map(Into::into).collect(),
        };
        let path = self.path.clone();
        blocking(FILE, move || replace(&path, &serde_json::to_vec(&document)?)).await
    }

    async fn load(&self) -> Result<Option<SavedTable>, Unavailable> {
        let path = self.path.clone();
        blocking(FILE, move || read(&path)).await
    }

    async fn keep_lost(&self, lost: &LostCommits) -> Result<String, Unavailable> {
        let lost = lost.clone();
        self.beside(move |directory| lost::keep(directory, &lost)).await
    }

    async fn lost(&self) -> Result<Vec<String>, Unavailable> {
        self.beside(lost::list).await
    }

    async fn forget_lost(&self, name: &str) -> Result<(), Unavailable> {
        let name = name.to_owned();
        self.beside(move |directory| lost::forget(directory, &name)).await
    }
}

/// What errors call the file.
const FILE: &str = "the last-good file";

pub(crate) async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Unavailable> {
    let done = tokio::task::spawn_blocking(work).await;
    let result = done.map_err(io::Error::other).flatten();
    result.map_err(|error| Unavailable::new(what, error))
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
    // They only name what a store has lost: without them, less is named.
    let recent = document.recent.iter().map(Commit::to_domain).collect::<Result<Vec<_>, _>>();
    let recent = recent.unwrap_or_default().into_iter().collect::<RecentCommits>();
    Ok(SavedTable { snapshot, recent, at: document.at.0 })
}
