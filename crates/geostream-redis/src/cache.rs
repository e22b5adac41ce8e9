//! The latest configuration, kept for all nodes.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use fred::types::Value;
use fred::types::scripts::Script;
use geostream_api::WholeConfig;
use geostream_domain::{Chance, Revision, Snapshot};
use geostream_ports::{Cache, CacheError, Head, Kept, Marked};

use crate::connection::{Ear, Redis};
use crate::error::RedisError;

/// Keeps the latest configuration in Redis, where it is gone after an hour that brings no other.
///
/// Cloning gives another handle to the same cache.
#[derive(Clone, Debug)]
pub struct RedisCache {
    redis: Redis,
    ear: Arc<Ear>,
    chance: Arc<Mutex<Chance>>,
}

const KEY: &str = "config";
const CLAIM: &str = "config:claim";
const CHANNEL: &str = "config:put";

/// How long a configuration is kept, and up to a tenth more: what began together ends apart.
const KEPT: Duration = Duration::from_secs(3_600);

/// How long others wait for whoever reads; then the next one does.
const CLAIMED: Duration = Duration::from_secs(1);

/// The most bytes of a configuration: the API takes no more.
const LARGEST: usize = 32 << 20;

static LOOK: LazyLock<Script> = LazyLock::new(|| Script::from_lua(include_str!("lua/look.lua")));
static PUT: LazyLock<Script> = LazyLock::new(|| Script::from_lua(include_str!("lua/put.lua")));
static FORGET: LazyLock<Script> =
    LazyLock::new(|| Script::from_lua(include_str!("lua/forget.lua")));
static CLAIM_ONCE: LazyLock<Script> =
    LazyLock::new(|| Script::from_lua(include_str!("lua/claim.lua")));

impl RedisCache {
    /// Keeps configurations there. The seed spreads over time when they are gone.
    ///
    /// # Errors
    ///
    /// If there is something that no Redis could do.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn new(redis: Redis, seed: u64) -> Result<Self, RedisError> {
        let ear = Arc::new(redis.hear(CHANNEL)?);
        Ok(Self { redis, ear, chance: Arc::new(Mutex::new(Chance::new(seed))) })
    }

    fn key(&self) -> Vec<String> {
        vec![self.redis.name(KEY)]
    }

    async fn read(&self, head: &Head) -> Result<Kept, RedisError> {
        let arguments = vec![text(&head.mark), text(&LARGEST.to_string())];
        let answer = self.redis.run(&LOOK, self.key(), arguments).await?;
        understand(answer, head)
    }

    async fn write(&self, found: &Marked) -> Result<(), RedisError> {
        let config = serde_json::to_string(&WholeConfig::from(&*found.snapshot.config))
            .map_err(|error| RedisError::nonsense("a configuration", error))?;
        let jitter = self.chance.lock().unwrap_or_else(PoisonError::into_inner).fraction() / 10.0;
        let arguments = vec![
            text(&found.snapshot.revision.to_string()),
            text(&found.mark),
            config.into(),
            text(&KEPT.mul_f64(1.0 + jitter).as_millis().to_string()),
            self.redis.name(CHANNEL).into(),
        ];
        self.redis.run(&PUT, self.key(), arguments).await.map(drop)
    }
}

impl Cache for RedisCache {
    async fn look(&self, head: &Head) -> Result<Kept, CacheError> {
        let error = match self.read(head).await {
            Ok(kept) => return Ok(kept),
            Err(error) if error.is_about_content() => error,
            Err(error) => return Err(unavailable(error)),
        };
        // Else an entry that pretends to be late would keep every other one away.
        self.redis.run(&FORGET, self.key(), Vec::new()).await.map_err(unavailable)?;
        Err(CacheError::Nonsense(error.into()))
    }

    async fn put(&self, found: &Marked) -> Result<(), CacheError> {
        self.write(found).await.map_err(unavailable)
    }

    async fn forget(&self, head: &Head) -> Result<(), CacheError> {
        let forgotten = self.redis.run(&FORGET, self.key(), vec![text(&head.mark)]).await;
        forgotten.map(drop).map_err(unavailable)
    }

    async fn claim(&self, head: &Head) -> Result<bool, CacheError> {
        let key = self.redis.name(&format!("{CLAIM}:{}", head.mark));
        let arguments = vec![text(&CLAIMED.as_millis().to_string())];
        let granted = self.redis.run(&CLAIM_ONCE, vec![key], arguments).await;
        granted.map(|granted| granted.as_i64() == Some(1)).map_err(unavailable)
    }

    fn news(&self) -> impl Future<Output = ()> + Send {
        self.ear.next()
    }
}

fn unavailable(error: RedisError) -> CacheError {
    CacheError::Unavailable(error.into())
}

fn text(text: &str) -> Value {
    text.into()
}

/// Reads what the script has found.
fn understand(answer: Value, head: &Head) -> Result<Kept, RedisError> {
    let mut parts = answer.into_array().into_iter();
    let (revision, mark) = match (parts.next(), parts.next()) {
        (None | Some(Value::Null), None | Some(Value::Null)) => return Ok(Kept::Nothing),
        (revision, mark) => (revision, mark),
    };
    let revision = revision.and_then(|revision| revision.as_u64());
    let (Some(revision), Some(mark)) = (revision, mark.and_then(|mark| mark.into_string())) else {
        return Err(RedisError::nonsense("a revision", "it is no number"));
    };
    let kept = Head { revision: Revision::new(revision), mark };
    if kept.mark != head.mark {
        return Ok(Kept::Other(kept));
    }
    let Some(document) = parts.next().and_then(Value::into_bytes) else {
        return Err(RedisError::nonsense("a configuration", "it is missing, or too large"));
    };
    if kept.revision != head.revision {
        return Err(RedisError::nonsense("a revision", "it is not that of its commit"));
    }
    read(&document, kept.revision).map(Kept::This)
}

fn read(document: &[u8], revision: Revision) -> Result<Snapshot, RedisError> {
    let unreadable = |error: Box<dyn std::error::Error + Send + Sync>| {
        RedisError::nonsense("a configuration", error)
    };
    let document: WholeConfig =
        serde_json::from_slice(document).map_err(|error| unreadable(error.into()))?;
    let config = document.to_domain().map_err(|error| unreadable(error.into()))?;
    Ok(Snapshot { revision, config: Arc::new(config) })
}
