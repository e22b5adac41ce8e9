//! `region`

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::{Args, Subcommand};
use geostream_api::{
    Check, CheckMethod, HealthReport, Override, OverrideAction, OverrideRequest, Region, Status,
};
use serde::{Deserialize, Serialize};

use crate::End;
use crate::client::{Client, Versioned};
use crate::health;
use crate::output::{Output, or_dash, table_or};
use crate::wish::{Wish, duration, latitude, longitude, number_or_none};
use crate::{displaced, place};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the regions
    List,
    /// Show a region
    Show {
        /// The region
        region: String,
    },
    /// Add a region
    Add {
        /// The region's id
        region: String,
        /// Degrees north
        #[arg(long, allow_negative_numbers = true, value_parser = latitude)]
        latitude: f64,
        /// Degrees east
        #[arg(long, allow_negative_numbers = true, value_parser = longitude)]
        longitude: f64,
        #[command(flatten)]
        facts: Facts,
        #[command(flatten)]
        why: Why,
    },
    /// Change what is said of a region
    Set {
        /// The region
        region: String,
        /// Degrees north
        #[arg(long, allow_negative_numbers = true, value_parser = latitude)]
        latitude: Option<f64>,
        /// Degrees east
        #[arg(long, allow_negative_numbers = true, value_parser = longitude)]
        longitude: Option<f64>,
        #[command(flatten)]
        facts: Facts,
        #[command(flatten)]
        why: Why,
    },
    /// Remove a region that no service uses
    Remove {
        /// The region
        region: String,
        #[command(flatten)]
        why: Why,
    },
    /// Send no new client to a region
    Drain {
        /// The region
        region: String,
        /// Why
        #[arg(long)]
        reason: String,
        /// Who wants it; without it, the token's name
        #[arg(long)]
        owner: Option<String>,
        /// For how long, such as 30m or 2h; without it, until it is undrained
        #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
        duration: Option<Duration>,
        /// Drain it even if it is the last region of a service that can serve
        #[arg(long)]
        force: bool,
    },
    /// Force a region up: it serves, whatever its probes say
    Up(Forced),
    /// Force a region down: it is unhealthy, whatever its probes say
    Down(Forced),
    /// End a region's override: drain, up or down
    Undrain {
        /// The region
        region: String,
        #[command(flatten)]
        why: Why,
    },
}

/// A region whose health an operator forces.
#[derive(Debug, Args)]
pub(crate) struct Forced {
    /// The region
    region: String,
    /// Why
    #[arg(long)]
    reason: String,
    /// Who wants it; without it, the token's name
    #[arg(long)]
    owner: Option<String>,
    /// For how long, such as 30m or 2h; without it, until it is undrained
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    duration: Option<Duration>,
}

/// What may be said of a region beside its place; an empty text takes it back.
#[derive(Debug, Args)]
pub(crate) struct Facts {
    /// What people call it
    #[arg(long)]
    name: Option<String>,
    /// The URL that clients are sent to
    #[arg(long)]
    endpoint: Option<String>,
    /// How much load it can take; 0 or `none` takes it back
    #[arg(long)]
    capacity: Option<Wish<u32>>,
    /// US dollars per gigabyte served; `none` takes it back
    #[arg(long, value_parser = number_or_none)]
    cost_per_gb: Option<Wish<f64>>,
    /// A label; may be repeated, and KEY= takes one back
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<String>,
    /// The URL that it is probed at: http, https, tcp, grpc or grpcs; `none` ends the probes
    #[arg(long, value_name = "URL")]
    check: Option<String>,
    #[command(flatten)]
    probes: Probes,
}

