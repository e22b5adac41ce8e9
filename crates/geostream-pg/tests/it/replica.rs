//! A primary that dies, and a replica that takes its place.

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex};

use geostream_domain::{Chance, Revision};
use geostream_pg::{PgStore, Target, migrate};
use geostream_ports::{ConfigStore as _, ProposeError};
use geostream_testbed::Postgres;

use crate::faults::{refused, write_when_possible};
use crate::in_the_end;
use crate::nodes::{propose, put};

/// A primary and its replica, and URLs of theirs.
struct Pair {
    primary: Postgres,
    replica: Postgres,
    /// Names both.
    url: String,
    /// Names the replica alone.
    spare: String,
}

impl Pair {
    async fn start() -> Self {
        let primary = Postgres::start(&[]);
        let database = primary.database();
        migrate::up(&Target::parse(&database, None).unwrap()).await.unwrap();
        let replica = primary.replica();
        let address = |server: &Postgres| format!("127.0.0.1:{}", server.port());
        let both = format!("{},{}", address(&primary), address(&replica));
        let url = |hosts| database.replace(&address(&primary), hosts);
        let (url, spare) = (url(&both), url(&address(&replica)));
        Self { primary, replica, url, spare }
    }

    /// Returns a node that has spoken to neither of them yet.
    fn node(&self, seed: u64) -> PgStore {
        PgStore::new(Target::parse(&self.url, None).unwrap(), 30, seed)
    }

    fn fail_over(&mut self) {
        self.primary.kill();
        self.replica.promote();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_with_a_synchronous_replica_is_not_lost() {
    let seed = RandomState::new().hash_one(0);
    println!("seed {seed}");
    let mut pair = Pair::start().await;
    pair.primary.wait_for_replica();
    let acknowledged = Arc::new(Mutex::new(BTreeSet::new()));
    let writers: Vec<_> = (0..4)
        .map(|node| tokio::spawn(write_until_it_fails(pair.node(node), node, acknowledged.clone())))
        .collect();
    let wanted = 20 + usize::try_from(Chance::new(seed).next_u64() % 200).unwrap();
    while acknowledged.lock().unwrap().len() < wanted {
        tokio::task::yield_now().await;
    }
    pair.fail_over();
    for writer in writers {
        in_the_end(writer).await.unwrap();
    }
    let node = pair.node(9);
    write_when_possible(&node, "after").await;
    let config = node.load().await.unwrap().config;
    let kept = config.regions().keys().map(ToString::to_string).collect::<BTreeSet<_>>();
    let lost: Vec<_> = acknowledged.lock().unwrap().difference(&kept).cloned().collect();
    assert!(lost.is_empty(), "of {wanted} or more, {lost:?} are lost");
}

/// Commits regions of its own one after another, and notes each that was acknowledged.
async fn write_until_it_fails(node: PgStore, number: u64, noted: Arc<Mutex<BTreeSet<String>>>) {
    let mut expected = Revision::ZERO;
    for count in 0.. {
        let name = format!("n{number}-{count}");
        loop {
            match propose(&node, expected, vec![put(&name)]).await {
                Ok(snapshot) => expected = snapshot.revision,
                Err(ProposeError::Conflict { current }) => {
                    expected = current;
                    continue;
                }
                Err(ProposeError::Unavailable(_)) => return,
                Err(error @ ProposeError::Invalid(_)) => panic!("{error:?}"),
            }
            break;
        }
        noted.lock().unwrap().insert(name);
    }
}

#[tokio::test]
async fn nodes_go_on_with_the_replica_and_hear_of_each_other() {
    let mut pair = Pair::start().await;
    pair.primary.wait_for_replica();
    let (node, other) = (pair.node(1), pair.node(2));
    let before = propose(&node, Revision::ZERO, vec![put("a")]).await.unwrap();
    assert_eq!(in_the_end(other.changed(Revision::ZERO)).await.unwrap(), before.revision);
    pair.fail_over();
    let written = write_when_possible(&node, "b").await;
    assert_eq!(in_the_end(other.changed(before.revision)).await.unwrap(), written);
    assert_eq!(other.load().await.unwrap(), node.load().await.unwrap());
}

#[tokio::test]
async fn a_primary_that_comes_back_gets_no_writes_without_its_replica() {
    let mut pair = Pair::start().await;
    pair.primary.wait_for_replica();
    let node = pair.node(1);
    let before = propose(&node, Revision::ZERO, vec![put("a")]).await.unwrap();
    pair.fail_over();
    let written = write_when_possible(&node, "b").await;
    pair.primary.start_again();
    let written = propose(&node, written, vec![put("c")]).await.unwrap();
    assert_eq!(node.load().await.unwrap(), written, "it stays where it is");
    // Whoever comes now takes the first that would accept a write, and nobody can tell it more.
    let newcomer = pair.node(2);
    assert_eq!(newcomer.load().await.unwrap(), before);
    let reason = refused(&newcomer, before.revision).await;
    assert!(reason.contains("does not answer in time"), "{reason}");
}

#[tokio::test]
async fn what_no_replica_had_is_lost_and_nobody_takes_another_commit_for_it() {
    let mut pair = Pair::start().await;
    let node = pair.node(1);
    let kept = propose(&node, Revision::ZERO, vec![put("kept")]).await.unwrap();
    while pair.replica.sql(&pair.spare, "SELECT revision FROM config_head") != "1" {}
    pair.replica.stop();
    let lost = propose(&node, kept.revision, vec![put("lost")]).await.unwrap();
    pair.primary.kill();
    pair.replica.start_again();
    pair.replica.promote();
    let mut latest = in_the_end(async {
        loop {
            if let Ok(latest) = node.load().await {
                return latest;
            }
        }
    })
    .await;
    assert_eq!(latest, kept);
    for name in ["instead", "more"] {
        latest = propose(&node, latest.revision, vec![put(name)]).await.unwrap();
        assert!(latest.config.regions().keys().all(|id| id.as_str() != "lost"), "{name}");
    }
    assert!(latest.revision > lost.revision);
}
