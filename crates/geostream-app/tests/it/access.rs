//! Tokens.

use std::sync::Arc;
use std::time::Duration;

use geostream_app::{Access, AccessError, Caller, DataDirectory, Denied, TokenKeeper};
use geostream_domain::{Grant, GrantLimits, Timestamp};
use geostream_embedded::{EmbeddedStore, KnownTokensFile};
use geostream_ports::{KnownTokens as _, Scope};
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
    let token =
        access.create(line("ci"), Grant::unlimited(Scope::Operator), None, None).await.unwrap();
    let text = token.text().to_owned();
    let caller = access.authenticate(&text).expect("valid");
    assert_eq!((caller.name.as_str(), caller.grant.scope), ("ci", Scope::Operator));
    for position in 0..text.len() {
        let mut wrong = text.clone().into_bytes();
        wrong[position] = if wrong[position] == b'0' { b'1' } else { b'0' };
        let wrong = String::from_utf8(wrong).unwrap();
        assert_eq!(access.authenticate(&wrong), Err(Denied::Unknown), "wrong at {position}");
    }
    for wrong in ["", "gs_", "gs__", &text[1..], &text[..text.len() - 1], &format!("{text}0")] {
        assert_eq!(access.authenticate(wrong), Err(Denied::Unknown), "{wrong}");
    }
    assert!(!format!("{token:?}").contains(&text[20..]), "a secret does not get into logs");
}

#[tokio::test]
async fn a_revoked_token_is_worth_nothing() {
    let access = access().await;
    let token =
        access.create(line("ci"), Grant::unlimited(Scope::Viewer), None, None).await.unwrap();
    access.revoke(token.record.id, None, None).await.unwrap();
    assert_eq!(access.authenticate(token.text()), Err(Denied::Unknown));
    assert!(matches!(
        access.revoke(token.record.id, None, None).await,
        Err(AccessError::Unknown(_))
    ));
}

#[tokio::test]
async fn there_is_always_an_admin() {
    let access = access().await;
    let draw = |name: &str| access.draw(line(name), Grant::unlimited(Scope::Admin), None).unwrap();
    let first = draw("first");
    assert_eq!(access.first_admin(&first, None).await.unwrap(), None, "there was none");
    assert!(access.authenticate(first.text()).is_ok());
    let again = draw("again");
    assert_eq!(access.first_admin(&again, None).await.unwrap().as_ref(), Some(&first.record));
    assert_eq!(access.authenticate(again.text()), Err(Denied::Unknown), "it is not made");
    assert_eq!(access.first_admin(&first, None).await.unwrap(), None, "its own, asked again");
    assert!(matches!(
        access.revoke(first.record.id, None, None).await,
        Err(AccessError::LastAdmin)
    ));
    access.create(line("second"), Grant::unlimited(Scope::Admin), None, None).await.unwrap();
    access.revoke(first.record.id, None, None).await.unwrap();
    assert_eq!(access.list().len(), 1);
}

#[tokio::test]
async fn two_admins_cannot_revoke_each_other_at_once() {
    let access = access().await;
    let first =
        access.create(line("first"), Grant::unlimited(Scope::Admin), None, None).await.unwrap();
    let second =
        access.create(line("second"), Grant::unlimited(Scope::Admin), None, None).await.unwrap();
    let (one, other) = tokio::join!(
        access.revoke(first.record.id, None, None),
        access.revoke(second.record.id, None, None)
    );
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
    let made = there.create(line("ci"), Grant::unlimited(Scope::Viewer), None, None).await.unwrap();
    let token = made.text();
    assert_eq!(here.authenticate(token), Err(Denied::Unknown));
    assert!(here.may_be_new(token));
    let load = async {
        here.load_wanted().await;
        here.load().await.unwrap();
    };
    let asked = async { tokio::join!(ask(&here, token), ask(&here, token)) };
    let ((one, other), ()) = tokio::join!(asked, load);
    assert_eq!(one.map(|caller| caller.id), Ok(made.record.id));
    assert_eq!(other.map(|caller| caller.id), Ok(made.record.id));
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
            assert_eq!(ask(&access, &invented(id)).await, Err(Denied::Unknown), "no load comes");
            started.elapsed()
        });
    }
    let mut waited = asked.join_all().await;
    waited.sort();
    let (refused, others) = waited.split_first().unwrap();
    assert_eq!(*refused, Duration::ZERO, "there is no place to wait");
    assert!(others.iter().all(|waited| *waited == Duration::from_secs(1)), "{others:?}");
}

async fn ask(access: &Access<EmbeddedStore, SetClock>, token: &str) -> Result<Caller, Denied> {
    access.authenticate_after_load(token).await
}

/// A moment in the life of these tests, in minutes.
fn minute(number: u64) -> Timestamp {
    Timestamp::from_unix_millis(number * 60_000)
}

fn ending(scope: Scope, end: u64) -> Grant {
    Grant { expires: Some(minute(end)), ..Grant::unlimited(scope) }
}

fn of_eu(scope: Scope) -> Grant {
    let limits = GrantLimits::new(Vec::new(), vec!["eu-*".parse().unwrap()]).unwrap();
    Grant { limits: Some(Arc::new(limits)), ..Grant::unlimited(scope) }
}

