//! The steps that make the schema, and whether this version can work on it.

use std::time::Duration;

use geostream_domain::Timestamp;
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use crate::error::PgError;
use crate::target::Target;

/// The migrations, in order and without a gap: `migrations/README.md` says how to add one.
const STEPS: &[Step] = &[
    Step {
        number: 1,
        name: "configuration",
        oldest: 1,
        sql: include_str!("../../../migrations/0001_configuration.sql"),
    },
    Step {
        number: 2,
        name: "health",
        oldest: 1,
        sql: include_str!("../../../migrations/0002_health.sql"),
    },
    Step {
        number: 3,
        name: "audit",
        oldest: 1,
        sql: include_str!("../../../migrations/0003_audit.sql"),
    },
    Step {
        number: 4,
        name: "nodes",
        oldest: 1,
        sql: include_str!("../../../migrations/0004_nodes.sql"),
    },
    Step {
        number: 5,
        name: "limited_tokens",
        oldest: 1,
        sql: include_str!("../../../migrations/0005_limited_tokens.sql"),
    },
];

/// The schema that this version needs, and the latest that it knows.
const LATEST: i32 = STEPS[STEPS.len() - 1].number;

struct Step {
    number: i32,
    name: &'static str,
    /// The oldest schema whose programs work on this one.
    oldest: i32,
    sql: &'static str,
}

/// A migration and what has become of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    /// Its number.
    pub number: i32,
    /// What it brings.
    pub name: String,
    /// Whether it was applied.
    pub state: MigrationState,
}

/// What has become of a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrationState {
    /// Not applied yet.
    Pending,
    /// Applied.
    Applied(Timestamp),
    /// Applied, but as another text than this version has.
    Changed(Timestamp),
    /// Applied by a later version.
    Unknown(Timestamp),
}

/// Why the schema is not as it is to be.
#[derive(Debug, Error)]
pub enum MigrateError {
    /// The database cannot be used.
    #[error(transparent)]
    Database(#[from] PgError),
    /// A migration fails; none was applied.
    #[error("migration {number} ({name}) cannot be applied; nothing was changed")]
    Step {
        /// Its number.
        number: i32,
        /// What it was to bring.
        name: &'static str,
        /// Why.
        #[source]
        source: PgError,
    },
    /// What was applied is not what this version has.
    #[error(
        "migration {number} ({name}) was applied as another text than this version has; restore \
         the file in migrations/ and build again"
    )]
    Changed {
        /// Its number.
        number: i32,
        /// What it brings.
        name: String,
    },
    /// Rights were to go to a role that is not there.
    #[error("there is no role {role:?}; make it: CREATE ROLE .. LOGIN. Nothing was changed")]
    NoRole {
        /// Its name.
        role: String,
    },
    /// Rights cannot be given; no migration was applied either.
    #[error("the rights cannot be given to {role:?}; nothing was changed")]
    Grant {
        /// The role's name.
        role: String,
        /// Why.
        #[source]
        source: PgError,
    },
    /// A later version was here.
    #[error("the schema is at {found}, and this version knows up to {LATEST}: use a later one")]
    Ahead {
        /// The schema's number.
        found: i32,
    },
}

/// Two that migrate at once take turns. The number is arbitrary.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7107410141099113)";

/// Migrations may take as long as they need, but nobody waits for ever for a lock.
const BEGIN: &str = "BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '30s'";

const NOTES: &str = "CREATE TABLE IF NOT EXISTS geostream_migrations (
    number     integer     PRIMARY KEY,
    name       text        NOT NULL,
    -- The SHA-256 of the file.
    checksum   text        NOT NULL,
    -- The oldest schema whose programs work on this one.
    oldest     integer     NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)";

const NOTE: &str =
    "INSERT INTO geostream_migrations (number, name, checksum, oldest) VALUES ($1, $2, $3, $4)";

const NOTED: &str = "SELECT number, name, checksum,
       (extract(epoch FROM applied_at) * 1000)::bigint
FROM geostream_migrations ORDER BY number";

/// How long connecting may take, with all hosts.
const PATIENCE: Duration = Duration::from_secs(10);

/// Applies what the database lacks, and returns it: everything or, if anything fails, nothing.
///
/// # Errors
///
/// If the database cannot be used, a step fails, or what was applied is not what this version has.
pub async fn up(target: &Target) -> Result<Vec<Migration>, MigrateError> {
    up_granting(target, None).await
}

