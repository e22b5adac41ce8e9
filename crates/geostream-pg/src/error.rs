//! What can go wrong with a database.

use geostream_api::FieldErrors;
use geostream_ports::Unavailable;
use thiserror::Error;
use tokio_postgres::error::SqlState;

/// Why the database does not do what it is asked.
#[derive(Debug, Error)]
pub enum PgError {
    /// There is no connection, or no more of one.
    #[error("there is no connection to {target}")]
    Connection {
        /// Where the database is to be.
        target: String,
        /// What has happened.
        #[source]
        source: tokio_postgres::Error,
    },
    /// None of several hosts can be used.
    #[error("there is no connection to {target}: {failures}")]
    Hosts {
        /// Where the database is to be.
        target: String,
        /// What each host has said.
        failures: String,
    },
    /// The time is over.
    #[error("the database does not answer in time")]
    Timeout,
    /// Others have all the connections.
    #[error("all connections to the database are in use")]
    Busy,
    /// The database answers with an error.
    #[error("the database says: {message} (SQLSTATE {})", .state.code())]
    Refused {
        /// The class of the error.
        state: SqlState,
        /// The error in words.
        message: String,
    },
    /// The connection fails while it is used.
    #[error("the connection to the database is lost")]
    Lost(#[source] tokio_postgres::Error),
    /// The database cannot keep every name.
    #[error(
        "the database is encoded as {0}, which cannot keep every name; make one with CREATE DATABASE \
         .. ENCODING 'UTF8' TEMPLATE template0"
    )]
    Encoding(String),
    /// Nobody has made GeoStream's tables.
    #[error("the database has no tables of GeoStream; make them: geostream-admin migrate up")]
    NoSchema,
    /// The schema lacks what this version needs.
    #[error(
        "the database has schema {found}, and this version needs {needed}; bring it up to date: \
         geostream-admin migrate up"
    )]
    OldSchema {
        /// The schema's number.
        found: i32,
        /// The number that is needed.
        needed: i32,
    },
    /// The schema has lost what this version needs.
    #[error(
        "the database has schema {found}, and this version works up to {known}; it is too old: \
         run a later version of GeoStream"
    )]
    NewSchema {
        /// The schema's number.
        found: i32,
        /// The latest number that this version knows.
        known: i32,
    },
    /// A look has found that writes would fail.
    #[error("the database takes no writes: {obstacles}")]
    ReadOnly {
        /// What stands in their way.
        obstacles: String,
    },
    /// What is kept cannot be understood.
    #[error("the database holds {what} that cannot be read")]
    Damaged {
        /// What it is.
        what: String,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl PgError {
    pub(crate) fn damaged(
        what: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Damaged { what: what.into(), source: source.into() }
    }

    /// Tells whether a table is missing.
    pub(crate) fn is_missing_table(&self) -> bool {
        matches!(self, Self::Refused { state, .. } if *state == SqlState::UNDEFINED_TABLE)
    }
}

impl From<tokio_postgres::Error> for PgError {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(refusal) => Self::Refused {
                state: refusal.code().clone(),
                message: refusal.message().to_owned(),
            },
            None => Self::Lost(error),
        }
    }
}

impl From<PgError> for Unavailable {
    fn from(error: PgError) -> Self {
        Self::new("PostgreSQL", error)
    }
}

/// Names what a bad document is part of.
pub(crate) fn unreadable(what: impl Into<String>) -> impl FnOnce(FieldErrors) -> PgError {
    move |errors| PgError::damaged(what, errors)
}
