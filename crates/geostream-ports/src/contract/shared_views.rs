//! What all [`SharedViews`] promise.

use std::sync::Arc;
use std::task::Poll;

use geostream_domain::{
    Load, LoadShare, NodeSummary, NodeView, Removal, Revision, Sight, Skew, Timestamp, VIEW_HOLDS,
    Vote,
};

use super::id;
use crate::{Exchanged, SharedViews};

/// Holds [`SharedViews`] to its promises, by nodes that tell each other.
///
/// # Panics
///
/// Where it breaks one.
pub async fn shared_views<V: SharedViews>(new: impl AsyncFn() -> [V; 3]) {
    let [a, b, c] = new().await;
    let summary = summary("1.0.0");
    let nothing = Arc::<NodeSummary>::default();
    let alone = a.exchange(&view(Vote::Well, 1.0), &summary).await.expect("exchange");
    let alone = Exchanged { clock: None, ..alone };
    assert_eq!(alone, Exchanged::default(), "no node hears itself");
    whoever_waits_is_told_of_views(&a, &b).await;
    // What it said first may be forgotten by now.
    a.exchange(&view(Vote::Well, 1.0), &summary).await.expect("exchange");
    let said = view(Vote::Down(Removal::Proven), 2.5);
    let heard = b.exchange(&said, &nothing).await.expect("exchange").heard;
    assert_eq!(heard.len(), 1);
    assert_eq!(heard[0].summary, Some(Arc::clone(&summary)), "the summary travels whole");
    assert_eq!(heard[0].view, view(Vote::Well, 1.0));
    assert!(heard[0].age < VIEW_HOLDS, "{heard:?}");
    let later = self::summary("1.0.1");
    a.exchange(&view(Vote::Well, 1.0), &later).await.expect("exchange");
    let heard = b.exchange(&said, &nothing).await.expect("exchange").heard;
    assert_eq!(heard[0].summary, Some(Arc::clone(&later)), "a new one replaces the old one");
    c.exchange(&Arc::default(), &nothing).await.expect("exchange");
    let own = view(Vote::Well, 1.0);
    let first = a.exchange(&own, &later).await.expect("exchange").heard;
    let views: Vec<_> = first.iter().map(|heard| Arc::clone(&heard.view)).collect();
    assert!(views.contains(&said) && views.contains(&Arc::default()), "{first:?}");
    assert!(first[0].node < first[1].node);
    let again = a.exchange(&own, &later).await.expect("exchange").heard;
    let is_same = first.iter().zip(&again).all(|(one, two)| Arc::ptr_eq(&one.view, &two.view));
    assert!(is_same, "what is known is not read again");
    b.exchange(&Arc::default(), &nothing).await.expect("exchange");
    let heard = a.exchange(&own, &later).await.expect("exchange").heard;
    assert!(
        heard.iter().all(|heard| heard.view.regions.is_empty()),
        "who goes has no say: {heard:?}"
    );
    // Whoever says nothing is forgotten.
    while !a.exchange(&own, &later).await.expect("exchange").heard.is_empty() {}
}

async fn whoever_waits_is_told_of_views(a: &impl SharedViews, b: &impl SharedViews) {
    let mut news = std::pin::pin!(a.news());
    let (mut vote, mut is_told) = (Vote::Well, false);
    // It may not listen at once.
    while !is_told {
        vote = match vote {
            Vote::Well => Vote::Down(Removal::Unproven),
            Vote::Down(Removal::Unproven) => Vote::Down(Removal::Proven),
            Vote::Down(_) => Vote::Well,
        };
        b.exchange(&view(vote, 1.0), &Arc::default()).await.expect("exchange");
        is_told = std::future::poll_fn(|cx| Poll::Ready(news.as_mut().poll(cx).is_ready())).await;
    }
}

/// Makes a summary in which everything is said.
fn summary(version: &str) -> Arc<NodeSummary> {
    Arc::new(NodeSummary {
        version: version.to_owned(),
        started: Timestamp::from_unix_millis(1_700_000_000_123),
        revision: Revision::new(7),
        store: "current".to_owned(),
        last_good: Some(Revision::new(6)),
        warnings: vec!["clock-skew".to_owned()],
        store_skew: Some(Skew::from_millis(-7_200_000)),
        cache_skew: Some(Skew::ZERO),
        limits: [("http.requests_per_second".to_owned(), 50)].into(),
        is_leaving: true,
    })
}

fn view(vote: Vote, own: f64) -> Arc<NodeView> {
    let load = |units| Load::new(units).expect("a load");
    let reported = Some(load(1e3));
    let load = LoadShare { own: load(own), displaced: load(0.25), away: load(0.5), reported };
    let seen = Sight { vote: Some(vote), load };
    let abstains = Sight { vote: None, ..seen };
    Arc::new(NodeView { regions: [(id("a"), seen), (id("b"), abstains)].into() })
}