/// How a region is probed, at its endpoint if --check has never said where; `none` goes back to the
/// default.
#[derive(Debug, Args)]
struct Probes {
    /// The host that the request and TLS name, if it is not the URL's, such as api.example.com
    #[arg(long, value_name = "HOST")]
    check_host: Option<Wish<String>>,
    /// The method of the request: GET or HEAD
    #[arg(long, value_name = "METHOD")]
    check_method: Option<Wish<CheckMethod>>,
    /// A header field of the request; may be repeated. NAME=@FILE reads the value from a file, which
    /// keeps a secret out of the list of processes, and NAME= takes the field back
    #[arg(long, value_name = "NAME=VALUE")]
    check_header: Vec<String>,
    /// Follow up to 5 redirects; =false ends that
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    check_follow_redirects: Option<bool>,
    /// The status codes that are well, such as 200, 200-399 or 200-299,401
    #[arg(long)]
    check_status: Option<Wish<String>>,
    /// A text that the answer's body has to hold; an empty one takes it back
    #[arg(long)]
    check_body: Option<String>,
    /// Milliseconds from one probe to the next
    #[arg(long)]
    check_interval_ms: Option<Wish<u32>>,
    /// Milliseconds that a probe may take
    #[arg(long)]
    check_timeout_ms: Option<Wish<u32>>,
    /// How many failures in a row remove the region
    #[arg(long)]
    check_fall: Option<Wish<u8>>,
    /// How many successes in a row bring it back
    #[arg(long)]
    check_rise: Option<Wish<u8>>,
    /// Seconds in which its share of clients grows back
    #[arg(long)]
    check_ramp_seconds: Option<Wish<u32>>,
}

/// What is kept in the history.
#[derive(Debug, Args)]
pub(crate) struct Why {
    /// Why, for the history
    #[arg(long)]
    pub(crate) reason: Option<String>,
}

#[derive(Deserialize, Serialize)]
struct Regions {
    regions: BTreeMap<String, Region>,
}

#[derive(Deserialize)]
struct Overrides {
    overrides: BTreeMap<String, Override>,
}

pub(crate) fn run(client: &Client, output: Output, command: Command) -> anyhow::Result<End> {
    match command {
        Command::List => list(client, output),
        Command::Show { region } => {
            let found: Region = client.get(&path(&region))?;
            let report = health_report(client, output);
            output.show(&found, || show(&region, &found, report.as_ref()))
        }
        Command::Add { region, latitude, longitude, facts, why } => {
            let Versioned { value, revision } =
                client.get_versioned::<Regions>("/api/v1/regions")?;
            ensure!(
                !value.regions.contains_key(&region),
                "region {region} is there already; change it with: region set {region}"
            );
            let mut new = Region {
                name: None,
                latitude,
                longitude,
                endpoint: None,
                capacity: None,
                cost_per_gb: None,
                labels: BTreeMap::new(),
                check: None,
            };
            facts.apply_to(&mut new)?;
            output.wrote(&client.put(&path(&region), revision, why.reason.as_deref(), &new)?)
        }
        Command::Set { region, latitude, longitude, facts, why } => {
            let Versioned { value: mut changed, revision } =
                client.get_versioned::<Region>(&path(&region))?;
            changed.latitude = latitude.unwrap_or(changed.latitude);
            changed.longitude = longitude.unwrap_or(changed.longitude);
            facts.apply_to(&mut changed)?;
            output.wrote(&client.put(&path(&region), revision, why.reason.as_deref(), &changed)?)
        }
        Command::Remove { region, why } => {
            let revision = client.get::<Status>("/api/v1/status")?.revision;
            output.wrote(&client.delete(&path(&region), revision, why.reason.as_deref())?)
        }
        Command::Drain { region, reason, owner, duration, force } => {
            let forced = Forced { region, reason, owner, duration };
            set_override(client, output, OverrideAction::Drain, forced, force)
        }
        Command::Up(forced) => set_override(client, output, OverrideAction::Up, forced, false),
        Command::Down(forced) => set_override(client, output, OverrideAction::Down, forced, false),
        Command::Undrain { region, why } => {
            let revision = client.get::<Status>("/api/v1/status")?.revision;
            let reason = why.reason.as_deref();
            output.wrote(&client.delete(&override_path(&region), revision, reason)?)
        }
    }
}