/// Does what [`up`] does, and gives a role the rights that a node needs: to the tables that there
/// are, and to those that later steps make with the rights of the same role as this one.
///
/// Giving them again changes nothing.
///
/// # Errors
///
/// As of [`up`], and if there is no such role, or the rights are not this user's to give.
pub async fn up_granting(
    target: &Target,
    role: Option<&str>,
) -> Result<Vec<Migration>, MigrateError> {
    let client = connect(target).await?;
    check_encoding(&client).await?;
    for statement in [BEGIN, LOCK, NOTES] {
        client.batch_execute(statement).await.map_err(PgError::from)?;
    }
    let all = read(&client).await?;
    let pending: Vec<_> = all.iter().filter(|m| m.state == MigrationState::Pending).collect();
    check_applied(&all)?;
    for step in STEPS.iter().filter(|step| pending.iter().any(|m| m.number == step.number)) {
        let (number, name) = (step.number, step.name);
        apply(&client, step).await.map_err(|source| MigrateError::Step { number, name, source })?;
    }
    if let Some(role) = role {
        grant(&client, role).await?;
    }
    client.batch_execute("COMMIT").await.map_err(PgError::from)?;
    Ok(pending.into_iter().cloned().collect())
}

/// Returns what has become of each migration.
///
/// # Errors
///
/// If the database cannot be used.
pub async fn status(target: &Target) -> Result<Vec<Migration>, MigrateError> {
    match read(&connect(target).await?).await {
        Err(error) if error.is_missing_table() => Ok(join(&[])),
        read => Ok(read?),
    }
}

/// Returns the schema's number if it is what this version has.
///
/// # Errors
///
/// If the database cannot be used, lacks a step, or has one that this version has not, or not so.
pub async fn verify(target: &Target) -> Result<i32, MigrateError> {
    let client = connect(target).await?;
    check_encoding(&client).await?;
    check(&client).await?;
    check_applied(&read(&client).await?)?;
    Ok(LATEST)
}

/// Refuses a database that is not UTF-8: names have letters of every script.
async fn check_encoding(client: &Client) -> Result<(), PgError> {
    let row = client.query_typed_one("SHOW server_encoding", &[]).await?;
    let encoding: String = row.try_get(0)?;
    if encoding == "UTF8" { Ok(()) } else { Err(PgError::Encoding(encoding)) }
}

fn check_applied(migrations: &[Migration]) -> Result<(), MigrateError> {
    for Migration { number, name, state } in migrations {
        match state {
            MigrationState::Pending | MigrationState::Applied(_) => {}
            MigrationState::Changed(_) => {
                return Err(MigrateError::Changed { number: *number, name: name.clone() });
            }
            MigrationState::Unknown(_) => return Err(MigrateError::Ahead { found: *number }),
        }
    }
    Ok(())
}

/// Tells whether this version can work on the schema.
pub(crate) async fn check(client: &Client) -> Result<(), PgError> {
    let bounds = "SELECT max(number), max(oldest) FROM geostream_migrations";
    let row = client.query_typed_one(bounds, &[]).await.map_err(PgError::from);
    let row = match row {
        Err(error) if error.is_missing_table() => return Err(PgError::NoSchema),
        row => row?,
    };
    let (found, oldest): (Option<i32>, Option<i32>) = (row.try_get(0)?, row.try_get(1)?);
    match (found, oldest) {
        (Some(found), _) if found < LATEST => Err(PgError::OldSchema { found, needed: LATEST }),
        (Some(found), Some(oldest)) if oldest > LATEST => {
            Err(PgError::NewSchema { found, known: LATEST })
        }
        (Some(_), Some(_)) => Ok(()),
        (None, _) | (_, None) => Err(PgError::NoSchema),
    }
}

async fn connect(target: &Target) -> Result<Client, PgError> {
    let (client, connection) = target.connect_within(PATIENCE).await?;
    // It ends with the client; what goes wrong, the client is told as well.
    tokio::spawn(connection);
    Ok(client)
}

async fn apply(client: &Client, step: &Step) -> Result<(), PgError> {
    client.batch_execute(step.sql).await?;
    let (checksum, Step { number, name, oldest, .. }) = (checksum(step), step);
    let note = [
        (number as _, Type::INT4),
        (name as _, Type::TEXT),
        (&checksum as _, Type::TEXT),
        (oldest as _, Type::INT4),
    ];
    client.execute_typed(NOTE, &note).await?;
    Ok(())
}

