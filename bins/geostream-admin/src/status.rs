//! `status`

use geostream_api::{GeoDatabase, HeldRegion, InForce, Limits, Peers, Status, Warning};

use crate::End;
use crate::client::Client;
use crate::health::in_short;
use crate::output::{Output, facts, or_dash, say, table, table_or};
use crate::when::Now;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Tell of all nodes, one a row: each --server is asked, and what a node has heard of others
    /// over Redis is shown beside
    ///
    /// Ends with 0 if all nodes agree and have no warnings, with 7 if a node is missing, differs or
    /// warns, and with 3 or 4 if no server answers.
    #[arg(long)]
    pub(crate) all: bool,
}

pub(crate) fn run(client: &Client, output: Output) -> anyhow::Result<End> {
    let status: Status = client.get("/api/v1/status")?;
    let now = Now::read();
    output.show(&status, || {
        let store = status.store_error.clone().unwrap_or_else(|| "well".to_owned());
        let peers = match &status.peers {
            None => "alone".to_owned(),
            Some(Peers { error: Some(error), .. }) => format!("not heard: {error}"),
            Some(Peers { nodes, .. }) if nodes.is_empty() => "nobody".to_owned(),
            Some(Peers { nodes, .. }) => nodes.join(", "),
        };
        facts(&[
            ("version", status.version.clone()),
            ("node", status.node.clone()),
            ("other nodes", peers),
            ("started", now.tell(status.started)),
            ("revision", status.revision.to_string()),
            ("table made", now.tell(status.table_compiled)),
            ("store", store),
            ("regions", status.regions.to_string()),
            ("services", status.services.to_string()),
            ("abstains from", or_dash(some_of(&status.abstaining))),
            ("may not probe", or_dash(some_of(&status.probe_forbidden))),
            ("limits", or_dash(status.limits.as_ref().map(limits_in_short))),
            ("reachability targets", or_dash(status.limits.as_ref().map(targets_in_short))),
        ]);
        for Warning { code, detail } in &status.warnings {
            say(format_args!("warning {code}: {detail}"));
        }
        status.budget_spent.iter().for_each(|spent| say(in_short(spent)));
        for HeldRegion { region, held_until } in &status.held {
            let until = held_until.map(|until| format!(" until {until}")).unwrap_or_default();
            say(format_args!("region {region}: held back for flapping{until}"));
        }
        if !status.overrides.is_empty() {
            let rows = status.overrides.iter().map(|(region, wish)| {
                [
                    region.clone(),
                    format!("{:?}", wish.action).to_lowercase(),
                    wish.owner.clone(),
                    wish.reason.clone(),
                    or_dash(wish.expires.map(|expires| now.until(expires))),
                ]
            });
            table(["override", "action", "owner", "reason", "until"], rows);
        }
        show_databases(&status.geo);
    })
}

/// Says how often may be asked, who says so, and how many connections there may be.
fn limits_in_short(limits: &Limits) -> String {
    let number = |limit: usize| match limit {
        0 => "no limit".to_owned(),
        limit => limit.to_string(),
    };
    let per_second = |InForce { value, source }: &InForce<u32>| match value {
        0 => format!("no limit ({source})"),
        limit => format!("{limit} requests/s ({source})"),
    };
    format!(
        "client network: {}; token: {}; connections: {}; per network: {}",
        per_second(&limits.requests_per_second),
        per_second(&limits.requests_per_second_per_token),
        number(limits.max_connections),
        number(limits.max_connections_per_network),
    )
}

fn targets_in_short(limits: &Limits) -> String {
    let InForce { value: targets, source } = &limits.reachability_targets;
    let listed = some_of(targets).unwrap_or_else(|| "none".to_owned());
    match some_of(&limits.reachability_targets_forbidden) {
        Some(forbidden) => format!("{listed} ({source}); may not probe {forbidden}"),
        None => format!("{listed} ({source})"),
    }
}

/// Lists names, if there are any.
fn some_of(names: &[String]) -> Option<String> {
    (!names.is_empty()).then(|| names.join(", "))
}

/// Prints a table of GeoIP files.
pub(crate) fn show_databases(databases: &[GeoDatabase]) {
    let rows = databases.iter().map(|file| {
        let data = file.data.as_ref();
        [
            file.path.clone(),
            or_dash(data.map(|data| &data.kind)),
            or_dash(data.map(|data| &data.families)),
            or_dash(data.map(|data| data.built)),
            or_dash(data.map(|data| format!("{} MB", data.bytes.div_ceil(1_000_000)))),
            or_dash(file.refused.as_ref()),
        ]
    });
    let nothing = "no GeoIP files: clients have no place; put .mmdb files into geoip/ of the data \
                   directory";
    let header = ["GeoIP file", "type", "families", "made", "size", "file refused"];
    table_or(nothing, header, rows);
    attributions(databases).into_iter().for_each(say);
}

/// Returns what the makers of the data want to be shown beside it, each once.
pub(crate) fn attributions(databases: &[GeoDatabase]) -> Vec<&str> {
    let data = databases.iter().filter_map(|file| file.data.as_ref());
    let mut credits: Vec<&str> = data.filter_map(|data| data.attribution.as_deref()).collect();
    credits.sort_unstable();
    credits.dedup();
    credits
}
