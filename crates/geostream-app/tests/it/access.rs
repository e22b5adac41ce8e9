//! Tokens.

use geostream_app::{Access, AccessError};
use geostream_embedded::EmbeddedStore;
use geostream_ports::Scope;

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
