//! `geostream-server`: answers which region should serve a client now.

mod config;
mod listeners;
mod process;
mod telemetry;
mod trace;
mod wire;

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
    if arguments.check_config {
        say("the configuration is valid");
        return ExitCode::SUCCESS;
    }
    let started = telemetry::start(&config.log);
    let outcome = started.and_then(|telemetry| wire::run(&config, telemetry));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(config.log.format, &error, 1),
    }
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
