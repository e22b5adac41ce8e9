//! The store: a thread that owns the log, and handles that ask it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use geostream_domain::{Commit, Config, RegionId, Revision, Snapshot, Timestamp};
use geostream_ports::{
    Attempt, AuditLog, AuditRecord, Audited, ConfigStore, HealthLog, HealthRecord, Import,
    ImportError, Look, Proposal, ProposeError, TokenId, TokenRecord, TokenStore, TrailQuery,
    Unavailable, Writes,
};
use tokio::sync::{mpsc, oneshot, watch};

use crate::audit;
use crate::error::{LogError, surviving, unavailable};
use crate::health;
use crate::log::{Log, Place, remove_if_there};
use crate::private_file::PRIVATE;

/// Configuration, tokens, history of health and audit trail in one local database.
///
/// Cloning gives another handle to the same store; dropping the last one waits until the database
/// is closed.
#[derive(Clone, Debug)]
pub struct EmbeddedStore {
    thread: Arc<StoreThread>,
    revision: watch::Receiver<Revision>,
}

/// The thread that owns the log; it ends when it can be asked no more.
#[derive(Debug)]
struct StoreThread {
    requests: Option<mpsc::Sender<Request>>,
    handle: Option<thread::JoinHandle<()>>,
}

impl Drop for StoreThread {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(handle) = self.handle.take()
            && handle.join().is_err()
        {
            tracing::error!("the embedded store's thread has panicked");
        }
    }
}

/// The requests that may wait for the thread; more wait with their senders.
const QUEUE: usize = 64;

type Work = Box<dyn FnOnce(&mut Owner) + Send>;

struct Request(Work);

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Request")
    }
}

/// What the thread owns.
struct Owner {
    place: Place,
    /// The open log; `None` before it was opened and after an error: the next request opens it.
    log: Option<Log>,
    revision: watch::Sender<Revision>,
}

impl EmbeddedStore {
    /// Makes an empty database in this file, whose name nothing has yet.
    ///
    /// # Errors
    ///
    /// If the file cannot be made.
    pub fn create(path: &Path) -> Result<Self, LogError> {
        Self::start(Place::File(path.to_owned()), Some(Log::create(path)?))
    }

    /// Opens the database in this file.
    ///
    /// # Errors
    ///
    /// If there is none, another process has it open, or its content is damaged.
    pub fn open(path: &Path) -> Result<Self, LogError> {
        let place = Place::File(path.to_owned());
        let log = Log::open(&place)?;
        Self::start(place, Some(log))
    }

    /// Prepares to open the database in this file with the first request that finds it well.
    ///
    /// # Errors
    ///
    /// If no thread can be started.
    pub fn unopened(path: &Path) -> Result<Self, LogError> {
        Self::start(Place::File(path.to_owned()), None)
    }

    /// Makes a store that is gone with its last handle.
    ///
    /// # Errors
    ///
    /// None that is known; making a database can fail in principle.
    pub fn in_memory() -> Result<Self, LogError> {
        let log = Log::open(&Place::Memory)?;
        Self::start(Place::Memory, Some(log))
    }

    /// Copies the whole database, tokens and audit trail included, while it is in use.
    ///
    /// The copy is at `path` for a moment only; what is returned is the open file, read from its
    /// begin. The store answers nothing else meanwhile, so no write is half in the copy.
    ///
    /// # Errors
    ///
    /// If the store is in memory, or the database or the copy cannot be read or written.
    pub async fn back_up(&self, path: PathBuf) -> Result<File, Unavailable> {
        self.ask(move |owner| owner.back_up(&path)).await?.map_err(unavailable)
    }

    fn start(place: Place, log: Option<Log>) -> Result<Self, LogError> {
        let revision = log.as_ref().map_or(Revision::ZERO, |log| log.latest().revision);
        let (sender, revision) = watch::channel(revision);
        let (requests, mut queue) = mpsc::channel::<Request>(QUEUE);
        let mut owner = Owner { place, log, revision: sender };
        let handle = thread::Builder::new().name("embedded-store".to_owned()).spawn(move || {
            while let Some(Request(work)) = queue.blocking_recv() {
                work(&mut owner);
            }
        })?;
        let thread = StoreThread { requests: Some(requests), handle: Some(handle) };
        Ok(Self { thread: Arc::new(thread), revision })
    }

