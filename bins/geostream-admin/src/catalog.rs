//! `catalog`

use anyhow::ensure;
use clap::{Args, Subcommand};
use geostream_api::{Config, Member, Region};
use serde_json::json;

use crate::End;
use crate::client::{Client, Versioned};
use crate::output::{Output, or_dash, table};
use crate::provider_regions::{Entry, catalog};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the regions that providers have
    List {
        /// The provider, such as aws, gcp or azure; without it, all of them
        provider: Option<String>,
    },
    /// Add a provider's regions to the configuration
    Import(Import),
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The provider, such as aws, gcp or azure
    provider: String,

    /// Only these regions
    #[arg(long, value_name = "REGION,..", value_delimiter = ',')]
    region: Vec<String>,

    /// The URL of each region, with `{region}` for its id, such as <https://{region}.example.com>
    #[arg(long)]
    endpoint: Option<String>,

    /// A service to add the regions to; it is made if it is not there
    #[arg(long)]
    service: Option<String>,

    /// Put this before each id, for regions of several providers that have the same: gcp-
    #[arg(long, default_value = "")]
    prefix: String,

    /// Do not ask
    #[arg(long)]
    yes: bool,

    /// Why, for the history
    #[arg(long)]
    reason: Option<String>,
}

pub(crate) fn run(client: &Client, output: Output, command: &Command) -> anyhow::Result<End> {
    match command {
        Command::List { provider } => list(output, provider.as_deref()),
        Command::Import(import) => import.run(client, output),
    }
}

fn list(output: Output, provider: Option<&str>) -> anyhow::Result<End> {
    let mut entries = catalog()?;
    entries.retain(|entry| provider.is_none_or(|provider| entry.provider == provider));
    ensure!(!entries.is_empty(), "there is no such provider; `catalog list` shows all");
    output.show(&json!({ "regions": entries }), || {
        if output == Output::Wide {
            let rows = entries.iter().map(|entry| {
                [
                    entry.provider.clone(),
                    entry.region.clone(),
                    entry.name.clone(),
                    entry.country.clone(),
                    format!("{}, {}", entry.latitude, entry.longitude),
                    or_dash(entry.cost_per_gb),
                    entry.kind.clone(),
                ]
            });
            let header = ["provider", "region", "name", "country", "place", "$/GB", "type"];
            return table(header, rows);
        }
        let rows = entries.iter().map(|entry| {
            [
                entry.provider.clone(),
                entry.region.clone(),
                entry.name.clone(),
                entry.country.clone(),
                or_dash(entry.cost_per_gb),
            ]
        });
        table(["provider", "region", "name", "country", "$/GB"], rows);
    })
}

impl Import {
    fn run(&self, client: &Client, output: Output) -> anyhow::Result<End> {
        let entries = self.entries()?;
        let Versioned { value: mut config, revision } =
            client.get_versioned::<Config>("/api/v1/config")?;
        for entry in &entries {
            let id = self.id(entry);
            let known = config.regions.remove(&id);
            config.regions.insert(id, self.region(entry, known));
        }
        if let Some(name) = &self.service {
            let service = config.services.entry(name.clone()).or_default();
            for entry in &entries {
                service.members.entry(self.id(entry)).or_insert_with(Member::default);
            }
        }
        let tried = client.put("/api/v1/config?dry_run=true", revision, None, &config)?;
        if tried.changes.is_empty() {
            return output.wrote(&tried);
        }
        let question = format!("Make these {} changes?", tried.changes.len());
        output.write_if_sure(&question, self.yes, &tried.changes, || {
            client.put("/api/v1/config", revision, self.reason.as_deref(), &config)
        })
    }

    fn entries(&self) -> anyhow::Result<Vec<Entry>> {
        let mut entries = catalog()?;
        entries.retain(|entry| entry.provider == self.provider);
        ensure!(!entries.is_empty(), "there is no provider {}; see: catalog list", self.provider);
        for wanted in &self.region {
            let is_there = entries.iter().any(|entry| entry.region == *wanted);
            ensure!(is_there, "{} has no region {wanted}; see: catalog list", self.provider);
        }
        if self.region.is_empty() {
            // Regions for governments and the like are taken by name only.
            entries.retain(|entry| entry.kind == "commercial");
        } else {
            entries.retain(|entry| self.region.contains(&entry.region));
        }
        Ok(entries)
    }

    /// Returns the region's id: a DNS label, which not every provider's is.
    fn id(&self, entry: &Entry) -> String {
        format!("{}{}", self.prefix, entry.region).to_lowercase().replace(['_', '.', ' '], "-")
    }

    /// Returns the region as the catalog describes it; what an operator has said of it stays.
    fn region(&self, entry: &Entry, known: Option<Region>) -> Region {
        let id = self.id(entry);
        let mut region = known.unwrap_or_else(|| Region {
            name: Some(entry.name.clone()),
            latitude: entry.latitude,
            longitude: entry.longitude,
            endpoint: None,
            capacity: None,
            cost_per_gb: None,
            labels: <_>::default(),
            check: None,
        });
        (region.latitude, region.longitude) = (entry.latitude, entry.longitude);
        region.cost_per_gb = region.cost_per_gb.or(entry.cost_per_gb);
        if let Some(template) = &self.endpoint {
            region.endpoint = Some(template.replace("{region}", &id));
        }
        let Entry { provider, country, continent, .. } = entry;
        for (key, value) in [("provider", provider), ("country", country), ("continent", continent)]
        {
            region.labels.insert(key.to_owned(), value.clone());
        }
        region
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_makes_a_valid_region() {
        let entries = catalog().unwrap();
        assert!(entries.len() > 200);
        for entry in entries {
            let endpoint = Some("https://{region}.example.com".to_owned());
            let provider = entry.provider.clone();
            let import = Import {
                provider,
                region: Vec::new(),
                endpoint,
                service: None,
                prefix: String::new(),
                yes: true,
                reason: None,
            };
            let region = import.region(&entry, None).to_domain(&import.id(&entry));
            assert!(region.is_ok(), "{entry:?}: {region:?}");
        }
    }
}