#[tokio::test]
async fn an_expired_token_is_refused_as_such() {
    let clock = SetClock::default();
    let access = Access::new(EmbeddedStore::in_memory().unwrap(), clock.clone());
    access.load().await.unwrap();
    let made = access.create(line("ci"), ending(Scope::Viewer, 9), None, None).await.unwrap();
    clock.set(minute(9).unix_millis() - 1);
    assert!(access.authenticate(made.text()).is_ok());
    clock.set(minute(9).unix_millis());
    assert_eq!(access.authenticate(made.text()), Err(Denied::Expired(minute(9))));
    let guessed = format!("{}0", &made.text()[..made.text().len() - 1]);
    let of_another = access.authenticate(&guessed);
    assert!(guessed == made.text() || of_another == Err(Denied::Unknown), "that is its holder's");
    let late = access.create(line("late"), ending(Scope::Viewer, 9), None, None).await;
    assert!(matches!(late, Err(AccessError::Past)));
}

#[tokio::test]
async fn a_limited_admin_makes_and_revokes_nothing_wider() {
    let access = access().await;
    let first = access.create(line("first"), Grant::unlimited(Scope::Admin), None, None).await;
    let first = first.unwrap();
    let made = access.create(line("eu"), of_eu(Scope::Admin), None, None).await.unwrap();
    let caller = access.authenticate(made.text()).unwrap();
    let create = async |grant| access.create(line("x"), grant, Some(&caller), None).await;
    let wider = create(Grant::unlimited(Scope::Viewer)).await;
    assert!(matches!(wider, Err(AccessError::Wider(_))));
    let narrow = create(of_eu(Scope::Operator)).await.unwrap();
    let revoke = async |id| access.revoke(id, Some(&caller), None).await;
    assert!(
        matches!(revoke(first.record.id).await, Err(AccessError::Unknown(_))),
        "it is not seen"
    );
    revoke(narrow.record.id).await.unwrap();
    revoke(made.record.id).await.unwrap();
    assert_eq!(access.list(), [first.record]);
}

#[tokio::test]
async fn the_last_admin_without_limits_stays_while_it_is_valid() {
    let clock = SetClock::default();
    let access = Access::new(EmbeddedStore::in_memory().unwrap(), clock.clone());
    access.load().await.unwrap();
    let create = async |grant| access.create(line("admin"), grant, None, None).await.unwrap();
    let ends = create(ending(Scope::Admin, 9)).await;
    create(of_eu(Scope::Admin)).await;
    let revoke = async |id| access.revoke(id, None, None).await;
    assert!(matches!(revoke(ends.record.id).await, Err(AccessError::LastAdmin)));
    clock.set(minute(10).unix_millis());
    let lasts = create(Grant::unlimited(Scope::Admin)).await;
    assert!(matches!(revoke(lasts.record.id).await, Err(AccessError::LastAdmin)));
    revoke(ends.record.id).await.unwrap();
}

#[tokio::test]
async fn uses_are_kept_to_the_minute_for_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let file = || KnownTokensFile::new(&directory.path().join("known-tokens.json"));
    let clock = SetClock::default();
    let store = EmbeddedStore::in_memory().unwrap();
    let new = || Access::new(store.clone(), clock.clone());
    let keeper = || TokenKeeper::new(file(), Arc::new(DataDirectory::default()), clock.clone());
    let kept = async || file().load().await.unwrap().unwrap().used;

    let access = new();
    access.load().await.unwrap();
    let used = access.create(line("used"), Grant::unlimited(Scope::Viewer), None, None).await;
    let used = used.unwrap();
    access.create(line("unused"), Grant::unlimited(Scope::Viewer), None, None).await.unwrap();
    let mut tokens = keeper();
    tokens.keep(&access).await;
    clock.set(minute(5).unix_millis() + 999);
    access.authenticate(used.text()).unwrap();
    let expected = [(used.record.id, minute(5))].into();
    assert_eq!(access.last_uses(), expected);
    tokens.keep(&access).await;
    assert_eq!(kept().await, expected);
    clock.set(minute(6).unix_millis());
    access.authenticate(used.text()).unwrap();
    tokens.keep(&access).await;
    assert_eq!(kept().await, expected, "it is written once a minute");

    let next = new();
    next.load().await.unwrap();
    keeper().recall(&next, false).await;
    assert_eq!(next.last_uses(), expected);
    next.revoke(used.record.id, None, None).await.unwrap();
    assert_eq!(next.last_uses(), [].into(), "what is revoked takes no memory");
}

#[tokio::test]
async fn a_node_without_its_store_keeps_limits_and_ends() {
    let directory = tempfile::tempdir().unwrap();
    let file = || KnownTokensFile::new(&directory.path().join("known-tokens.json"));
    let clock = SetClock::default();
    let keeper = || TokenKeeper::new(file(), Arc::new(DataDirectory::default()), clock.clone());
    let store = EmbeddedStore::in_memory().unwrap();
    let access = Access::new(store.clone(), clock.clone());
    access.load().await.unwrap();
    let limited = access.create(line("eu"), of_eu(Scope::Admin), None, None).await.unwrap();
    let ends = access.create(line("ends"), ending(Scope::Viewer, 9), None, None).await.unwrap();
    clock.set(minute(10).unix_millis());
    keeper().keep(&access).await;

    // The clock of the next start is behind.
    clock.set(minute(1).unix_millis());
    let away = Access::new(store, clock.clone());
    keeper().recall(&away, true).await;
    let caller = away.authenticate(limited.text()).unwrap();
    assert_eq!(caller.grant, of_eu(Scope::Viewer));
    assert_eq!(away.authenticate(ends.text()), Err(Denied::Expired(minute(9))));
}