    /// Has the thread do something with the log, and waits for it.
    async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Owner) -> T + Send + 'static,
    ) -> Result<T, Unavailable> {
        let (answer, answered) = oneshot::channel();
        let work: Work = Box::new(move |owner| {
            // A caller that has gone away needs no answer.
            let _gone = answer.send(work(owner)).is_err();
        });
        let gone = || Unavailable::new("the embedded store", "its thread has ended");
        let requests = self.thread.requests.as_ref().ok_or_else(gone)?;
        requests.send(Request(work)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Log) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, Unavailable> {
        self.ask(move |owner| owner.with_log(work)).await?.map_err(unavailable)
    }
}

impl Owner {
    /// Works on the log, and opens it first if an error has closed it.
    ///
    /// After an I/O error redb refuses to go on, and what it has written may or may not be on
    /// disk: opening again tells.
    fn with_log<T>(
        &mut self,
        work: impl FnOnce(&mut Log) -> Result<T, LogError>,
    ) -> Result<T, LogError> {
        let log = self.open_log()?;
        let result = surviving(|| work(log)).flatten();
        if let Err(error) = &result {
            self.close_after(error);
        }
        result
    }

    fn open_log(&mut self) -> Result<&mut Log, LogError> {
        if self.log.is_none() {
            let log = Log::open(&self.place)?;
            self.revision.send_replace(log.latest().revision);
            tracing::info!(revision = log.latest().revision.get(), "embedded store opened");
            self.log = Some(log);
        }
        Ok(self.log.as_mut().expect("it was opened above"))
    }

    /// Looks at the file; what that says is told where looks are asked for, not logged here.
    fn look(&mut self, look: Look) -> Result<Writes, LogError> {
        let place = self.place.clone();
        let log = self.open_log()?;
        let found = log.look(&place, look);
        if look == Look::TryWrite && !matches!(found, Ok(Writes::Accepted)) {
            self.close();
        }
        found
    }

    /// Copies the file, which is whole between two transactions: redb changes no page that the last
    /// commit refers to.
    fn back_up(&mut self, path: &Path) -> Result<File, LogError> {
        self.open_log()?;
        let Place::File(database) = &self.place else { return Err(LogError::InMemory) };
        remove_if_there(path)?;
        let mut options = OpenOptions::new();
        let mut copy = options.read(true).write(true).create_new(true).mode(PRIVATE).open(path)?;
        let copied = io::copy(&mut File::open(database)?, &mut copy);
        // Nothing is left of it whatever happens to the process, or to the disk.
        fs::remove_file(path)?;
        copied?;
        copy.rewind()?;
        Ok(copy)
    }

    fn close_after(&mut self, error: &(dyn std::error::Error + 'static)) {
        tracing::error!(error, "embedded store failed; the next request opens it again");
        self.close();
    }

    fn close(&mut self) {
        if matches!(self.place, Place::File(_)) {
            let log = self.log.take();
            if surviving(|| drop(log)).is_err() {
                tracing::error!("nor could the embedded store be closed");
            }
        }
    }

    fn propose(&mut self, proposal: Proposal) -> Result<Snapshot, ProposeError> {
        let log = self.open_log().map_err(unavailable)?;
        let result = surviving(|| log.propose(proposal)).map_err(unavailable);
        let result = result.map_err(ProposeError::from).flatten();
        match &result {
            Ok(snapshot) => {
                self.revision.send_replace(snapshot.revision);
            }
            Err(ProposeError::Unavailable(error)) => self.close_after(error),
            Err(ProposeError::Conflict { .. } | ProposeError::Invalid(_)) => {}
        }
        result
    }

    fn import(&mut self, import: Import) -> Result<(), ImportError> {
        let log = self.open_log().map_err(unavailable)?;
        let result = surviving(|| log.import(import)).map_err(unavailable);
        let result = result.map_err(ImportError::from).flatten();
        match &result {
            Ok(()) => {
                let latest = log.latest().revision;
                self.revision.send_replace(latest);
            }
            Err(ImportError::Unavailable(error)) => self.close_after(error),
            Err(ImportError::NotEmpty { .. } | ImportError::NotBegun | ImportError::Unfit(_)) => {}
        }
        result
    }
}

impl ConfigStore for EmbeddedStore {
    async fn load(&self) -> Result<Snapshot, Unavailable> {
        self.read(|log| Ok(log.latest().clone())).await
    }

