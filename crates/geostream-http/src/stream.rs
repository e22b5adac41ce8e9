//! A request and its answer, as long as they take memory.
//!
//! hyper asks for a piece of an answer when there is room for it in the client's window, and keeps
//! it until then. It has no way to give an answer up, so each HTTP/2 stream is a task that can be
//! aborted, which resets the stream. All memory is counted by [`Charge`]s, which live as long as
//! the bytes they stand for, wherever hyper and h2 have put these.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hyper::rt::Executor;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::connection::{Connection, Over};

tokio::task_local! {
    /// The stream whose request is being answered.
    pub(crate) static STREAM: Arc<Stream>;
}

/// What an HTTP/2 stream takes beside its request and answer, measured with 12,800 of them.
const OVERHEAD: usize = 4 << 10;

/// What an answer takes beside its bytes.
const ANSWER_OVERHEAD: usize = 512;

/// How much a connection may hold before its next large answer is made.
const ROOM: usize = 512 << 10;

/// How many large answers of one connection are made at the same time.
pub(crate) const MAKERS: usize = 4;

/// How long an answer may stand still that others on its connection wait for.
const STANDSTILL: Duration = Duration::from_secs(3);

/// One request of a connection and its answer; in HTTP/1, all of them.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) connection: Arc<Connection>,
    /// Whether it has a task of its own, as in HTTP/2.
    is_multiplexed: bool,
    held: AtomicUsize,
    /// How much of that is the request's body.
    body: AtomicUsize,
    /// How much of that are answers.
    answers: AtomicUsize,
    /// When something of it was last received or sent, in milliseconds since the start.
    moved_at: AtomicU64,
    /// The task that answers it, until everything is handed to h2.
    task: Mutex<Option<AbortHandle>>,
    /// Permits it to make a large answer.
    maker: Mutex<Option<OwnedSemaphorePermit>>,
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
            moved_at: AtomicU64::new(millis(connection.all.now())),
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
        self.moved_at.store(millis(self.connection.all.now()), Ordering::Relaxed);
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
            self.connection.all.note_pressed();
        }
        is_told
    }

    /// Ends the request if it has a task that is still under way, and tells whether it had.
    pub(crate) fn abort(&self) -> bool {
        let task = lock(&self.task).take();
        task.as_ref().inspect(|task| task.abort()).is_some()
    }

    /// Has the memory of an answer counted, where it may be large or stay for long.
    ///
    /// An HTTP/1 connection copies small ones behind their heads at once, and has no second answer.
    pub(crate) fn charge_answer(self: &Arc<Self>, answer: Bytes, piece: usize) -> Bytes {
        self.release_request();
        if answer.is_empty() || (!self.is_multiplexed && answer.len() <= piece) {
            return answer;
        }
        let bytes = answer.len() + ANSWER_OVERHEAD;
        self.answers.fetch_add(bytes, Ordering::Relaxed);
        self.connection.hold_answer(bytes);
        let charge = Charge::new(self, bytes);
        Bytes::from_owner(ChargedAnswer { answer, charge })
    }

    /// Counts more of the request's body, until there is an answer.
    pub(crate) fn charge_body(&self, bytes: usize) {
        self.note_moved();
        self.body.fetch_add(bytes, Ordering::Relaxed);
        self.held.fetch_add(bytes, Ordering::Relaxed);
        self.connection.all.hold(bytes);
    }

    /// Forgets what the request took, now that its answer is there.
    pub(crate) fn release_request(&self) {
        if self.is_multiplexed {
            lock(&self.maker).take();
        }
        self.release_body();
    }

    fn release_body(&self) {
        if self.body.load(Ordering::Relaxed) > 0 {
            let bytes = self.body.swap(0, Ordering::Relaxed);
            self.held.fetch_sub(bytes, Ordering::Relaxed);
            self.connection.all.release(bytes);
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.release_body();
    }
}

/// Waits until the connection of the request that is being answered has room for a large answer.
///
/// So a client that takes nothing has few answers made. One that asks for many at once gets all of
/// them, each when there is room; an answer that does not move meanwhile is given up for the next.
pub(crate) async fn large_answer() {
    let Ok(stream) = STREAM.try_with(Arc::clone) else { return };
    let connection = &stream.connection;
    if !stream.is_multiplexed {
        // In HTTP/1, a connection has one answer at a time.
        return;
    }
    let Ok(maker) = Arc::clone(&connection.makers).acquire_owned().await else { return };
    loop {
        let since = connection.all.look_at_clock();
        if timeout(STANDSTILL, has_room(connection)).await.is_ok() {
            break;
        }
        connection.give_up_answers(since, ROOM);
    }
    *lock(&stream.maker) = Some(maker);
}

/// Waits until the connection holds few bytes of answers.
async fn has_room(connection: &Connection) {
    loop {
        let mut freed = pin!(connection.freed.notified());
        freed.as_mut().enable();
        if connection.held_in_answers() <= ROOM {
            return;
        }
        freed.await;
    }
}

/// Bytes that are counted as memory of a stream until this is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    stream: Arc<Stream>,
    bytes: usize,
}

impl Charge {
    fn new(stream: &Arc<Stream>, bytes: usize) -> Self {
        stream.held.fetch_add(bytes, Ordering::Relaxed);
        stream.connection.all.hold(bytes);
        Self { stream: Arc::clone(stream), bytes }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.stream.held.fetch_sub(self.bytes, Ordering::Relaxed);
        self.stream.connection.all.release(self.bytes);
    }
}

/// An answer's bytes, which are counted.
struct ChargedAnswer {
    answer: Bytes,
    charge: Charge,
}

impl AsRef<[u8]> for ChargedAnswer {
    fn as_ref(&self) -> &[u8] {
        &self.answer
    }
}

impl Drop for ChargedAnswer {
    fn drop(&mut self) {
        let Charge { stream, bytes } = &self.charge;
        stream.answers.fetch_sub(*bytes, Ordering::Relaxed);
        stream.connection.release_answer(*bytes);
    }
}

/// Runs each HTTP/2 stream of a connection as a task that can be given up.
///
/// hyper calls the service, and at once hands the future that came of it to the executor.
#[derive(Clone, Debug, Default)]
pub(crate) struct Streams {
    begun: Arc<Mutex<Option<Arc<Stream>>>>,
}

impl Streams {
    /// Notes the stream whose future comes next.
    pub(crate) fn begin(&self, stream: Arc<Stream>) {
        *lock(&self.begun) = Some(stream);
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, future: F) {
        let Some(stream) = lock(&self.begun).take() else {
            tokio::spawn(future);
            return;
        };
        let running = Running { _charge: Charge::new(&stream, OVERHEAD), stream };
        let stream = Arc::clone(&running.stream);
        let task = tokio::spawn(async move {
            let _running = running;
            future.await;
        });
        *lock(&stream.task) = Some(task.abort_handle());
    }
}

/// A task that answers a stream; the stream forgets it at its end, so that its memory is freed.
struct Running {
    _charge: Charge,
    stream: Arc<Stream>,
}

impl Drop for Running {
    fn drop(&mut self) {
        lock(&self.stream.task).take();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