fn set_override(
    client: &Client,
    output: Output,
    action: OverrideAction,
    forced: Forced,
    force: bool,
) -> anyhow::Result<End> {
    let Forced { region, reason, owner, duration } = forced;
    let seconds = duration.map(|duration| duration.as_secs().max(1).try_into());
    let duration_seconds = seconds.transpose().context("--for is too long")?;
    let request = OverrideRequest { action, reason, owner, duration_seconds, force };
    let revision = client.get::<Status>("/api/v1/status")?.revision;
    let proposed = client.put(&override_path(&region), revision, None, &request)?;
    output.wrote_moving(&proposed, || match action {
        OverrideAction::Drain => displaced::of(client, &region),
        OverrideAction::Up | OverrideAction::Down => None,
    })
}

/// Returns how all regions are, for tables alone. What is configured is shown without it as well.
fn health_report(client: &Client, output: Output) -> Option<HealthReport> {
    match output {
        Output::Table | Output::Wide => client.get("/api/v1/health/regions").ok(),
        Output::Json => None,
    }
}

fn path(region: &str) -> String {
    format!("/api/v1/regions/{region}")
}

fn override_path(region: &str) -> String {
    format!("/api/v1/overrides/{region}")
}

impl Facts {
    fn apply_to(&self, region: &mut Region) -> anyhow::Result<()> {
        let text = |given: &Option<String>, old: &mut Option<String>| {
            if let Some(text) = given {
                *old = Some(text.clone()).filter(|text| !text.is_empty());
            }
        };
        text(&self.name, &mut region.name);
        text(&self.endpoint, &mut region.endpoint);
        Wish::apply(self.capacity.as_ref(), &mut region.capacity);
        region.capacity = region.capacity.filter(|capacity| *capacity != 0);
        Wish::apply(self.cost_per_gb.as_ref(), &mut region.cost_per_gb);
        match self.check.as_deref() {
            Some("none") => region.check = None,
            Some(url) => region.check.get_or_insert_default().url = Some(url.to_owned()),
            None => {}
        }
        let mut check = region.check.clone().unwrap_or_default();
        self.probes.apply_to(&mut check)?;
        // Nothing was said of a check that is not there.
        region.check =
            Some(check).filter(|check| region.check.is_some() || *check != Check::default());
        for label in &self.label {
            let (key, value) = label
                .split_once('=')
                .with_context(|| format!("--label {label}: KEY=VALUE is expected"))?;
            if value.is_empty() {
                region.labels.remove(key);
            } else {
                region.labels.insert(key.to_owned(), value.to_owned());
            }
        }
        Ok(())
    }
}

impl Probes {
    fn apply_to(&self, check: &mut Check) -> anyhow::Result<()> {
        Wish::apply(self.check_host.as_ref(), &mut check.host);
        Wish::apply(self.check_method.as_ref(), &mut check.method);
        for header in &self.check_header {
            put_header(header, &mut check.headers)?;
        }
        check.follow_redirects = self.check_follow_redirects.unwrap_or(check.follow_redirects);
        Wish::apply(self.check_status.as_ref(), &mut check.status);
        if let Some(body) = &self.check_body {
            check.body = Some(body.clone()).filter(|body| !body.is_empty());
        }
        Wish::apply(self.check_interval_ms.as_ref(), &mut check.interval_ms);
        Wish::apply(self.check_timeout_ms.as_ref(), &mut check.timeout_ms);
        Wish::apply(self.check_fall.as_ref(), &mut check.fall);
        Wish::apply(self.check_rise.as_ref(), &mut check.rise);
        Wish::apply(self.check_ramp_seconds.as_ref(), &mut check.ramp_seconds);
        Ok(())
    }
}

/// Sets a header field as `NAME=VALUE` or `NAME=@FILE` says, or takes it back. Errors do not show the
/// value.
fn put_header(text: &str, headers: &mut BTreeMap<String, String>) -> anyhow::Result<()> {
    let (name, value) = text
        .split_once('=')
        .context("--check-header: NAME=VALUE, NAME=@FILE, or NAME= to take it back, is expected")?;
    // Names are kept in lower case.
    let name = name.to_ascii_lowercase();
    let value = match value.strip_prefix('@') {
        Some(file) => {
            let read = fs::read_to_string(file);
            let read = read.with_context(|| format!("--check-header {name}: reading {file}"))?;
            read.trim_end_matches(['\r', '\n']).to_owned()
        }
        None => value.to_owned(),
    };
    if value.is_empty() {
        headers.remove(&name);
    } else {
        headers.insert(name, value);
    }
    Ok(())
}

