//! Wakers that drop the wakes of which a connection has no use.

use std::cell::Cell;
use std::sync::Arc;
use std::task::{Wake, Waker};

thread_local! {
    static SILENT: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` without the wakes that it causes for the connection that this thread is serving.
///
/// Taking the last piece of a body wakes its connection, which has read on already: all that would
/// come of it is another look at everything, for each request with a body.
pub(crate) fn silently<T>(work: impl FnOnce() -> T) -> T {
    SILENT.set(true);
    let done = work();
    SILENT.set(false);
    done
}

/// Returns a waker for a task's HTTP/1 connection that drops wakes made [`silently`].
///
/// An HTTP/2 connection needs every wake: it has to tell its client that there is room for more.
pub(crate) fn filtered(task: &Waker) -> Waker {
    Waker::from(Arc::new(FilteredWaker(task.clone())))
}

/// Wakes a connection's task, unless this thread works [`silently`].
struct FilteredWaker(Waker);

impl Wake for FilteredWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !SILENT.get() {
            self.0.wake_by_ref();
        }
    }
}
