//! The log in its database: every read and write, without a thread or a runtime.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use geostream_api::{KeptChanges, WholeConfig};
use geostream_domain::{Commit, Config, Revision, Snapshot};
use geostream_ports::{
    Attempt, Import, ImportError, Look, Proposal, ProposeError, TokenId, TokenRecord, Writes,
};
use redb::backends::{FileBackend, InMemoryBackend};
use redb::{
    AccessGuard, Builder, Database, ReadTransaction, ReadableTable as _, TableDefinition,
    TableHandle as _,
};

use crate::audit;
use crate::database::{
    CHECKPOINT_EVERY, CHECKPOINTS, LOG, begin_read, parse, put, read_all, read_at, read_commit,
};
use crate::documents::{CommitDocument, TokenDocument, describe_token};
use crate::error::{LogError, THIS_FORMAT, damaged, surviving, unavailable};
use crate::health;
use crate::import;
use crate::private_file::{PRIVATE, make_private, put_in_place};

/// Tokens that earlier versions understand.
const TOKENS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("tokens");
/// Tokens with limits or an end. They have a table of their own, because an earlier version that
/// opens the file would take them for tokens without either; so it does not know them.
const LIMITED_TOKENS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("limited_tokens");
const TOKEN_TABLES: [TableDefinition<'_, u64, &[u8]>; 2] = [TOKENS, LIMITED_TOKENS];
/// What a trial writes and removes.
const TRIAL: TableDefinition<'_, (), &[u8]> = TableDefinition::new("trial");
const FORMAT: TableDefinition<'_, (), u64> = TableDefinition::new("format");

/// More than most commits take, so that a disk with less room is taken for a full one.
const TRIAL_BYTES: usize = 64 << 10;
/// The commits that are kept at the least: older ones go, a checkpoint's worth at a time.
const KEEP: u64 = 10_048;
/// A configuration of 20,000 regions is far smaller than the cache that redb would take.
const CACHE_BYTES: usize = 32 << 20;

/// Where the database is.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    File(PathBuf),
    Memory,
}

/// The log, and what it adds up to.
pub(crate) struct Log {
    database: Database,
    latest: Snapshot,
    /// Which file that is; `None` in memory.
    file: Option<FileId>,
}

/// Tells a file from another one of the same name: its device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId(u64, u64);

impl FileId {
    fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self(metadata.dev(), metadata.ino()))
    }
}

impl Log {
    /// Opens the log that is there; a file that is missing or empty has been lost.
    pub(crate) fn open(place: &Place) -> Result<Self, LogError> {
        let open = || match place {
            Place::File(path) => Self::of(builder().open(path)?, Some(path)),
            Place::Memory => Self::of(new_in_memory()?, None),
        };
        surviving(open).flatten()
    }

    /// Makes an empty log in a file that is not there yet.
    ///
    /// It gets its name when it is whole, so that a crash leaves no file that looks like a lost one.
    pub(crate) fn create(path: &Path) -> Result<Self, LogError> {
        let new = path.with_extension("new");
        remove_if_there(&new)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(PRIVATE);
        let file = options.open(&new)?;
        make_private(&file)?;
        let database = builder().create_with_backend(FileBackend::new(file)?)?;
        prepare(&database)?;
        put_in_place(&new, path)?;
        Self::of(database, Some(path))
    }

    fn of(database: Database, path: Option<&Path>) -> Result<Self, LogError> {
        let file = path.map(|path| {
            let file = File::open(path)?;
            keep_private(path, &file);
            FileId::of(&file)
        });
        let file = file.transpose()?;
        let read = begin_read(&database)?;
        check_format(&read)?;
        add_missing(&database, &read)?;
        let latest = read_latest(&begin_read(&database)?)?;
        Ok(Self { database, latest, file })
    }

    pub(crate) fn latest(&self) -> &Snapshot {
        &self.latest
    }

    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    /// Takes in a part of another log.
    pub(crate) fn import(&mut self, import: Import) -> Result<(), ImportError> {
        let taken = import::take_in(&self.database, self.latest.revision, import);
        if let Some(latest) = taken.map_err(unavailable)?? {
            self.latest = latest;
        }
        Ok(())
    }

