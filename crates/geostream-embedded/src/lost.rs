//! Commits that a store has lost, in files that an operator reads.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use geostream_api::{Change, Commit, Config, Override, Time, WholeConfig};
use geostream_domain::LostCommits;
use serde::Serialize;

use crate::private_file::replace;

/// How the names of the records begin, and those of the configurations beside them.
const COMMITS: &str = "lost-commits-";
const CONFIG: &str = "lost-config-";

/// The most records: more come only from a store that goes back again and again.
const MOST_RECORDS: usize = 8;

/// A record, for people and for `jq`.
#[derive(Serialize)]
struct Document {
    /// When the commits were missed; first, so that the rest of two records can be compared.
    found: Time,
    #[serde(flatten)]
    lost: Lost,
}

#[derive(Serialize)]
struct Lost {
    first: u64,
    last: u64,
    /// The latest revision that the store had.
    store_revision: u64,
    commits: Vec<Commit>,
    /// What would lead from the store's configuration to that of the last commit.
    changes: Vec<Change>,
    /// The overrides at the last commit, which a declared configuration does not have.
    overrides: BTreeMap<String, Override>,
}

/// Writes a record and the configuration beside it, and returns the record's name.
pub(crate) fn keep(directory: &Path, lost: &LostCommits) -> io::Result<String> {
    let WholeConfig { config, overrides } = WholeConfig::from(&*lost.config);
    let document = Document {
        found: Time(lost.found),
        lost: Lost {
            first: lost.first.get(),
            last: lost.last.get(),
            store_revision: lost.store.get(),
            commits: lost.commits.iter().map(Into::into).collect(),
            changes: lost.changes.iter().map(Into::into).collect(),
            overrides,
        },
    };
    let commits = serde_json::to_value(&document.lost.commits)?;
    for number in 1..=MOST_RECORDS + 1 {
        let name = name(lost, number);
        let path = directory.join(&name);
        match fs::read(&path) {
            Ok(bytes) if commits_in(&bytes).as_ref() == Some(&commits) => return Ok(name),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                write(directory, &name, &document, &config)?;
                make_room(directory, &name)?;
                return Ok(name);
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("there are too many records of the same lost commits"))
}

/// Returns the names of the records that are there.
pub(crate) fn list(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let name =
            name.to_str().filter(|name| name.starts_with(COMMITS) && name.ends_with(".json"));
        names.extend(name.map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

/// Removes a record and the configuration beside it.
pub(crate) fn forget(directory: &Path, name: &str) -> io::Result<()> {
    for path in [directory.join(name), beside(directory, name)] {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn name(lost: &LostCommits, number: usize) -> String {
    let again = if number == 1 { String::new() } else { format!("-{number}") };
    format!("{COMMITS}{}-{}{again}.json", lost.first, lost.last)
}

fn beside(directory: &Path, name: &str) -> PathBuf {
    directory.join(name.replacen(COMMITS, CONFIG, 1))
}

/// The record comes second: where it is, its configuration is as well.
fn write(directory: &Path, name: &str, document: &Document, config: &Config) -> io::Result<()> {
    replace(&beside(directory, name), &serde_json::to_vec_pretty(config)?)?;
    replace(&directory.join(name), &serde_json::to_vec_pretty(document)?)
}

fn commits_in(bytes: &[u8]) -> Option<serde_json::Value> {
    let mut document: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    Some(document.get_mut("commits")?.take())
}

/// Removes the oldest records beyond the limit, but not the one that was just written.
fn make_room(directory: &Path, new: &str) -> io::Result<()> {
    let mut by_age = Vec::new();
    for name in list(directory)? {
        by_age.push((fs::metadata(directory.join(&name))?.modified()?, name));
    }
    by_age.sort();
    let excess = by_age.len().saturating_sub(MOST_RECORDS);
    for (_, name) in by_age.iter().filter(|(_, name)| name != new).take(excess) {
        tracing::warn!(name, "the oldest record of lost commits is removed: there are too many");
        forget(directory, name)?;
    }
    Ok(())
}
