//! Changing the configuration.

use std::sync::Arc;

use geostream_domain::{
    Change, Commit, Config, Lack, Line, Override, OverrideAction, RegionId, Revision, ServiceId,
    Shortage, Snapshot,
};
use geostream_ports::{
    Attempt, Clock, ConfigStore, Import, ImportError, ImportPart, Proposal, ProposeError,
    Unavailable,
};
use thiserror::Error;
use tokio::sync::{broadcast, watch};

use crate::publisher::{Publisher, StoreBehind, StoreState};

/// Changes the configuration through its log, and publishes what comes of it at once.
#[derive(Debug)]
pub struct Configuration<S, C> {
    store: S,
    publisher: Arc<Publisher<C>>,
    clock: C,
}

/// What every write says of itself.
#[derive(Clone, Debug)]
pub struct Intent {
    /// The revision that it was thought out on.
    pub expected: Revision,
    /// Who wants it.
    pub author: Line,
    /// Why.
    pub reason: Line,
    /// Whose attempt it is, for the audit trail; `None` for nobody's.
    pub attempt: Option<Attempt>,
}

/// What a write led to.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// The configuration before.
    pub before: Arc<Config>,
    /// The configuration after; the same revision as before if nothing had to change.
    pub after: Snapshot,
}

/// Why a write led to nothing.
#[derive(Debug, Error)]
pub enum WriteError {
    /// Somebody else has written since: look again.
    #[error("the configuration is at revision {current}, and the write expects {expected}")]
    Conflict {
        /// The revision that the write expects.
        expected: Revision,
        /// The latest revision.
        current: Revision,
    },
    /// The result would break a rule.
    #[error("the change does not lead to a valid configuration")]
    Invalid(#[source] geostream_domain::ChangeError),
    /// Services would have no region left that can serve their clients.
    #[error("without {region}, no region is left that can serve the clients of {}", listed(.services))]
    LastRegion {
        /// The region that was to be drained.
        region: RegionId,
        /// The services.
        services: Vec<ServiceId>,
    },
    /// The revision to go back to is not kept.
    #[error("revision {0} was never committed, or is no longer kept")]
    NotKept(Revision),
    /// The store cannot be reached or cannot write.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Names the first of many.
fn listed(services: &[ServiceId]) -> String {
    const NAMED: usize = 10;
    let named: Vec<_> = services.iter().take(NAMED).map(ServiceId::as_str).collect();
    let more = services.len() - named.len();
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    named.join(", ") + &more
}

impl<S: ConfigStore, C: Clock> Configuration<S, C> {
    /// Changes the configuration in this store, and publishes to this publisher.
    pub fn new(store: S, publisher: Arc<Publisher<C>>, clock: C) -> Self {
        Self { store, publisher, clock }
    }

    /// Tells of every configuration that is published from now on.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Revision> {
        self.publisher.configured()
    }

    /// Tells of every override that ends by itself.
    #[must_use]
    pub fn ended_overrides(&self) -> broadcast::Receiver<Override> {
        self.publisher.ended()
    }

    /// Returns the configuration in use.
    #[must_use]
    pub fn current(&self) -> Snapshot {
        self.publisher.snapshot()
    }

    /// Commits changes that were thought out on the expected revision.
    ///
    /// # Errors
    ///
    /// If somebody was faster, the result would be invalid, or the store cannot be used.
    pub async fn write(&self, intent: Intent, changes: Vec<Change>) -> Result<Written, WriteError> {
        let Intent { expected, author, reason, attempt } = intent;
        let before = self.expect(expected).await?;
        if before.after(changes.iter().cloned()).is_ok_and(|after| after == *before) {
            let after = Snapshot { revision: expected, config: Arc::clone(&before) };
            return Ok(Written { before, after });
        }
        let at = self.clock.wall();
        let proposal = Proposal { expected, changes, author, reason, at, attempt };
        let after = self.store.propose(proposal).await.map_err(|error| match error {
            ProposeError::Conflict { current } => WriteError::Conflict { expected, current },
            ProposeError::Invalid(error) => WriteError::Invalid(error),
            ProposeError::Unavailable(error) => WriteError::Unavailable(error),
        })?;
        self.publisher.publish(after.clone(), StoreState::Current);
        Ok(Written { before, after })
    }

    /// Sets an override, and returns what services lack by it.
    ///
    /// A drain after which a service would have no region that can serve is refused, unless it is
    /// forced. It is judged by the revision that it expects and by what is seen at the moment.
    ///
    /// # Errors
    ///
    /// As [`Configuration::write`], or if it is refused.
    pub async fn set_override(
        &self,
        intent: Intent,
        wish: Override,
        force: bool,
    ) -> Result<(Written, Vec<Shortage>), WriteError> {
        let before = self.expect(intent.expected).await?;
        let shortages = match wish.action {
            OverrideAction::Drain => {
                let seen = self.publisher.observations();
                Shortage::without(&wish.region, &before, &seen, self.clock.wall())
            }
            OverrideAction::Up | OverrideAction::Down => Vec::new(),
        };
        let bereft = shortages.iter().filter(|shortage| shortage.lack == Lack::Region);
        let services: Vec<_> = bereft.map(|shortage| shortage.service.clone()).collect();
        if !force && !services.is_empty() {
            return Err(WriteError::LastRegion { region: wish.region, services });
        }
        let written = self.write(intent, vec![Change::SetOverride(wish)]).await?;
        Ok((written, shortages))
    }

    /// Makes the configuration what it is to be, except for the overrides.
    ///
    /// # Errors
    ///
    /// As [`Configuration::write`].
    pub async fn replace(&self, intent: Intent, target: &Config) -> Result<Written, WriteError> {
        let before = self.expect(intent.expected).await?;
        let changes = before.changes_to(&target.clone().with_overrides_of(&before));
        self.write(intent, changes).await
    }

    /// Goes back to what an earlier revision said, except for the overrides, as a new revision.
    ///
    /// # Errors
    ///
    /// As [`Configuration::write`], or if that revision is not kept.
    pub async fn roll_back(&self, intent: Intent, to: Revision) -> Result<Written, WriteError> {
        let target = self.store.at(to).await?.ok_or(WriteError::NotKept(to))?;
        self.replace(intent, &target).await
    }

    /// Declares the first configuration, if there is none yet, and tells whether it did.
    ///
    /// # Errors
    ///
    /// As [`Configuration::write`].
    pub async fn bootstrap(&self, intent: Intent, target: &Config) -> Result<bool, WriteError> {
        if self.current().revision != Revision::ZERO {
            return Ok(false);
        }
        let written = self.replace(Intent { expected: Revision::ZERO, ..intent }, target).await?;
        Ok(written.after.revision > Revision::ZERO)
    }

    /// Returns the latest commits below a revision, or the latest of all, newest first.
    ///
    /// # Errors
    ///
    /// If the store cannot be used.
    pub async fn history(
        &self,
        below: Option<Revision>,
        limit: usize,
    ) -> Result<Vec<Commit>, Unavailable> {
        self.store.history(below, limit).await
    }

    /// Returns the earliest commits after a revision that are kept, oldest first.
    ///
    /// # Errors
    ///
    /// If the store cannot be used.
    pub async fn commits(&self, after: Revision, limit: usize) -> Result<Vec<Commit>, Unavailable> {
        self.store.commits(after, limit).await
    }

    /// Takes in a part of another log, and publishes what comes of its end.
    ///
    /// # Errors
    ///
    /// If the log is not empty, the part is not what comes next, or the store cannot be used.
    pub async fn import(&self, import: Import) -> Result<(), ImportError> {
        let ends = matches!(import.part, ImportPart::End(_));
        self.store.import(import).await?;
        if ends {
            self.publisher.publish(self.store.load().await?, StoreState::Current);
        }
        Ok(())
    }

    /// Returns the configuration as it was at a revision; `None` if that is not kept.
    ///
    /// # Errors
    ///
    /// If the store cannot be used.
    pub async fn at(&self, revision: Revision) -> Result<Option<Arc<Config>>, Unavailable> {
        self.store.at(revision).await
    }

    /// Returns the store's configuration at the expected revision, if that is the latest.
    async fn expect(&self, expected: Revision) -> Result<Arc<Config>, WriteError> {
        let in_use = self.current().revision;
        let latest = self.store.base().await?;
        if latest.revision < in_use {
            let behind = StoreBehind { store: latest.revision, in_use };
            return Err(Unavailable::new("the latest configuration", behind).into());
        }
        if latest.revision == expected {
            Ok(latest.config)
        } else {
            Err(WriteError::Conflict { expected, current: latest.revision })
        }
    }
}
