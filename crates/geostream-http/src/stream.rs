//! A request and its answer, as long as they take memory.
//!
//! hyper asks for a piece of an answer when there is room for it in the client's window, and keeps
//! it until then. It has no way to give an answer up, so each HTTP/2 stream is a task that can be
//! aborted, which resets the stream. All memory is counted by [`Charge`]s, which live as long as
//! the bytes they stand for, wherever hyper and h2 have put these.

use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use hyper::rt::Executor;
use tokio::time::timeout;

use crate::connection::{Connection, Stream, lock};

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

/// How long an answer may stand still that others on its connection wait for.
const STANDSTILL: Duration = Duration::from_secs(3);

impl Stream {
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
        self.connection.totals.hold(bytes);
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
            self.connection.totals.release(bytes);
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
        let since = connection.totals.look_at_clock();
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
        stream.connection.totals.hold(bytes);
        Self { stream: Arc::clone(stream), bytes }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.stream.held.fetch_sub(self.bytes, Ordering::Relaxed);
        self.stream.connection.totals.release(self.bytes);
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
