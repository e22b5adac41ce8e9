//! How the store is now.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use geostream_domain::Timestamp;
use geostream_ports::{Chain, Clock, ConfigStore, Look, Unavailable, Writes};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// What following and writing see of the store now.
///
/// [`Counted`](crate::Counted) and [`StoreWatch`] update it. It is no part of the routing table,
/// so a change compiles nothing, and no decision reads it.
#[derive(Debug, Default)]
pub struct StoreHealth {
    findings: Mutex<Findings>,
}

/// What is wrong with the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreTroubles {
    /// Why it cannot be read; `None` while it can.
    pub reading: Option<Trouble>,
    /// Why it takes no writes although it can be read, as far as that is known.
    pub writing: Option<Trouble>,
}

/// Something that fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Since when.
    pub since: Timestamp,
    /// Why, as of the latest try.
    pub error: String,
}

/// What was found, in a field for each event that ends it.
#[derive(Clone, Debug, Default)]
struct Findings {
    /// The last look found that the store cannot be read.
    unseen: Option<Trouble>,
    /// The configuration could not be loaded.
    unloaded: Option<Trouble>,
    /// The last look found that writes would fail.
    refusing: Option<Trouble>,
    /// The last write failed.
    failed: Option<Trouble>,
}

impl StoreTroubles {
    /// Tells whether the store can be read.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.reading.is_none()
    }

    /// Tells whether the store can be written, which it has to be read for.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.is_readable() && self.writing.is_none()
    }
}

impl Trouble {
    /// Keeps the beginning of a trouble that goes on, with its latest error.
    pub(crate) fn go_on(trouble: &mut Option<Self>, error: String, now: Timestamp) {
        let since = trouble.as_ref().map_or(now, |trouble| trouble.since);
        *trouble = Some(Self { since, error });
    }
}

impl StoreHealth {
    /// Returns what is wrong with the store.
    #[must_use]
    pub fn troubles(&self) -> StoreTroubles {
        self.findings().troubles()
    }

    /// Takes in what a look came to.
    pub fn handle_look(&self, look: Look, found: Result<Writes, Unavailable>, now: Timestamp) {
        self.update(|findings| match found {
            Err(error) => Trouble::go_on(&mut findings.unseen, Chain(&error).to_string(), now),
            Ok(Writes::Refused(error)) => {
                findings.unseen = None;
                Trouble::go_on(&mut findings.refusing, Chain(&error).to_string(), now);
            }
            Ok(Writes::Accepted) => {
                findings.unseen = None;
                findings.refusing = None;
                if look == Look::TryWrite {
                    findings.failed = None;
                }
            }
        });
    }

    /// Says how closely to look: after a write has failed, reading does not tell whether the next
    /// one would.
    #[must_use]
    pub fn next_look(&self) -> Look {
        if self.findings().failed.is_some() { Look::TryWrite } else { Look::Read }
    }

    /// Takes in that the configuration was loaded, or why not.
    pub(crate) fn handle_load(&self, error: Option<String>, now: Timestamp) {
        self.update(|findings| match error {
            Some(error) => Trouble::go_on(&mut findings.unloaded, error, now),
            None => findings.unloaded = None,
        });
    }

    /// Takes in that a write was committed, or why not.
    pub(crate) fn handle_write(&self, written: Result<(), String>, now: Timestamp) {
        self.update(|findings| match written {
            Err(error) => Trouble::go_on(&mut findings.failed, error, now),
            // A commit reads before it writes, so everything works.
            Ok(()) => *findings = Findings::default(),
        });
    }

    /// Changes the findings, and logs what that changes for operators, once.
    fn update(&self, change: impl FnOnce(&mut Findings)) {
        let mut findings = self.findings();
        let before = findings.troubles();
        change(&mut findings);
        let after = findings.troubles();
        drop(findings);
        match (&before.reading, &after.reading) {
            (None, Some(Trouble { error, .. })) => {
                tracing::warn!(error, "the store cannot be read; decisions go on");
            }
            (Some(_), None) => tracing::info!("the store can be read again"),
            (None, None) | (Some(_), Some(_)) => {}
        }
        match (&before.writing, &after.writing) {
            (None, Some(Trouble { error, .. })) => {
                tracing::warn!(error, "the store takes no writes; decisions go on");
            }
            (Some(_), None) => tracing::info!("the store takes writes again"),
            (None, None) | (Some(_), Some(_)) => {}
        }
    }

