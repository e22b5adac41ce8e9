//! A connection's end: when it has been idle for too long, or when the server stops.
//!
//! hyper can limit how long it waits for a request's head, in HTTP/1 only, with a timer that it sets
//! for every request. Here a task beside each connection looks at it now and then, which costs a
//! request nothing.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use geostream_domain::ClientKey;
use hyper_util::server::graceful::GracefulConnection;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::connections::{Connections, Listener};
use crate::stage::Stage;
use crate::stream::{MAKERS, Stream};

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
pub(crate) struct Patience {
    pub(crate) idle: Duration,
    pub(crate) stalled: Duration,
}

/// What a connection does, as seen from outside of it.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) all: Arc<Connections>,
    pub(crate) listener: Arc<Listener>,
    pub(crate) network: ClientKey,
    /// Whether it is not counted as its network's: a trusted proxy's, or this machine's.
    pub(crate) is_exempt: bool,
    /// Whether it has been told to close to make room.
    closing: AtomicBool,
    begun: AtomicUsize,
    ended: AtomicUsize,
    sent: AtomicUsize,
    /// How often the other side has taken something, be it an answer or not.
    written: AtomicUsize,
    /// Something is to be sent that the other side has no room for.
    blocked: AtomicBool,
    /// When a request last began or ended, in milliseconds since the start.
    moved_at: AtomicU64,
    /// How many bytes of answers are not sent yet.
    answers: AtomicUsize,
    /// Notified whenever `answers` falls.
    pub(crate) freed: Notify,
    /// Those that make large answers.
    pub(crate) makers: Arc<Semaphore>,
    streams: Mutex<Vec<Weak<Stream>>>,
    pub(crate) verdict: Verdict,
}

impl Connection {
    pub(crate) fn new(
        all: &Arc<Connections>,
        listener: &Arc<Listener>,
        network: ClientKey,
        is_exempt: bool,
    ) -> Arc<Self> {
        Arc::new(Self {
            all: Arc::clone(all),
            listener: Arc::clone(listener),
            network,
            is_exempt,
            closing: AtomicBool::new(false),
            begun: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
            sent: AtomicUsize::new(0),
            written: AtomicUsize::new(0),
            blocked: AtomicBool::new(false),
            moved_at: AtomicU64::new(millis(all.now())),
            answers: AtomicUsize::new(0),
            freed: Notify::new(),
            makers: Arc::new(Semaphore::new(MAKERS)),
            streams: Mutex::default(),
            verdict: Verdict::default(),
        })
    }

    /// Returns when a request last began or ended; without any, when the connection was accepted.
    pub(crate) fn moved_at(&self) -> Duration {
        Duration::from_millis(self.moved_at.load(Ordering::Relaxed))
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// Notes that it is to close to make room, and tells whether it was not before.
    pub(crate) fn begin_closing(&self) -> bool {
        !self.closing.swap(true, Ordering::Relaxed)
    }

    /// Waits until another connection has needed the place of this one for [`LAST_REQUEST`].
    ///
    /// A client that begins a request when it is told that its connection ends would otherwise hold
    /// the place for as long as a request may stand still.
    async fn needed(&self) {
        while !self.is_closing() {
            sleep(FAREWELL).await;
        }
        sleep(LAST_REQUEST).await;
    }

    /// Returns how many bytes of its answers are not sent yet.
    pub(crate) fn held_in_answers(&self) -> usize {
        self.answers.load(Ordering::Relaxed)
    }

    pub(crate) fn hold_answer(&self, bytes: usize) {
        self.answers.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn release_answer(&self, bytes: usize) {
        self.answers.fetch_sub(bytes, Ordering::Relaxed);
        self.freed.notify_waiters();
    }

    pub(crate) fn note_stream(&self, stream: &Arc<Stream>) {
        let mut streams = self.streams();
        if streams.len() == streams.capacity() {
            streams.retain(|stream| stream.strong_count() > 0);
        }
        streams.push(Arc::downgrade(stream));
    }

    /// Adds the streams that hold memory.
    pub(crate) fn streams_into(&self, found: &mut Vec<Arc<Stream>>) {
        let streams = self.streams();
        found.extend(streams.iter().filter_map(Weak::upgrade).filter(|stream| stream.held() > 0));
    }

    /// Gives up answers of which nothing was taken since then, the oldest first, until no more than
    /// this is left.
    pub(crate) fn give_up_answers(&self, since: Duration, room: usize) {
        let mut streams = Vec::new();
        self.streams_into(&mut streams);
        streams.retain(|stream| stream.answers() > 0 && stream.moved_at() < since);
        streams.sort_unstable_by_key(|stream| stream.moved_at());
        let mut left = self.held_in_answers();
        for stream in streams {
            if left <= room {
                break;
            }
            if stream.abort() {
                left = left.saturating_sub(stream.answers());
                self.all.note_stalled(1);
            }
        }
    }

    /// Gives up requests that have stood still for so long.
    fn give_up_stalled(&self, stalled: Duration) {
        let now = self.all.look_at_clock();
        let mut streams = Vec::new();
        self.streams_into(&mut streams);
        streams.retain(|stream| now.saturating_sub(stream.moved_at()) >= stalled);
        let given_up = streams.iter().filter(|stream| stream.abort()).count();
        self.all.note_stalled(given_up);
    }

    fn streams(&self) -> MutexGuard<'_, Vec<Weak<Stream>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_moved(&self) {
        self.moved_at.store(millis(self.all.now()), Ordering::Relaxed);
    }

    /// Waits until nothing has happened for too long.
    ///
    /// What is received does not count: a client can send a head for ever, byte by byte.
    async fn quiet(&self, patience: Patience) -> Over {
        let look = patience.idle / LOOKS;
        let mut before = self.progress();
        let mut quiet = Duration::ZERO;
        let mut stuck = Duration::ZERO;
        loop {
            sleep(look).await;
            self.give_up_stalled(patience.stalled);
            let now = self.progress();
            let is_stuck = now.written == before.written && self.is_blocked();
            stuck = if is_stuck { stuck + look } else { Duration::ZERO };
            quiet = if now.requests == before.requests { quiet + look } else { Duration::ZERO };
            before = now;
            match self.is_open() {
                _ if stuck >= patience.stalled => return Over::Stalled,
                true if quiet >= patience.stalled => return Over::Stalled,
                false if quiet >= patience.idle => return Over::Idle,
                true | false => {}
            }
        }
    }

    fn progress(&self) -> Progress {
        let [begun, ended] = [&self.begun, &self.ended].map(|count| count.load(Ordering::Relaxed));
        let sent = self.sent.load(Ordering::Relaxed);
        Progress { requests: [begun, ended, sent], written: self.written.load(Ordering::Relaxed) }
    }

    /// Notes what came of writing, and whether bytes of answers were written.
    pub(crate) fn count_write(&self, written: &Poll<io::Result<usize>>, is_answer: bool) {
        if written.is_ready() {
            count(&self.written);
            if is_answer {
                count(&self.sent);
            }
        }
        self.blocked.store(written.is_pending(), Ordering::Relaxed);
    }

    fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }

