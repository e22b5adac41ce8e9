//! Bodies: how they are taken in, read, and given out.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use geostream_api::{FieldErrors, remedy, step};
use geostream_domain::Revision;
use http::header::{CONTENT_TYPE, ETAG, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use serde::{Deserialize, Serialize};
use serde_path_to_error::{Path, Segment};
use tokio::time::timeout;

use crate::content::Content;
use crate::problem::{Answer, Failure, Kind};
use crate::stream::STREAM;
use crate::strict::Strict;
use crate::waker::silently;

/// How much of a body that is too large is read and thrown away: a client that is still sending
/// when the connection is closed may never see the answer.
const OVERRUN: usize = 1 << 20;

/// The shortest body whose memory is counted, if it comes whole with its head.
const COUNTED: usize = 1 << 10;

/// Takes in a body, as far as its limits allow.
pub(crate) async fn collect(
    body: &mut Incoming,
    limit: usize,
    patience: Duration,
) -> Result<Bytes, Failure> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let mut begun = Bytes::new();
    if body.size_hint().upper().is_some_and(|most| most <= limit as u64) {
        // Most bodies come whole with their heads, and need no clock.
        let first = poll_fn(|context| {
            let first = silently(|| Pin::new(&mut *body).poll_frame(context));
            if !body.is_end_stream() {
                context.waker().wake_by_ref();
            }
            Poll::Ready(first)
        });
        if let Poll::Ready(Some(frame)) = first.await {
            begun = frame.map_err(broken)?.into_data().unwrap_or_default();
        }
        if begun.len() >= COUNTED {
            charge(begun.len());
        }
        if body.is_end_stream() {
            return Ok(begun);
        }
    }
    // Every request's future has room for this one: on the heap, it takes no more than a pointer.
    Box::pin(collect_rest(begun, body, limit, patience)).await
}

/// Takes in what comes of a body after its beginning.
async fn collect_rest(
    begun: Bytes,
    body: &mut Incoming,
    limit: usize,
    patience: Duration,
) -> Result<Bytes, Failure> {
    let read = timeout(patience, read_rest(begun, body, limit));
    match read.await.map_err(|_| late(patience))? {
        Ok(whole) => Ok(whole.into()),
        Err(error) if error.is::<LengthLimitError>() => {
            // Whatever comes of it, the body is too large.
            let _rest = timeout(patience, discard(body)).await;
            let detail = match limit {
                0 => "this request takes no body".to_owned(),
                limit => format!("the body of this request may have {limit} bytes at the most"),
            };
            Err(Failure::new(Kind::PayloadTooLarge, detail))
        }
        Err(error) => Err(broken(error)),
    }
}

/// Reads a body to its end, behind its beginning.
///
/// The pieces are copied together at once: a body that comes byte by byte would take a hundred
/// times its length if they were kept.
async fn read_rest(
    begun: Bytes,
    body: &mut Incoming,
    limit: usize,
) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
    let mut rest = Limited::new(body, limit.saturating_sub(begun.len()));
    let mut whole = Vec::from(begun);
    while let Some(frame) = rest.frame().await {
        let Ok(piece) = frame?.into_data() else { continue };
        charge(piece.len());
        whole.extend_from_slice(&piece);
    }
    Ok(whole)
}

/// Reads the rest of a body, as far as that is of use, and keeps nothing of it.
async fn discard(body: &mut Incoming) {
    let mut rest = Limited::new(body, OVERRUN);
    while let Some(Ok(_piece)) = rest.frame().await {}
}

/// Counts bytes of the body as memory of the request that is being answered.
fn charge(bytes: usize) {
    // Outside of a connection, as in tests, there is none.
    let _counted = STREAM.try_with(|stream| stream.charge_body(bytes));
}

fn broken(error: impl std::fmt::Display) -> Failure {
    Failure::field("", format_args!("the body breaks off: {error}"))
}

fn late(patience: Duration) -> Failure {
    let detail = format!("the body did not arrive within {} seconds", patience.as_secs());
    Failure::new(Kind::RequestTimeout, detail)
}

/// Reads a JSON document.
pub(crate) fn read<'a, T>(headers: &HeaderMap, body: &'a [u8]) -> Result<T, Failure>
where
    T: Deserialize<'a>,
{
    if !is_json(headers) {
        let detail = "send the header content-type: application/json";
        return Err(Failure::naming(Kind::UnsupportedMediaType, "content-type", detail));
    }
    parse(body)
}

/// U+FEFF in UTF-8.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Reads a JSON document whose type is known to be right.
pub(crate) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Failure> {
    // Editors and shells on Windows write a byte order mark, which a reader may ignore (RFC 8259,
    // section 8.1).
    let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    let body = std::str::from_utf8(body).map_err(|error| FieldErrors::one("", error))?;
    // The quick way tells that something is wrong; the slow one, where.
    let mut quick = serde_json::Deserializer::from_str(body);
    if let Ok(read) = T::deserialize(Strict(&mut quick))
        && quick.end().is_ok()
    {
        return Ok(read);
    }
    let mut slow = serde_json::Deserializer::from_str(body);
    let read: T = serde_path_to_error::deserialize(Strict(&mut slow)).map_err(|error| {
        let detail = error.inner().to_string();
        let field = field_of_object(&detail).map(step).unwrap_or_default();
        let pointer = pointer(error.path()) + &field;
        let name = pointer.rsplit('/').next().unwrap_or_default();
        match remedy(name, refusal(&detail)) {
            Some(remedy) => FieldErrors::one(&*pointer, format_args!("{detail}; {remedy}")),
            None => FieldErrors::one(pointer, detail),
        }
    })?;
    slow.end().map_err(|error| FieldErrors::one("", error))?;
    Ok(read)
}

