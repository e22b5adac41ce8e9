//! `flag`

use clap::{Subcommand, ValueEnum};
use geostream_api::{Flag, Toggle};
use serde::{Deserialize, Serialize};

use crate::End;
use crate::client::{Client, Versioned};
use crate::output::{Output, table};
use crate::region::Why;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the flags
    List,
    /// Switch a flag
    Set {
        /// The flag
        flag: String,
        /// Its new state
        state: State,
        #[command(flatten)]
        why: Why,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum State {
    On,
    Off,
}

#[derive(Deserialize, Serialize)]
struct Flags {
    flags: Vec<Flag>,
}

pub(crate) fn run(client: &Client, output: Output, command: &Command) -> anyhow::Result<End> {
    let Versioned { value, revision } = client.get_versioned::<Flags>("/api/v1/flags")?;
    match command {
        Command::List => output.show(&value, || {
            let state = |on: bool| if on { "on" } else { "off" }.to_owned();
            let rows = value.flags.iter().map(|flag| {
                [flag.name.clone(), state(flag.on), state(flag.default), flag.description.clone()]
            });
            table(["flag", "state", "default", "when it is on"], rows);
        }),
        Command::Set { flag, state, why } => {
            let toggle = Toggle { on: *state == State::On };
            let path = format!("/api/v1/flags/{flag}");
            output.wrote(&client.put(&path, revision, why.reason.as_deref(), &toggle)?)
        }
    }
}
