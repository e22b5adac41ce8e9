//! `log-level`

use std::time::Duration;

use anyhow::Context as _;
use clap::Subcommand;
use geostream_api::{LogLevel, LogLevelRequest};

use crate::End;
use crate::client::Client;
use crate::output::{Output, facts, or_dash};
use crate::wish::duration;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what the server logs
    Show,
    /// Have something else logged
    Set {
        /// A level, or several with the parts that they hold for: `info,geostream_http=debug`
        filter: String,
        /// For how long, such as 10m; without, until it is changed or the server starts again
        #[arg(long = "for", value_parser = duration, value_name = "DURATION")]
        hold: Option<Duration>,
    },
    /// Log again what the server's settings say
    Reset,
}

const PATH: &str = "/api/v1/log-level";

pub(crate) fn run(client: &Client, output: Output, command: &Command) -> anyhow::Result<End> {
    let level: LogLevel = match command {
        Command::Show => client.get(PATH)?,
        Command::Set { filter, hold } => {
            let seconds = hold.map(|hold| hold.as_secs().max(1).try_into());
            let duration_seconds = seconds.transpose().context("--for is too long")?;
            client.set(PATH, &LogLevelRequest { filter: filter.clone(), duration_seconds })?
        }
        Command::Reset => {
            let LogLevel { usual, .. } = client.get(PATH)?;
            client.set(PATH, &LogLevelRequest { filter: usual, duration_seconds: None })?
        }
    };
    output.show(&level, || {
        facts(&[
            ("logged", level.filter.clone()),
            ("until", or_dash(level.until.as_ref())),
            ("as a rule", level.usual.clone()),
        ]);
    })
}
