//! A connection and its streams, as they are seen while they are served.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Poll;
use std::time::Duration;

use geostream_domain::ClientKey;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;

use crate::totals::{Totals, millis};
use crate::verdict::{Over, Verdict};

/// How many large answers of one connection are made at the same time.
pub(crate) const MAKERS: usize = 4;

/// One of the listeners that share the connections of a process.
#[derive(Debug)]
pub(crate) struct Listener {
    /// The most connections that it has.
    pub(crate) limit: usize,
    /// How many of them have been told to close.
    pub(crate) closing: AtomicUsize,
    /// When no connection was found that could be closed, in milliseconds since the start.
    pub(crate) vain_at: AtomicU64,
}

impl Listener {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, closing: AtomicUsize::new(0), vain_at: AtomicU64::new(0) })
    }
}

/// What a connection does, as seen from outside of it.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) totals: Arc<Totals>,
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
        totals: &Arc<Totals>,
        listener: &Arc<Listener>,
        network: ClientKey,
        is_exempt: bool,
    ) -> Arc<Self> {
        Arc::new(Self {
            totals: Arc::clone(totals),
            listener: Arc::clone(listener),
            network,
            is_exempt,
            closing: AtomicBool::new(false),
            begun: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
            sent: AtomicUsize::new(0),
            written: AtomicUsize::new(0),
            blocked: AtomicBool::new(false),
            moved_at: AtomicU64::new(millis(totals.now())),
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
                self.totals.note_stalled(1);
            }
        }
    }

    /// Gives up requests that have stood still for so long.
    pub(crate) fn give_up_stalled(&self, stalled: Duration) {
        let now = self.totals.look_at_clock();
        let mut streams = Vec::new();
        self.streams_into(&mut streams);
        streams.retain(|stream| now.saturating_sub(stream.moved_at()) >= stalled);
        let given_up = streams.iter().filter(|stream| stream.abort()).count();
        self.totals.note_stalled(given_up);
    }

    fn streams(&self) -> MutexGuard<'_, Vec<Weak<Stream>>> {
        lock(&self.streams)
    }

    fn note_moved(&self) {
        self.moved_at.store(millis(self.totals.now()), Ordering::Relaxed);
    }

    pub(crate) fn progress(&self) -> Progress {
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

    pub(crate) fn is_blocked(&self) -> bool {
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
pub(crate) struct Progress {
    /// How many requests have begun and ended, and pieces of answers have been taken.
    pub(crate) requests: [usize; 3],
    pub(crate) written: usize,
}

/// Counts one more, on the only thread that counts: the one that serves the connection.
fn count(counter: &AtomicUsize) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

/// One request of a connection and its answer; in HTTP/1, all of them.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) connection: Arc<Connection>,
    /// Whether it has a task of its own, as in HTTP/2.
    pub(crate) is_multiplexed: bool,
    pub(crate) held: AtomicUsize,
    /// How much of that is the request's body.
    pub(crate) body: AtomicUsize,
    /// How much of that are answers.
    pub(crate) answers: AtomicUsize,
    /// When something of it was last received or sent, in milliseconds since the start.
    moved_at: AtomicU64,
    /// The task that answers it, until everything is handed to h2.
    pub(crate) task: Mutex<Option<AbortHandle>>,
    /// Permits it to make a large answer.
    pub(crate) maker: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Stream {
    /// Begins an HTTP/2 stream.
    pub(crate) fn multiplexed(connection: &Arc<Connection>) -> Arc<Self> {
        Self::new(connection, true)
    }

    /// Begins the only stream of an HTTP/1 connection.
    pub(crate) fn only(connection: &Arc<Connection>) -> Arc<Self> {
        Self::new(connection, false)
    }

    fn new(connection: &Arc<Connection>, is_multiplexed: bool) -> Arc<Self> {
        let stream = Arc::new(Self {
            connection: Arc::clone(connection),
            is_multiplexed,
            held: AtomicUsize::new(0),
            body: AtomicUsize::new(0),
            answers: AtomicUsize::new(0),
            moved_at: AtomicU64::new(millis(connection.totals.now())),
            task: Mutex::new(None),
            maker: Mutex::new(None),
        });
        connection.note_stream(&stream);
        stream
    }

    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Returns how many bytes of answers it holds.
    pub(crate) fn answers(&self) -> usize {
        self.answers.load(Ordering::Relaxed)
    }

    /// Returns when something of it was last received or sent.
    pub(crate) fn moved_at(&self) -> Duration {
        Duration::from_millis(self.moved_at.load(Ordering::Relaxed))
    }

    /// Notes that something of the request has come, or of the answer has been taken.
    pub(crate) fn note_moved(&self) {
        self.moved_at.store(millis(self.connection.totals.now()), Ordering::Relaxed);
    }

    /// Ends the request whatever is still under way, and tells whether it was not ended before.
    ///
    /// Without a task, hyper has the connection only: then all of it ends.
    pub(crate) fn give_up(&self) -> bool {
        if self.abort() {
            return true;
        }
        let is_told = self.connection.verdict.tell(Over::Shed);
        if is_told {
            self.connection.totals.note_pressed();
        }
        is_told
    }

    /// Ends the request if it has a task that is still under way, and tells whether it had.
    pub(crate) fn abort(&self) -> bool {
        let task = lock(&self.task).take();
        task.as_ref().inspect(|task| task.abort()).is_some()
    }
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

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
