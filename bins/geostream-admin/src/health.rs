//! `health`

use std::time::Duration;

use clap::Args;
use geostream_api::{BudgetSpent, HealthHistory, HealthReport, RegionHealth};

use crate::End;
use crate::client::{Client, percent_encoded};
use crate::output::{Output, end_at_interrupt, or_dash, redraw, say, table_or};
use crate::when::Now;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Look again every second, until Ctrl-C
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
    if arguments.watch {
        return watch(client, output);
    }
    let report: HealthReport = client.get("/api/v1/health/regions")?;
    output.show(&report, || show(&report))
}

/// Shows the health again every second. A server that cannot be reached for a while is asked again.
fn watch(client: &Client, output: Output) -> anyhow::Result<End> {
    let mut report: HealthReport = client.get("/api/v1/health/regions")?;
    end_at_interrupt()?;
    let mut failure = None;
    loop {
        match output {
            Output::Json => {
                output.show(&report, || {})?;
            }
            Output::Table | Output::Wide => redraw(|| {
                say(format_args!("{}  every second; Ctrl-C ends", client.server()));
                show(&report);
                failure.iter().for_each(say);
            }),
        }
        wait();
        match client.get("/api/v1/health/regions") {
            Ok(next) => {
                report = next;
                failure = None;
            }
            Err(error) => failure = Some(format!("not up to date: {error:#}")),
        }
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
    let now = Now::read();
    output.show(&history, || {
        let rows = history.changes.iter().map(|change| {
            [
                now.tell(change.at),
                or_dash(change.node.clone()),
                change.region.clone(),
                change.health.clone(),
                or_dash(change.response_time_ms.map(|ms| format!("{ms:.1} ms"))),
                change.evidence.clone(),
            ]
        });
        let nothing = "no health has changed yet; `health` shows how the regions are";
        table_or(nothing, ["time", "node", "region", "health", "response", "evidence"], rows);
    })
}

fn show(report: &HealthReport) {
    let now = Now::read();
    let rows = report.regions.iter().map(|seen| {
        [
            seen.region.clone(),
            in_words(report, seen),
            share(report, seen),
            or_dash(seen.load),
            or_dash(seen.since.map(|since| now.tell(since))),
            or_dash(seen.overridden.clone()),
            seen.evidence.clone(),
        ]
    });
    let nothing = "no regions yet: `region add`, `catalog import` or `apply -f FILE` makes some";
    let header = ["region", "health", "share", "load", "since", "override", "evidence"];
    table_or(nothing, header, rows);
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

/// Returns the share of its clients that a region has: none while it is drained or unhealthy.
fn share(report: &HealthReport, seen: &RegionHealth) -> String {
    let is_retained = report.budget_spent.iter().any(|spent| spent.retained.contains(&seen.region));
    let is_away = match seen.overridden.as_deref() {
        Some("drain" | "down") => true,
        Some("up") => false,
        Some(_) | None => seen.health == "unhealthy" && !is_retained,
    };
    format!("{:.0} %", if is_away { 0.0 } else { seen.share * 100.0 })
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
