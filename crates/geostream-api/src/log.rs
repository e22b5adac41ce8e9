//! The log of commits, as it moves from one store to another.

use std::collections::BTreeMap;
use std::sync::Arc;

use geostream_domain as domain;
use serde::{Deserialize, Serialize};

use crate::config::{Change, Config, Override, WholeConfig};
use crate::fields::{FieldErrors, Fields};
use crate::time::Time;
use crate::unique;

/// A commit with everything that it changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Commit {
    /// The revision that it led to.
    pub revision: u64,
    /// When it was proposed.
    pub at: Time,
    /// Who proposed it.
    pub author: String,
    /// Why.
    pub reason: String,
    /// The changes, in order.
    pub changes: Vec<Change>,
}

/// A page of the log, oldest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogPage {
    /// The commits.
    pub commits: Vec<Commit>,
    /// Where the next page begins, as the query parameter `after`; null on the last page.
    pub next_after: Option<u64>,
}

/// All that a revision says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// The revision.
    pub revision: u64,
    /// What was declared.
    pub config: Config,
    /// What operators forced, by the regions' ids.
    #[serde(deserialize_with = "unique::map")]
    pub overrides: BTreeMap<String, Override>,
}

/// A part of a log that is to become the log of a store that has none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportRequest {
    /// 32 hexadecimal digits, the same with each part of an import.
    pub import: String,
    /// What comes next.
    pub part: ImportPart,
}

/// What an import consists of, in this order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ImportPart {
    /// What the log goes on from.
    Begin(Snapshot),
    /// The next commits, as often as is needed.
    Commits(Vec<Commit>),
    /// The last revision: with it, all of them become the log.
    End(u64),
}

impl From<&domain::Commit> for Commit {
    fn from(commit: &domain::Commit) -> Self {
        Self {
            revision: commit.revision.get(),
            at: Time(commit.at),
            author: commit.author.to_string(),
            reason: commit.reason.to_string(),
            changes: commit.changes.iter().map(Into::into).collect(),
        }
    }
}

impl Commit {
    /// Turns the document into a commit.
    ///
    /// # Errors
    ///
    /// Every bad field.
    pub fn to_domain(&self) -> Result<domain::Commit, FieldErrors> {
        let mut fields = Fields::default();
        let author = fields.check("/author", self.author.parse());
        let reason = fields.check("/reason", self.reason.parse());
        let mut changes = Vec::new();
        for (number, change) in self.changes.iter().enumerate() {
            changes.extend(fields.part(format_args!("/changes/{number}"), change.to_domain()));
        }
        let revision = domain::Revision::new(self.revision);
        let commit = author.zip(reason).map(|(author, reason)| domain::Commit {
            revision,
            changes,
            author,
            reason,
            at: self.at.0,
        });
        fields.finish(commit)
    }
}

impl From<&domain::Snapshot> for Snapshot {
    fn from(snapshot: &domain::Snapshot) -> Self {
        let WholeConfig { config, overrides } = (&*snapshot.config).into();
        Self { revision: snapshot.revision.get(), config, overrides }
    }
}

impl Snapshot {
    /// Turns the document into a configuration at its revision.
    ///
    /// # Errors
    ///
    /// As [`WholeConfig::to_domain`], or if revision 0 is said to hold anything.
    pub fn to_domain(&self) -> Result<domain::Snapshot, FieldErrors> {
        let Self { revision, config, overrides } = self.clone();
        let config = WholeConfig { config, overrides }.to_domain()?;
        if revision == 0 && config != domain::Config::default() {
            return Err(FieldErrors::one("/revision", "revision 0 is the empty configuration"));
        }
        Ok(domain::Snapshot { revision: domain::Revision::new(revision), config: Arc::new(config) })
    }
}
