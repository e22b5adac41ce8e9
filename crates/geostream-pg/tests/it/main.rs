//! PostgreSQL as it is.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod migrations;
