//! `geostream-admin`: looks after a GeoStream server over its HTTP API.

mod apply;
mod audit;
mod backup;
mod catalog;
mod client;
mod completions;
mod config;
mod displaced;
mod export;
mod fence;
mod fields;
mod flag;
mod geoip;
mod health;
mod help;
mod history;
mod import;
mod log_file;
mod log_level;
mod migrate;
mod nodes;
mod output;
mod place;
mod provider_regions;
mod proxy;
mod ready;
mod region;
mod route;
mod sentence;
mod server;
mod service;
mod setting;
mod status;
mod style;
mod token;
mod trust;
mod when;
mod wish;
mod written;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::client::{Client, ClientError, Connection};
use crate::output::Output;

/// Looks after a GeoStream server over its HTTP API.
///
/// The token is taken from the environment, else from --token-file, else, where --server is on this
/// machine, from admin.token in its data directory: --data-dir, ./.geostream,
/// ~/.local/share/geostream or /var/lib/geostream.
///
/// A server on another machine is asked through the proxy that `HTTPS_PROXY` (for https), `HTTP_PROXY`
/// (for http) or `ALL_PROXY` names, unless `NO_PROXY` excepts it; one on this machine is asked
/// directly.
///
/// Ends with 0 if all went well, 1 if it did not, 2 for bad usage, 3 if the server or database cannot
/// be reached, 4 if it does not permit the request, 5 if the revision has changed since it was
/// read, 6 if `diff --exit-code` finds differences, 7 if `status --all` finds a node that is
/// missing, differs from the others or has warnings, 8 if `route` finds no region that may and can
/// serve the client, and 141 if the output is closed early.
#[derive(Debug, Parser)]
#[command(version, about, verbatim_doc_comment, args_override_self = true)]
struct Arguments {
    #[command(flatten)]
    connection: Connection,

    /// How to answer: tables for people, JSON for programs
    #[arg(short, long, global = true, default_value = "table")]
    output: Output,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tell how the server is, or, with --all, how all nodes are
    Status(status::Arguments),
    /// Tell whether the server is ready, without a token: ends with 0 if it is, for health checks
    Ready,
    /// Tell how the regions are
    Health(health::Arguments),
    /// Ask which region should serve a client
    Route(route::Arguments),
    /// List, show, add, change, remove, drain, undrain and force regions
    #[command(subcommand)]
    Region(region::Command),
    /// List, show, add, change and remove services
    ///
    /// docs/Configuration.md says what each part of one means.
    #[command(subcommand)]
    Service(service::Command),
    /// Show the declared configuration
    #[command(subcommand)]
    Config(config::Command),
    /// Declare the configuration that a file describes
    ///
    /// docs/Configuration.md has an example with everything, and says what each part means.
    Apply(apply::Arguments),
    /// Show what differs between two revisions, or between the server and a file
    Diff(apply::DiffArguments),
    /// List the commits, or show one
    History(history::Arguments),
    /// Go back to what an earlier revision said, as a new revision
    Rollback(history::RollbackArguments),
    /// Tell who wanted what of the servers, from where, and what came of it
    Audit(audit::Arguments),
    /// Copy all that a server without a database keeps, tokens and audit trail too, to a file
    ///
    /// The server goes on meanwhile. docs/operating.md says how the file is put back.
    Backup(backup::Arguments),
    /// Write the log, with its whole history, to a file that another server can import
    ///
    /// Tokens, the history of health and the audit trail stay behind.
    Export(export::Arguments),
    /// Make an exported log the log of a server that has none
    Import(import::Arguments),
    /// List and import the regions of cloud providers
    #[command(subcommand)]
    Catalog(catalog::Command),
    /// List and switch flags
    #[command(subcommand)]
    Flag(flag::Command),
    /// Show, set and reset settings
    #[command(subcommand, visible_alias = "settings")]
    Setting(setting::Command),
    /// Make the schema of a PostgreSQL, and look at it
    Migrate(migrate::Arguments),
    /// Show and change what the server logs, for a while if that is wanted
    #[command(subcommand)]
    LogLevel(log_level::Command),
    /// List, make and revoke tokens
    #[command(subcommand)]
    Token(token::Command),
    /// Find the place of an address, and describe the GeoIP data
    #[command(subcommand)]
    Geoip(geoip::Command),
    /// Print a completion script for a shell
    Completions(completions::Arguments),
}

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Well,
    /// There are differences, and somebody wants to know by the exit code.
    Different,
    /// The nodes do not agree, or need attention.
    Disagreeing,
}

