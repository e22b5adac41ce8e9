//! `geostream-admin import`: an exported log for a server that has none.

use std::path::PathBuf;

use clap::Args;
use geostream_api::{Commit, ImportPart, ImportRequest};
use serde_json::json;

use crate::End;
use crate::client::Client;
use crate::log_file::LogFile;
use crate::output::{Output, end_progress, progress, say};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A file that `export` has written
    file: PathBuf,
}

/// The commits, and the changes in them, that are sent at once, unless one commit has more.
const COMMITS: usize = 250;
const CHANGES: usize = 20_000;

pub(crate) fn run(client: &Client, output: Output, arguments: &Arguments) -> anyhow::Result<End> {
    let log = LogFile::check(&arguments.file)?;
    send(client, &log, ImportPart::Begin(log.base.clone()))?;
    let (mut page, mut changes) = (Vec::<Commit>::new(), 0);
    for commit in log.commits()? {
        let commit = commit?;
        let is_full = page.len() == COMMITS || changes + commit.changes.len() > CHANGES;
        if is_full && let Some(last) = page.last() {
            progress(&format!("revision {} of {}", last.revision, log.last));
            send(client, &log, ImportPart::Commits(std::mem::take(&mut page)))?;
            changes = 0;
        }
        changes += commit.changes.len();
        page.push(commit);
    }
    send(client, &log, ImportPart::Commits(page))?;
    send(client, &log, ImportPart::End(log.last))?;
    end_progress();
    let (commits, revision) = (log.last - log.base.revision, log.last);
    output.show(&json!({ "commits": commits, "revision": revision }), || {
        say(format_args!("imported {commits} commits; now at revision {revision}"));
        say("tokens are not part of a log: make them with geostream-admin token add");
    })
}

fn send(client: &Client, log: &LogFile, part: ImportPart) -> anyhow::Result<()> {
    client.hand_in("/api/v1/config/log", &ImportRequest { import: log.id.clone(), part })
}
