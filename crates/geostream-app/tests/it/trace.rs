//! What is traced, and how spans hang together.

use std::sync::{Arc, Mutex};

use geostream_app::{Publisher, Ratio, RouteQuery, Router, Sampling, StoreState, Traced, Tracer};
use geostream_domain::{Revision, Snapshot};
use geostream_embedded::EmbeddedStore;
use geostream_ports::{
    ConfigStore as _, Note, Span, SpanId, SpanKind, SpanSink, TraceContext, TraceId, Unavailable,
};

use crate::world::{Berlin, SetClock, config};

/// Keeps what it is given.
#[derive(Clone, Debug, Default)]
struct Kept(Arc<Mutex<Vec<Span>>>);

impl SpanSink for Kept {
    fn take(&self, span: Span) {
        self.0.lock().unwrap().push(span);
    }
}

impl Kept {
    fn names(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().map(|span| span.name.to_string()).collect()
    }
}

fn tracer(ratio: f64, follows_callers: bool) -> (Tracer, Kept) {
    let kept = Kept::default();
    let sampling = Sampling { ratio: Ratio::new(ratio).unwrap(), follows_callers };
    (Tracer::new(kept.clone(), sampling, SetClock::default()), kept)
}

fn caller(trace: u128, is_sampled: bool) -> TraceContext {
    TraceContext { trace: TraceId(trace), span: SpanId(7), is_sampled }
}

#[test]
fn callers_decide_and_else_the_ratio() {
    let samples =
        |ratio, follows_callers, caller| tracer(ratio, follows_callers).0.sample(caller).is_some();
    assert!(Tracer::OFF.sample(Some(caller(1, true))).is_none());
    for ratio in [0.0, 0.5, 1.0] {
        assert!(samples(ratio, true, Some(caller(u128::MAX, true))), "{ratio}");
        assert!(!samples(ratio, true, Some(caller(1, false))), "{ratio}");
    }
    assert!(!samples(0.0, false, Some(caller(1, true))));
    assert!(samples(1.0, false, Some(caller(u128::MAX, false))));
    assert!(samples(0.5, false, Some(caller(1, false))), "the lower half of the number decides");
    assert!(!samples(0.5, false, Some(caller(u128::from(u64::MAX), true))));
    assert!(!samples(0.0, true, None) && samples(1.0, true, None));
    assert!(Ratio::new(1.1).is_err() && Ratio::new(f64::NAN).is_err());
}

#[test]
fn a_ratio_is_kept_to() {
    let (tracer, _) = tracer(0.25, true);
    let sampled = (0..10_000).filter(|_| tracer.sample(None).is_some()).count();
    assert!((2_200..2_800).contains(&sampled), "{sampled}");
}

#[test]
fn a_traced_decision_is_the_decision_and_shows_its_stages() {
    let publisher = Publisher::new(SetClock::default());
    let snapshot = Snapshot { revision: Revision::new(1), config: Arc::new(config()) };
    publisher.publish(snapshot, StoreState::Current);
    let router = Router::new(&publisher, Arc::new(Berlin));
    let query = RouteQuery { address: Some("192.0.2.7".parse().unwrap()), ..<_>::default() };
    let view = router.view();
    let (tracer, kept) = tracer(0.0, true);
    let root = tracer.sample(Some(caller(1, true))).unwrap().open(SpanKind::Server, "request");
    let traced = view.route_traced(&query, root.trace()).unwrap();
    assert_eq!(traced.decision, view.route(&query).unwrap().decision);
    let unknown = RouteQuery { service: Some("api"), ..<_>::default() };
    assert!(view.route_traced(&unknown, Tracer::unsampled(None).trace()).is_ok());
    let place = root.trace().context();
    drop(root);

    assert_eq!(kept.names(), ["locate", "filter", "rank", "request"]);
    let spans = kept.0.lock().unwrap();
    assert!(spans.iter().all(|span| span.context.trace == TraceId(1) && span.failure.is_none()));
    assert_eq!(spans[3].context, place);
    assert_eq!(spans[3].parent, Some(SpanId(7)));
    assert!(spans[..3].iter().all(|span| span.parent == Some(place.span)));
    assert_eq!(spans[2].notes[0], ("geostream.region", Note::from("eu")));
}

#[tokio::test]
async fn what_the_store_is_asked_hangs_below_whoever_asks() {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::create(&directory.path().join("config.redb")).unwrap();
    let (tracer, kept) = tracer(0.0, true);
    let store = Traced::new(store, tracer.clone());
    let done: Result<Snapshot, Unavailable> = store.load().await;
    assert!(done.is_ok());
    Tracer::unsampled(None).trace().clone().around(store.load()).await.unwrap();
    assert!(kept.names().is_empty(), "nobody wants to see these");
    let root = tracer.sample(Some(caller(1, true))).unwrap().open(SpanKind::Server, "request");
    root.trace().clone().around(store.load()).await.unwrap();
    let spans = kept.0.lock().unwrap();
    let [load] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!((&load.name[..], load.parent), ("store load", Some(root.trace().context().span)));
}
