//! Taking in another store's log.
//!
//! Its commits and checkpoints are put where the own ones would be. As long as the import is under
//! way, the log's revision stays 0, and what is there is beyond it.

use geostream_api::{KeptChanges, WholeConfig};
use geostream_domain::{Commit, Config, ReplayError, Revision, Snapshot};
use geostream_ports::{Attempt, Import, ImportError, ImportId, ImportPart};
use redb::{Database, ReadTransaction, TableDefinition, WriteTransaction};

use crate::audit;
use crate::database::{CHECKPOINT_EVERY, CHECKPOINTS, LOG, begin_read, put, read_all};
use crate::documents::CommitDocument;
use crate::error::LogError;

/// The import that is under way, if there is one.
pub(crate) const IMPORT: TableDefinition<'_, (), u128> = TableDefinition::new("import");

/// Makes the table if it is not there.
pub(crate) fn prepare(write: &WriteTransaction) -> Result<(), LogError> {
    write.open_table(IMPORT)?;
    Ok(())
}

/// Returns the import that is under way.
pub(crate) fn under_way(read: &ReadTransaction) -> Result<Option<ImportId>, LogError> {
    Ok(read.open_table(IMPORT)?.get(())?.map(|id| ImportId(id.value())))
}

/// Forgets an import that has not ended.
pub(crate) fn forget(write: &WriteTransaction) -> Result<(), LogError> {
    write.open_table(IMPORT)?.remove(())?;
    write.open_table(LOG)?.retain(|_, _| false)?;
    write.open_table(CHECKPOINTS)?.retain(|_, _| false)?;
    Ok(())
}

/// Takes in a part of another log, and returns what the log adds up to once it was the last part.
pub(crate) fn take_in(
    database: &Database,
    current: Revision,
    Import { id, part, attempt }: Import,
) -> Result<Result<Option<Snapshot>, ImportError>, LogError> {
    if current != Revision::ZERO {
        return Ok(Err(ImportError::NotEmpty { current }));
    }
    if let ImportPart::Begin(base) = part {
        begin_import(database, id, &base, attempt)?;
        return Ok(Ok(None));
    }
    let read = begin_read(database)?;
    if under_way(&read)? != Some(id) {
        return Ok(Err(ImportError::NotBegun));
    }
    // How far it has come.
    let reached = read_all(&read)?;
    match part {
        ImportPart::Begin(_) => Ok(Ok(None)),
        ImportPart::Commits(commits) => Ok(add(database, reached, &commits)?.map(|()| None)),
        ImportPart::End(last) => Ok(end_import(database, reached, last, attempt)?.map(Some)),
    }
}

fn begin_import(
    database: &Database,
    id: ImportId,
    base: &Snapshot,
    attempt: Option<Attempt>,
) -> Result<(), LogError> {
    let write = database.begin_write()?;
    forget(&write)?;
    write.open_table(IMPORT)?.insert((), id.0)?;
    checkpoint(&write, base)?;
    audit::note_done(&write, attempt, None, None, &KeptChanges::default())?;
    Ok(write.commit()?)
}

fn add(
    database: &Database,
    mut reached: Snapshot,
    commits: &[Commit],
) -> Result<Result<(), ImportError>, LogError> {
    let write = database.begin_write()?;
    for commit in commits {
        reached = match reached.followed_by(commit) {
            Ok(reached) => reached,
            Err(error) => return Ok(Err(error.into())),
        };
        let key = commit.revision.get();
        put(&mut write.open_table(LOG)?, key, &CommitDocument::from(commit))?;
        if key.is_multiple_of(CHECKPOINT_EVERY) {
            checkpoint(&write, &reached)?;
        }
    }
    Ok(Ok(write.commit()?))
}

fn end_import(
    database: &Database,
    reached: Snapshot,
    last: Revision,
    attempt: Option<Attempt>,
) -> Result<Result<Snapshot, ImportError>, LogError> {
    if reached.revision != last {
        let gap = ReplayError::Gap { expected: last, found: reached.revision };
        return Ok(Err(gap.into()));
    }
    let write = database.begin_write()?;
    write.open_table(IMPORT)?.remove(())?;
    let changes = KeptChanges::between(&Config::default(), &reached.config);
    audit::note_done(&write, attempt, Some(last), None, &changes)?;
    write.commit()?;
    Ok(Ok(reached))
}

fn checkpoint(write: &WriteTransaction, at: &Snapshot) -> Result<(), LogError> {
    let whole = WholeConfig::from(&*at.config);
    put(&mut write.open_table(CHECKPOINTS)?, at.revision.get(), &whole)
}
