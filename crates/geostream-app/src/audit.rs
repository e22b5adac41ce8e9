//! Who wanted what, and what came of it.

mod folds;

use std::mem::take;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use geostream_ports::{AuditLog, AuditRecord, Audited, Chain, Clock, TrailQuery, Unavailable};
use metrics::counter;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use self::folds::{Folded, Folds};

/// The audit trail, for those who read it, and for what no store records by itself: what was refused.
///
/// Requests do not wait for what is noted: [`AuditKeeper`] brings it to the store. Refusals that
/// repeat are counted, and noted together.
#[derive(Debug)]
pub struct AuditTrail<S> {
    log: S,
    notes: mpsc::Sender<AuditRecord>,
    folds: SharedFolds,
}

/// Writes down what was noted, and forgets what is too old or too much.
#[derive(Debug)]
pub struct AuditKeeper<S, C> {
    log: S,
    notes: mpsc::Receiver<AuditRecord>,
    folds: SharedFolds,
    retention: Retention,
    clock: C,
}

/// How long the trail is.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// How long a record is kept: longer where a pause of more than an eighth of it made the trail
    /// age less than the clock, as [`geostream_domain::outlived`] says.
    pub age: Duration,
    /// How many are kept of what was done, as many of what was refused to known tokens, and as many
    /// of what was refused without a valid token.
    pub records: usize,
}

type SharedFolds = Arc<Mutex<Folds>>;

/// The notes that wait for a store that is away or slow. Whatever comes beyond them is lost, so that
/// nobody can fill the memory by being refused.
const NOTES: usize = 1_000;

/// The notes that are written together.
const TOGETHER: usize = 100;

/// How often folded refusals are written, all that are due in one commit.
const FOLD: Duration = Duration::from_secs(1);

/// How long a store that has failed is left alone.
const RETRY: Duration = Duration::from_secs(1);

/// How often the trail is looked through for what is to be forgotten, and after how many notes.
const FORGET: Duration = Duration::from_secs(600);
const FORGET_AFTER: usize = 1_000;

impl<S: AuditLog + Clone> AuditTrail<S> {
    /// Returns the trail in this store, and who is to be run to keep it.
    pub fn new<C: Clock>(log: S, retention: Retention, clock: C) -> (Self, AuditKeeper<S, C>) {
        let (sender, notes) = mpsc::channel(NOTES);
        let folds = SharedFolds::default();
        let shared = Arc::clone(&folds);
        let keeper = AuditKeeper { log: log.clone(), notes, folds: shared, retention, clock };
        (Self { log, notes: sender, folds }, keeper)
    }
}

impl<S: AuditLog> AuditTrail<S> {
    /// Notes what is to be recorded soon, or counts it where its like was just noted.
    pub fn note(&self, record: AuditRecord, now: Instant) {
        let folded = lock(&self.folds).take_in(record, now);
        let is_lost = match folded {
            Folded::Whole(record) => self.notes.try_send(record).is_err(),
            Folded::Counted => false,
            Folded::Lost => true,
        };
        if is_lost {
            count("lost", 1);
        }
    }

    /// Returns the latest records that are wanted, newest first.
    ///
    /// # Errors
    ///
    /// If the store cannot be used.
    pub async fn read(&self, wanted: TrailQuery) -> Result<Vec<Audited>, Unavailable> {
        self.log.trail(wanted).await
    }
}

impl<S: AuditLog, C: Clock> AuditKeeper<S, C> {
    /// Goes on until it is told to stop and has tried once more to write down what was noted.
    pub async fn run(mut self, stop: CancellationToken) {
        // Whoever looks for an increase does not see a counter begin.
        ["kept", "lost"].into_iter().for_each(|result| count(result, 0));
        let (mut records, mut kept) = (Vec::new(), 0);
        let mut forget = interval(FORGET);
        let mut fold = interval(FOLD);
        fold.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // In this order: it stops however much is noted, and the trail is cut before it grows.
                biased;
                () = stop.cancelled() => break,
                _ = forget.tick() => {
                    self.forget().await;
                    kept = 0;
                }
                _ = fold.tick() => {
                    let due = lock(&self.folds).handle_timeout(self.clock.now());
                    kept += due.len();
                    self.keep(due, &stop).await;
                }
                noted = self.notes.recv_many(&mut records, TOGETHER), if !self.notes.is_closed() => {
                    self.keep(take(&mut records), &stop).await;
                    kept += noted;
                }
            }
            if kept >= FORGET_AFTER {
                forget.reset_immediately();
            }
        }
        while let Ok(record) = self.notes.try_recv() {
            records.push(record);
        }
        records.extend(lock(&self.folds).finish());
        self.keep(records, &stop).await;
    }

    /// Tries until these are written, or it is told to stop.
    async fn keep(&self, records: Vec<AuditRecord>, stop: &CancellationToken) {
        let count_all = |result| count(result, records.len());
        let mut has_failed = false;
        while !records.is_empty() {
            let Err(error) = self.log.record(records.clone()).await else {
                return count_all("kept");
            };
            if stop.is_cancelled() {
                tracing::error!(error = %Chain(&error), "the audit trail lacks what was refused last");
                return count_all("lost");
            }
            if !has_failed {
                tracing::error!(error = %Chain(&error), "the audit trail waits for the store");
            }
            has_failed = true;
            tokio::select! {
                () = sleep(RETRY) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    async fn forget(&self) {
        let Retention { age, records } = self.retention;
        if let Err(error) = self.log.forget(age, self.clock.wall(), records).await {
            tracing::debug!(error = %Chain(&error), "the audit trail is not cut");
        }
    }
}

fn lock(folds: &Mutex<Folds>) -> MutexGuard<'_, Folds> {
    folds.lock().unwrap_or_else(PoisonError::into_inner)
}

fn count(result: &'static str, records: usize) {
    counter!("audit_notes_total", "result" => result).increment(records as u64);
}