fn main() -> ExitCode {
    let command = help::dressed(Arguments::command());
    let arguments = Arguments::from_arg_matches(&command.get_matches());
    let arguments = arguments.unwrap_or_else(|error| error.exit());
    let output = arguments.output;
    warn_of_unknown_variables();
    match run(arguments) {
        Ok(End::Well) => ExitCode::SUCCESS,
        Ok(End::Different) => ExitCode::from(6),
        Ok(End::Disagreeing) => ExitCode::from(7),
        Err(error) => {
            let code = exit_code(&error);
            output.complain(&error, code);
            ExitCode::from(code)
        }
    }
}

/// Warns of variables that are set for GeoStream and that no program of it reads.
fn warn_of_unknown_variables() {
    let text = |text: OsString| text.to_string_lossy().into_owned();
    let variables = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
    if let Some(warning) = geostream_api::unknown_variables(variables) {
        output::warn(&warning);
    }
}

fn run(arguments: Arguments) -> anyhow::Result<End> {
    let Arguments { connection, output, command } = arguments;
    let client = Client::new(connection)?;
    match command {
        Command::Status(arguments) if arguments.all => nodes::run(client, output),
        Command::Status(_) => status::run(&client, output),
        Command::Ready => ready::run(&client, output),
        Command::Health(arguments) => health::run(&client, output, &arguments),
        Command::Route(arguments) => route::run(&client, output, &arguments),
        Command::Region(command) => region::run(&client, output, command),
        Command::Service(command) => service::run(&client, output, command),
        Command::Config(command) => config::run(&client, output, &command),
        Command::Apply(arguments) => apply::run(&client, output, &arguments),
        Command::Diff(arguments) => apply::diff(&client, output, &arguments),
        Command::History(arguments) => history::run(&client, output, &arguments),
        Command::Rollback(arguments) => history::roll_back(&client, output, &arguments),
        Command::Audit(arguments) => audit::run(&client, output, &arguments),
        Command::Backup(arguments) => backup::run(&client, output, &arguments),
        Command::Export(arguments) => export::run(&client, output, &arguments),
        Command::Import(arguments) => import::run(&client, output, &arguments),
        Command::Catalog(command) => catalog::run(&client, output, &command),
        Command::Flag(command) => flag::run(&client, output, &command),
        Command::Setting(command) => setting::run(&client, output, &command),
        Command::Migrate(arguments) => migrate::run(output, &arguments),
        Command::LogLevel(command) => log_level::run(&client, output, &command),
        Command::Token(command) => token::run(&client, output, &command),
        Command::Geoip(command) => geoip::run(&client, output, &command),
        Command::Completions(arguments) => {
            completions::run(&arguments);
            Ok(End::Well)
        }
    }
}

fn exit_code(error: &anyhow::Error) -> u8 {
    if error.downcast_ref().is_some_and(migrate::is_unreachable) {
        return 3;
    }
    match error.downcast_ref::<ClientError>() {
        Some(ClientError::Unreachable { .. }) => 3,
        Some(ClientError::Problem(problem)) if route::is_refusal(problem) => 8,
        Some(ClientError::Problem(problem)) => match problem.status {
            401 | 403 => 4,
            412 => 5,
            _ => 1,
        },
        Some(ClientError::NoToken | ClientError::NoTokenFor(_) | ClientError::Token { .. }) => 4,
        Some(ClientError::Answer { .. }) | None => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variables_that_are_read_are_known_to_both_programs() {
        let command = Arguments::command();
        let of = |command: &clap::Command| {
            let variables = command.get_arguments().filter_map(clap::Arg::get_env);
            variables.map(|name| name.to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        let mut variables = of(&command);
        variables.extend(command.get_subcommands().flat_map(of));
        variables.retain(|name| name.starts_with(geostream_api::PREFIX));
        variables.sort_unstable();
        assert_eq!(variables, geostream_api::COMMAND_LINE_VARIABLES);
    }
}
