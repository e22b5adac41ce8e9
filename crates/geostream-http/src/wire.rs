//! A connection's stream, as hyper sees it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::connection::Connection;
use crate::frames::Frames;
use crate::preface::{Beginning, PREFACE};

/// What may be read of HTTP/2, in frames and in bytes, or written of any answer, before other
/// connections have their turn.
///
/// hyper and h2 go on as long as there is something to read or room to write, and the worker's
/// other connections wait.
const TURN_COST: u32 = 256;
const TURN_BYTES: usize = 64 << 10;

/// A connection's stream, which takes one piece at a time.
///
/// Answers are small: copied behind their heads, and in HTTP/2 behind each other, they cost the
/// kernel less than pieces that are kept apart. h2 would write as often as it has answers.
#[derive(Debug)]
pub(crate) struct Wire<T> {
    stream: T,
    /// What was read to find out which version of HTTP this is.
    beginning: Beginning,
    connection: Arc<Connection>,
    /// The frames of HTTP/2.
    frames: Option<Box<Frames>>,
    turn_cost: u32,
    turn_bytes: usize,
    turn_written: usize,
}

impl<T> Wire<T> {
    pub(crate) fn http1(stream: T, beginning: Beginning, connection: Arc<Connection>) -> Self {
        Self {
            stream,
            beginning,
            connection,
            frames: None,
            turn_cost: 0,
            turn_bytes: 0,
            turn_written: 0,
        }
    }

    pub(crate) fn http2(stream: T, beginning: Beginning, connection: Arc<Connection>) -> Self {
        let frames = Frames::new(PREFACE.len(), connection.totals.now());
        let frames = Some(Box::new(frames));
        Self { frames, ..Self::http1(stream, beginning, connection) }
    }

    /// Tells whether others are to have their turn, which then begins another one of this.
    fn yields(&mut self) -> bool {
        let yields = self.turn_cost >= TURN_COST || self.turn_bytes >= TURN_BYTES;
        if yields {
            self.turn_cost = 0;
            self.turn_bytes = 0;
        }
        yields
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Wire<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let wire = &mut *self;
        if wire.yields() {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        if !wire.beginning.give_out(buffer) {
            ready!(Pin::new(&mut wire.stream).poll_read(context, buffer))?;
        }
        let Some(frames) = &mut wire.frames else { return Poll::Ready(Ok(())) };
        let received = &buffer.filled()[before..];
        let all = &wire.connection.totals;
        match frames.handle_received(received, all.now()) {
            Ok(cost) => {
                wire.turn_cost += cost;
                wire.turn_bytes += received.len();
                Poll::Ready(Ok(()))
            }
            Err(error) => {
                all.note_flood();
                if let Some(goaway) = frames.goaway() {
                    // It is told only if there is room for it: the connection ends all the same.
                    let _told = Pin::new(&mut wire.stream).poll_write(context, &goaway);
                }
                Poll::Ready(Err(io::Error::other(error)))
            }
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Wire<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wire = &mut *self;
        if wire.turn_written >= TURN_BYTES {
            wire.turn_written = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let bytes = &bytes[..bytes.len().min(TURN_BYTES)];
        let written = Pin::new(&mut wire.stream).poll_write(context, bytes);
        match written {
            Poll::Ready(Ok(length)) => wire.turn_written += length,
            Poll::Ready(Err(_)) | Poll::Pending => wire.turn_written = 0,
        }
        let is_answer = match (&mut wire.frames, &written) {
            (Some(frames), Poll::Ready(Ok(length))) => frames.handle_sent(&bytes[..*length]),
            (Some(_), _) => false,
            // In HTTP/1, all that is written are answers.
            (None, _) => true,
        };
        // A client that reads a long answer slowly is not idle.
        wire.connection.count_write(&written, is_answer);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
