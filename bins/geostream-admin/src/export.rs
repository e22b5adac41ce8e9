//! `geostream-admin export`: the log, with its whole history, in a file.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use clap::Args;
use geostream_api::{Commit, LogPage, Snapshot, Status};
use serde_json::json;

use crate::End;
use crate::client::Client;
use crate::log_file::LogWriter;
use crate::output::{Output, end_progress, progress, say};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The file to write; one of that name is replaced
    file: PathBuf,
}

/// The commits that are asked for at once.
const PAGE: usize = 500;

pub(crate) fn run(client: &Client, output: Output, arguments: &Arguments) -> anyhow::Result<End> {
    let latest = client.get::<Status>("/api/v1/status")?.revision;
    let first: LogPage = client.get("/api/v1/config/log?limit=1")?;
    let first = first.commits.first().context("nothing was ever committed: there is no log")?;
    let base: Snapshot = client.get(&format!("/api/v1/config/log/{}", first.revision - 1))?;
    ensure_whole(base.config.has_redacted())?;
    let mut next = Some(base.revision);
    let mut log = LogWriter::begin(&arguments.file, base)?;
    while let Some(after) = next {
        let path = format!("/api/v1/config/log?after={after}&limit={PAGE}");
        let page: LogPage = client.get(&path)?;
        ensure_whole(page.commits.iter().any(Commit::has_redacted))?;
        page.commits.iter().try_for_each(|commit| log.add(commit))?;
        progress(&format!("revision {} of {latest}", log.last));
        next = page.next_after;
    }
    end_progress();
    let (commits, revision) = (log.last - log.base, log.last);
    log.end()?;
    output.show(&json!({ "commits": commits, "revision": revision }), || {
        say(format_args!("exported {commits} commits, up to revision {revision}, without tokens"));
    })
}

/// Refuses a log in which the server has left out values, since an import would refuse it.
fn ensure_whole(has_redacted: bool) -> anyhow::Result<()> {
    ensure!(
        !has_redacted,
        "the log has header fields of checks, whose values only tokens of the scope admin may read; \
         export with one of them"
    );
    Ok(())
}
