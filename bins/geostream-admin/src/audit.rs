//! `audit`

use std::time::SystemTime;

use clap::Args;
use geostream_api::{AuditEntry, AuditOutcome, AuditPage, KeptChanges, Time};

use crate::End;
use crate::client::{Client, percent_encoded};
use crate::output::{Output, or_dash, say, table_or};
use crate::when::Now;
use crate::written::show_differences;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Only what was asked for since then: a time such as 2026-11-21T08:30:00Z, or an age such as 2h
    #[arg(long, value_name = "TIME|AGE", value_parser = parse_since)]
    since: Option<Time>,

    /// Only what was asked for before then: a time, or an age
    #[arg(long, value_name = "TIME|AGE", value_parser = parse_since)]
    until: Option<Time>,

    /// Only what was asked of this node: by its configured name, of all its starts, or by the name of
    /// one start
    #[arg(long, value_name = "NAME")]
    node: Option<String>,

    /// Only what was asked for by the token of this name or id
    #[arg(long, value_name = "NAME|ID")]
    who: Option<String>,

    /// Only this action, such as putRegion, or what was done to a path with this in it
    #[arg(long, value_name = "ACTION|PATH")]
    what: Option<String>,

    /// How many entries to list
    #[arg(short = 'n', long, default_value_t = 20)]
    limit: usize,

    /// Show what each has changed, before and after
    #[arg(long)]
    changes: bool,
}

/// The most entries that the server answers at once.
const PAGE: usize = 500;

pub(crate) fn run(client: &Client, output: Output, arguments: &Arguments) -> anyhow::Result<End> {
    let page = read(client, arguments)?;
    output.show(&page, || {
        if arguments.changes {
            page.entries.iter().for_each(show);
        } else {
            list(&page, output);
        }
    })
}

fn list(page: &AuditPage, output: Output) {
    let now = Now::read();
    let nothing = "no entries; --since, --until, --node, --who and --what may leave all out";
    if output == Output::Wide {
        let header = ["time", "node", "who", "from", "action", "target", "outcome"];
        let rows = page.entries.iter().map(|entry| {
            [
                entry.at.to_string(),
                entry.node.clone(),
                or_dash(entry.who.clone()),
                or_dash(entry.address.clone()),
                entry.action.clone(),
                entry.target.clone(),
                outcome(entry),
            ]
        });
        return table_or(nothing, header, rows);
    }
    let rows = page.entries.iter().map(|entry| {
        [
            now.tell(entry.at),
            or_dash(entry.who.clone()),
            entry.action.clone(),
            entry.target.trim_start_matches("/api/v1/").to_owned(),
            outcome(entry),
        ]
    });
    table_or(nothing, ["time", "who", "action", "target", "outcome"], rows);
}

/// Reads page after page, until there are enough.
fn read(client: &Client, arguments: &Arguments) -> anyhow::Result<AuditPage> {
    let filters = [
        ("since", arguments.since.map(|since| since.to_string())),
        ("until", arguments.until.map(|until| until.to_string())),
        ("node", arguments.node.clone()),
        ("who", arguments.who.clone()),
        ("what", arguments.what.clone()),
    ];
    let filters: String = filters
        .into_iter()
        .filter_map(|(name, value)| Some(format!("&{name}={}", percent_encoded(&value?))))
        .collect();
    let mut all = AuditPage { entries: Vec::new(), next_below: None };
    loop {
        let limit = (arguments.limit - all.entries.len()).min(PAGE);
        let below = all.next_below.map(|below| format!("&below={below}")).unwrap_or_default();
        let page: AuditPage =
            client.get(&format!("/api/v1/audit?limit={limit}{below}{filters}"))?;
        all.entries.extend(page.entries);
        all.next_below = page.next_below;
        if all.next_below.is_none() || all.entries.len() >= arguments.limit {
            return Ok(all);
        }
    }
}

fn outcome(entry: &AuditEntry) -> String {
    match &entry.outcome {
        AuditOutcome::Done { revision: Some(revision), .. } => format!("done: revision {revision}"),
        AuditOutcome::Done { .. } => "done".to_owned(),
        AuditOutcome::Refused { status, problem, count: 1, .. } => {
            format!("refused: {status} {problem}")
        }
        AuditOutcome::Refused { status, problem, count, .. } => {
            format!("refused {count} times: {status} {problem}")
        }
    }
}

fn show(entry: &AuditEntry) {
    let AuditEntry { number, at, node, who, token, scope, address, action, target, .. } = entry;
    let token = token.as_ref().map(|token| format!(" (token {token}, {})", or_dash(scope.clone())));
    let (who, from) = (or_dash(who.clone()), or_dash(address.clone()));
    say(format_args!("{number}  {at}  {action} {target}"));
    say(format_args!("    by {who}{}, from {from}, at {node}", token.unwrap_or_default()));
    say(format_args!("    {}", outcome(entry)));
    match &entry.outcome {
        AuditOutcome::Done { reason, changes: KeptChanges { changes, left_out }, .. } => {
            if let Some(reason) = reason {
                say(format_args!("    {reason}"));
            }
            show_differences(changes);
            if *left_out > 0 {
                say(format_args!("    {left_out} of its changes are too large to be kept here"));
            }
        }
        AuditOutcome::Refused { detail, .. } => say(format_args!("    {detail}")),
    }
}

#[expect(clippy::disallowed_methods, reason = "an age is counted from now")]
fn parse_since(text: &str) -> Result<Time, String> {
    let Ok(age) = humantime::parse_duration(text) else { return text.parse() };
    let since = SystemTime::now().checked_sub(age).ok_or("that is before all time")?;
    humantime::format_rfc3339_millis(since).to_string().parse()
}