    /// Tells whether the file can be read and written.
    ///
    /// Opening it again shows what the open one does not: that its name or the rights are gone, or
    /// that the disk has become read-only.
    pub(crate) fn look(&mut self, place: &Place, look: Look) -> Result<Writes, LogError> {
        if let Place::File(path) = place {
            let there = FileId::of(&File::open(path)?)?;
            if self.file != Some(there) {
                return Err(LogError::Replaced);
            }
            if let Err(error) = OpenOptions::new().write(true).open(path) {
                return Ok(Writes::Refused(unavailable(error.into())));
            }
        }
        Ok(match look {
            Look::Read => Writes::Accepted,
            Look::TryWrite => match surviving(|| self.try_write()).flatten() {
                Ok(()) => Writes::Accepted,
                Err(error) => Writes::Refused(unavailable(error)),
            },
        })
    }

    /// Commits something of the size of a commit, and removes it.
    fn try_write(&self) -> Result<(), LogError> {
        let write = self.database.begin_write()?;
        write.open_table(TRIAL)?.insert((), vec![0; TRIAL_BYTES].as_slice())?;
        write.commit()?;
        let write = self.database.begin_write()?;
        write.delete_table(TRIAL)?;
        Ok(write.commit()?)
    }

    /// Commits a proposal and returns what it led to.
    pub(crate) fn propose(&mut self, proposal: Proposal) -> Result<Snapshot, ProposeError> {
        if proposal.expected != self.latest.revision {
            return Err(ProposeError::Conflict { current: self.latest.revision });
        }
        let config = self.latest.config.after(proposal.changes.iter().cloned());
        let config = Arc::new(config.map_err(ProposeError::Invalid)?);
        let revision = self.latest.revision.next();
        let Proposal { changes, author, reason, at, attempt, .. } = proposal;
        let commit = Commit { revision, changes, author, reason, at };
        self.append(&commit, &config, attempt).map_err(unavailable)?;
        self.latest = Snapshot { revision, config };
        Ok(self.latest.clone())
    }

    fn append(
        &self,
        commit: &Commit,
        config: &Config,
        attempt: Option<Attempt>,
    ) -> Result<(), LogError> {
        let key = commit.revision.get();
        let write = self.database.begin_write()?;
        if commit.revision == Revision::ZERO.next() {
            import::forget(&write)?;
        }
        {
            let mut log = write.open_table(LOG)?;
            put(&mut log, key, &CommitDocument::from(commit))?;
            if key.is_multiple_of(CHECKPOINT_EVERY) {
                let mut checkpoints = write.open_table(CHECKPOINTS)?;
                put(&mut checkpoints, key, &WholeConfig::from(config))?;
                let forget = key.saturating_sub(KEEP);
                checkpoints.retain_in(1..forget, |_, _| false)?;
                log.retain_in(1..=forget, |_, _| false)?;
            }
        }
        let changes = KeptChanges::between(&self.latest.config, config);
        let (revision, reason) = (Some(commit.revision), Some(commit.reason.clone()));
        audit::note_done(&write, attempt, revision, reason, &changes)?;
        Ok(write.commit()?)
    }

    pub(crate) fn history(
        &self,
        below: Option<Revision>,
        limit: usize,
    ) -> Result<Vec<Commit>, LogError> {
        let read = begin_read(&self.database)?;
        let log = read.open_table(LOG)?;
        // What lies beyond is an import that has not ended.
        let end = self.latest.revision.next();
        let range = log.range(..below.map_or(end, |below| below.min(end)).get())?;
        range.rev().take(limit).map(|entry| read_entry(entry?)).collect()
    }

    pub(crate) fn commits(&self, after: Revision, limit: usize) -> Result<Vec<Commit>, LogError> {
        let read = begin_read(&self.database)?;
        let log = read.open_table(LOG)?;
        let end = self.latest.revision.next();
        let range = log.range(after.next().min(end).get()..end.get())?;
        range.take(limit).map(|entry| read_entry(entry?)).collect()
    }

    pub(crate) fn at(&self, revision: Revision) -> Result<Option<Arc<Config>>, LogError> {
        if revision == self.latest.revision {
            return Ok(Some(Arc::clone(&self.latest.config)));
        }
        if revision > self.latest.revision {
            return Ok(None);
        }
        Ok(read_at(&begin_read(&self.database)?, revision)?.map(Arc::new))
    }

    pub(crate) fn tokens(&self) -> Result<Vec<TokenRecord>, LogError> {
        let read = begin_read(&self.database)?;
        let mut records = Vec::new();
        for table in TOKEN_TABLES {
            for entry in read.open_table(table)?.iter()? {
                let (key, value) = entry?;
                records.push(read_token(key.value(), value.value())?);
            }
        }
        Ok(records)
    }

