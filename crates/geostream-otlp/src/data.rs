//! Spans as OpenTelemetry has them.

use std::time::{Instant, SystemTime};

use geostream_ports::{Note, Span, SpanKind};
use opentelemetry::trace::{SpanContext, SpanId, Status, TraceFlags, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::trace::SpanData;

/// What the wall clock says of moments of the monotonic one, which spans are timed by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moments {
    instant: Instant,
    wall: SystemTime,
}

impl Moments {
    #[expect(
        clippy::disallowed_methods,
        reason = "collectors compare programs by the nanosecond, and the Clock port has milliseconds"
    )]
    pub(crate) fn now() -> Self {
        Self { instant: Instant::now(), wall: SystemTime::now() }
    }

    fn wall(self, moment: Instant) -> SystemTime {
        self.wall - self.instant.saturating_duration_since(moment)
    }

    pub(crate) fn data(self, span: Span) -> SpanData {
        let Span { context, parent, kind, name, began, ended, notes, failure } = span;
        let flags = TraceFlags::default().with_sampled(context.is_sampled);
        let id = |span: geostream_ports::SpanId| SpanId::from(span.0);
        let trace = opentelemetry::trace::TraceId::from(context.trace.0);
        let state = TraceState::default();
        SpanData {
            span_context: SpanContext::new(trace, id(context.span), flags, false, state),
            parent_span_id: parent.map_or(SpanId::INVALID, id),
            parent_span_is_remote: parent.is_some() && kind == SpanKind::Server,
            span_kind: match kind {
                SpanKind::Internal => opentelemetry::trace::SpanKind::Internal,
                SpanKind::Server => opentelemetry::trace::SpanKind::Server,
                SpanKind::Client => opentelemetry::trace::SpanKind::Client,
            },
            name,
            start_time: self.wall(began),
            end_time: self.wall(ended),
            attributes: notes.into_iter().map(attribute).collect(),
            dropped_attributes_count: 0,
            events: <_>::default(),
            links: <_>::default(),
            status: failure.map_or(Status::Unset, Status::error),
            instrumentation_scope: InstrumentationScope::builder("geostream").build(),
        }
    }
}

fn attribute((name, note): (&'static str, Note)) -> KeyValue {
    let value = match note {
        Note::Text(text) => Value::String(text.into()),
        Note::Whole(number) => Value::I64(number),
        Note::Decimal(number) => Value::F64(number),
    };
    KeyValue::new(name, value)
}