    async fn base(&self) -> Result<Snapshot, Unavailable> {
        self.load().await
    }

    async fn propose(&self, proposal: Proposal) -> Result<Snapshot, ProposeError> {
        self.ask(move |owner| owner.propose(proposal)).await?
    }

    async fn history(
        &self,
        below: Option<Revision>,
        limit: usize,
    ) -> Result<Vec<Commit>, Unavailable> {
        self.read(move |log| log.history(below, limit)).await
    }

    async fn commits(&self, after: Revision, limit: usize) -> Result<Vec<Commit>, Unavailable> {
        self.read(move |log| log.commits(after, limit)).await
    }

    async fn import(&self, import: Import) -> Result<(), ImportError> {
        self.ask(move |owner| owner.import(import)).await?
    }

    async fn at(&self, revision: Revision) -> Result<Option<Arc<Config>>, Unavailable> {
        self.read(move |log| log.at(revision)).await
    }

    async fn changed(&self, since: Revision) -> Result<Revision, Unavailable> {
        let mut revision = self.revision.clone();
        let changed = revision.wait_for(|revision| *revision > since).await;
        changed
            .map(|revision| *revision)
            .map_err(|ended| Unavailable::new("the embedded store", ended))
    }

    async fn look(&self, look: Look) -> Result<Writes, Unavailable> {
        self.ask(move |owner| owner.look(look)).await?.map_err(unavailable)
    }
}

impl TokenStore for EmbeddedStore {
    async fn tokens(&self) -> Result<Vec<TokenRecord>, Unavailable> {
        self.read(|log| log.tokens()).await
    }

    async fn put_token(
        &self,
        record: TokenRecord,
        attempt: Option<Attempt>,
    ) -> Result<(), Unavailable> {
        self.read(move |log| log.put_token(&record, attempt)).await
    }

    async fn put_first_admin(
        &self,
        record: TokenRecord,
        attempt: Option<Attempt>,
    ) -> Result<Option<TokenRecord>, Unavailable> {
        self.read(move |log| log.put_first_admin(&record, attempt)).await
    }

    async fn remove_token(
        &self,
        id: TokenId,
        attempt: Option<Attempt>,
    ) -> Result<bool, Unavailable> {
        self.read(move |log| log.remove_token(id, attempt)).await
    }
}

impl AuditLog for EmbeddedStore {
    async fn record(&self, records: Vec<AuditRecord>) -> Result<(), Unavailable> {
        self.read(move |log| audit::record(log.database(), &records)).await
    }

    async fn trail(&self, wanted: TrailQuery) -> Result<Vec<Audited>, Unavailable> {
        self.read(move |log| audit::trail(log.database(), &wanted)).await
    }

    async fn forget(&self, age: Duration, now: Timestamp, most: usize) -> Result<(), Unavailable> {
        self.read(move |log| audit::forget(log.database(), age, now, most)).await
    }
}

impl HealthLog for EmbeddedStore {
    async fn append(&self, records: Vec<HealthRecord>) -> Result<(), Unavailable> {
        self.read(move |log| health::append(log.database(), &records)).await
    }

    async fn latest(&self) -> Result<Vec<HealthRecord>, Unavailable> {
        self.read(|log| health::latest(log.database())).await
    }

    async fn changes(
        &self,
        region: Option<RegionId>,
        limit: usize,
    ) -> Result<Vec<HealthRecord>, Unavailable> {
        self.read(move |log| health::changes(log.database(), region.as_ref(), limit)).await
    }
}
