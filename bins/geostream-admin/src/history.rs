//! `history` and `rollback`

use clap::Args;
use geostream_api::{Diff, HistoryEntry, HistoryPage, RollbackRequest, Status};

use crate::End;
use crate::client::Client;
use crate::output::{Output, table_or};
use crate::when::Now;
use crate::written::show_differences;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A revision to show
    revision: Option<u64>,

    /// How many commits to list
    #[arg(short = 'n', long, default_value_t = 20)]
    limit: usize,
}

#[derive(Debug, Args)]
pub(crate) struct RollbackArguments {
    /// The revision to go back to
    revision: u64,

    /// Do not ask
    #[arg(long)]
    yes: bool,

    /// Why, for the history
    #[arg(long)]
    reason: Option<String>,
}

pub(crate) fn run(client: &Client, output: Output, arguments: &Arguments) -> anyhow::Result<End> {
    if let Some(revision) = arguments.revision {
        let diff: Diff = client.get(&format!("/api/v1/config/history/{revision}"))?;
        return output.show(&diff, || show_differences(&diff.changes));
    }
    let page = read(client, arguments.limit)?;
    let now = Now::read();
    output.show(&page, || {
        let rows = page.commits.iter().map(|commit| {
            [
                commit.revision.to_string(),
                now.tell(commit.at),
                commit.author.clone(),
                // A write without a reason has its summary for one.
                Some(&commit.reason)
                    .filter(|reason| commit.summary.first() != Some(reason))
                    .map_or_else(|| "-".to_owned(), String::clone),
                summary(commit),
            ]
        });
        let nothing = "no revisions yet: `apply -f FILE` or `region add` makes the first one";
        table_or(nothing, ["rev", "time", "author", "reason", "changes"], rows);
    })
}

/// Reads page after page until there are enough commits: to a limited token, a page may be empty
/// although others follow.
fn read(client: &Client, limit: usize) -> anyhow::Result<HistoryPage> {
    let path = format!("/api/v1/config/history?limit={limit}");
    let mut whole: HistoryPage = client.get(&path)?;
    while let Some(below) = whole.next_below.filter(|_| whole.commits.len() < limit) {
        let page: HistoryPage = client.get(&format!("{path}&below={below}"))?;
        whole.commits.extend(page.commits);
        whole.next_below = page.next_below;
    }
    whole.commits.truncate(limit);
    Ok(whole)
}

fn summary(commit: &HistoryEntry) -> String {
    let mut lines: Vec<String> = commit.summary.iter().take(3).cloned().collect();
    if commit.changes > lines.len() {
        lines.push(format!("and {} more", commit.changes - lines.len()));
    }
    lines.join("\n")
}

pub(crate) fn roll_back(
    client: &Client,
    output: Output,
    arguments: &RollbackArguments,
) -> anyhow::Result<End> {
    let to = arguments.revision;
    let revision = client.get::<Status>("/api/v1/status")?.revision;
    let diff: Diff = client.get(&format!("/api/v1/config/diff?from={revision}&to={to}"))?;
    let question = format!("Go back to what revision {to} said?");
    output.write_if_sure(&question, arguments.yes, &diff.changes, || {
        let request = RollbackRequest { revision: to };
        let path = "/api/v1/config/rollback";
        client.write("POST", path, revision, arguments.reason.as_deref(), Some(&request))
    })
}
