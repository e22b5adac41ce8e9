//! `config`

use clap::Subcommand;
use geostream_api::{Config, Snapshot};

use crate::End;
use crate::client::{Client, Versioned};
use crate::output::{Output, say};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the declared configuration, in TOML or JSON, as `apply` takes it
    Show {
        /// The revision; without it, the latest
        revision: Option<u64>,
    },
}

pub(crate) fn run(client: &Client, output: Output, command: &Command) -> anyhow::Result<End> {
    let Command::Show { revision } = command;
    let Versioned { value: config, revision } = match revision {
        Some(revision) => {
            let snapshot: Snapshot = client.get(&format!("/api/v1/config/log/{revision}"))?;
            Versioned { value: snapshot.config, revision: snapshot.revision }
        }
        None => client.get_versioned::<Config>("/api/v1/config")?,
    };
    let text = toml::to_string_pretty(&config)?;
    output.show(&config, || {
        say(format_args!("# Revision {revision} of {}, without overrides.\n", client.server()));
        say(text.trim_end());
    })
}
