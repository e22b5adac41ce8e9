//! What happens, as it happens: server-sent events (WHATWG HTML, section 9.2).

use std::time::Duration;

use bytes::Bytes;
use geostream_api::{HealthEvent, OverrideEnded, Time};
use geostream_domain::{Commit, HealthChange, Override, RegionId, Revision};
use geostream_ports::{Clock, GeoLocator, Store};
use http::Response;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::time::{interval, timeout};

use crate::api::Api;
use crate::call::Call;
use crate::config;
use crate::content::Content;
use crate::limited::Visible;
use crate::places::NoPlace;
use crate::problem::{Answer, Failure, Kind};
use crate::shared::LISTENERS_OF_ONE;
use crate::words;

const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The events that wait for a listener before it holds up its own.
const WAITING: usize = 16;

/// The commits that are told of at once.
const PAGE: u8 = 16;

/// How often it is looked whether the server is about to stop.
const TICK: Duration = Duration::from_secs(1);

/// How long a listener may keep an event waiting.
const SLOW: Duration = Duration::from_secs(10);

/// How many ticks a stream stays silent: a comment then tells both sides that the other is there.
const SILENT_TICKS: u32 = 15;

/// A listener has missed this many events: it was too slow, or commits are no longer kept.
#[derive(Serialize)]
struct Missed {
    events: u64,
}

/// Whoever is told.
struct Listener {
    sender: mpsc::Sender<Bytes>,
    silent_ticks: u32,
    /// What its token lets it see.
    visible: Visible,
}

impl Listener {
    fn sees(&self, region: &RegionId) -> bool {
        self.visible.has_region(region)
    }

    /// Tells it something, or says that it does not listen: who does not read for so long is gone.
    async fn hear(&mut self, events: Bytes) -> Option<()> {
        self.silent_ticks = 0;
        timeout(SLOW, self.sender.send(events)).await.ok()?.ok()
    }
}

impl<S, G, C> Api<S, G, C>
where
    S: Store,
    G: GeoLocator,
    C: Clock + 'static,
{
    /// Begins to tell what happens.
    pub(crate) fn events(&self, call: &Call) -> Result<Answer, Failure> {
        let token = call.attempt.who.as_ref().and_then(|who| who.token);
        let holder = token.map_or(0, |(id, _)| id.into());
        let place = self.shared.listeners.take(holder, 1).map_err(|why| match why {
            NoPlace::Full => Failure::new(Kind::TooManyListeners, "too many listen already"),
            NoPlace::HasItsPart => Failure::has_its_part(format!(
                "this token has {LISTENERS_OF_ONE} streams of events open, and may have no more"
            )),
        })?;
        let (sender, receiver) = mpsc::channel(WAITING);
        let api = self.clone();
        let visible = call.visible.clone();
        self.parts.control.spawn(async move {
            // It ends with its listener, or with the server.
            api.tell(sender, visible).await;
            drop(place);
        });
        let mut answer = Response::new(Content::events(receiver));
        let kind = HeaderValue::from_static("text/event-stream");
        answer.headers_mut().insert(CONTENT_TYPE, kind);
        // nginx collects an answer in a buffer before it passes it on, unless this header is there.
        answer.headers_mut().insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
        Ok(answer)
    }

    /// Tells one listener what happens, until it goes away or the server stops.
    async fn tell(&self, sender: mpsc::Sender<Bytes>, visible: Visible) -> Option<()> {
        let mut health = self.parts.health.events();
        let mut configured = self.parts.configuration.watch();
        let mut ended = self.parts.configuration.ended_overrides();
        let mut tick = interval(TICK);
        let mut listener = Listener { sender, silent_ticks: SILENT_TICKS, visible };
        let mut told = self.parts.configuration.current().revision;
        loop {
            tokio::select! {
                change = health.recv() => {
                    if change.as_ref().is_ok_and(|told| !listener.sees(&told.change.region)) {
                        continue;
                    }
                    listener.hear(event("health", change, describe)?).await?;
                }
                wish = ended.recv() => {
                    if wish.as_ref().is_ok_and(|ended| !listener.sees(&ended.region)) {
                        continue;
                    }
                    listener.hear(event("override_ended", wish, describe_end)?).await?;
                }
                changed = configured.changed() => {
                    changed.ok()?;
                    self.tell_commits(&mut told, &mut listener).await?;
                }
                _ = tick.tick() => {
                    if (self.parts.stopping)() || listener.sender.is_closed() {
                        return None;
                    }
                    // A token that was revoked or has expired since reads no further.
                    let caller = listener.visible.caller();
                    if caller.is_some_and(|caller| !self.parts.access.is_valid(caller)) {
                        return None;
                    }
                    // The store may not have been able to say when they came.
                    self.tell_commits(&mut told, &mut listener).await?;
                    listener.silent_ticks += 1;
                    if listener.silent_ticks >= SILENT_TICKS {
                        listener.hear(Bytes::from_static(b":\n\n")).await?;
                    }
                }
            }
        }
    }

    /// Tells of each commit since the one that was last told of.
    async fn tell_commits(&self, told: &mut Revision, listener: &mut Listener) -> Option<()> {
        loop {
            let latest = self.parts.configuration.current().revision;
            if latest <= *told {
                // A store that has lost revisions goes on from where it is.
                *told = latest;
                return Some(());
            }
            let last = latest.min(Revision::new(told.get() + u64::from(PAGE)));
            let below = Some(last.next());
            let commits = self.parts.configuration.history(below, PAGE.into()).await;
            let Ok(commits) = commits else { return Some(()) };
            let events = commits_between(*told, last, &commits, &listener.visible);
            if !events.is_empty() {
                listener.hear(events).await?;
            }
            *told = last;
        }
    }
}

