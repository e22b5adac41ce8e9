//! What happens, as it happens: server-sent events (WHATWG HTML, section 9.2).

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use geostream_api::{HealthEvent, Time};
use geostream_domain::{HealthChange, Revision};
use geostream_ports::{Clock, ConfigStore, GeoLocator, TokenStore};
use http::Response;
use http::header::{CONTENT_TYPE, HeaderValue};
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::time::{interval, timeout};

use crate::api::Api;
use crate::config;
use crate::connection::OpenRequest;
use crate::problem::{Answer, Failure, Kind};
use crate::route;

/// A response's body.
#[derive(Debug)]
pub(crate) enum Content {
    /// All of it.
    Whole(Full<Bytes>),
    /// Events, as long as somebody listens; their request is open until then.
    Events { events: mpsc::Receiver<Bytes>, _open: Option<OpenRequest> },
}

impl Content {
    /// Keeps a request open until the last of this is sent.
    pub(crate) fn keeping(self, open: OpenRequest) -> Self {
        match self {
            Self::Whole(whole) => Self::Whole(whole),
            Self::Events { events, .. } => Self::Events { events, _open: Some(open) },
        }
    }
}

impl Default for Content {
    fn default() -> Self {
        Self::Whole(Full::default())
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(whole) => Pin::new(whole).poll_frame(context),
            Self::Events { events, .. } => {
                events.poll_recv(context).map(|event| Some(Ok(Frame::data(event?))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(whole) => whole.is_end_stream(),
            Self::Events { .. } => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(whole) => whole.size_hint(),
            Self::Events { .. } => SizeHint::default(),
        }
    }
}

/// The events that wait for a listener before it holds up its own.
const WAITING: usize = 16;

/// How often it is looked whether the server is about to stop.
const TICK: Duration = Duration::from_secs(1);

/// How long a listener may keep an event waiting.
const SLOW: Duration = Duration::from_secs(10);

/// How many ticks a stream stays silent: a comment then tells both sides that the other is there.
const SILENT_TICKS: u32 = 15;

/// A listener has missed this many events, since it was too slow.
#[derive(Serialize)]
struct Missed {
    events: u64,
}

impl<S, G, C> Api<S, G, C>
where
    S: ConfigStore + TokenStore,
    G: GeoLocator,
    C: Clock + 'static,
{
    /// Begins to tell what happens.
    pub(crate) fn events(&self) -> Result<Answer, Failure> {
        let Ok(place) = Arc::clone(&self.parts.listeners).try_acquire_owned() else {
            return Err(Failure::new(Kind::TooManyListeners, "too many listen already"));
        };
        let (sender, receiver) = mpsc::channel(WAITING);
        let api = self.clone();
        self.parts.control.spawn(async move {
            // It ends with its listener, or with the server.
            api.tell(sender).await;
            drop(place);
        });
        let mut answer = Response::new(Content::Events { events: receiver, _open: None });
        let kind = HeaderValue::from_static("text/event-stream");
        answer.headers_mut().insert(CONTENT_TYPE, kind);
        Ok(answer)
    }

    /// Tells one listener what happens, until it goes away or the server stops.
    async fn tell(&self, listener: mpsc::Sender<Bytes>) -> Option<()> {
        let mut health = self.parts.health.events();
        let mut configured = self.parts.configuration.watch();
        let mut tick = interval(TICK);
        let mut silent = SILENT_TICKS;
        let mut told = self.parts.configuration.current().revision;
        loop {
            let event = tokio::select! {
                change = health.recv() => match change {
                    Ok(event) => frame("health", &describe(&event)),
                    Err(RecvError::Lagged(events)) => frame("missed", &Missed { events }),
                    Err(RecvError::Closed) => return None,
                },
                changed = configured.changed() => {
                    changed.ok()?;
                    self.commits_since(&mut told).await
                }
                _ = tick.tick() => {
                    if (self.parts.stopping)() || listener.is_closed() {
                        return None;
                    }
                    silent += 1;
                    if silent < SILENT_TICKS {
                        continue;
                    }
                    Bytes::from_static(b":\n\n")
                }
            };
            if event.is_empty() {
                continue;
            }
            silent = 0;
            // Who does not read for so long is not listening.
            timeout(SLOW, listener.send(event)).await.ok()?.ok()?;
        }
    }

    /// Writes an event for each commit after the revision that was last told of.
    async fn commits_since(&self, told: &mut Revision) -> Bytes {
        let latest = self.parts.configuration.history(None, WAITING).await.unwrap_or_default();
        let mut events = Vec::new();
        for commit in latest.iter().rev().filter(|commit| commit.revision > *told) {
            events.extend_from_slice(&frame("config", &config::history_entry(commit)));
        }
        *told = latest.first().map_or(*told, |commit| commit.revision);
        events.into()
    }
}

fn describe(event: &geostream_app::HealthEvent) -> HealthEvent {
    let HealthChange { region, from, to, evidence } = &event.change;
    HealthEvent {
        region: region.to_string(),
        from: route::health(*from).to_owned(),
        to: route::health(*to).to_owned(),
        evidence: evidence.to_string(),
        at: Time(event.at),
    }
}

/// Writes an event; JSON has no line breaks of its own.
fn frame(name: &str, data: &impl Serialize) -> Bytes {
    let data = serde_json::to_string(data).unwrap_or_default();
    format!("event: {name}\ndata: {data}\n\n").into()
}