    fn findings(&self) -> MutexGuard<'_, Findings> {
        // Every change is one assignment after another, and each leaves what makes sense.
        self.findings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Findings {
    fn troubles(&self) -> StoreTroubles {
        StoreTroubles {
            reading: earlier(self.unseen.as_ref(), self.unloaded.as_ref()),
            writing: earlier(self.refusing.as_ref(), self.failed.as_ref()),
        }
    }
}

/// Returns the first, or else the second, with the beginning of the one that began earlier.
fn earlier(first: Option<&Trouble>, second: Option<&Trouble>) -> Option<Trouble> {
    let told = first.or(second)?;
    let since = second.map_or(told.since, |second| told.since.min(second.since));
    Some(Trouble { since, error: told.error.clone() })
}

/// Looks at the store every other second, whether or not there is anything to follow or write.
#[derive(Debug)]
pub struct StoreWatch<S, C> {
    /// The store.
    pub store: S,
    /// Where what is seen goes.
    pub health: Arc<StoreHealth>,
    /// Tells the time.
    pub clock: C,
}

/// The time from one look to the next.
const PAUSE: Duration = Duration::from_secs(2);

/// The time that a look may take: a store that hangs is one that cannot be read.
const LONGEST_LOOK: Duration = Duration::from_secs(3);

impl<S: ConfigStore, C: Clock> StoreWatch<S, C> {
    /// Goes on until it is told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let looking = async {
            loop {
                self.look().await;
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::select! {
            () = looking => {}
            () = stop.cancelled() => {}
        }
    }

    async fn look(&self) {
        let look = self.health.next_look();
        let found = timeout(LONGEST_LOOK, self.store.look(look)).await.unwrap_or_else(|_| {
            let error = format!("it does not answer within {} s", LONGEST_LOOK.as_secs());
            Err(Unavailable::new("the store", error))
        });
        self.health.handle_look(look, found, self.clock.wall());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_unix_millis(seconds * 1_000)
    }

    fn away() -> Unavailable {
        Unavailable::new("the database", "connection refused")
    }

    fn trouble(since: u64, error: &str) -> Trouble {
        Trouble { since: at(since), error: error.to_owned() }
    }

    #[test]
    fn a_store_that_cannot_be_read_is_so_from_the_first_look_to_the_first_that_succeeds() {
        let health = StoreHealth::default();
        health.handle_look(Look::Read, Err(away()), at(1));
        health.handle_load(Some("other".to_owned()), at(2));
        health.handle_look(Look::Read, Err(away()), at(3));
        let troubles = health.troubles();
        let expected = "the database is unavailable: connection refused";
        assert_eq!(troubles.reading, Some(trouble(1, expected)));
        assert!(!troubles.is_readable() && !troubles.is_writable());
        health.handle_look(Look::Read, Ok(Writes::Accepted), at(4));
        assert_eq!(health.troubles().reading, Some(trouble(2, "other")), "it cannot be loaded yet");
        health.handle_load(None, at(5));
        assert_eq!(health.troubles(), StoreTroubles::default());
    }

    #[test]
    fn a_failed_write_ends_with_a_trial_or_the_next_write_and_not_with_a_look() {
        let health = StoreHealth::default();
        let full = || Err("no space left on device".to_owned());
        for end in [
            |health: &StoreHealth| health.handle_write(Ok(()), at(9)),
            |health: &StoreHealth| {
                health.handle_look(health.next_look(), Ok(Writes::Accepted), at(9));
            },
        ] {
            assert_eq!(health.next_look(), Look::Read);
            health.handle_write(full(), at(1));
            health.handle_look(Look::Read, Ok(Writes::Accepted), at(2));
            assert_eq!(health.troubles().writing, Some(trouble(1, "no space left on device")));
            assert_eq!(health.next_look(), Look::TryWrite);
            health.handle_look(Look::TryWrite, Ok(Writes::Refused(away())), at(3));
            let troubles = health.troubles();
            assert!(troubles.is_readable() && !troubles.is_writable());
            assert_eq!(troubles.writing.map(|trouble| trouble.since), Some(at(1)));
            end(&health);
            assert_eq!(health.troubles(), StoreTroubles::default());
        }
    }

    #[test]
    fn a_read_only_store_is_so_until_a_look_finds_otherwise() {
        let health = StoreHealth::default();
        health.handle_look(Look::Read, Ok(Writes::Refused(away())), at(1));
        assert!(health.troubles().is_readable() && !health.troubles().is_writable());
        assert_eq!(health.next_look(), Look::Read, "no write has failed");
        health.handle_look(Look::Read, Ok(Writes::Accepted), at(2));
        assert!(health.troubles().is_writable());
    }
}
