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

use crate::config::{Arguments, Config};

/// HTTP/2 allocates for each stream, which this does faster than the C library.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Usage or configuration is wrong; clap ends with the same.
const BAD_CONFIGURATION: u8 = 2;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let config = match Config::read(&arguments) {
        Ok(config) => config,
        Err(error) => return fail(&error, BAD_CONFIGURATION),
    };
    if arguments.check_config {
        say("the configuration is valid");
        return ExitCode::SUCCESS;
    }
    let started = telemetry::start(&config.log);
    let outcome = started.and_then(|telemetry| wire::run(&config, telemetry));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, 1),
    }
}

#[expect(clippy::print_stderr, reason = "this is where a program that ends says why")]
fn fail(error: &anyhow::Error, code: u8) -> ExitCode {
    eprintln!("geostream-server: {error:#}");
    ExitCode::from(code)
}

#[expect(clippy::print_stdout, reason = "this is what was asked for")]
fn say(text: &str) {
    println!("{text}");
}
