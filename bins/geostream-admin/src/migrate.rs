//! `geostream-admin migrate`: the schema of a PostgreSQL.
//!
//! It speaks to the database, not to a server: a server without a schema has nothing to work on.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use geostream_api::Time;
use geostream_pg::migrate::{self, MigrateError, Migration, MigrationState};
use geostream_pg::{Password, PgError, Target};
use serde_json::{Value, json};

use crate::End;
use crate::output::{self, Output, say};

/// Which database, and what is done with it.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The database, as the server's --store: postgres://USER@HOST:PORT/DATABASE
    #[arg(
        long,
        global = true,
        env = "GEOSTREAM_STORE",
        value_name = "URL",
        hide_env_values = true
    )]
    store: Option<String>,

    /// A file with its password; without, PGPASSWORD in the environment is used
    #[arg(long, global = true, env = "GEOSTREAM_STORE_PASSWORD_FILE", value_name = "FILE")]
    store_password_file: Option<PathBuf>,

    /// The password, by the environment only: arguments are seen by everybody on the machine
    #[arg(long, env = "PGPASSWORD", hide = true, hide_env_values = true)]
    store_password: Option<String>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Apply the migrations that the database lacks: all of them, or none if one fails
    Up {
        /// Give this role, as which nodes connect, the rights that they need, now and for the tables
        /// of later migrations; may be given again
        #[arg(long, value_name = "ROLE")]
        grant: Option<String>,
    },
    /// List the migrations and whether they were applied
    Status,
    /// Check that the schema is what this version needs, and was made by the files that it has
    Verify,
}

pub(crate) fn run(output: Output, arguments: &Arguments) -> anyhow::Result<End> {
    let Arguments { store, store_password_file, store_password, command } = arguments;
    let password = Password::given(store_password_file.as_deref(), store_password.as_deref())?;
    let store = store.as_deref().context("say which database: --store or GEOSTREAM_STORE")?;
    let target = Target::parse(store, password.as_ref()).context("--store")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match command {
        Command::Up { grant } => {
            let applied = runtime.block_on(migrate::up_granting(&target, grant.as_deref()))?;
            let document = json!({ "applied": documents(&applied), "granted_to": grant });
            output.show(&document, || {
                for Migration { number, name, .. } in &applied {
                    say(format_args!("applied migration {number} ({name})"));
                }
                if applied.is_empty() {
                    say("nothing to apply: the schema is up to date");
                }
                if let Some(role) = grant {
                    say(format_args!("the role {role} has the rights that nodes need"));
                }
            })
        }
        Command::Status => {
            let all = runtime.block_on(migrate::status(&target))?;
            output.show(&json!({ "migrations": documents(&all) }), || {
                let rows = all.iter().map(|Migration { number, name, state }| {
                    let (state, at) = in_words(*state);
                    [number.to_string(), name.clone(), state.to_owned(), output::or_dash(at)]
                });
                output::table(["number", "name", "state", "applied"], rows);
            })
        }
        Command::Verify => {
            let number = runtime.block_on(migrate::verify(&target))?;
            output.show(&json!({ "schema": number }), || {
                say(format_args!("the schema is at {number}, as this version needs it"));
            })
        }
    }
}

/// Tells whether there was no way to the database.
pub(crate) fn is_unreachable(error: &MigrateError) -> bool {
    matches!(
        error,
        MigrateError::Database(
            PgError::Connection { .. } | PgError::Hosts { .. } | PgError::Timeout
        )
    )
}

fn documents(migrations: &[Migration]) -> Vec<Value> {
    let document = |Migration { number, name, state }: &Migration| {
        let (state, at) = in_words(*state);
        json!({ "number": number, "name": name, "state": state, "applied_at": at })
    };
    migrations.iter().map(document).collect()
}

/// Names a state, and when it began.
fn in_words(state: MigrationState) -> (&'static str, Option<Time>) {
    match state {
        MigrationState::Pending => ("pending", None),
        MigrationState::Applied(at) => ("applied", Some(Time(at))),
        MigrationState::Changed(at) => ("changed", Some(Time(at))),
        MigrationState::Unknown(at) => ("unknown", Some(Time(at))),
    }
}
