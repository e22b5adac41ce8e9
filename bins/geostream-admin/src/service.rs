//! `service`

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use clap::{Args, Subcommand, ValueEnum};
use geostream_api::{AllDown, AllDownRule, Member, Objective, Service, Status};
use serde::{Deserialize, Serialize};

use crate::End;
use crate::client::{Client, Versioned};
use crate::fence::{self, Fence};
use crate::output::{Output, facts, or_dash, table, table_or};
use crate::region::Why;
use crate::wish::{number, percent};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the services
    List,
    /// Show a service
    Show {
        /// The service
        service: String,
    },
    /// Add a service
    Add {
        /// The service's id
        service: String,
        #[command(flatten)]
        wishes: Wishes,
        #[command(flatten)]
        why: Why,
    },
    /// Change a service
    Set {
        /// The service
        service: String,
        #[command(flatten)]
        wishes: Wishes,
        /// A region that is to offer it no longer; may be repeated
        #[arg(long, value_name = "REGION")]
        without_region: Vec<String>,
        #[command(flatten)]
        why: Why,
    },
    /// Remove a service
    Remove {
        /// The service
        service: String,
        #[command(flatten)]
        why: Why,
    },
}

/// What is wanted of a service.
#[derive(Debug, Args)]
pub(crate) struct Wishes {
    /// A region that offers it, perhaps with weight, priority or bias: eu,weight=9,priority=1,
    /// bias-km=-300; may be repeated
    #[arg(long, value_name = "REGION[,..]")]
    region: Vec<String>,
    /// How its regions are ranked
    #[arg(long)]
    objective: Option<ObjectiveName>,
    /// How wide a band of near-ties in latency is, in milliseconds
    #[arg(long, value_parser = number)]
    band_ms: Option<f64>,
    /// How wide a band of near-ties in distance is, in kilometres
    #[arg(long, value_parser = number)]
    band_km: Option<f64>,
    /// The latency that is good enough, for cost and load
    #[arg(long, value_parser = number)]
    allowance_ms: Option<f64>,
    /// The order of regions for clients without a location, best first
    #[arg(long, value_name = "REGION,..", value_delimiter = ',')]
    without_location: Option<Vec<String>>,
    /// What happens when all are down: fail-open, closed, last-good, or a region to answer then
    #[arg(long, value_name = "RULE")]
    all_down: Option<String>,
    /// How much of its capacity may be removed for health, in percent
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    removal_budget: Option<u8>,
    /// Which regions may serve which clients: 'groups=EU unknown allow=continent=EU'; may be repeated,
    /// and replaces all rules that there are; none takes them away
    #[arg(long, value_name = "RULE")]
    geofence: Vec<Fence>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ObjectiveName {
    Latency,
    Proximity,
    Cost,
    Load,
    Priority,
    Weighted,
}

#[derive(Deserialize, Serialize)]
struct Services {
    services: BTreeMap<String, Service>,
}

pub(crate) fn run(client: &Client, output: Output, command: Command) -> anyhow::Result<End> {
    match command {
        Command::List => list(client, output),
        Command::Show { service } => {
            let found: Service = client.get(&path(&service))?;
            output.show(&found, || show(&found))
        }
        Command::Add { service, wishes, why } => {
            let Versioned { value, revision } =
                client.get_versioned::<Services>("/api/v1/services")?;
            ensure!(
                !value.services.contains_key(&service),
                "service {service} is there already; change it with: service set {service}"
            );
            ensure!(!wishes.region.is_empty(), "a service needs regions: --region REGION");
            let mut new = Service::default();
            wishes.apply_to(&mut new)?;
            output.wrote(&client.put(&path(&service), revision, why.reason.as_deref(), &new)?)
        }
        Command::Set { service, wishes, without_region, why } => {
            let Versioned { value: mut changed, revision } =
                client.get_versioned::<Service>(&path(&service))?;
            wishes.apply_to(&mut changed)?;
            for region in &without_region {
                let was_there = changed.members.remove(region).is_some();
                ensure!(was_there, "region {region} does not offer service {service}");
                changed.policy.without_location.retain(|listed| listed != region);
            }
            output.wrote(&client.put(&path(&service), revision, why.reason.as_deref(), &changed)?)
        }
        Command::Remove { service, why } => {
            let revision = client.get::<Status>("/api/v1/status")?.revision;
            output.wrote(&client.delete(&path(&service), revision, why.reason.as_deref())?)
        }
    }
}

fn path(service: &str) -> String {
    format!("/api/v1/services/{service}")
}

impl Wishes {
    fn apply_to(&self, service: &mut Service) -> anyhow::Result<()> {
        for text in &self.region {
            let (region, member) = read_member(text, &service.members)?;
            service.members.insert(region, member);
        }
        fence::apply(&self.geofence, &mut service.geofence).map_err(anyhow::Error::msg)?;
        let policy = &mut service.policy;
        if let Some(name) = self.objective {
            // What the old objective had use for, the new one may not.
            policy.objective = name.into();
            (policy.band_ms, policy.band_km, policy.allowance_ms) = (None, None, None);
        }
        policy.band_ms = self.band_ms.or(policy.band_ms);
        policy.band_km = self.band_km.or(policy.band_km);
        policy.allowance_ms = self.allowance_ms.or(policy.allowance_ms);
        if let Some(order) = &self.without_location {
            policy.without_location.clone_from(order);
        }
        service.removal_budget_percent =
            self.removal_budget.unwrap_or(service.removal_budget_percent);
        if let Some(rule) = &self.all_down {
            service.all_down = match rule.as_str() {
                "fail-open" => AllDown { rule: AllDownRule::FailOpen, region: None },
                "closed" => AllDown { rule: AllDownRule::Closed, region: None },
                "last-good" => AllDown { rule: AllDownRule::LastGood, region: None },
                region => AllDown { rule: AllDownRule::Static, region: Some(region.to_owned()) },
            };
        }
        Ok(())
    }
}

/// Reads `REGION,weight=9,priority=1,bias-km=-300`; what is left out stays as it is.
fn read_member(text: &str, members: &BTreeMap<String, Member>) -> anyhow::Result<(String, Member)> {
    let mut parts = text.split(',');
    let region = parts.next().unwrap_or_default();
    let mut member = members.get(region).copied().unwrap_or_default();
    for part in parts {
        let wrong = || format!("--region {text}: weight=, priority= and bias-km= are expected");
        let (name, number) = part.split_once('=').with_context(wrong)?;
        match name {
            "weight" => member.weight = number.parse().with_context(wrong)?,
            "priority" => member.priority = number.parse().with_context(wrong)?,
            "bias-km" => member.bias_km = number.parse().with_context(wrong)?,
            _ => anyhow::bail!(wrong()),
        }
    }
    Ok((region.to_owned(), member))
}

impl From<ObjectiveName> for Objective {
    fn from(name: ObjectiveName) -> Self {
        match name {
            ObjectiveName::Latency => Self::Latency,
            ObjectiveName::Proximity => Self::Proximity,
            ObjectiveName::Cost => Self::Cost,
            ObjectiveName::Load => Self::Load,
            ObjectiveName::Priority => Self::Priority,
            ObjectiveName::Weighted => Self::Weighted,
        }
    }
}

fn list(client: &Client, output: Output) -> anyhow::Result<End> {
    let services: Services = client.get("/api/v1/services")?;
    output.show(&services, || {
        let rows = services.services.iter().map(|(id, service)| {
            [
                id.clone(),
                service.policy.objective.to_string(),
                service.members.len().to_string(),
                service.geofence.len().to_string(),
                all_down(&service.all_down),
            ]
        });
        let nothing = "no services yet: `service add NAME --region REGION` makes one";
        let header = ["service", "objective", "regions", "geofence rules", "when all are down"];
        table_or(nothing, header, rows);
    })
}

fn show(service: &Service) {
    let policy = &service.policy;
    let band_km = policy.band_km.map(|km| format!("{km} km"));
    facts(&[
        ("objective", policy.objective.to_string()),
        ("band", or_dash(policy.band_ms.map(|ms| format!("{ms} ms")).or(band_km))),
        ("allowance", or_dash(policy.allowance_ms.map(|ms| format!("{ms} ms")))),
        ("without location", policy.without_location.join(" ")),
        ("when all are down", all_down(&service.all_down)),
        ("removal budget", format!("{} %", service.removal_budget_percent)),
    ]);
    let rows = service.members.iter().map(|(id, member)| {
        let Member { weight, priority, bias_km } = member;
        [id.clone(), weight.to_string(), priority.to_string(), bias_km.to_string()]
    });
    table(["region", "weight", "priority", "bias (km)"], rows);
    if !service.geofence.is_empty() {
        let rows = service.geofence.iter().map(|rule| {
            let clients = &rule.clients;
            let mut who: Vec<&str> = clients.countries.iter().map(String::as_str).collect();
            who.extend(clients.groups.iter().map(String::as_str));
            who.extend(clients.continents.iter().map(String::as_str));
            who.extend(clients.unknown.then_some("unknown"));
            let who = if who.is_empty() { "everybody".to_owned() } else { who.join(" ") };
            [who, rule.allow.join(" "), rule.deny.join(" ")]
        });
        table(["clients", "only regions with", "never regions with"], rows);
    }
}

fn all_down(all_down: &AllDown) -> String {
    match (all_down.rule, &all_down.region) {
        (AllDownRule::FailOpen, _) => "fail-open".to_owned(),
        (AllDownRule::Closed, _) => "closed".to_owned(),
        (AllDownRule::LastGood, _) => "last-good".to_owned(),
        (AllDownRule::Static, region) => format!("answer {}", or_dash(region.as_ref())),
    }
}
