//! What every [`TokenStore`] promises.

use std::sync::Arc;

use geostream_domain::{Grant, GrantLimits, NamePattern, Timestamp};

use super::join;
use crate::{Scope, TokenId, TokenRecord, TokenStore};

/// Holds a [`TokenStore`] to its promises.
///
/// # Panics
///
/// Where the store breaks one.
pub async fn token_store<S: TokenStore>(new: impl AsyncFn() -> S) {
    let store = new().await;
    assert_eq!(store.tokens().await.expect("tokens"), []);
    let record = |id, scope| TokenRecord {
        id: TokenId(id),
        name: "ops".parse().expect("a line"),
        grant: Grant::unlimited(scope),
        hash: [7; 32],
        created: Timestamp::from_unix_millis(1),
        node: (id == 1).then(|| "node-1".parse().expect("a name")),
    };
    store.put_token(record(1, Scope::Viewer), None).await.expect("put");
    store.put_token(record(2, Scope::Admin), None).await.expect("put");
    store.put_token(record(1, Scope::Operator), None).await.expect("replace");
    let mut tokens = store.tokens().await.expect("tokens");
    tokens.sort_by_key(|token| token.id);
    assert_eq!(tokens, [record(1, Scope::Operator), record(2, Scope::Admin)]);
    assert!(store.remove_token(TokenId(1), None).await.expect("remove"));
    assert!(!store.remove_token(TokenId(1), None).await.expect("remove"));
    assert_eq!(store.tokens().await.expect("tokens"), [record(2, Scope::Admin)]);
    one_admin_is_the_first(&new().await).await;
    limits_and_ends_are_kept(&new().await).await;
}

async fn limits_and_ends_are_kept(store: &impl TokenStore) {
    let named = |texts: &[&str]| {
        let patterns = texts.iter().map(|text| text.parse().expect("a pattern"));
        patterns.collect::<Vec<NamePattern>>()
    };
    let limits = |services: &[&str], regions: &[&str]| {
        let limits = GrantLimits::new(named(services), named(regions));
        Some(Arc::new(limits.expect("something is named")))
    };
    let expires = Some(Timestamp::from_unix_millis(1_893_456_000_123));
    let plain = Grant::unlimited(Scope::Admin);
    let grants = [
        plain.clone(),
        Grant { expires, ..plain.clone() },
        Grant { limits: limits(&["api"], &["eu-*", "us-1"]), ..plain.clone() },
        Grant { limits: limits(&[], &["*"]), expires, scope: Scope::Reporter },
        Grant { limits: limits(&["*"], &[]), ..plain },
    ];
    let record = |id, grant: &Grant| TokenRecord {
        id: TokenId(id),
        name: "ops".parse().expect("a line"),
        grant: grant.clone(),
        hash: [7; 32],
        created: Timestamp::from_unix_millis(1),
        node: Some("node-1".parse().expect("a name")),
    };
    let kept = async || {
        let mut tokens = store.tokens().await.expect("tokens");
        tokens.sort_by_key(|token| token.id);
        tokens
    };
    let mut expected = Vec::new();
    for (id, grant) in (0..).zip(&grants) {
        store.put_token(record(id, grant), None).await.expect("put");
        expected.push(record(id, grant));
    }
    assert_eq!(kept().await, expected);
    for old in &grants {
        for new in &grants {
            store.put_token(record(9, old), None).await.expect("put");
            store.put_token(record(9, new), None).await.expect("replace");
            let replaced = kept().await;
            assert_eq!(replaced[expected.len()..], [record(9, new)], "in place of {old:?}");
        }
    }
    for id in [0, 1, 2, 3, 4, 9] {
        assert!(store.remove_token(TokenId(id), None).await.expect("remove"), "{id}");
        assert!(!store.remove_token(TokenId(id), None).await.expect("remove"), "{id}");
    }
    assert_eq!(kept().await, []);
    store.put_token(record(1, &grants[2]), None).await.expect("put");
    let first = store.put_first_admin(record(2, &grants[0]), None).await.expect("put");
    assert_eq!(first, None, "an admin token with limits is not the first");
    let ending = record(1, &grants[1]);
    store.put_token(ending.clone(), None).await.expect("replace");
    store.remove_token(TokenId(2), None).await.expect("remove");
    let first = store.put_first_admin(record(3, &grants[0]), None).await.expect("put");
    assert_eq!(first, Some(ending), "one that ends is");
}

async fn one_admin_is_the_first<S: TokenStore>(store: &S) {
    let record = |id, scope| TokenRecord {
        id: TokenId(id),
        name: "first".parse().expect("a line"),
        grant: Grant::unlimited(scope),
        hash: [7; 32],
        created: Timestamp::from_unix_millis(9 - id),
        node: None,
    };
    store.put_token(record(1, Scope::Operator), None).await.expect("put");
    let put = async |id| store.put_first_admin(record(id, Scope::Admin), None).await.expect("put");
    let (one, other) = join(put(2), put(3)).await;
    let made = if one.is_none() { record(2, Scope::Admin) } else { record(3, Scope::Admin) };
    assert_eq!(one.or(other), Some(made.clone()), "one is added, and the other is told which");
    assert_eq!(put(made.id.0).await, Some(made.clone()), "nor is it added again");
    let mut tokens = store.tokens().await.expect("tokens");
    tokens.sort_by_key(|token| token.id);
    assert_eq!(tokens, [record(1, Scope::Operator), made]);
    store.put_token(record(4, Scope::Admin), None).await.expect("put");
    assert_eq!(put(5).await, Some(record(4, Scope::Admin)), "the one that was made first");
}
