//! A connection's end: when it has been idle for too long, or when the server stops.
//!
//! hyper can limit how long it waits for a request's head, in HTTP/1 only, with a timer that it sets
//! for every request. Here a task beside each connection looks at it now and then, which costs a
//! request nothing.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::server::graceful::GracefulConnection;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

/// How often a connection is looked at within the time that it may be idle, which is therefore held
/// to within a quarter.
const LOOKS: u32 = 4;

/// How long an idle connection may take to say goodbye.
const FAREWELL: Duration = Duration::from_millis(250);

/// How long a connection may be idle, and how long what is under way may stand still.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    pub(crate) idle: Duration,
    pub(crate) stalled: Duration,
}

/// What a connection does, as seen from outside of it.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    begun: AtomicUsize,
    ended: AtomicUsize,
    sent: AtomicUsize,
    /// Something is to be sent that the other side has no room for.
    blocked: AtomicBool,
}

impl Activity {
    /// Waits until nothing has happened for too long.
    ///
    /// What is received does not count: a client can send a head for ever, byte by byte.
    async fn quiet(&self, patience: Patience) -> Over {
        let look = patience.idle / LOOKS;
        let (mut before, mut quiet) = ((0, 0, 0), Duration::ZERO);
        loop {
            sleep(look).await;
            let now = (
                self.begun.load(Ordering::Relaxed),
                self.ended.load(Ordering::Relaxed),
                self.sent.load(Ordering::Relaxed),
            );
            quiet = if now == before { quiet + look } else { Duration::ZERO };
            before = now;
            match self.is_open() {
                true if quiet >= patience.stalled => return Over::Stalled,
                false if quiet >= patience.idle => return Over::Idle,
                true | false => {}
            }
        }
    }

    fn count_write(&self, written: &Poll<io::Result<usize>>) {
        if written.is_ready() {
            count(&self.sent);
        }
        self.blocked.store(written.is_pending(), Ordering::Relaxed);
    }

    /// Tells whether an answer is not yet given out to its end.
    fn is_open(&self) -> bool {
        let (begun, ended) = (&self.begun, &self.ended);
        begun.load(Ordering::Relaxed) != ended.load(Ordering::Relaxed)
            || self.blocked.load(Ordering::Relaxed)
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

    /// Notes that a piece of the answer has been taken.
    pub(crate) fn note_sent(&self) {
        count(&self.0.sent);
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        count(&self.0.ended);
    }
}

/// Serves a connection until it ends, nothing happens on it for too long, or the server stops; what
/// wakes it is made of its task's waker.
pub(crate) async fn until_over<C: GracefulConnection>(
    connection: C,
    activity: Arc<Activity>,
    patience: Patience,
    mut stop: watch::Receiver<bool>,
    waker_of: fn(&Waker) -> Waker,
) -> Result<(), C::Error> {
    let mut connection = pin!(connection);
    let verdict = Arc::new(Verdict::default());
    let _watch = AbortOnDropHandle::new(tokio::spawn({
        let (verdict, activity) = (Arc::clone(&verdict), Arc::clone(&activity));
        async move {
            tokio::select! {
                over = activity.quiet(patience) => verdict.tell(over),
                _ = stop.wait_for(|stop| *stop) => verdict.tell(Over::Stopping),
            }
        }
    }));
    let mut waker = None;
    let ended = poll_fn(|context| match verdict.told(context) {
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
    connection.as_mut().graceful_shutdown();
    match over {
        Over::Stopping => connection.await,
        Over::Stalled => Ok(()),
        Over::Idle => match timeout(FAREWELL, connection.as_mut()).await {
            Ok(ended) => ended,
            // A request has come at the last moment.
            Err(_) if activity.is_open() => {
                timeout(patience.stalled, connection).await.unwrap_or(Ok(()))
            }
            // A head that never ends is not waited for.
            Err(_) => Ok(()),
        },
    }
}

thread_local! {
    static HUSHED: Cell<bool> = const { Cell::new(false) };
}

/// Does something whose wakes are not heard by the connection that this thread is serving.
///
/// Taking the last piece of a body wakes its connection, which has read on already: all that would
/// come of it is another look at everything, for each request with a body.
pub(crate) fn hushed<T>(work: impl FnOnce() -> T) -> T {
    HUSHED.set(true);
    let done = work();
    HUSHED.set(false);
    done
}

/// Returns a waker for the HTTP/1 connection of a task, which does not hear what is [`hushed`].
///
/// An HTTP/2 connection has to hear all: it tells its client that there is room for more.
pub(crate) fn bell(task: &Waker) -> Waker {
    Waker::from(Arc::new(Bell(task.clone())))
}

/// Wakes a connection's task, unless it is this thread that would, and it has been hushed.
struct Bell(Waker);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !HUSHED.get() {
            self.0.wake_by_ref();
        }
    }
}

/// Why a connection is over.
#[derive(Clone, Copy, Debug)]
enum Over {
    /// Nothing is under way.
    Idle,
    /// What is under way stands still: its client takes nothing more.
    Stalled,
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

/// A connection's stream, which takes one piece at a time.
///
/// Answers are small: copied behind their heads, and in HTTP/2 behind each other, they cost the kernel
/// less than pieces that are kept apart. h2 would write as often as it has answers.
#[derive(Debug)]
pub(crate) struct Wire<T> {
    pub(crate) stream: T,
    /// Who counts writes, in HTTP/1: whoever reads a long answer slowly is not idle. In HTTP/2 there is
    /// more to write than answers.
    pub(crate) counted: Option<Arc<Activity>>,
}

impl<T: Read + Unpin> Read for Wire<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<T: Write + Unpin> Write for Wire<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Some(activity) = &self.counted {
            activity.count_write(&written);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
