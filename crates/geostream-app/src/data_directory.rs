//! What a node keeps in its data directory, and whether it can.

use std::sync::{Mutex, MutexGuard, PoisonError};

use geostream_domain::{Revision, Timestamp};

use crate::store_health::Trouble;

/// Says how the files are that a node needs for a start without its store.
///
/// The tasks that write them update it; no decision reads it.
#[derive(Debug, Default)]
pub struct DataDirectory {
    files: Mutex<KeptFiles>,
}

/// How these files are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptFiles {
    /// The revision of the last good table on disk, and when it was written; `None` for no table.
    pub last_good: Option<(Revision, Timestamp)>,
    /// Why a later table is not on disk.
    pub last_good_trouble: Option<Trouble>,
    /// Why what is known of the tokens is not on disk.
    pub tokens_trouble: Option<Trouble>,
    /// The records of lost commits that no operator has removed yet.
    pub lost: Vec<String>,
    /// Why commits that were lost just now are in no record.
    pub lost_trouble: Option<Trouble>,
}

impl DataDirectory {
    /// Returns how the files are.
    #[must_use]
    pub fn files(&self) -> KeptFiles {
        self.lock().clone()
    }

    /// Takes in what was found at the start.
    pub(crate) fn handle_loaded(&self, last_good: Option<(Revision, Timestamp)>) {
        self.lock().last_good = last_good;
    }

    /// Takes in that the last good table was written, or why not.
    pub(crate) fn handle_saved(&self, saved: Result<Revision, String>, now: Timestamp) {
        let mut files = self.lock();
        let was_well = files.last_good_trouble.is_none();
        match saved {
            Ok(revision) => {
                files.last_good = Some((revision, now));
                files.last_good_trouble = None;
                if !was_well {
                    tracing::info!(%revision, "the last good table is written again");
                }
            }
            Err(error) => {
                if was_well {
                    tracing::warn!(error, "the last good table cannot be written; trying again");
                }
                Trouble::go_on(&mut files.last_good_trouble, error, now);
            }
        }
    }

    /// Takes in that what is known of the tokens was written, or why not.
    pub(crate) fn handle_tokens(&self, saved: Result<(), String>, now: Timestamp) {
        let mut files = self.lock();
        let was_well = files.tokens_trouble.is_none();
        match saved {
            Ok(()) => files.tokens_trouble = None,
            Err(error) => {
                if was_well {
                    tracing::warn!(error, "the known tokens cannot be written; trying again");
                }
                Trouble::go_on(&mut files.tokens_trouble, error, now);
            }
        }
    }

    /// Takes in which records of lost commits there are.
    pub(crate) fn handle_records(&self, lost: Vec<String>) {
        self.lock().lost = lost;
    }

    /// Takes in that a record was written, or why not.
    pub(crate) fn handle_lost(&self, kept: Result<String, String>, now: Timestamp) {
        let mut files = self.lock();
        match kept {
            Ok(name) => {
                files.lost_trouble = None;
                if !files.lost.contains(&name) {
                    files.lost.push(name);
                }
            }
            Err(error) => {
                if files.lost_trouble.is_none() {
                    tracing::warn!(error, "lost commits cannot be written; trying again");
                }
                Trouble::go_on(&mut files.lost_trouble, error, now);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, KeptFiles> {
        // Every change leaves what makes sense.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
