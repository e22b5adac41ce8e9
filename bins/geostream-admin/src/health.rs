//! `health`

use std::time::Duration;

use clap::Args;
use geostream_api::{BudgetSpent, HealthHistory, HealthReport, RegionHealth};

use crate::End;
use crate::client::{Client, percent_encoded};
use crate::output::{Output, clear_screen, or_dash, say, table};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Look again every second, until it is interrupted
    #[arg(long)]
    watch: bool,
    /// Tell how a region's health has changed, or all regions', newest first
    #[arg(long, value_name = "REGION", conflicts_with = "watch")]
    history: Option<Option<String>>,
    /// How many changes to list
    #[arg(short = 'n', long, default_value_t = 20, requires = "history")]
    limit: usize,
}

pub(crate) fn run(client: &Client, output: Output, arguments: &Arguments) -> anyhow::Result<End> {
    if let Some(region) = &arguments.history {
        return list_changes(client, output, region.as_deref(), arguments.limit);
    }
    loop {
        let report: HealthReport = client.get("/api/v1/health/regions")?;
        if arguments.watch && output == Output::Table {
            clear_screen();
        }
        let shown = output.show(&report, || show(&report));
        if !arguments.watch {
            return shown;
        }
        wait();
    }
}

fn list_changes(
    client: &Client,
    output: Output,
    region: Option<&str>,
    limit: usize,
) -> anyhow::Result<End> {
    let mut path = format!("/api/v1/health/history?limit={limit}");
    if let Some(region) = region {
        path.push_str(&format!("&region={}", percent_encoded(region)));
    }
    let history: HealthHistory = client.get(&path)?;
    output.show(&history, || {
        let rows = history.changes.iter().map(|change| {
            [
                change.at.to_string(),
                or_dash(change.node.clone()),
                change.region.clone(),
                change.health.clone(),
                or_dash(change.response_time_ms.map(|ms| format!("{ms:.1} ms"))),
                change.evidence.clone(),
            ]
        });
        table(["time", "node", "region", "health", "response", "evidence"], rows);
    })
}

fn show(report: &HealthReport) {
    let rows = report.regions.iter().map(|seen| {
        [
            seen.region.clone(),
            in_words(report, seen),
            format!("{:.0} %", seen.share * 100.0),
            or_dash(seen.load),
            or_dash(seen.since),
            or_dash(seen.overridden.clone()),
            seen.evidence.clone(),
        ]
    });
    table(["region", "health", "share", "load", "since", "override", "evidence"], rows);
    report.budget_spent.iter().for_each(|spent| say(in_short(spent)));
    let forbidden = report.regions.iter().filter(|seen| seen.probe_forbidden);
    let forbidden: Vec<&str> = forbidden.map(|seen| &*seen.region).collect();
    if !forbidden.is_empty() {
        let regions = forbidden.join(", ");
        say(format_args!("not probed, since probe.networks does not permit it: {regions}"));
    }
    let abstaining = report.regions.iter().filter(|seen| seen.abstains);
    let abstaining: Vec<&str> = abstaining.map(|seen| &*seen.region).collect();
    let is_watched = |seen: &&RegionHealth| seen.breaker.is_some();
    if abstaining.is_empty() {
        return;
    }
    if report.regions.iter().filter(is_watched).all(|seen| seen.abstains) {
        say("this node sees nobody well, and takes nobody for dead: is its own network down?");
    } else {
        let regions = abstaining.join(", ");
        say(format_args!("not taken for dead, as nobody else was seen well since: {regions}"));
    }
}

/// Returns how a region is, in words.
pub(crate) fn of(report: &HealthReport, region: &str) -> Option<String> {
    let seen = report.regions.iter().find(|seen| seen.region == region)?;
    Some(in_words(report, seen))
}

/// Says of which service no more may be removed.
pub(crate) fn in_short(spent: &BudgetSpent) -> String {
    let BudgetSpent { service, retained } = spent;
    let retained = retained.join(", ");
    format!(
        "service {service}: removal budget spent; retained, and used only when no eligible region has \
         room: {retained}"
    )
}

fn in_words(report: &HealthReport, seen: &RegionHealth) -> String {
    let RegionHealth { region, health, breaker, failures, .. } = seen;
    if seen.probe_forbidden && health == "unknown" {
        return "unknown, not permitted".to_owned();
    }
    let health = match &seen.votes {
        Some(votes) => format!("{health} (down at {} of {})", votes.down, votes.nodes),
        None => health.clone(),
    };
    match breaker.as_deref() {
        None if seen.health == "unknown" => "unchecked".to_owned(),
        _ if seen.removal.as_deref() == Some("held") => match seen.held_until {
            Some(until) => format!("{health}, held until {until}"),
            None => format!("{health}, held, on trial"),
        },
        _ if report.budget_spent.iter().any(|spent| spent.retained.contains(region)) => {
            format!("{health}, retained")
        }
        _ if seen.abstains => format!("{health}, probes fail, abstained from"),
        Some("closed") if *failures > 0 => format!("{health}, {failures} failed"),
        Some("half_open") => format!("{health}, on trial"),
        Some(_) | None => health,
    }
}

#[expect(clippy::disallowed_methods, reason = "whoever watches wants to see it change")]
fn wait() {
    std::thread::sleep(Duration::from_secs(1));
}
