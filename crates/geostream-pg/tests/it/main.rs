//! PostgreSQL as it is.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod contract;
mod faults;
mod health;
mod migrations;
mod nodes;
mod reach;
mod replica;

use std::time::Duration;

use geostream_pg::{PgStore, Target, migrate};
use geostream_testbed::Postgres;
use tokio::time::timeout;

/// A database with an empty configuration, and its URL.
async fn prepared(server: &Postgres) -> (String, Target) {
    let url = server.database();
    let target = Target::parse(&url, None).unwrap();
    migrate::up(&target).await.unwrap();
    (url, target)
}

/// Waits for what comes by itself, for as long as no machine should need.
async fn in_the_end<T>(work: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(60), work).await.expect("it comes in the end")
}

async fn store() -> PgStore {
    let (_, target) = prepared(Postgres::shared()).await;
    PgStore::new(target, 30, 1)
}