    /// Tells whether an answer is not yet given out to its end.
    pub(crate) fn is_open(&self) -> bool {
        let begun = self.begun.load(Ordering::Relaxed);
        begun != self.ended.load(Ordering::Relaxed) || self.is_blocked()
    }
}

/// What is counted of a connection.
#[derive(Clone, Copy)]
struct Progress {
    /// How many requests have begun and ended, and pieces of answers have been taken.
    requests: [usize; 3],
    written: usize,
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Counts one more, on the only thread that counts: the one that serves the connection.
fn count(counter: &AtomicUsize) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

/// A request that is open until this is dropped.
#[derive(Debug)]
pub(crate) struct OpenRequest(Arc<Stream>);

impl OpenRequest {
    pub(crate) fn begin(stream: Arc<Stream>) -> Self {
        count(&stream.connection.begun);
        stream.connection.note_moved();
        stream.note_moved();
        Self(stream)
    }

    pub(crate) fn stream(&self) -> &Arc<Stream> {
        &self.0
    }

    /// Notes that a piece of the answer has been taken.
    pub(crate) fn note_sent(&self) {
        count(&self.0.connection.sent);
        self.0.note_moved();
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        count(&self.0.connection.ended);
        self.0.connection.note_moved();
    }
}

/// Serves a connection until it ends, nothing happens on it for too long, or the server stops; what
/// wakes it is made of its task's waker.
pub(crate) async fn until_over<C: GracefulConnection>(
    connection: C,
    seen: Arc<Connection>,
    patience: Patience,
    mut stage: watch::Receiver<Stage>,
    waker_of: fn(&Waker) -> Waker,
) -> Result<(), C::Error> {
    let mut connection = pin!(connection);
    let _watch = AbortOnDropHandle::new(tokio::spawn({
        let seen = Arc::clone(&seen);
        async move {
            let over = tokio::select! {
                over = seen.quiet(patience) => over,
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
            _over = seen.quiet(patience) => Ok(()),
            () = seen.needed() => Ok(()),
        },
        Over::Stalled | Over::Shed => Ok(()),
        Over::Idle => match timeout(FAREWELL, connection.as_mut()).await {
            Ok(ended) => ended,
            // A request has come at the last moment.
            Err(_) if seen.is_open() => tokio::select! {
                ended = timeout(patience.stalled, connection) => ended.unwrap_or(Ok(())),
                () = seen.needed() => Ok(()),
            },
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// Nothing is under way.
    Idle,
    /// What is under way stands still: its client takes nothing more.
    Stalled,
    /// What it holds is needed for others.
    Shed,
    /// The server is about to stop, and a request on this connection has been answered since.
    Leaving,
    /// The server drains.
    Stopping,
}

/// What the task beside a connection tells it: looked at whenever the connection moves, it takes
/// less than asking after the task would.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    over: OnceLock<Over>,
    connection: OnceLock<Waker>,
}

impl Verdict {
    /// Tells the connection that it is over, and whether that was not told before.
    pub(crate) fn tell(&self, over: Over) -> bool {
        let is_first = self.over.set(over).is_ok();
        if let Some(connection) = self.connection.get() {
            connection.wake_by_ref();
        }
        is_first
    }

    /// Returns what was told.
    #[cfg(test)]
    pub(crate) fn over(&self) -> Option<Over> {
        self.over.get().copied()
    }

    /// Waits until it is told, on the connection's task.
    pub(crate) async fn heard(&self) -> Over {
        poll_fn(|context| self.told(context).map_or(Poll::Pending, Poll::Ready)).await
    }

    /// Returns what was told; what is told later wakes the connection's task, which stays the same.
    fn told(&self, context: &Context<'_>) -> Option<Over> {
        self.connection.get_or_init(|| context.waker().clone());
        self.over.get().copied()
    }
}
