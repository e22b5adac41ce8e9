//! Whether the store's log still has what a node has decided by.

use geostream_domain::{Commit, LostCommits, RecentCommits, Revision, Snapshot, Timestamp};
use geostream_ports::{Chain, Clock, ConfigStore, LastGood, Unavailable};
use metrics::counter;

use crate::data_directory::DataDirectory;
use crate::publisher::Publisher;

/// Compares the commits that a node has seen with those of its store's log, each time that the
/// store has another configuration.
///
/// A restored backup and a failover to a replica that was behind take commits back. The node names
/// them, so that an operator can make them again.
#[derive(Debug, Default)]
pub(crate) struct Lineage {
    /// The last revision that was read from the log, not only written by this node.
    confirmed: Revision,
    /// What the node decided by when the log still had all that it had seen.
    decided: Snapshot,
    /// What the store had when it was compared last.
    compared: Option<Snapshot>,
    /// The lost commits that were told last, as long as the node decides by them.
    told: Option<Told>,
    /// Lost commits that are in no record yet.
    unwritten: Option<LostCommits>,
}

/// Lost commits that are named already.
#[derive(Debug)]
struct Told {
    last: Revision,
    /// The record that has them, once it is written.
    record: Option<String>,
}

/// The most commits that are named in the log, one a line.
const NAMED: usize = 20;

impl Lineage {
    /// Knows nothing yet.
    pub(crate) fn new() -> Self {
        // The metric is there before the first loss, so that an increase is one.
        counter!("lost_commits_total").increment(0);
        Self::default()
    }

    /// Begins with what an earlier run has kept.
    pub(crate) fn recall(&mut self, snapshot: Snapshot, recent: &RecentCommits) {
        self.confirmed = recent.last().map_or(Revision::ZERO, |last| last.revision);
        self.decided = snapshot;
    }

    /// Tells whether lost commits are still to be written.
    pub(crate) fn has_unwritten(&self) -> bool {
        self.unwritten.is_some()
    }

    /// Compares what the log has with what this node has seen of it, and keeps the log's latest
    /// commits.
    ///
    /// Returns the record of lost commits that the log has again.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub(crate) async fn compare<C: Clock>(
        &mut self,
        store: &impl ConfigStore,
        publisher: &Publisher<C>,
        had: &Snapshot,
        has: &Snapshot,
        now: Timestamp,
    ) -> Result<Option<String>, Unavailable> {
        if self.compared.as_ref() == Some(has) {
            return Ok(None);
        }
        let recent = publisher.recent();
        let (log, is_branch) = self.read(store, &recent, has).await?;
        let latest = latest(&log, has);
        let missing = recent.missing_in(&log, latest);
        let is_behind = latest < had.revision;
        let mut found_again = None;
        if missing.is_empty() && !is_behind {
            let told = self.told.take();
            found_again = told.and_then(|told| told.record);
            if found_again.is_some() {
                tracing::info!("the store's log has the commits again that it had lost");
            }
        } else {
            self.tell(missing, had, has, is_behind, now);
        }
        if !is_behind {
            if is_branch {
                let newest = newest(store).await?;
                self.confirmed = newest.last().map_or(latest, |last| last.revision);
                publisher.recall(newest.into_iter().collect());
            } else {
                self.confirmed = latest;
                publisher.follow(log);
            }
            self.decided = has.clone();
            self.told = None;
        }
        self.compared = Some(has.clone());
        Ok(found_again)
    }

    /// Writes lost commits where an operator finds them.
    pub(crate) async fn write(
        &mut self,
        last_good: &impl LastGood,
        directory: &DataDirectory,
        now: Timestamp,
    ) {
        let Some(lost) = &self.unwritten else { return };
        let kept = last_good.keep_lost(lost).await;
        if let Ok(name) = &kept {
            if let Some(told) = self.told.as_mut().filter(|told| told.last == lost.last) {
                told.record = Some(name.clone());
            }
            tracing::warn!(name, "the lost commits are in the data directory");
            self.unwritten = None;
        }
        directory.handle_lost(kept.map_err(|error| Chain(&error).to_string()), now);
    }

    /// Reads the part of the log that is to have what is kept, and tells whether the log has gone
    /// on from there without it, or too far.
    async fn read(
        &self,
        store: &impl ConfigStore,
        recent: &RecentCommits,
        has: &Snapshot,
    ) -> Result<(Vec<Commit>, bool), Unavailable> {
        let Some(first) = recent.first() else { return Ok((Vec::new(), true)) };
        // One commit that is known already shows that the others follow it.
        let from = self.confirmed.max(first.revision);
        let page = store.commits(before(from), RecentCommits::MOST).await?;
        let is_complete = page.last().is_some_and(|last| last.revision >= has.revision);
        if recent.missing_in(&page, latest(&page, has)).is_empty() {
            return Ok((page, !is_complete));
        }
        let page = store.commits(before(first.revision), RecentCommits::MOST).await?;
        Ok((page, true))
    }

    /// Names lost commits in the log, and has them written.
    fn tell(
        &mut self,
        missing: Vec<Commit>,
        had: &Snapshot,
        has: &Snapshot,
        is_behind: bool,
        now: Timestamp,
    ) {
        let last = missing.last().map_or(had.revision, |last| last.revision);
        let last = if is_behind { last.max(had.revision) } else { last };
        let first = missing.first().map_or_else(|| has.revision.next(), |first| first.revision);
        let store = has.revision;
        if self.told.as_ref().is_some_and(|told| told.last == last) {
            if !is_behind {
                tracing::warn!(
                    %first, %last, %store,
                    "this node now decides without the commits that the store's log has lost"
                );
            }
            return;
        }
        tracing::warn!(
            %first, %last, %store,
            "the store's log lacks commits that this node has decided by"
        );
        for Commit { revision, author, reason, at, changes } in missing.iter().take(NAMED) {
            let at = at.unix_millis();
            let changes = changes.len();
            tracing::warn!(%revision, %author, %reason, at_unix_ms = at, changes, "a lost commit");
        }
        counter!("lost_commits_total").increment(last.get() - before(first).get());
        // The configuration at the last of them is what the node had, before or after a write.
        let decided = [had, &self.decided].into_iter().find(|had| had.revision == last);
        let config = &decided.unwrap_or(had).config;
        self.unwritten = Some(LostCommits {
            first,
            last,
            commits: missing,
            config: config.clone(),
            changes: has.config.changes_to(config),
            store,
            found: now,
        });
        self.told = Some(Told { last, record: None });
    }
}

/// Returns the latest commits of a log, oldest first.
async fn newest(store: &impl ConfigStore) -> Result<Vec<Commit>, Unavailable> {
    let mut newest = store.history(None, RecentCommits::MOST).await?;
    newest.reverse();
    Ok(newest)
}

/// Returns the latest revision that a log is known to have: it may have grown since it was loaded.
fn latest(log: &[Commit], has: &Snapshot) -> Revision {
    log.last().map_or(has.revision, |last| last.revision.max(has.revision))
}

fn before(revision: Revision) -> Revision {
    Revision::new(revision.get().saturating_sub(1))
}
