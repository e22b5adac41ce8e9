//! A copy of the database, made while it is written to.

use std::fs::{self, File};
use std::io;
use std::sync::Arc;

use geostream_domain::{Grant, Revision, Timestamp};
use geostream_embedded::EmbeddedStore;
use geostream_ports::{ConfigStore as _, Proposal, Scope, TokenId, TokenRecord, TokenStore as _};

fn proposal(expected: Revision) -> Proposal {
    Proposal {
        expected,
        changes: Vec::new(),
        author: "operator".parse().unwrap(),
        reason: "because".parse().unwrap(),
        at: Timestamp::EPOCH,
        lasting: <_>::default(),
        attempt: None,
    }
}

#[tokio::test]
async fn a_copy_has_all_that_was_acknowledged_before_it_and_is_whole() {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::create(&directory.path().join("config.redb")).unwrap();
    let writer = store.clone();
    let (acknowledged, seen) = tokio::sync::watch::channel(Revision::ZERO);
    let writing = tokio::spawn(async move {
        let mut revision = Revision::ZERO;
        while !acknowledged.is_closed() {
            revision = writer.propose(proposal(revision)).await.unwrap().revision;
            acknowledged.send_replace(revision);
        }
    });
    let seen = Arc::new(seen);
    for round in 1..=5 {
        let mut waiting = (*seen).clone();
        waiting.wait_for(|revision| revision.get() >= round * 20).await.unwrap();
        let before = *seen.borrow();
        let copy = directory.path().join("copy.part");
        let mut copied = store.back_up(copy.clone()).await.unwrap();
        assert!(!copy.exists(), "nothing is left of it");
        let path = directory.path().join(format!("copy-{round}.redb"));
        io::copy(&mut copied, &mut File::create(&path).unwrap()).unwrap();
        let restored = EmbeddedStore::open(&path).unwrap();
        let latest = restored.load().await.unwrap().revision;
        assert!(latest >= before, "{latest} of {before}");
        let commits = restored.commits(Revision::ZERO, 1000).await.unwrap();
        assert_eq!(commits.len() as u64, latest.get(), "all of its history is there");
        restored.propose(proposal(latest)).await.unwrap();
    }
    drop(seen);
    writing.await.unwrap();
}

#[tokio::test]
async fn a_copy_has_the_tokens() {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::create(&directory.path().join("config.redb")).unwrap();
    let record = TokenRecord {
        id: TokenId(7),
        name: "ops".parse().unwrap(),
        grant: Grant::unlimited(Scope::Admin),
        hash: [1; 32],
        created: Timestamp::EPOCH,
        node: None,
    };
    store.put_token(record.clone(), None).await.unwrap();
    let mut copied = store.back_up(directory.path().join("copy.part")).await.unwrap();
    let path = directory.path().join("copy.redb");
    io::copy(&mut copied, &mut File::create(&path).unwrap()).unwrap();
    let restored = EmbeddedStore::open(&path).unwrap();
    assert_eq!(restored.tokens().await.unwrap(), [record]);
}

#[tokio::test]
async fn what_cannot_be_copied_is_an_error_and_the_store_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::create(&directory.path().join("config.redb")).unwrap();
    let nowhere = directory.path().join("missing/copy.part");
    assert!(store.back_up(nowhere).await.is_err());
    store.propose(proposal(Revision::ZERO)).await.unwrap();
    let in_memory = EmbeddedStore::in_memory().unwrap();
    assert!(in_memory.back_up(directory.path().join("copy.part")).await.is_err());
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "the database alone");
}