fn list(client: &Client, output: Output) -> anyhow::Result<End> {
    let regions: Regions = client.get("/api/v1/regions")?;
    let Overrides { overrides } = client.get("/api/v1/overrides")?;
    let report = health_report(client, output);
    let health = |id: &str| or_dash(report.as_ref().and_then(|report| health::of(report, id)));
    let action = |id: &str| {
        let wish = overrides.get(id);
        or_dash(wish.map(|wish| format!("{:?}", wish.action).to_lowercase()))
    };
    output.show(&regions, || {
        let nothing =
            "no regions yet: `region add`, `catalog import` or `apply -f FILE` makes some";
        if output == Output::Wide {
            let rows = regions.regions.iter().map(|(id, region)| {
                [
                    id.clone(),
                    or_dash(region.name.as_ref()),
                    format!("{}, {}", region.latitude, region.longitude),
                    or_dash(region.endpoint.as_ref()),
                    or_dash(region.capacity),
                    or_dash(region.cost_per_gb),
                    labels(region),
                    health(id),
                    action(id),
                ]
            });
            let header = [
                "region", "name", "place", "endpoint", "capacity", "$/GB", "labels", "health",
                "override",
            ];
            return table_or(nothing, header, rows);
        }
        let rows = regions.regions.iter().map(|(id, region)| {
            let endpoint = region.endpoint.as_deref();
            [
                id.clone(),
                health(id),
                action(id),
                or_dash(region.capacity),
                or_dash(endpoint.map(|url| url.trim_start_matches("https://"))),
            ]
        });
        table_or(nothing, ["region", "health", "override", "capacity", "endpoint"], rows);
    })
}

fn show(id: &str, region: &Region, report: Option<&HealthReport>) {
    crate::output::facts(&[
        ("name", or_dash(region.name.as_ref())),
        ("place", place_of(region)),
        ("endpoint", or_dash(region.endpoint.as_ref())),
        ("capacity", or_dash(region.capacity)),
        ("cost per GB", or_dash(region.cost_per_gb.map(|usd| format!("${usd}")))),
        ("labels", labels(region)),
        ("check", or_dash(region.check.as_ref().map(in_words))),
        ("health", or_dash(report.and_then(|report| health::of(report, id)))),
    ]);
}

/// Shows the coordinates, and the known place that they are near.
fn place_of(region: &Region) -> String {
    let Region { latitude, longitude, .. } = region;
    match place::nearest(*latitude, *longitude) {
        Some(near) => format!("{latitude}, {longitude} ({near})"),
        None => format!("{latitude}, {longitude}"),
    }
}

/// Says of a check what is not as it is by default.
fn in_words(check: &Check) -> String {
    let Check { url, host, method, headers, follow_redirects, status, body, .. } = check;
    let Check { interval_ms, timeout_ms, fall, rise, ramp_seconds, .. } = check;
    let mut words = vec![url.clone().unwrap_or_else(|| "the endpoint".to_owned())];
    words.extend(host.as_ref().map(|host| format!("host {host}")));
    words.extend(method.map(|method| method.to_string()));
    words.extend(headers.keys().map(|name| format!("header {name}")));
    words.extend(follow_redirects.then(|| "follows redirects".to_owned()));
    words.extend(status.as_ref().map(|status| format!("status {status}")));
    words.extend(body.as_ref().map(|body| format!("body {body:?}")));
    words.extend(interval_ms.map(|ms| format!("every {ms} ms")));
    words.extend(timeout_ms.map(|ms| format!("timeout {ms} ms")));
    words.extend(fall.map(|failures| format!("fall {failures}")));
    words.extend(rise.map(|successes| format!("rise {successes}")));
    words.extend(ramp_seconds.map(|seconds| format!("ramp {seconds} s")));
    words.join(", ")
}

fn labels(region: &Region) -> String {
    let labels = region.labels.iter().map(|(key, value)| format!("{key}={value}"));
    labels.collect::<Vec<_>>().join(" ")
}
