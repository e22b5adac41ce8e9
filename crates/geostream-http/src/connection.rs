//! A connection's end: when it has been idle for too long, or when the server stops.
//!
//! hyper can limit how long it waits for a request's head, in HTTP/1 only, with a timer that it sets
//! for every request. Here a task beside each connection looks at it now and then, which costs a
//! request nothing.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::server::graceful::GracefulConnection;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

/// How often a connection is looked at within the time that it may be idle.
const LOOKS: u32 = 4;

/// How long an idle connection may take to say goodbye.
const FAREWELL: Duration = Duration::from_millis(250);

/// What a connection does, as seen from outside of it.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    begun: AtomicUsize,
    ended: AtomicUsize,
    sent: AtomicUsize,
}

impl Activity {
    /// Waits until for so long no request has been open and nothing has been sent.
    ///
    /// What is received does not count: a client can send a head for ever, byte by byte.
    async fn idle(&self, patience: Duration) {
        let (mut before, mut quiet) = ((0, 0, 0), 0);
        while quiet < LOOKS {
            sleep(patience / LOOKS).await;
            let now @ (begun, ended, _) = (
                self.begun.load(Ordering::Relaxed),
                self.ended.load(Ordering::Relaxed),
                self.sent.load(Ordering::Relaxed),
            );
            quiet = if now == before && begun == ended { quiet + 1 } else { 0 };
            before = now;
        }
    }
}

/// Counts one more, on the only thread that counts: the one that serves the connection.
fn count(counter: &AtomicUsize) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

/// A request that is open until this is dropped.
#[derive(Debug)]
pub(crate) struct OpenRequest(Arc<Activity>);

impl OpenRequest {
    pub(crate) fn begin(activity: &Arc<Activity>) -> Self {
        count(&activity.begun);
        Self(Arc::clone(activity))
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        count(&self.0.ended);
    }
}

/// Serves a connection until it ends, is idle for this long, or the server stops.
pub(crate) async fn until_over<C: GracefulConnection>(
    connection: C,
    activity: Arc<Activity>,
    patience: Duration,
    mut stop: watch::Receiver<bool>,
) -> Result<(), C::Error> {
    let mut connection = pin!(connection);
    let verdict = Arc::new(Verdict::default());
    let _watch = AbortOnDropHandle::new(tokio::spawn({
        let verdict = Arc::clone(&verdict);
        async move {
            tokio::select! {
                () = activity.idle(patience) => verdict.tell(Over::Idle),
                _ = stop.wait_for(|stop| *stop) => verdict.tell(Over::Stopping),
            }
        }
    }));
    let ended = poll_fn(|context| match verdict.told(context) {
        Some(over) => Poll::Ready(Err(over)),
        None => connection.as_mut().poll(context).map(Ok),
    });
    let over = match ended.await {
        Ok(ended) => return ended,
        Err(over) => over,
    };
    connection.as_mut().graceful_shutdown();
    match over {
        Over::Stopping => connection.await,
        // A head that never ends is not waited for.
        Over::Idle => timeout(FAREWELL, connection).await.unwrap_or(Ok(())),
    }
}

/// Why a connection is over.
#[derive(Clone, Copy, Debug)]
enum Over {
    Idle,
    Stopping,
}

/// What the task beside a connection tells it: looked at whenever the connection moves, it takes
/// less than asking after the task would.
#[derive(Debug, Default)]
struct Verdict {
    over: OnceLock<Over>,
    connection: OnceLock<Waker>,
}

impl Verdict {
    fn tell(&self, over: Over) {
        // It is told once.
        let _told = self.over.set(over);
        if let Some(connection) = self.connection.get() {
            connection.wake_by_ref();
        }
    }

    /// Returns what was told; what is told later wakes the connection's task, which stays the same.
    fn told(&self, context: &Context<'_>) -> Option<Over> {
        self.connection.get_or_init(|| context.waker().clone());
        self.over.get().copied()
    }
}

/// A stream whose writes are counted: whoever reads a long answer slowly is not idle.
#[derive(Debug)]
pub(crate) struct Counted<T> {
    pub(crate) stream: T,
    pub(crate) activity: Arc<Activity>,
}

impl<T: Read + Unpin> Read for Counted<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<T: Write + Unpin> Write for Counted<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.count(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.count(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<T> Counted<T> {
    fn count(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            count(&self.activity.sent);
        }
        written
    }
}
