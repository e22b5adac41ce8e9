//! `setting`

use clap::Subcommand;
use geostream_api::Settings;

use crate::End;
use crate::client::{Client, Versioned};
use crate::output::{Output, facts, or_dash};
use crate::region::Why;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the settings
    Show,
    /// Set settings; the others stay
    Set {
        /// The service that a request without one means; an empty text means none
        #[arg(long)]
        default_service: Option<String>,
        /// How many alternatives an answer carries, 0 to 8
        #[arg(long)]
        alternatives: Option<u8>,
        #[command(flatten)]
        why: Why,
    },
}

pub(crate) fn run(client: &Client, output: Output, command: &Command) -> anyhow::Result<End> {
    let path = "/api/v1/settings";
    let Versioned { value: mut settings, revision } = client.get_versioned::<Settings>(path)?;
    match command {
        Command::Show => output.show(&settings, || {
            facts(&[
                ("default service", or_dash(settings.default_service.as_ref())),
                ("alternatives", or_dash(settings.alternatives)),
            ]);
        }),
        Command::Set { default_service, alternatives, why } => {
            if let Some(service) = default_service {
                settings.default_service = Some(service.clone()).filter(|id| !id.is_empty());
            }
            settings.alternatives = alternatives.or(settings.alternatives);
            output.wrote(&client.put(path, revision, why.reason.as_deref(), &settings)?)
        }
    }
}
