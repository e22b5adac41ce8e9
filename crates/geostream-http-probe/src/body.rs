//! Reading the body of an answer, as far as a check needs it.

use std::io;

use geostream_domain::{Line, ProbeFailure};
use http::Version;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::response::Parts;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

/// The most that is read of a body, and in which a wanted text has to be.
const MOST: usize = 64 << 10;

/// Reads a body to its end, or its first 64 KiB, and looks for a text in it.
///
/// A stream of events has no end, so it is read until the text is found, and not at all where none
/// is wanted. Tells whether the end of the body was read: only then can the connection be kept.
///
/// # Errors
///
/// [`ProbeFailure::Incomplete`] if the body breaks off, [`ProbeFailure::Body`] if it lacks the text.
pub(crate) async fn read(
    head: &Parts,
    mut body: Incoming,
    wanted: Option<&Line>,
) -> Result<bool, ProbeFailure> {
    let wanted = wanted.map(|line| line.as_str().as_bytes());
    let is_endless = is_stream_of_events(head);
    if is_endless && wanted.is_none() {
        return Ok(false);
    }
    let mut read = Vec::new();
    let mut is_whole = false;
    while read.len() < MOST {
        match body.frame().await {
            None => {
                is_whole = true;
                break;
            }
            Some(Ok(frame)) => {
                let data = frame.into_data().unwrap_or_default();
                read.extend_from_slice(&data[..data.len().min(MOST - read.len())]);
                if is_endless && wanted.is_some_and(|wanted| holds(&read, wanted)) {
                    return Ok(false);
                }
            }
            Some(Err(error)) if ends_with_connection(head) && is_end(&error) => break,
            Some(Err(_)) => return Err(ProbeFailure::Incomplete),
        }
    }
    match wanted {
        Some(wanted) if !holds(&read, wanted) => Err(ProbeFailure::Body),
        Some(_) | None => Ok(is_whole),
    }
}

fn holds(read: &[u8], wanted: &[u8]) -> bool {
    read.windows(wanted.len()).any(|part| part == wanted)
}

fn is_stream_of_events(head: &Parts) -> bool {
    let Some(kind) = head.headers.get(CONTENT_TYPE) else { return false };
    let essence = kind.as_bytes().split(|&byte| byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
}

/// Tells whether the end of the connection is the end of the body (RFC 9112, section 6.3).
fn ends_with_connection(head: &Parts) -> bool {
    let is_delimited =
        head.headers.contains_key(CONTENT_LENGTH) || head.headers.contains_key(TRANSFER_ENCODING);
    !is_delimited && head.version < Version::HTTP_2
}

/// Tells whether the connection has ended without a word, as TLS connections of many servers do
/// (no `close_notify`).
fn is_end(error: &hyper::Error) -> bool {
    let below = std::error::Error::source(error).and_then(|source| source.downcast_ref());
    below.is_some_and(|error: &io::Error| error.kind() == io::ErrorKind::UnexpectedEof)
}
