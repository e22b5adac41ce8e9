//! A deadline for a connection's first bytes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// A connection that is closed if it says too little for too long.
///
/// hyper tells HTTP/1 from HTTP/2 by the first 24 bytes, and waits for them without a limit
/// (hyperium/hyper #3756): its own header timeout starts after that.
#[derive(Debug)]
pub(crate) struct FirstBytes<S> {
    stream: S,
    /// What is still waited for; `None` once enough has been read.
    waiting: Option<(Pin<Box<Sleep>>, usize)>,
}

/// The length of HTTP/2's preface.
const ENOUGH: usize = 24;

impl<S> FirstBytes<S> {
    pub(crate) fn new(stream: S, patience: Duration) -> Self {
        Self { stream, waiting: Some((Box::pin(sleep(patience)), ENOUGH)) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FirstBytes<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let Some((deadline, missing)) = &mut this.waiting else {
            return Pin::new(&mut this.stream).poll_read(cx, buf);
        };
        let before = buf.filled().len();
        match Pin::new(&mut this.stream).poll_read(cx, buf) {
            Poll::Ready(result) => {
                result?;
                let read = buf.filled().len() - before;
                *missing = missing.saturating_sub(read);
                if *missing == 0 {
                    this.waiting = None;
                }
                Poll::Ready(Ok(()))
            }
            Poll::Pending => {
                ready!(deadline.as_mut().poll(cx));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FirstBytes<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