/// Returns what is refused, without the place that follows it: ` at line 1 column 9`.
fn refusal(detail: &str) -> &str {
    detail.rsplit_once(" at line ").map_or(detail, |(refusal, _)| refusal)
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(CONTENT_TYPE) else { return false };
    if kind == "application/json" {
        return true;
    }
    let essence = kind.as_bytes().split(|&byte| byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"application/json")
}

/// Writes the way to a field as a JSON pointer.
fn pointer(path: &Path) -> String {
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
            Segment::Map { key: name } | Segment::Enum { variant: name } => {
                pointer.push_str(&step(name));
            }
            Segment::Unknown => {}
        }
    }
    pointer
}

/// Returns the field that an object lacks or has twice: of these, the path tells the object only.
fn field_of_object(detail: &str) -> Option<&str> {
    let missing = detail.strip_prefix("missing field `");
    missing.or_else(|| detail.strip_prefix("duplicate field `"))?.split('`').next()
}

/// Answers with a JSON document.
pub(crate) fn json(document: &impl Serialize) -> Result<Answer, Failure> {
    let mut body = Vec::with_capacity(512);
    serde_json::to_writer(&mut body, document).map_err(|error| {
        tracing::error!(%error, "a response cannot be written");
        Failure::new(Kind::Internal, "the response cannot be written")
    })?;
    Ok(answer(body, HeaderValue::from_static("application/json")))
}

/// Answers with a part of the configuration at a revision.
pub(crate) fn json_at(revision: Revision, document: &impl Serialize) -> Result<Answer, Failure> {
    let mut answer = json(document)?;
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{revision}\"")) {
        answer.headers_mut().insert(ETAG, tag);
    }
    Ok(answer)
}

/// Answers with bytes of this type.
pub(crate) fn answer(body: impl Into<Bytes>, content_type: HeaderValue) -> Answer {
    answer_in(HeaderMap::new(), body, content_type)
}

/// Answers with bytes of this type, and uses the room that these headers take.
pub(crate) fn answer_in(
    mut headers: HeaderMap,
    body: impl Into<Bytes>,
    content_type: HeaderValue,
) -> Answer {
    headers.clear();
    headers.insert(CONTENT_TYPE, content_type);
    let mut answer = Response::new(Content::whole(body.into()));
    *answer.headers_mut() = headers;
    answer
}

/// Returns the answer that has no body.
pub(crate) fn no_content() -> Answer {
    let mut answer = Answer::default();
    *answer.status_mut() = StatusCode::NO_CONTENT;
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use geostream_api::RouteRequest;

    fn problem(body: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
        let failure =
            read::<geostream_api::BatchRequest<'_>>(&headers, body.as_bytes()).unwrap_err();
        let error = failure.to_problem().errors.remove(0);
        format!("{} {}", error.pointer, error.detail)
    }

    #[test]
    fn a_bad_document_is_pointed_into() {
        for (body, expected) in [
            ("", " EOF while parsing"),
            ("{", " EOF while parsing"),
            ("[]", " invalid type: sequence"),
            (r#"{"requests": [["8.8.8.8"]]}"#, "/requests/0 invalid type: sequence"),
            (r#"{"requests": [{"location": [1, 2]}]}"#, "/requests/0/location invalid type"),
            ("{}", "/requests missing field `requests`"),
            (r#"{"requests": [], "requests": []}"#, "/requests duplicate field `requests`"),
            (
                r#"{"requests": [{"location": {"latitude": 1}}]}"#,
                "/requests/0/location/longitude missing",
            ),
            (r#"{"requests": 7}"#, "/requests invalid type: integer `7`, expected a sequence"),
            (r#"{"requests": [{}, {"service": 7}]}"#, "/requests/1/service invalid type"),
            (r#"{"requests": [{"servce": "a"}]}"#, "/requests/0/servce unknown field `servce`"),
            (r#"{"requests": []} x"#, " trailing characters"),
            (r#"{"requests": [{"location": {"latitude": 1e999}}]}"#, "/requests/0/location"),
        ] {
            let problem = problem(body);
            assert!(problem.starts_with(expected), "{body}: {problem}");
        }
    }

    #[test]
    fn a_refused_field_is_told_with_what_to_write() {
        for (body, expected) in [
            (r#"{"latitude": 1, "longitude": 2, "capacity": "1000/s"}"#, "; write 1000: a number"),
            (r#"{"latitude": 1, "longitude": 2, "chek": {}}"#, "; write `check`"),
            (r#"{"latitude": "50,1", "longitude": 2}"#, "; write 50.1: a number"),
        ] {
            let failure = parse::<geostream_api::Region>(body.as_bytes()).unwrap_err();
            let detail = failure.to_problem().errors.remove(0).detail;
            assert!(detail.contains(expected), "{body}: {detail}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_passed_over() {
        let read: RouteRequest<'_> = parse("\u{feff}{\"service\": \"api\"}".as_bytes()).unwrap();
        assert_eq!(read.service.as_deref(), Some("api"));
        assert!(parse::<RouteRequest<'_>>("\u{feff}\u{feff}{}".as_bytes()).is_err());
    }

    #[test]
    fn a_body_that_is_not_json_is_refused() {
        let failure = read::<RouteRequest<'_>>(&HeaderMap::new(), b"{}").unwrap_err();
        assert_eq!(failure.to_problem().status, 415);
    }
}
