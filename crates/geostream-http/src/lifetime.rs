//! A connection's end: when it has been idle for too long, or when the server stops.
//!
//! hyper can limit how long it waits for a request's head, in HTTP/1 only, with a timer that it sets
//! for every request. Here a task beside each connection looks at it now and then, which costs a
//! request nothing.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hyper_util::server::graceful::GracefulConnection;
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::connection::Connection;
use crate::stage::Stage;
use crate::verdict::Over;

/// How often a connection is looked at within the time that it may be idle, which is therefore held
/// to within a quarter.
const LOOKS: u32 = 4;

/// How long an idle connection may take to say goodbye.
const FAREWELL: Duration = Duration::from_millis(250);

/// How long a request may take that has come at the last moment, on a connection whose place another
/// one needs, and how long a connection that was accepted at the last moment may take to begin.
pub(crate) const LAST_REQUEST: Duration = Duration::from_secs(1);

/// How long a connection may be idle, and how long what is under way may stand still.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    pub(crate) idle: Duration,
    pub(crate) stalled: Duration,
}

/// Serves a connection until it ends, nothing happens on it for too long, or the server stops; what
/// wakes it is made of its task's waker.
pub(crate) async fn until_over<C: GracefulConnection>(
    connection: C,
    seen: Arc<Connection>,
    timeouts: Timeouts,
    mut stage: watch::Receiver<Stage>,
    waker_of: fn(&Waker) -> Waker,
) -> Result<(), C::Error> {
    let mut connection = pin!(connection);
    let _watch = AbortOnDropHandle::new(tokio::spawn({
        let seen = Arc::clone(&seen);
        async move {
            let over = tokio::select! {
                over = quiet(&seen, timeouts) => over,
                _ = stage.wait_for(|stage| *stage >= Stage::Draining) => Over::Stopping,
            };
            seen.verdict.tell(over);
        }
    }));
    let mut waker = None;
    let ended = poll_fn(|context| match seen.verdict.told(context) {
        Some(over) => Poll::Ready(Err(over)),
        None => {
            // It is one task that serves a connection to its end.
            let waker = waker.get_or_insert_with(|| waker_of(context.waker()));
            connection.as_mut().poll(&mut Context::from_waker(waker)).map(Ok)
        }
    });
    let over = match ended.await {
        Ok(ended) => return ended,
        Err(over) => over,
    };
    if over == Over::Stopping {
        // HTTP/1 closes an idle connection without another look at its socket, which would reset a
        // request that the kernel has received by now. So the runtime looks at its sockets first,
        // and the connection reads.
        tokio::select! {
            biased;
            ended = connection.as_mut() => return ended,
            () = yield_now() => {}
        }
    }
    connection.as_mut().graceful_shutdown();
    match over {
        Over::Stopping => connection.await,
        // This may take until the server drains, so the usual limits hold.
        Over::Leaving => tokio::select! {
            ended = connection => ended,
            _over = quiet(&seen, timeouts) => Ok(()),
            () = needed(&seen) => Ok(()),
        },
        Over::Stalled | Over::Shed => Ok(()),
        Over::Idle => match timeout(FAREWELL, connection.as_mut()).await {
            Ok(ended) => ended,
            // A request has come at the last moment.
            Err(_) if seen.is_open() => tokio::select! {
                ended = timeout(timeouts.stalled, connection) => ended.unwrap_or(Ok(())),
                () = needed(&seen) => Ok(()),
            },
            // A head that never ends is not waited for.
            Err(_) => Ok(()),
        },
    }
}

/// Waits until nothing has happened for too long.
///
/// What is received does not count: a client can send a head for ever, byte by byte.
async fn quiet(connection: &Connection, timeouts: Timeouts) -> Over {
    let look = timeouts.idle / LOOKS;
    let mut before = connection.progress();
    let mut quiet = Duration::ZERO;
    let mut stuck = Duration::ZERO;
    loop {
        sleep(look).await;
        connection.give_up_stalled(timeouts.stalled);
        let now = connection.progress();
        let is_stuck = now.written == before.written && connection.is_blocked();
        stuck = if is_stuck { stuck + look } else { Duration::ZERO };
        quiet = if now.requests == before.requests { quiet + look } else { Duration::ZERO };
        before = now;
        match connection.is_open() {
            _ if stuck >= timeouts.stalled => return Over::Stalled,
            true if quiet >= timeouts.stalled => return Over::Stalled,
            false if quiet >= timeouts.idle => return Over::Idle,
            true | false => {}
        }
    }
}

/// Waits until another connection has needed the place of this connection for [`LAST_REQUEST`].
///
/// A client that begins a request when it is told that its connection ends would otherwise hold
/// the place for as long as a request may stand still.
async fn needed(connection: &Connection) {
    while !connection.is_closing() {
        sleep(FAREWELL).await;
    }
    sleep(LAST_REQUEST).await;
}
