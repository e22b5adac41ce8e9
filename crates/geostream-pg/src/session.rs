//! A transaction on a connection of the pool.

use std::time::Duration;

use deadpool_postgres::{
    Connect, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime, Timeouts,
};
use geostream_ports::Unavailable;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};

use crate::error::PgError;
use crate::migrate;
use crate::target::Target;

/// How long an operation may take as a whole. Whatever takes longer gives its connection up.
const PATIENCE: Duration = Duration::from_secs(5);

/// Connections of one node, beside the one that listens.
const CONNECTIONS: usize = 8;

const TIMEOUTS: Timeouts = Timeouts {
    wait: Some(Duration::from_secs(2)),
    create: Some(Duration::from_secs(3)),
    recycle: Some(Duration::from_secs(1)),
};

/// A parameter and its type.
pub(crate) type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// What a transaction is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// All that is read is of one moment.
    Read,
    Write,
}

impl Purpose {
    /// The database ends what this node, stopped or cut off, would keep others waiting with.
    fn begin(self) -> &'static str {
        match self {
            Self::Read => {
                "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
                 SET LOCAL statement_timeout = '4s';
                 SET LOCAL idle_in_transaction_session_timeout = '5s'"
            }
            Self::Write => {
                "BEGIN ISOLATION LEVEL READ COMMITTED;
                 SET LOCAL statement_timeout = '4s';
                 SET LOCAL lock_timeout = '3s';
                 SET LOCAL idle_in_transaction_session_timeout = '5s'"
            }
        }
    }
}

/// A transaction; dropped without an end, it takes its connection with it.
#[derive(Debug)]
pub(crate) struct Session {
    /// `None` once the connection was given back.
    object: Option<Object>,
    purpose: Purpose,
}

impl Session {
    /// Begins a transaction, if this version can work on the schema.
    pub(crate) async fn begin(
        pool: &Pool,
        target: &Target,
        purpose: Purpose,
    ) -> Result<Self, PgError> {
        let object = pool.get().await;
        let object = object.map_err(|error| target.pool_error(error))?;
        let session = Self { object: Some(object), purpose };
        session.client().batch_execute(purpose.begin()).await?;
        migrate::check(session.client()).await?;
        Ok(session)
    }

    pub(crate) async fn rows(
        &self,
        statement: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, PgError> {
        Ok(self.client().query_typed(statement, parameters).await?)
    }

    pub(crate) async fn row(
        &self,
        statement: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Row, PgError> {
        Ok(self.client().query_typed_one(statement, parameters).await?)
    }

    pub(crate) async fn run(
        &self,
        statement: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<u64, PgError> {
        Ok(self.client().execute_typed(statement, parameters).await?)
    }

    /// Commits, and gives the connection back.
    pub(crate) async fn commit(mut self) -> Result<(), PgError> {
        match self.purpose {
            Purpose::Read => {}
            // A commit that waits for a replica and is cut short by the database is reported as if
            // the replica had it. Only this node's own patience may end the wait.
            Purpose::Write => {
                self.client().batch_execute("SET LOCAL statement_timeout = 0").await?;
            }
        }
        self.client().batch_execute("COMMIT").await?;
        drop(self.object.take());
        Ok(())
    }

    fn client(&self) -> &Client {
        self.object.as_ref().expect("it is given back with the session")
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(object) = self.object.take() {
            // Nobody knows what this connection is still about: it is closed, not used again.
            drop(Object::take(object));
        }
    }
}

/// Makes an empty pool.
pub(crate) fn pool(target: Target) -> Pool {
    let config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = Manager::from_connect(tokio_postgres::Config::new(), target, config);
    let pool = Pool::builder(manager).max_size(CONNECTIONS).runtime(Runtime::Tokio1);
    pool.timeouts(TIMEOUTS).build().expect("there is a runtime for the timeouts")
}

type Connecting<'a> = std::pin::Pin<
    Box<dyn Future<Output = Result<(Client, JoinHandle<()>), tokio_postgres::Error>> + Send + 'a>,
>;

impl Connect for Target {
    /// Connects to this target: the pool's own configuration is empty.
    fn connect(&self, _: &tokio_postgres::Config) -> Connecting<'_> {
        Box::pin(async move {
            let (client, connection) = self.connect().await?;
            let driver = tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection to the database has ended");
                }
            });
            Ok((client, driver))
        })
    }
}

/// Limits the time that an operation takes as a whole.
pub(crate) async fn bounded<T>(
    operation: impl Future<Output = Result<T, PgError>>,
) -> Result<T, PgError> {
    timeout(PATIENCE, operation).await.unwrap_or(Err(PgError::Timeout))
}

/// Does the same for whoever only needs to know that the database is away.
pub(crate) async fn available<T>(
    operation: impl Future<Output = Result<T, PgError>>,
) -> Result<T, Unavailable> {
    Ok(bounded(operation).await?)
}
