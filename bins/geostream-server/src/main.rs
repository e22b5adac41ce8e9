//! `geostream-server`: answers which region should serve a client now.

mod address;
mod addresses;
mod certificate;
mod config;
mod listeners;
mod process;
mod telemetry;
mod trace;
mod wire;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser as _;
use mimalloc::MiMalloc;

use crate::config::{Arguments, Config, LogFormat};

/// HTTP/2 allocates for each stream, which this does faster than the C library.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Usage or configuration is wrong; clap ends with the same.
const BAD_CONFIGURATION: u8 = 2;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return refuse(&error),
    };
    let config = match Config::read(&arguments) {
        Ok(config) => config,
        Err(error) => return fail(arguments.likely_log_format(), &error, BAD_CONFIGURATION),
    };
    let unknown = unknown_variables();
    if arguments.check_config {
        if let Some(warning) = unknown {
            say(&format!("warning: {warning}"));
        }
        say("the configuration is valid");
        return ExitCode::SUCCESS;
    }
    let started = telemetry::start(&config.log);
    if let Some(warning) = unknown {
        tracing::warn!("{warning}");
    }
    let outcome = started.and_then(|telemetry| wire::run(&config, telemetry));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(config.log.format, &error, 1),
    }
}

/// Warns of variables that are set for GeoStream and that it does not read.
fn unknown_variables() -> Option<String> {
    let text = |text: OsString| text.to_string_lossy().into_owned();
    let variables = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
    geostream_api::unknown_variables(variables)
}

fn fail(format: LogFormat, error: &anyhow::Error, code: u8) -> ExitCode {
    telemetry::tell_failure(format, error);
    ExitCode::from(code)
}

/// Ends with what is wrong with the arguments, or with the help that was asked for.
fn refuse(error: &clap::Error) -> ExitCode {
    let format = LogFormat::named(std::env::args_os());
    if error.use_stderr() && format == LogFormat::Json {
        // Without the usage that follows, which is for people.
        let text = error.to_string();
        let what = text.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ");
        return fail(format, &anyhow::anyhow!("{}", what.trim()), BAD_CONFIGURATION);
    }
    error.exit()
}

#[expect(clippy::print_stdout, reason = "this is what was asked for")]
fn say(text: &str) {
    println!("{text}");
}