/// What nodes write. They only read `geostream_migrations`.
const TABLES: &str = "audit, config_checkpoints, config_head, config_log, flags, health_latest,
    health_status, limited_tokens, overrides, regions, services, settings, tokens";

/// The statements that give a role what nodes need, one a row. The database quotes the names.
const GRANTS: &str =
    "SELECT format(statement, quote_ident(rolname), quote_ident(current_schema()), $2)
FROM pg_roles, unnest(ARRAY[
    'GRANT USAGE ON SCHEMA %2$s TO %1$s',
    'GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE %3$s TO %1$s',
    'GRANT SELECT ON TABLE geostream_migrations TO %1$s',
    'GRANT USAGE ON SEQUENCE health_status_number TO %1$s',
    'GRANT EXECUTE ON FUNCTION geostream_keep_health(timestamptz, integer) TO %1$s',
    'ALTER DEFAULT PRIVILEGES IN SCHEMA %2$s
         GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO %1$s',
    'ALTER DEFAULT PRIVILEGES IN SCHEMA %2$s GRANT USAGE ON SEQUENCES TO %1$s',
    'ALTER DEFAULT PRIVILEGES IN SCHEMA %2$s GRANT EXECUTE ON FUNCTIONS TO %1$s'
]) AS statement
WHERE rolname = $1";

async fn grant(client: &Client, role: &str) -> Result<(), MigrateError> {
    let refused = |source| MigrateError::Grant { role: role.to_owned(), source };
    let parameters = [(&role as _, Type::TEXT), (&TABLES as _, Type::TEXT)];
    let statements = client.query_typed(GRANTS, &parameters).await;
    let statements = statements.map_err(|error| refused(error.into()))?;
    if statements.is_empty() {
        return Err(MigrateError::NoRole { role: role.to_owned() });
    }
    for row in statements {
        let statement: &str = row.try_get(0).map_err(|error| refused(error.into()))?;
        client.batch_execute(statement).await.map_err(|error| refused(error.into()))?;
    }
    Ok(())
}

/// A migration as it was noted.
struct Noted {
    number: i32,
    name: String,
    checksum: String,
    at: Timestamp,
}

async fn read(client: &Client) -> Result<Vec<Migration>, PgError> {
    let rows = client.query_typed(NOTED, &[]).await?;
    let noted: Vec<Noted> = rows.iter().map(noted).collect::<Result<_, _>>()?;
    Ok(join(&noted))
}

fn noted(row: &Row) -> Result<Noted, PgError> {
    let at: i64 = row.try_get(3)?;
    Ok(Noted {
        number: row.try_get(0)?,
        name: row.try_get(1)?,
        checksum: row.try_get(2)?,
        at: Timestamp::from_unix_millis(at.unsigned_abs()),
    })
}

/// Puts what was noted beside what this version has.
fn join(noted: &[Noted]) -> Vec<Migration> {
    let own = STEPS.iter().map(|step| {
        let state = match noted.iter().find(|noted| noted.number == step.number) {
            None => MigrationState::Pending,
            Some(noted) if noted.checksum == checksum(step) => MigrationState::Applied(noted.at),
            Some(noted) => MigrationState::Changed(noted.at),
        };
        Migration { number: step.number, name: step.name.to_owned(), state }
    });
    let later = noted.iter().filter(|noted| noted.number > LATEST).map(|noted| Migration {
        number: noted.number,
        name: noted.name.clone(),
        state: MigrationState::Unknown(noted.at),
    });
    own.chain(later).collect()
}

fn checksum(step: &Step) -> String {
    Sha256::digest(step.sql).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_numbered_without_a_gap_and_named_as_their_files() {
        for (number, step) in (1..).zip(STEPS) {
            assert_eq!(step.number, number);
            assert!(step.oldest <= number, "{}", step.name);
            let file = format!("../../migrations/{number:04}_{}.sql", step.name);
            assert_eq!(std::fs::read_to_string(&file).unwrap(), step.sql, "{file}");
        }
        let files = std::fs::read_dir("../../migrations").unwrap();
        assert_eq!(files.count(), STEPS.len() + 1, "all of them are listed");
    }
}
