//! Hearing of commits.

use std::convert::Infallible;
use std::future::poll_fn;
use std::time::Duration;

use deadpool_postgres::Pool;
use geostream_domain::{Backoff, Chance, Revision};
use geostream_ports::Chain;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tokio_postgres::{AsyncMessage, Client};

use crate::clock::{Asked, Readings};
use crate::error::PgError;
use crate::log::{CHANNEL, HEAD_AND_TIME, revision, time};
use crate::target::{Target, TargetConnection};

/// How often the revision is looked at though nothing was heard: where a pooler keeps
/// announcements away, this is how late a node is.
const LOOK: Duration = Duration::from_secs(1);

/// How long the database may take to connect, and to say the revision.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long to wait before connecting again, at first and at the most.
const RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(2);

/// What the database is followed for.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) revision: watch::Sender<Revision>,
    pub(crate) clock: Readings,
}

/// Tells the latest revision for ever, on a connection of its own.
///
/// What is announced while nobody listens is lost, so the revision is read after each announcement
/// and after each connection, and never taken from an announcement.
pub(crate) async fn listen(target: Target, pool: Pool, told: Told, mut chance: Chance) {
    let mut backoff = Backoff::new(RETRY, LONGEST_RETRY);
    let mut is_away = false;
    loop {
        let before = *told.revision.borrow();
        let Err(error) = follow(&target, &told, &mut is_away, &mut backoff).await;
        if !is_away {
            tracing::warn!(error = %Chain(&error), %target, "commits of others are not heard of");
        }
        is_away = true;
        tracing::debug!(error = %Chain(&error), %before, "connecting again");
        // They lead where this one led.
        pool.retain(|_, _| false);
        tokio::time::sleep(backoff.handle_failure(&mut chance)).await;
    }
}

async fn follow(
    target: &Target,
    told: &Told,
    is_away: &mut bool,
    backoff: &mut Backoff,
) -> Result<Infallible, PgError> {
    let (client, connection) = target.connect_within(PATIENCE).await?;
    let heard = Notify::new();
    let looking = async {
        bounded(client.batch_execute(&format!("LISTEN {CHANNEL}"))).await?;
        loop {
            tell(&told.revision, latest(&client, &told.clock).await?);
            if std::mem::take(is_away) {
                tracing::info!(%target, "commits of others are heard of again");
            }
            backoff.handle_success();
            // Either way it is time to look.
            timeout(LOOK, heard.notified()).await.ok();
        }
    };
    tokio::select! {
        error = hear(connection, &heard) => error,
        error = looking => error,
    }
}

/// Tells the revision as the database says it: a failover may have lost some.
fn tell(told: &watch::Sender<Revision>, revision: Revision) {
    told.send_if_modified(|known| std::mem::replace(known, revision) != revision);
}

/// Drives the connection, and wakes whoever waits for announcements.
async fn hear(mut connection: TargetConnection, heard: &Notify) -> Result<Infallible, PgError> {
    loop {
        match poll_fn(|cx| connection.poll_message(cx)).await {
            Some(Ok(AsyncMessage::Notification(_))) => heard.notify_one(),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error.into()),
            None => return Err(PgError::Timeout),
        }
    }
}

/// Reads the revision, and the database's clock on the way.
async fn latest(client: &Client, clock: &Readings) -> Result<Revision, PgError> {
    let asked = Asked::now();
    let row = bounded(client.query_typed_one(HEAD_AND_TIME, &[])).await?;
    clock.note(asked, time(&row, 2)?);
    revision(&row, 0)
}

async fn bounded<T>(
    work: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, PgError> {
    Ok(timeout(PATIENCE, work).await.map_err(|_| PgError::Timeout)??)
}
