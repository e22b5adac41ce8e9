//! `config`

use clap::Subcommand;
use geostream_api::{Config, Snapshot};

use crate::End;
use crate::client::{Client, Versioned};
use crate::output::{Output, say};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the declared configuration, in TOML or JSON, as `apply` takes it
    ///
    /// With a limited token it is a part only, without settings and flags: applied with another token, it
    /// would remove the rest. Values of checks' header fields are shown as `[redacted]`, which
    /// `apply` keeps as they are.
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
            Versioned { value: snapshot.config.redacted(), revision: snapshot.revision }
        }
        None => client.get_versioned::<Config>("/api/v1/config")?,
    };
    let text = toml::to_string_pretty(&config)?;
    output.show(&config, || {
        say(format_args!("# Revision {revision} of {}, without overrides.\n", client.server()));
        say(text.trim_end());
    })
}