    pub(crate) fn put_token(
        &self,
        record: &TokenRecord,
        attempt: Option<Attempt>,
    ) -> Result<(), LogError> {
        let write = self.database.begin_write()?;
        for table in TOKEN_TABLES {
            write.open_table(table)?.remove(record.id.0)?;
        }
        let table = if record.grant.is_plain() { TOKENS } else { LIMITED_TOKENS };
        put(&mut write.open_table(table)?, record.id.0, &TokenDocument::from(record))?;
        let changes = KeptChanges::of_token(None, Some(&describe_token(record)));
        audit::note_done(&write, attempt, None, None, &changes)?;
        Ok(write.commit()?)
    }

    /// The store's thread does one thing after another, so no other request comes between.
    pub(crate) fn put_first_admin(
        &self,
        record: &TokenRecord,
        attempt: Option<Attempt>,
    ) -> Result<Option<TokenRecord>, LogError> {
        let first = TokenRecord::first_admin(self.tokens()?);
        if first.is_none() {
            self.put_token(record, attempt)?;
        }
        Ok(first)
    }

    pub(crate) fn remove_token(
        &self,
        id: TokenId,
        attempt: Option<Attempt>,
    ) -> Result<bool, LogError> {
        let write = self.database.begin_write()?;
        let mut removed = None;
        for table in TOKEN_TABLES {
            if let Some(document) = write.open_table(table)?.remove(id.0)? {
                removed = Some(read_token(id.0, document.value())?);
            }
        }
        if let Some(record) = &removed {
            let changes = KeptChanges::of_token(Some(&describe_token(record)), None);
            audit::note_done(&write, attempt, None, None, &changes)?;
        }
        write.commit()?;
        Ok(removed.is_some())
    }
}

fn read_token(key: u64, bytes: &[u8]) -> Result<TokenRecord, LogError> {
    let document: TokenDocument = parse("token", key, bytes)?;
    document.to_record(TokenId(key)).map_err(|error| damaged("token", key, error))
}

fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder.set_check_integrity_on_open(true);
    builder
}

fn new_in_memory() -> Result<Database, LogError> {
    let database = builder().create_with_backend(InMemoryBackend::new())?;
    prepare(&database)?;
    Ok(database)
}

/// Takes from others what earlier versions left them: the file has hashes of the tokens and the
/// audit trail. Where that is not permitted, the file is used as it is.
fn keep_private(path: &Path, file: &File) {
    let is_private = file.metadata().is_ok_and(|metadata| metadata.mode() & 0o077 == 0);
    if is_private {
        return;
    }
    match make_private(file) {
        Ok(()) => {
            tracing::info!(path = %path.display(), "the file is its owner's alone from now on");
        }
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "the file can be read by others");
        }
    }
}

pub(crate) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes the tables of a new database.
fn prepare(database: &Database) -> Result<(), LogError> {
    let write = database.begin_write()?;
    {
        write.open_table(LOG)?;
        write.open_table(CHECKPOINTS)?;
        for table in TOKEN_TABLES {
            write.open_table(table)?;
        }
        health::prepare(&write)?;
        import::prepare(&write)?;
        audit::prepare(&write)?;
        write.open_table(FORMAT)?.insert((), THIS_FORMAT)?;
    }
    Ok(write.commit()?)
}

/// Adds the tables that earlier versions did not have; they, in turn, leave them alone.
fn add_missing(database: &Database, read: &ReadTransaction) -> Result<(), LogError> {
    let there: Vec<_> = read.list_tables()?.map(|table| table.name().to_owned()).collect();
    let audit = [audit::DONE.name(), audit::ANONYMOUS.name()];
    let others = [health::CHANGES.name(), import::IMPORT.name(), LIMITED_TOKENS.name()];
    let later = others.into_iter().chain(audit);
    if later.into_iter().all(|name| there.iter().any(|table| table == name)) {
        return Ok(());
    }
    let write = database.begin_write()?;
    write.open_table(LIMITED_TOKENS)?;
    health::prepare(&write)?;
    import::prepare(&write)?;
    audit::prepare(&write)?;
    Ok(write.commit()?)
}

fn check_format(read: &ReadTransaction) -> Result<(), LogError> {
    match read.open_table(FORMAT)?.get(())?.map(|format| format.value()) {
        Some(THIS_FORMAT) => Ok(()),
        Some(other) => Err(LogError::Format(other)),
        None => Err(damaged("format", 0, "there is none")),
    }
}

fn read_latest(read: &ReadTransaction) -> Result<Snapshot, LogError> {
    if import::under_way(read)?.is_some() {
        return Ok(Snapshot::default());
    }
    read_all(read)
}

fn read_entry(
    (key, value): (AccessGuard<'_, u64>, AccessGuard<'_, &'static [u8]>),
) -> Result<Commit, LogError> {
    read_commit(key.value(), value.value())
}
