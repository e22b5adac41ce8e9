//! The log's tables, read and written in one transaction.

use std::sync::Arc;

use geostream_api::WholeConfig;
use geostream_domain::{Commit, Config, Revision, Snapshot};
use redb::{Database, ReadTransaction, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use serde::de::DeserializeOwned;

use crate::documents::CommitDocument;
use crate::error::{LogError, damaged};

/// Commits by revision.
pub(crate) const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
/// Whole configurations at some revisions, so that reading one never replays more than a few.
pub(crate) const CHECKPOINTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("checkpoints");
pub(crate) const CHECKPOINT_EVERY: u64 = 64;

pub(crate) fn begin_read(database: &Database) -> Result<ReadTransaction, LogError> {
    Ok(database.begin_read()?)
}

/// Returns what all commits add up to, or what the first one is to go on from.
pub(crate) fn read_all(read: &ReadTransaction) -> Result<Snapshot, LogError> {
    let last = read.open_table(LOG)?.last()?.map(|(key, _)| key.value());
    let base = read.open_table(CHECKPOINTS)?.last()?.map(|(key, _)| key.value());
    let key = last.or(base).unwrap_or_default();
    let revision = Revision::new(key);
    let config = read_at(read, revision)?
        .ok_or_else(|| damaged("commit", key, "there is nothing to start from"))?;
    Ok(Snapshot { revision, config: Arc::new(config) })
}

/// Replays the log from the nearest checkpoint; `None` if its beginning has been forgotten.
pub(crate) fn read_at(
    read: &ReadTransaction,
    revision: Revision,
) -> Result<Option<Config>, LogError> {
    let checkpoints = read.open_table(CHECKPOINTS)?;
    let mut range = checkpoints.range(..=revision.get())?;
    let (start, mut config) = match range.next_back() {
        Some(entry) => {
            let (key, value) = entry?;
            let document: WholeConfig = parse("checkpoint", key.value(), value.value())?;
            let config = document.to_domain();
            (key.value(), config.map_err(|e| damaged("checkpoint", key.value(), e))?)
        }
        None => (0, Config::default()),
    };
    let log = read.open_table(LOG)?;
    let mut reached = start;
    for entry in log.range(start + 1..=revision.get())? {
        let (key, value) = entry?;
        let commit = read_commit(key.value(), value.value())?;
        if key.value() != reached + 1 {
            return Ok(None);
        }
        reached = key.value();
        config = config.after(commit.changes).map_err(|error| damaged("commit", reached, error))?;
    }
    Ok((reached == revision.get()).then_some(config))
}

pub(crate) fn read_commit(key: u64, bytes: &[u8]) -> Result<Commit, LogError> {
    let document: CommitDocument = parse("commit", key, bytes)?;
    document.to_commit(Revision::new(key)).map_err(|error| damaged("commit", key, error))
}

pub(crate) fn parse<T: DeserializeOwned>(
    what: &'static str,
    key: u64,
    bytes: &[u8],
) -> Result<T, LogError> {
    serde_json::from_slice(bytes).map_err(|error| damaged(what, key, error))
}

pub(crate) fn put(
    table: &mut redb::Table<'_, u64, &'static [u8]>,
    key: u64,
    document: &impl serde::Serialize,
) -> Result<(), LogError> {
    let bytes = serde_json::to_vec(document).map_err(|error| damaged("document", key, error))?;
    table.insert(key, bytes.as_slice())?;
    Ok(())
}
