//! What is traced, and the spans of a trace.
//!
//! A trace is a value that is handed on like any other. Only the store finds it by the task that asks,
//! so that its port does not have to name it.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt::Display;
use std::future::Future;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use geostream_domain::Chance;
use geostream_ports::{Clock, Note, Span, SpanId, SpanKind, SpanSink, TraceContext, TraceId};
use thiserror::Error;

/// Decides what is traced, and begins traces.
#[derive(Clone, Debug)]
pub struct Tracer(Option<Arc<Tracing>>);

struct Tracing {
    sink: Box<dyn SpanSink>,
    sampling: Sampling,
    clock: Box<dyn Clock>,
}

impl std::fmt::Debug for Tracing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tracing").field("sampling", &self.sampling).finish_non_exhaustive()
    }
}

/// What is traced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// How much of what nobody has decided on yet.
    pub ratio: Ratio,
    /// Whether callers decide on what they ask, where they say whether they trace it.
    pub follows_callers: bool,
}

/// A share of all traces.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ratio(f64);

/// A number that is no share.
#[derive(Clone, Copy, Debug, Error, PartialEq)]
#[error("a ratio is a number from 0 to 1, and {0} is none")]
pub struct RatioError(f64);

impl Ratio {
    /// All traces.
    pub const ALL: Self = Self(1.0);

    /// Checks that a number is from 0 to 1.
    ///
    /// # Errors
    ///
    /// If it is not.
    pub fn new(share: f64) -> Result<Self, RatioError> {
        if (0.0..=1.0).contains(&share) { Ok(Self(share)) } else { Err(RatioError(share)) }
    }

    /// Tells by its number whether a trace is among this share.
    ///
    /// The number's lower half decides, as in OpenTelemetry's SDKs, so that programs with the same
    /// ratio keep the same traces.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "the lower half is meant, a share is no negative number, and casts saturate"
    )]
    fn includes(self, TraceId(number): TraceId) -> bool {
        const ALL: u64 = 1 << 63;
        (number as u64 >> 1) < (self.0 * ALL as f64) as u64
    }
}

impl Tracer {
    /// Traces nothing.
    pub const OFF: Self = Self(None);

    /// Brings the spans of what is sampled to this sink.
    pub fn new(
        sink: impl SpanSink + 'static,
        sampling: Sampling,
        clock: impl Clock + 'static,
    ) -> Self {
        Self(Some(Arc::new(Tracing { sink: Box::new(sink), sampling, clock: Box::new(clock) })))
    }

    /// Tells whether anything can be sampled.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Begins what a caller has asked for, or what nobody has, if it is to be traced.
    #[must_use]
    pub fn sample(&self, caller: Option<TraceContext>) -> Option<Root> {
        let Tracing { sampling: Sampling { ratio, follows_callers }, .. } = self.0.as_deref()?;
        let (trace, is_sampled) = match caller {
            Some(caller) if *follows_callers => (caller.trace, caller.is_sampled),
            Some(TraceContext { trace, .. }) => (trace, ratio.includes(trace)),
            None if *ratio == Ratio::default() => return None,
            None => {
                let trace = new_trace();
                (trace, ratio.includes(trace))
            }
        };
        is_sampled.then(|| self.root(trace, caller, true))
    }

    /// Begins what is not sampled, so that logs can name it.
    #[must_use]
    pub fn unsampled(caller: Option<TraceContext>) -> Root {
        let trace = caller.map_or_else(new_trace, |caller| caller.trace);
        Self::OFF.root(trace, caller, false)
    }

    fn root(&self, trace: TraceId, caller: Option<TraceContext>, is_sampled: bool) -> Root {
        let context = TraceContext { trace, span: new_span(), is_sampled };
        Root { trace: Trace { tracer: self.clone(), context }, parent: caller.map(|c| c.span) }
    }
}

/// The first span of a trace in this program, before it is known what it is called.
#[derive(Clone, Debug)]
pub struct Root {
    trace: Trace,
    parent: Option<SpanId>,
}

impl Root {
    /// Returns what its parts hang below.
    #[must_use]
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Begins it.
    #[must_use]
    pub fn open(self, kind: SpanKind, name: impl Into<Cow<'static, str>>) -> OpenSpan {
        OpenSpan::begin(self.trace, self.parent, kind, name.into())
    }
}

/// A place in a trace, below which spans can be hung.
#[derive(Clone, Debug)]
pub struct Trace {
    tracer: Tracer,
    context: TraceContext,
}

impl Trace {
    /// Returns the place as other programs are told of it.
    #[must_use]
    pub fn context(&self) -> TraceContext {
        self.context
    }

    /// Begins a span below this place.
    #[must_use]
    pub fn open(&self, name: &'static str) -> OpenSpan {
        self.open_as(SpanKind::Internal, name)
    }

    fn open_as(&self, kind: SpanKind, name: &'static str) -> OpenSpan {
        let context = TraceContext { span: new_span(), ..self.context };
        let place = Self { tracer: self.tracer.clone(), context };
        OpenSpan::begin(place, Some(self.context.span), kind, name.into())
    }

    /// Has what is asked of the store by this work hang below this place.
    pub fn around<F: Future>(self, work: F) -> impl Future<Output = F::Output> {
        TRACE.scope(self, work)
    }

    /// Begins a span below the place that the running task has.
    pub(crate) fn open_in_task(kind: SpanKind, name: &'static str) -> Option<OpenSpan> {
        TRACE.try_with(|trace| trace.open_as(kind, name)).ok()
    }
}

tokio::task_local! {
    static TRACE: Trace;
}

/// A span that ends when it is dropped. One that is not sampled comes to nothing.
#[derive(Debug)]
pub struct OpenSpan {
    place: Trace,
    /// All else of it, if it is sampled.
    span: Option<Box<Span>>,
}

impl OpenSpan {
    fn begin(
        place: Trace,
        parent: Option<SpanId>,
        kind: SpanKind,
        name: Cow<'static, str>,
    ) -> Self {
        let context = place.context;
        let tracing = place.tracer.0.as_ref().filter(|_| context.is_sampled);
        let span = tracing.map(|tracing| {
            let now = tracing.clock.now();
            let (notes, failure) = (Vec::new(), None);
            Box::new(Span { context, parent, kind, name, began: now, ended: now, notes, failure })
        });
        Self { place, span }
    }

    /// Returns what its parts hang below.
    #[must_use]
    pub fn trace(&self) -> &Trace {
        &self.place
    }

    /// Notes something that is known of it.
    pub fn note(&mut self, name: &'static str, note: impl Into<Note>) {
        if let Some(span) = &mut self.span {
            span.notes.push((name, note.into()));
        }
    }

    /// Says what went wrong.
    pub fn fail(&mut self, failure: impl Display) {
        if let Some(span) = &mut self.span {
            span.failure = Some(failure.to_string());
        }
    }
}

impl Drop for OpenSpan {
    fn drop(&mut self) {
        if let (Some(span), Some(tracing)) = (self.span.take(), &self.place.tracer.0) {
            tracing.sink.take(Span { ended: tracing.clock.now(), ..*span });
        }
    }
}

fn new_trace() -> TraceId {
    TraceId(u128::from(new_number()) << 64 | u128::from(new_number()))
}

fn new_span() -> SpanId {
    SpanId(new_number())
}

/// Returns a number that is not 0 and that nobody else is likely to have.
fn new_number() -> u64 {
    thread_local! {
        static CHANCE: RefCell<Chance> =
            RefCell::new(Chance::new(RandomState::new().hash_one("traces")));
    }
    CHANCE.with_borrow_mut(Chance::next_u64).max(1)
}
