//! `setting`

use std::fmt::Display;
use std::str::FromStr;

use clap::{Subcommand, ValueEnum};
use geostream_api::{Settings, not_a_number};

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
        /// A setting and its value, such as `requests_per_second=50`, or
        /// `reachability_targets=192.0.2.1:443,198.51.100.7:53`
        #[arg(value_name = "KEY=VALUE")]
        values: Vec<Assignment>,
        /// The service that a request without one means; an empty text means none
        #[arg(long)]
        default_service: Option<String>,
        /// How many alternatives an answer carries, 0 to 8
        #[arg(long)]
        alternatives: Option<u8>,
        #[command(flatten)]
        why: Why,
    },
    /// Take settings back to their defaults; limits and reachability targets are then each node's own
    Reset {
        /// A setting
        #[arg(value_name = "KEY", required = true)]
        keys: Vec<Key>,
        #[command(flatten)]
        why: Why,
    },
}

/// A setting, by its name in documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Key {
    /// The service that a request without one means
    DefaultService,
    /// How many alternatives an answer carries
    Alternatives,
    /// Maximum requests per second per client network; 0 disables the limit
    RequestsPerSecond,
    /// Maximum requests per second per token; 0 disables the limit
    RequestsPerSecondPerToken,
    /// Reachability targets, ADDRESS:PORT separated by commas; empty for none
    ReachabilityTargets,
}

/// A setting and the value that it is to have.
#[derive(Clone, Debug)]
pub(crate) struct Assignment {
    key: Key,
    value: String,
}

impl FromStr for Assignment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text.split_once('=').ok_or("KEY=VALUE is expected")?;
        let key = Key::from_str(key, false).map_err(|_| {
            let known = Key::value_variants().iter().filter_map(Key::to_possible_value);
            let known: Vec<_> = known.map(|key| key.get_name().to_owned()).collect();
            format!("there is no setting {key}; the settings are {}", known.join(", "))
        })?;
        let assignment = Self { key, value: value.to_owned() };
        assignment.apply(&mut Settings::default())?;
        Ok(assignment)
    }
}

impl Assignment {
    fn apply(&self, settings: &mut Settings) -> Result<(), String> {
        let Self { key, value } = self;
        match key {
            Key::DefaultService => {
                settings.default_service = Some(value.clone()).filter(|id| !id.is_empty());
            }
            Key::Alternatives => settings.alternatives = Some(number(value)?),
            Key::RequestsPerSecond => settings.requests_per_second = Some(number(value)?),
            Key::RequestsPerSecondPerToken => {
                settings.requests_per_second_per_token = Some(number(value)?);
            }
            Key::ReachabilityTargets => {
                let targets = value.split(',').map(str::trim).filter(|target| !target.is_empty());
                settings.reachability_targets = Some(targets.map(str::to_owned).collect());
            }
        }
        Ok(())
    }
}

fn number<T: FromStr<Err: Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| match error.to_string() {
        error if error.contains("digit") => {
            format!("{text:?} is not a number that fits here: {}", not_a_number("", text))
        }
        error => format!("{text:?} is not a number that fits here: {error}"),
    })
}

impl Key {
    fn reset(self, settings: &mut Settings) {
        match self {
            Self::DefaultService => settings.default_service = None,
            Self::Alternatives => settings.alternatives = None,
            Self::RequestsPerSecond => settings.requests_per_second = None,
            Self::RequestsPerSecondPerToken => settings.requests_per_second_per_token = None,
            Self::ReachabilityTargets => settings.reachability_targets = None,
        }
    }
}

pub(crate) fn run(client: &Client, output: Output, command: &Command) -> anyhow::Result<End> {
    let path = "/api/v1/settings";
    let Versioned { value: mut settings, revision } = client.get_versioned::<Settings>(path)?;
    let why = match command {
        Command::Show => return output.show(&settings, || show(&settings)),
        Command::Set { values, default_service, alternatives, why } => {
            if let Some(service) = default_service {
                settings.default_service = Some(service.clone()).filter(|id| !id.is_empty());
            }
            settings.alternatives = alternatives.or(settings.alternatives);
            for assignment in values {
                assignment.apply(&mut settings).map_err(anyhow::Error::msg)?;
            }
            why
        }
        Command::Reset { keys, why } => {
            keys.iter().for_each(|key| key.reset(&mut settings));
            why
        }
    };
    output.wrote(&client.put(path, revision, why.reason.as_deref(), &settings)?)
}

fn show(settings: &Settings) {
    let per_second = |limit: Option<u64>| match limit {
        Some(0) => "no limit".to_owned(),
        Some(limit) => limit.to_string(),
        None => "each node's own setting".to_owned(),
    };
    let targets = match settings.reachability_targets.as_deref() {
        Some([]) => "none".to_owned(),
        Some(targets) => targets.join(", "),
        None => "each node's own setting".to_owned(),
    };
    facts(&[
        ("default service", or_dash(settings.default_service.as_ref())),
        ("alternatives", or_dash(settings.alternatives)),
        ("requests per second", per_second(settings.requests_per_second)),
        ("requests per second per token", per_second(settings.requests_per_second_per_token)),
        ("reachability targets", targets),
    ]);
}
