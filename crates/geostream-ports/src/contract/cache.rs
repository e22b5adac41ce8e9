//! What every [`Cache`] promises.

use geostream_domain::{Revision, Snapshot};

use super::{join, region, shared_settings};
use crate::{Cache, Head, Kept, Marked};

/// Holds a [`Cache`] to its promises, as two nodes see it.
///
/// # Panics
///
/// Where the cache breaks one.
pub async fn cache<C: Cache>(new: impl AsyncFn() -> (C, C)) {
    what_one_node_puts_the_others_find(new().await).await;
    an_earlier_revision_replaces_no_later_one(new().await).await;
    what_is_forgotten_is_the_commit_that_was_meant(new().await).await;
    of_many_nodes_one_reads(new().await).await;
}

async fn what_one_node_puts_the_others_find((cache, other): (impl Cache, impl Cache)) {
    let (empty, second) = (marked("a", 0), marked("b", 1));
    assert_eq!(look(&other, &empty).await, Kept::Nothing);
    cache.put(&empty).await.expect("put");
    assert_eq!(
        look(&other, &empty).await,
        Kept::This(empty.snapshot.clone()),
        "nothing is a result"
    );
    let told = other.news();
    join(told, async { cache.put(&second).await.expect("put") }).await;
    assert_eq!(look(&other, &second).await, Kept::This(second.snapshot.clone()));
    assert_eq!(look(&other, &empty).await, Kept::Other(head(&second)));
}

async fn an_earlier_revision_replaces_no_later_one((cache, other): (impl Cache, impl Cache)) {
    let (early, late, instead) = (marked("a", 1), marked("b", 2), marked("c", 2));
    cache.put(&late).await.expect("put");
    other.put(&early).await.expect("it is late, which is no error");
    assert_eq!(look(&cache, &late).await, Kept::This(late.snapshot.clone()));
    other.put(&instead).await.expect("put");
    assert_eq!(
        look(&cache, &late).await,
        Kept::Other(head(&instead)),
        "another of the same number"
    );
}

async fn what_is_forgotten_is_the_commit_that_was_meant((cache, other): (impl Cache, impl Cache)) {
    let (kept, another) = (marked("a", 1), marked("b", 1));
    cache.put(&kept).await.expect("put");
    other.forget(&head(&another)).await.expect("forget");
    assert_eq!(look(&cache, &kept).await, Kept::This(kept.snapshot.clone()));
    other.forget(&head(&kept)).await.expect("forget");
    assert_eq!(look(&cache, &kept).await, Kept::Nothing);
}

async fn of_many_nodes_one_reads((cache, other): (impl Cache, impl Cache)) {
    let (one, another) = (head(&marked("a", 1)), head(&marked("b", 1)));
    assert!(cache.claim(&one).await.expect("claim"));
    assert!(!other.claim(&one).await.expect("claim"));
    assert!(other.claim(&another).await.expect("claim"), "of each commit");
}

async fn look(cache: &impl Cache, wanted: &Marked) -> Kept {
    cache.look(&head(wanted)).await.expect("look")
}

fn marked(mark: &str, regions: u64) -> Marked {
    let names = (0..regions).map(|number| region(&format!("r{number}")));
    let settings = shared_settings(regions, &["192.0.2.1:443"]);
    let config = geostream_domain::Config::default().after(names.chain(settings)).expect("valid");
    let mut snapshot = Snapshot::from(config);
    snapshot.revision = Revision::new(regions);
    Marked { mark: mark.to_owned(), snapshot }
}

fn head(marked: &Marked) -> Head {
    Head { revision: marked.snapshot.revision, mark: marked.mark.clone() }
}
