//! The suites that every adapter passes, run against the real thing.
//!
//! Each takes a way to make a new, empty adapter and panics where a promise of the port is broken.

mod audit_log;
mod cache;
mod config_store;
mod health_log;
mod last_good;
mod shared_counters;
mod shared_views;
mod token_store;

use std::collections::BTreeMap;
use std::task::Poll;
use std::time::Instant;

use geostream_domain::{
    Change, Commit, GeoPoint, ReachabilityTargets, Region, RequestLimit, Revision, Setting,
    Snapshot, Timestamp,
};

use crate::{ConfigStore, Import, ImportError, ImportId, ImportPart, Proposal, ProposeError};

pub use audit_log::audit_log;
pub use cache::cache;
pub use config_store::config_store;
pub use health_log::health_log;
pub use last_good::last_good;
pub use shared_counters::shared_counters;
pub use shared_views::shared_views;
pub use token_store::token_store;

/// Settings that hold for all nodes: this limit for clients, another for tokens, these targets.
fn shared_settings(requests: u64, targets: &[&str]) -> Vec<Change> {
    let limit = |number| Some(RequestLimit::new(number).expect("a limit"));
    let targets = targets.iter().map(|target| target.parse().expect("an address"));
    let targets = ReachabilityTargets::new(targets).expect("few");
    vec![
        Change::SetSetting(Setting::RequestsPerSecond(limit(requests))),
        Change::SetSetting(Setting::RequestsPerSecondPerToken(limit(requests * 2))),
        Change::SetSetting(Setting::ReachabilityTargets(Some(targets))),
    ]
}

async fn begin(store: &impl ConfigStore, number: u128, base: Snapshot) {
    import(store, number, ImportPart::Begin(base)).await.expect("the store is empty");
}

async fn import(
    store: &impl ConfigStore,
    number: u128,
    part: ImportPart,
) -> Result<(), ImportError> {
    store.import(Import { id: ImportId(number), part, attempt: None }).await
}

fn commit(revision: u64, name: &str) -> Commit {
    let line = |text: &str| text.parse().expect("a line");
    Commit {
        revision: Revision::new(revision),
        changes: vec![region(name)],
        author: line("somebody else"),
        reason: line("long ago"),
        at: Timestamp::from_unix_millis(1_500_000_000_000 + revision),
    }
}

async fn propose(
    store: &impl ConfigStore,
    expected: u64,
    changes: Vec<Change>,
) -> Result<Snapshot, ProposeError> {
    let line = |text: &str| text.parse().expect("a line");
    let at = Timestamp::from_unix_millis(1_700_000_000_123);
    let expected = Revision::new(expected);
    let (author, reason) = (line("ops"), line("because"));
    let lasting = BTreeMap::new();
    store.propose(Proposal { expected, changes, author, reason, at, lasting, attempt: None }).await
}

fn region(name: &str) -> Change {
    let point = GeoPoint::new(52.5, 13.4).expect("a point");
    Change::from(Region::new(id(name), point))
}

fn id(name: &str) -> geostream_domain::RegionId {
    name.parse().expect("a name")
}

/// Polls two futures until both are done, in one task.
async fn join<A, B>(a: impl Future<Output = A>, b: impl Future<Output = B>) -> (A, B) {
    let (mut a, mut b) = (std::pin::pin!(a), std::pin::pin!(b));
    let (mut left, mut right) = (None, None);
    std::future::poll_fn(|cx| {
        if left.is_none()
            && let Poll::Ready(value) = a.as_mut().poll(cx)
        {
            left = Some(value);
        }
        if right.is_none()
            && let Poll::Ready(value) = b.as_mut().poll(cx)
        {
            right = Some(value);
        }
        if left.is_some() && right.is_some() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    (left.expect("polled until ready"), right.expect("polled until ready"))
}

#[expect(clippy::disallowed_methods, reason = "buckets fill by a real clock")]
fn now() -> Instant {
    Instant::now()
}
