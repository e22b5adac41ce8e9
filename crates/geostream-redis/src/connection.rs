//! The connection: bounded in time, and there again as soon as Redis is.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fred::clients::{Client, SubscriberClient};
use fred::error::{Error, ErrorKind};
use fred::interfaces::PubsubInterface as _;
use fred::interfaces::{ClientLike, EventInterface as _, LuaInterface as _};
use fred::types::Builder;
use fred::types::Value;
use fred::types::config::{ReconnectPolicy, Server, UnresponsiveConfig};
use fred::types::scripts::Script;
use geostream_ports::Chain;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::error::RedisError;
use crate::hosts;
use crate::target::Target;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_millis(250);

/// For how long a Redis that has not answered in time is not asked again: nobody else is to wait.
const REST: Duration = Duration::from_secs(1);

/// How long a connection may take, and what the client says on it by itself.
const CONNECTING: Duration = Duration::from_secs(2);

/// How long to wait before connecting again, in milliseconds, at first and at the most.
const RETRY: u32 = 50;
const LONGEST_RETRY: u32 = 2_000;

/// A Redis that may be away at any time, and then costs no more than a moment.
///
/// Everything is asked by scripts: each is one step for everybody who uses the same keys. Cloning
/// gives another handle to the same connection.
#[derive(Clone)]
pub struct Redis {
    shared: Arc<Shared>,
}

struct Shared {
    target: Target,
    client: Client,
    /// What has happened to the connection last.
    trouble: watch::Receiver<Option<Trouble>>,
    _driver: AbortOnDropHandle<((), ())>,
    rests_until: Mutex<Option<Instant>>,
    is_away: AtomicBool,
}

/// Why the connection was lost or cannot be made.
#[derive(Clone)]
struct Trouble {
    error: Error,
    /// What each of several hosts says; `None` for a single one, and until they have been tried.
    hosts: Option<String>,
}

impl Shared {
    /// Says why there is no answer: the client itself waits for a connection and says nothing.
    fn timed_out(&self) -> RedisError {
        match self.trouble.borrow().clone() {
            Some(Trouble { error, .. }) if !self.client.is_connected() => RedisError::Lost(error),
            Some(_) | None => RedisError::Timeout,
        }
    }

    /// Adds what each of several hosts says, where there is no connection.
    fn explain(&self, error: RedisError) -> RedisError {
        let hosts = self.trouble.borrow().as_ref().and_then(|trouble| trouble.hosts.clone());
        match (error, hosts) {
            (RedisError::Lost(source), Some(hosts)) if !self.client.is_connected() => {
                RedisError::Hosts { hosts, source }
            }
            (error, _) => error,
        }
    }
}

impl Redis {
    /// Uses this Redis from now on, as soon as it is there.
    ///
    /// # Errors
    ///
    /// If there is something that no Redis could do.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn new(target: Target) -> Result<Self, RedisError> {
        let client = builder(&target).build().map_err(RedisError::Unusable)?;
        let (told, trouble) = watch::channel(None);
        let driving = {
            let client = client.clone();
            let hosts = target.config().server.hosts();
            async move {
                let noting = note_errors(client.error_rx(), hosts, told);
                tokio::join!(noting, keep_connected(client))
            }
        };
        let driver = AbortOnDropHandle::new(tokio::spawn(driving));
        let (rests_until, is_away) = (Mutex::default(), AtomicBool::new(false));
        let shared = Shared { target, client, trouble, _driver: driver, rests_until, is_away };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Returns the name of a key, or of a channel, that no other use of the same Redis has.
    pub(crate) fn name(&self, name: &str) -> String {
        self.shared.target.name(name)
    }

    /// Runs a script.
    pub(crate) async fn run(
        &self,
        script: &Script,
        keys: Vec<String>,
        arguments: Vec<Value>,
    ) -> Result<Value, RedisError> {
        if self.rests_until().is_some_and(|until| Instant::now() < until) {
            return Err(RedisError::Resting);
        }
        let running = evaluate(&self.shared.client, script, keys, arguments);
        let answered = match timeout(PATIENCE, running).await {
            Ok(answered) => answered.map_err(RedisError::from),
            Err(_) => Err(self.shared.timed_out()),
        };
        let answered = answered.map_err(|error| self.shared.explain(error));
        self.note(&answered);
        answered
    }

    /// Changes whenever something is published on a channel, or may have been.
    pub(crate) fn hear(&self, channel: &str) -> Result<Ear, RedisError> {
        let builder = builder(&self.shared.target);
        let client = builder.build_subscriber_client().map_err(RedisError::Unusable)?;
        let (told, heard) = watch::channel(());
        let hearing = hear(client, self.name(channel), told);
        Ok(Ear { heard, _hearing: AbortOnDropHandle::new(tokio::spawn(hearing)) })
    }

