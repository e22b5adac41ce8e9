//! A response's body.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

use crate::connection::OpenRequest;

/// A response's body, whose request is open until the last of it is taken.
#[derive(Debug)]
pub(crate) struct Content {
    source: Source,
    open: Option<OpenRequest>,
}

#[derive(Debug)]
enum Source {
    Whole(Bytes),
    /// As long as somebody listens.
    Events(mpsc::Receiver<Bytes>),
}

/// The most that is given out at once: hyper asks for more when there is room for it, which shows
/// whether the client takes it.
const PIECE: usize = 16 << 10;

impl Content {
    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self { source: Source::Whole(bytes), open: None }
    }

    pub(crate) fn events(events: mpsc::Receiver<Bytes>) -> Self {
        Self { source: Source::Events(events), open: None }
    }

    /// Keeps a request open until the last of this is taken, and counts what it holds.
    pub(crate) fn keeping(self, open: OpenRequest) -> Self {
        let source = match self.source {
            Source::Whole(bytes) => Source::Whole(open.stream().charge_answer(bytes, PIECE)),
            Source::Events(events) => {
                open.stream().release_request();
                Source::Events(events)
            }
        };
        let content = Self { source, open: None };
        Self { open: (!content.is_end_stream()).then_some(open), ..content }
    }
}

impl Default for Content {
    fn default() -> Self {
        Self::whole(Bytes::new())
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = match &mut self.source {
            Source::Whole(rest) if rest.is_empty() => None,
            Source::Whole(rest) => Some(rest.split_to(PIECE.min(rest.len()))),
            Source::Events(events) => ready!(events.poll_recv(context)),
        };
        match &self.open {
            Some(open) if piece.is_some() && !self.is_end_stream() => open.note_sent(),
            Some(_) | None => self.open = None,
        }
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Whole(rest) => rest.is_empty(),
            Source::Events(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Whole(rest) => SizeHint::with_exact(rest.len() as u64),
            Source::Events(_) => SizeHint::default(),
        }
    }
}
