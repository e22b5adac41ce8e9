//! Taking in another store's log.
//!
//! Its commits and checkpoints are put where the own ones would be. As long as the import is under
//! way, the log's revision stays 0, and what is there is beyond it.

use geostream_api::{KeptChanges, WholeConfig};
use geostream_domain::{Commit, Config, ReplayError, Revision, Snapshot};
use geostream_ports::{Attempt, Import, ImportError, ImportId, ImportPart};
use redb::{ReadTransaction, TableDefinition, WriteTransaction};

use crate::audit;
use crate::documents::CommitDocument;
use crate::log::{
    CHECKPOINT_EVERY, CHECKPOINTS, LOG, Log, LogError, begin_read, put, read_all, unavailable,
};

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

impl Log {
    /// Takes in a part of another log.
    pub(crate) fn import(&mut self, import: Import) -> Result<(), ImportError> {
        self.take_in(import).map_err(unavailable)?
    }

    fn take_in(
        &mut self,
        Import { id, part, attempt }: Import,
    ) -> Result<Result<(), ImportError>, LogError> {
        let current = self.latest.revision;
        if current != Revision::ZERO {
            return Ok(Err(ImportError::NotEmpty { current }));
        }
        if let ImportPart::Begin(base) = part {
            return self.begin_import(id, &base, attempt).map(Ok);
        }
        let read = begin_read(&self.database)?;
        if under_way(&read)? != Some(id) {
            return Ok(Err(ImportError::NotBegun));
        }
        // How far it has come.
        let reached = read_all(&read)?;
        match part {
            ImportPart::Begin(_) => Ok(Ok(())),
            ImportPart::Commits(commits) => self.add(reached, &commits),
            ImportPart::End(last) => self.end_import(reached, last, attempt),
        }
    }

    fn begin_import(
        &self,
        id: ImportId,
        base: &Snapshot,
        attempt: Option<Attempt>,
    ) -> Result<(), LogError> {
        let write = self.database.begin_write()?;
        forget(&write)?;
        write.open_table(IMPORT)?.insert((), id.0)?;
        checkpoint(&write, base)?;
        audit::note_done(&write, attempt, None, None, &KeptChanges::default())?;
        Ok(write.commit()?)
    }

    fn add(
        &self,
        mut reached: Snapshot,
        commits: &[Commit],
    ) -> Result<Result<(), ImportError>, LogError> {
        let write = self.database.begin_write()?;
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
        &mut self,
        reached: Snapshot,
        last: Revision,
        attempt: Option<Attempt>,
    ) -> Result<Result<(), ImportError>, LogError> {
        if reached.revision != last {
            let gap = ReplayError::Gap { expected: last, found: reached.revision };
            return Ok(Err(gap.into()));
        }
        let write = self.database.begin_write()?;
        write.open_table(IMPORT)?.remove(())?;
        let changes = KeptChanges::between(&Config::default(), &reached.config);
        audit::note_done(&write, attempt, Some(last), None, &changes)?;
        write.commit()?;
        self.latest = reached;
        Ok(Ok(()))
    }
}

fn checkpoint(write: &WriteTransaction, at: &Snapshot) -> Result<(), LogError> {
    let whole = WholeConfig::from(&*at.config);
    put(&mut write.open_table(CHECKPOINTS)?, at.revision.get(), &whole)
}
