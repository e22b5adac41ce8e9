//! Traces: what took how long on the way of a request, over several programs.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Instant;

use thiserror::Error;

/// Takes the spans of traces, to bring them where people look at them.
pub trait SpanSink: fmt::Debug + Send + Sync {
    /// Takes a span that has ended, at once: what there is no room for is lost, and counted.
    fn take(&self, span: Span);
}

/// A trace's number, which is not 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId(pub u128);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// A span's number in its trace, which is not 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanId(pub u64);

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Where in which trace something happens, as programs tell each other.
///
/// Its text is the header `traceparent` of W3C's Trace Context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace.
    pub trace: TraceId,
    /// The span that other spans hang below.
    pub span: SpanId,
    /// Whether the spans of the trace are kept.
    pub is_sampled: bool,
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trace, span, is_sampled } = self;
        write!(f, "00-{trace}-{span}-{:02x}", u8::from(*is_sampled))
    }
}

/// A text that is no `traceparent`.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error(
    "a traceparent such as 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 is expected"
)]
pub struct TraceContextError;

impl FromStr for TraceContext {
    type Err = TraceContextError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        read_traceparent(text).ok_or(TraceContextError)
    }
}

/// Reads a `traceparent`; of a later version, what this one knows.
///
/// Source: <https://www.w3.org/TR/trace-context/#traceparent-header>.
fn read_traceparent(text: &str) -> Option<TraceContext> {
    let mut fields = text.split('-');
    let mut number = |digits| hexadecimal(fields.next()?, digits);
    let (version, trace, span, flags) = (number(2)?, number(32)?, number(16)?, number(2)?);
    let is_whole = version > 0 || fields.next().is_none();
    if version == 0xff || trace == 0 || span == 0 || !is_whole {
        return None;
    }
    let span = SpanId(u64::try_from(span).ok()?);
    Some(TraceContext { trace: TraceId(trace), span, is_sampled: flags & 1 == 1 })
}

fn hexadecimal(text: &str, digits: usize) -> Option<u128> {
    let is_number =
        text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    is_number.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

/// A piece of work that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Its own place in its trace.
    pub context: TraceContext,
    /// The span that it is a part of.
    pub parent: Option<SpanId>,
    /// On which side of a conversation it was done.
    pub kind: SpanKind,
    /// What was done.
    pub name: Cow<'static, str>,
    /// When it began.
    pub began: Instant,
    /// When it ended.
    pub ended: Instant,
    /// What else is known of it.
    pub notes: Vec<(&'static str, Note)>,
    /// What went wrong.
    pub failure: Option<String>,
}

/// On which side of a conversation a span was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// On neither: nobody else takes part.
    Internal,
    /// It answers another program.
    Server,
    /// It asks another program.
    Client,
}

/// Something that is known of a span.
#[derive(Clone, Debug, PartialEq)]
pub enum Note {
    /// A text.
    Text(Cow<'static, str>),
    /// A whole number.
    Whole(i64),
    /// Any other number.
    Decimal(f64),
}

impl From<&'static str> for Note {
    fn from(text: &'static str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Note {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<u64> for Note {
    fn from(number: u64) -> Self {
        Self::Whole(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<usize> for Note {
    fn from(number: usize) -> Self {
        Self::Whole(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<f64> for Note {
    fn from(number: f64) -> Self {
        Self::Decimal(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_example_of_the_recommendation_is_read_and_written() {
        let context: TraceContext = EXAMPLE.parse().unwrap();
        assert_eq!(context.trace, TraceId(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736));
        assert_eq!(context.span, SpanId(0x00f0_67aa_0ba9_02b7));
        assert!(context.is_sampled);
        assert_eq!(context.to_string(), EXAMPLE);
    }

    #[test]
    fn only_what_the_recommendation_permits_is_read() {
        for (traceparent, is_sampled) in [
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", Some(false)),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03", Some(true)),
            ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more", Some(true)),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more", None),
            ("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", None),
            ("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", None),
            ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", None),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", None),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1", None),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7", None),
            ("00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", None),
            ("", None),
        ] {
            let read = traceparent.parse::<TraceContext>().ok();
            assert_eq!(read.map(|context| context.is_sampled), is_sampled, "{traceparent}");
        }
    }
}