    fn note<T>(&self, answered: &Result<T, RedisError>) {
        let away = answered.as_ref().err().filter(|error| error.is_away());
        let now = Instant::now();
        *self.rests_until() = away.map(|_| now + REST);
        let was_away = self.shared.is_away.swap(away.is_some(), Ordering::Relaxed);
        match away {
            Some(error) if !was_away => {
                let target = &self.shared.target;
                tracing::warn!(error = %Chain(error), %target, "nothing is shared over Redis");
            }
            None if was_away => {
                tracing::info!(target = %self.shared.target, "Redis answers again");
            }
            Some(_) | None => {}
        }
    }

    fn rests_until(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.shared.rests_until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Redis").field(&self.shared.target).finish()
    }
}

/// Hears what is published on a channel, until it is dropped.
#[derive(Debug)]
pub(crate) struct Ear {
    heard: watch::Receiver<()>,
    _hearing: AbortOnDropHandle<()>,
}

impl Ear {
    /// Returns when something is published from now on, or may have been.
    pub(crate) fn next(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut heard = self.heard.clone();
        heard.mark_unchanged();
        async move {
            if heard.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Returns what makes clients: by default, fred waits without an end for about everything.
fn builder(target: &Target) -> Builder {
    let mut builder = Builder::from_config(target.config().clone());
    builder.with_performance_config(|performance| {
        performance.default_command_timeout = PATIENCE;
        performance.broadcast_channel_capacity = 1_024;
    });
    builder.with_connection_config(|connection| {
        connection.connection_timeout = CONNECTING;
        connection.internal_command_timeout = CONNECTING;
        connection.max_command_attempts = 1;
        connection.max_command_buffer_len = 10_000;
        connection.unresponsive = UnresponsiveConfig {
            max_timeout: Some(Duration::from_secs(3)),
            interval: Duration::from_secs(1),
        };
    });
    builder.set_policy(ReconnectPolicy::new_exponential(0, RETRY, LONGEST_RETRY, 2));
    builder
}

/// Begins again where the client has given up, as it does when its password is refused.
async fn keep_connected(client: impl ClientLike) {
    loop {
        match AbortOnDropHandle::new(client.connect()).await {
            Ok(Ok(())) => tracing::debug!("the connection to Redis has ended"),
            Ok(Err(error)) => tracing::debug!(%error, "there is no connection to Redis"),
            Err(error) => tracing::error!(%error, "the connection to Redis has failed"),
        }
        tokio::time::sleep(REST).await;
    }
}

/// Keeps the last error of the connection, and what each of several hosts says.
async fn note_errors(
    mut errors: broadcast::Receiver<(Error, Option<Server>)>,
    hosts: Vec<Server>,
    told: watch::Sender<Option<Trouble>>,
) {
    loop {
        match errors.recv().await {
            Ok((error, _)) => {
                told.send_replace(Some(Trouble { error: error.clone(), hosts: None }));
                let hosts = hosts::try_all(&hosts).await;
                told.send_replace(Some(Trouble { error, hosts }));
            }
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

/// Runs a script by its hash, or by its text where the server does not know it.
async fn evaluate(
    client: &Client,
    script: &Script,
    keys: Vec<String>,
    arguments: Vec<Value>,
) -> Result<Value, Error> {
    // Before it knows a cluster's nodes, it would refuse rather than wait.
    client.wait_for_connect().await?;
    match client.evalsha(script.sha1().clone(), keys.clone(), arguments.clone()).await {
        Err(error) if error.details().starts_with("NOSCRIPT") => {
            let text = script.lua().cloned().unwrap_or_default();
            client.eval(text, keys, arguments).await
        }
        answered => answered,
    }
}

impl From<Error> for RedisError {
    fn from(error: Error) -> Self {
        let first = error.details().split(' ').next().unwrap_or_default();
        // So Redis begins its errors. The client's own are about the connection.
        let is_answer = !first.is_empty() && first.bytes().all(|byte| byte.is_ascii_uppercase());
        if is_answer {
            Self::Refused(error.details().to_owned())
        } else if *error.kind() == ErrorKind::Timeout {
            Self::Timeout
        } else {
            Self::Lost(error)
        }
    }
}

/// Tells of what is published on a channel, and of each moment at which it may have been missed.
async fn hear(client: SubscriberClient, channel: String, told: watch::Sender<()>) {
    let (mut messages, mut connections) = (client.message_rx(), client.reconnect_rx());
    let _connecting = AbortOnDropHandle::new(tokio::spawn(keep_connected(client.clone())));
    loop {
        while !is_subscribed(&client, &channel).await {
            tokio::time::sleep(REST).await;
        }
        loop {
            // Whatever has been said before is missed.
            told.send_replace(());
            let is_connected_again = tokio::select! {
                message = messages.recv() => match message {
                    Ok(_) | Err(RecvError::Lagged(_)) => false,
                    Err(RecvError::Closed) => return,
                },
                connection = connections.recv() => match connection {
                    Ok(_) | Err(RecvError::Lagged(_)) => true,
                    Err(RecvError::Closed) => return,
                },
            };
            if is_connected_again {
                break;
            }
        }
    }
}

async fn is_subscribed(client: &SubscriberClient, channel: &str) -> bool {
    let subscribing = client.subscribe(channel.to_owned());
    matches!(timeout(CONNECTING, subscribing).await, Ok(Ok(())))
}