/// Writes an event for each commit after one revision up to another, and one for those that are no
/// longer kept; they come newest first.
fn commits_between(told: Revision, last: Revision, commits: &[Commit], visible: &Visible) -> Bytes {
    let new: Vec<_> = commits.iter().rev().filter(|commit| commit.revision > told).collect();
    let kept = u64::try_from(new.len()).unwrap_or_default();
    let missed = (last.get() - told.get()).saturating_sub(kept);
    let mut events = Vec::new();
    if missed > 0 {
        events.extend_from_slice(&frame("missed", &Missed { events: missed }));
    }
    for commit in new.into_iter().cloned().filter_map(|commit| visible.commit(commit)) {
        events.extend_from_slice(&frame("config", &config::history_entry(&commit)));
    }
    events.into()
}

/// Writes an event that was received, or how many were missed; `None` if there will be no more.
fn event<T, D: Serialize>(
    name: &str,
    received: Result<T, RecvError>,
    describe: impl Fn(&T) -> D,
) -> Option<Bytes> {
    match received {
        Ok(event) => Some(frame(name, &describe(&event))),
        Err(RecvError::Lagged(events)) => Some(frame("missed", &Missed { events })),
        Err(RecvError::Closed) => None,
    }
}

fn describe_end(wish: &Override) -> OverrideEnded {
    OverrideEnded { region: wish.region.to_string(), ended: wish.into() }
}

fn describe(event: &geostream_app::HealthEvent) -> HealthEvent {
    let HealthChange { region, from, to, .. } = &event.change;
    HealthEvent {
        region: region.to_string(),
        from: words::health(*from).to_owned(),
        to: words::health(*to).to_owned(),
        evidence: event.change.why().to_string(),
        at: Time(event.at),
    }
}

/// Writes an event; JSON has no line breaks of its own.
fn frame(name: &str, data: &impl Serialize) -> Bytes {
    let data = serde_json::to_string(data).unwrap_or_default();
    format!("event: {name}\ndata: {data}\n\n").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use geostream_domain::Timestamp;

    /// Returns what is told of the revisions after one up to another, of which these are kept.
    fn told(after: u64, last: u64, kept: std::ops::RangeInclusive<u64>) -> String {
        let commit = |revision| Commit {
            revision: Revision::new(revision),
            changes: Vec::new(),
            author: "ci".parse().unwrap(),
            reason: "test".parse().unwrap(),
            at: Timestamp::EPOCH,
        };
        let commits: Vec<_> = kept.rev().map(commit).collect();
        let all = Visible::to(None);
        let events = commits_between(Revision::new(after), Revision::new(last), &commits, &all);
        let events = String::from_utf8(events.to_vec()).unwrap();
        let told = events.split_terminator("\n\n").map(|event| {
            let (name, data) = event.split_once("\ndata: ").unwrap();
            let data: serde_json::Value = serde_json::from_str(data).unwrap();
            let number = data.get("revision").or_else(|| data.get("events")).unwrap();
            format!("{} {number}", name.strip_prefix("event: ").unwrap())
        });
        told.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn every_commit_is_told_of_or_said_to_be_missed() {
        assert_eq!(told(4, 6, 5..=6), "config 5, config 6");
        assert_eq!(told(4, 6, 1..=6), "config 5, config 6");
        assert_eq!(told(4, 8, 7..=8), "missed 2, config 7, config 8");
        #[expect(clippy::reversed_empty_ranges, reason = "none is kept")]
        let none = 1..=0;
        assert_eq!(told(4, 20, none), "missed 16");
    }
}
