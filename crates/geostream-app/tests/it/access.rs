//! Tokens.

use std::sync::Arc;
use std::time::Duration;

use geostream_app::{Access, AccessError, Caller};
use geostream_embedded::EmbeddedStore;
use geostream_ports::Scope;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::world::{SetClock, line};

async fn access() -> Access<EmbeddedStore, SetClock> {
    let access = Access::new(EmbeddedStore::in_memory().unwrap(), SetClock::default());
    access.load().await.unwrap();
    access
}

#[tokio::test]
async fn a_token_is_its_holders_and_nobody_elses() {
    let access = access().await;
    let token = access.create(line("ci"), Scope::Operator, None).await.unwrap();
    let text = token.text().to_owned();
    let caller = access.authenticate(&text).expect("valid");
    assert_eq!((caller.name.as_str(), caller.scope), ("ci", Scope::Operator));
    for position in 0..text.len() {
        let mut wrong = text.clone().into_bytes();
        wrong[position] = if wrong[position] == b'0' { b'1' } else { b'0' };
        let wrong = String::from_utf8(wrong).unwrap();
        assert_eq!(access.authenticate(&wrong), None, "wrong at {position}");
    }
    for wrong in ["", "gs_", "gs__", &text[1..], &text[..text.len() - 1], &format!("{text}0")] {
        assert_eq!(access.authenticate(wrong), None, "{wrong}");
    }
    assert!(!format!("{token:?}").contains(&text[20..]), "a secret does not get into logs");
}

#[tokio::test]
async fn a_revoked_token_is_worth_nothing() {
    let access = access().await;
    let token = access.create(line("ci"), Scope::Viewer, None).await.unwrap();
    access.revoke(token.record.id, None).await.unwrap();
    assert_eq!(access.authenticate(token.text()), None);
    assert!(matches!(access.revoke(token.record.id, None).await, Err(AccessError::Unknown(_))));
}

#[tokio::test]
async fn there_is_always_an_admin() {
    let access = access().await;
    let draw = |name: &str| access.draw(line(name), Scope::Admin, None).unwrap();
    let first = draw("first");
    assert_eq!(access.first_admin(&first, None).await.unwrap(), None, "there was none");
    assert!(access.authenticate(first.text()).is_some());
    let again = draw("again");
    assert_eq!(access.first_admin(&again, None).await.unwrap().as_ref(), Some(&first.record));
    assert_eq!(access.authenticate(again.text()), None, "it is not made");
    assert_eq!(access.first_admin(&first, None).await.unwrap(), None, "its own, asked again");
    assert!(matches!(access.revoke(first.record.id, None).await, Err(AccessError::LastAdmin)));
    access.create(line("second"), Scope::Admin, None).await.unwrap();
    access.revoke(first.record.id, None).await.unwrap();
    assert_eq!(access.list().len(), 1);
}

#[tokio::test]
async fn two_admins_cannot_revoke_each_other_at_once() {
    let access = access().await;
    let first = access.create(line("first"), Scope::Admin, None).await.unwrap();
    let second = access.create(line("second"), Scope::Admin, None).await.unwrap();
    let (one, other) =
        tokio::join!(access.revoke(first.record.id, None), access.revoke(second.record.id, None));
    assert!(one.is_ok());
    assert!(matches!(other, Err(AccessError::LastAdmin)));
    assert_eq!(access.list().len(), 1);
}

#[tokio::test]
async fn a_token_of_another_node_is_known_after_one_load() {
    let store = EmbeddedStore::in_memory().unwrap();
    let here = Access::new(store.clone(), SetClock::default());
    let there = Access::new(store, SetClock::default());
    here.load().await.unwrap();
    there.load().await.unwrap();
    let made = there.create(line("ci"), Scope::Viewer, None).await.unwrap();
    let token = made.text();
    assert_eq!(here.authenticate(token), None);
    assert!(here.may_be_new(token));
    let load = async {
        here.load_wanted().await;
        here.load().await.unwrap();
    };
    let asked = async { tokio::join!(ask(&here, token), ask(&here, token)) };
    let ((one, other), ()) = tokio::join!(asked, load);
    assert_eq!(one.map(|caller| caller.id), Some(made.record.id));
    assert_eq!(other.map(|caller| caller.id), Some(made.record.id));
    assert!(!here.may_be_new(token));
}

#[tokio::test(start_paused = true)]
async fn invented_tokens_wait_for_a_while_and_only_so_many_of_them() {
    let access = access().await;
    let invented = |id: u64| format!("gs_{id:016x}_{}", "0".repeat(64));
    for malformed in ["", "gs_1_2", "gs_0000000000000001_xyz", &invented(1)[1..]] {
        assert!(!access.may_be_new(malformed), "{malformed}");
    }
    assert!(access.may_be_new(&invented(1)));
    let access = Arc::new(access);
    let started = Instant::now();
    let mut asked = JoinSet::new();
    for id in 0..33 {
        let access = Arc::clone(&access);
        asked.spawn(async move {
            assert_eq!(ask(&access, &invented(id)).await, None, "no load comes");
            started.elapsed()
        });
    }
    let mut waited = asked.join_all().await;
    waited.sort();
    let (refused, others) = waited.split_first().unwrap();
    assert_eq!(*refused, Duration::ZERO, "there is no place to wait");
    assert!(others.iter().all(|waited| *waited == Duration::from_secs(1)), "{others:?}");
}

async fn ask(access: &Access<EmbeddedStore, SetClock>, token: &str) -> Option<Caller> {
    access.authenticate_after_load(token).await
}
