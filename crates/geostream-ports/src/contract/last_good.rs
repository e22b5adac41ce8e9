//! What every [`LastGood`] promises.

use std::sync::Arc;

use geostream_domain::{LostCommits, Revision, Snapshot, Timestamp};

use super::{commit, region, shared_settings};
use crate::{LastGood, SavedTable};

/// Holds a [`LastGood`] to its promises.
///
/// # Panics
///
/// Where it breaks one.
pub async fn last_good<L: LastGood>(new: impl AsyncFn() -> L) {
    let kept = new().await;
    assert_eq!(kept.load().await.expect("load"), None);
    for names in [vec!["a"], vec!["a", "b"]] {
        let regions = names.iter().map(|name| region(name));
        let changes = regions.chain(shared_settings(9, &["192.0.2.1:443"]));
        let config = geostream_domain::Config::default().after(changes);
        let mut snapshot = Snapshot::from(config.expect("valid"));
        snapshot.revision = Revision::new(names.len() as u64);
        let recent = [commit(names.len() as u64, names[0])].into_iter().collect();
        let table = SavedTable { snapshot, recent, at: Timestamp::from_unix_millis(5) };
        kept.save(&table).await.expect("save");
        assert_eq!(kept.load().await.expect("load"), Some(table));
    }
    lost_commits_are_kept_once_until_they_are_removed(&kept).await;
}

async fn lost_commits_are_kept_once_until_they_are_removed(kept: &impl LastGood) {
    let names = async || kept.lost().await.expect("lost");
    assert_eq!(names().await, [""; 0]);
    let lost = |revision: u64, id: &str| LostCommits {
        first: Revision::new(revision),
        last: Revision::new(revision),
        commits: vec![commit(revision, id)],
        config: Arc::default(),
        changes: vec![region(id)],
        store: Revision::ZERO,
        found: Timestamp::EPOCH,
    };
    let name = kept.keep_lost(&lost(1, "a")).await.expect("keep");
    assert_eq!(kept.keep_lost(&lost(1, "a")).await.expect("keep"), name);
    let other = kept.keep_lost(&lost(1, "b")).await.expect("keep");
    assert_ne!(other, name, "other commits of that number are not the same");
    assert_eq!(names().await.len(), 2);
    kept.forget_lost(&name).await.expect("forget");
    assert_eq!(names().await, [other]);
    for revision in 2..40 {
        let name = kept.keep_lost(&lost(revision, "a")).await.expect("keep");
        assert!(names().await.contains(&name), "the oldest goes");
    }
    assert!(names().await.len() < 20, "their number is limited");
}
