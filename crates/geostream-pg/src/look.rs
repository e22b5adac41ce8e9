//! Looking whether the database can be read and takes writes.

use std::time::Duration;

use geostream_ports::{Look, Writes};
use tokio::time::timeout;

use crate::error::PgError;
use crate::log::{HEAD, LOCKED_HEAD, head};
use crate::session::Purpose;
use crate::store::PgStore;

/// Says what would keep a commit from being made, as far as reading shows it; empty for nothing.
///
/// What a transaction for reading sees of `transaction_read_only` is its own: the default is what a
/// write would get.
const OBSTACLES: &str = "SELECT concat_ws('; ',
    CASE WHEN pg_is_in_recovery() THEN 'it is a read-only replica' END,
    CASE WHEN current_setting('default_transaction_read_only')::boolean
         THEN 'its transactions are read-only (default_transaction_read_only)' END,
    CASE WHEN current_setting('synchronous_standby_names') <> ''
              AND current_setting('synchronous_commit') IN ('on', 'remote_apply', 'remote_write')
              AND NOT pg_is_in_recovery()
              AND NOT EXISTS (SELECT FROM pg_stat_replication)
         THEN 'commits wait for a replica (synchronous_standby_names), and none is connected' END,
    (SELECT 'the role ' || current_user || ' lacks the right to write '
            || string_agg(name, ', ' ORDER BY name)
     FROM (VALUES ('config_head', 'UPDATE'), ('config_log', 'INSERT'),
                  ('config_checkpoints', 'INSERT'), ('regions', 'INSERT'), ('services', 'INSERT'),
                  ('overrides', 'INSERT'), ('flags', 'INSERT'), ('settings', 'INSERT'),
                  ('tokens', 'INSERT'), ('limited_tokens', 'INSERT'), ('audit', 'INSERT')) AS needed (name, privilege)
     WHERE NOT has_table_privilege(name, privilege)
     HAVING count(*) > 0))";

/// Takes 64 KiB that do not compress, at a revision that no checkpoint has.
const TRIAL: &str = "INSERT INTO config_checkpoints (revision, config)
SELECT -1, to_jsonb(string_agg(md5(random()::text), '')) FROM generate_series(1, 2048)";

/// The time that a trial may take: others may hold the lock that commits need.
const TRIAL_TIMEOUT: Duration = Duration::from_millis(1_500);

impl PgStore {
    pub(crate) async fn look_at(&self, look: Look) -> Result<Writes, PgError> {
        let session = self.begin(Purpose::Read).await?;
        head(&session.row(HEAD, &[]).await?)?;
        let obstacles: String = session.row(OBSTACLES, &[]).await?.try_get(0)?;
        if !obstacles.is_empty() {
            // The session is dropped without an end and takes its connection with it, so that the
            // next look makes another one: that may lead to another server, or have other rights.
            return Ok(Writes::Refused(PgError::ReadOnly { obstacles }.into()));
        }
        session.commit().await?;
        Ok(match look {
            Look::Read => Writes::Accepted,
            Look::TryWrite => match timeout(TRIAL_TIMEOUT, self.try_write()).await {
                Ok(Ok(())) => Writes::Accepted,
                Ok(Err(error)) => Writes::Refused(error.into()),
                Err(_) => Writes::Refused(PgError::Timeout.into()),
            },
        })
    }

    /// Makes the beginning of a commit and takes it back.
    async fn try_write(&self) -> Result<(), PgError> {
        let session = self.begin(Purpose::Write).await?;
        session.row(LOCKED_HEAD, &[]).await?;
        session.run(TRIAL, &[]).await?;
        // Dropped without an end, the transaction is undone with its connection.
        drop(session);
        Ok(())
    }
}
