//! What every [`AuditLog`] promises.

use std::collections::BTreeMap;
use std::time::Duration;

use geostream_domain::{Grant, NodeId, Revision, Snapshot, Timestamp};

use super::{commit, region};
use crate::{
    Actor, Attempt, AuditLog, AuditOutcome, AuditRecord, Audited, ConfigStore, Effect, Import,
    ImportId, ImportPart, Proposal, Scope, TokenId, TokenRecord, TokenStore, TrailQuery,
};

/// Holds an [`AuditLog`] to its promises, and the other ports of its store to what they promise it.
///
/// # Panics
///
/// Where one is broken.
pub async fn audit_log<S: AuditLog + ConfigStore + TokenStore>(new: impl AsyncFn() -> S) {
    the_trail_tells_everything_newest_first(&new().await).await;
    the_trail_is_searched_and_paged(&new().await).await;
    what_was_refused_pushes_out_nothing_that_was_done(&new().await).await;
    what_was_refused_without_a_token_pushes_out_no_other_refusal(&new().await).await;
    what_is_old_by_the_trail_is_forgotten(&new().await).await;
    a_wrong_clock_does_not_erase_the_trail(&new().await).await;
    a_commit_is_recorded_with_its_changes(&new().await).await;
    tokens_are_recorded_without_their_hashes(&new().await).await;
    an_import_is_recorded_when_it_begins_and_ends(&new().await).await;
}

async fn the_trail_tells_everything_newest_first(log: &impl AuditLog) {
    assert_eq!(log.trail(TrailQuery::latest(10)).await.expect("a new one is empty"), []);
    let stranger = Attempt { who: None, address: None, ..attempt("getConfig", 2) };
    let odd = Attempt { target: "/100%/\"a' \\u0000".to_owned(), ..attempt("putRegion", 3) };
    let effect = Effect {
        revision: Some(Revision::new(7)),
        reason: Some("it was \"odd\"".parse().expect("a line")),
        changes: r#"{"changes": [],  "left_out": 1}"#.to_owned(),
    };
    let records = [
        attempt("deleteRegion", 1).done(effect.clone()),
        refused(stranger),
        odd.done(Effect { revision: None, reason: None, ..effect }),
    ];
    log.record(records[..2].to_vec()).await.expect("record");
    log.record(Vec::new()).await.expect("nothing is recorded");
    log.record(records[2..].to_vec()).await.expect("record");
    let trail = log.trail(TrailQuery::latest(10)).await.expect("trail");
    assert!(trail.is_sorted_by(|one, next| one.number > next.number), "{trail:?}");
    let told: Vec<_> = trail.into_iter().rev().map(|audited| audited.record).collect();
    assert_eq!(told, records);
}

async fn the_trail_is_searched_and_paged(log: &impl AuditLog) {
    let put = |region: &str, at| Attempt {
        target: format!("/api/v1/regions/{region}"),
        ..attempt("putRegion", at)
    };
    let other = Actor { name: "other".parse().expect("a line"), token: None };
    let start_of_eu = NodeId::of_start("eu-1", 7).expect("a name");
    let records = vec![
        put("a", 1).done(effect()),
        refused(put("b", 2)),
        Attempt { who: Some(other), ..put("a", 3) }.done(effect()),
        refused(Attempt { who: None, ..put("a", 4) }),
        Attempt { node: start_of_eu.clone(), ..attempt("rollBack", 5) }.done(effect()),
    ];
    log.record(records).await.expect("record");
    let all = || TrailQuery::latest(10);
    let told = async |wanted: TrailQuery| {
        let trail = log.trail(wanted).await.expect("trail");
        trail.iter().map(|audited| audited.record.attempt.at.unix_millis()).collect::<Vec<_>>()
    };
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(told(all()).await, [5, 4, 3, 2, 1]);
    assert_eq!(told(TrailQuery::latest(2)).await, [5, 4]);
    let since = Some(Timestamp::from_unix_millis(4));
    assert_eq!(told(TrailQuery { since, ..all() }).await, [5, 4]);
    let until = Some(Timestamp::from_unix_millis(3));
    assert_eq!(told(TrailQuery { until, ..all() }).await, [2, 1]);
    let node = |name: &str| Some(name.parse().expect("a name"));
    assert_eq!(told(TrailQuery { node: node("node-1"), ..all() }).await, [4, 3, 2, 1]);
    assert_eq!(told(TrailQuery { node: node("eu-1"), ..all() }).await, [5], "of all starts");
    assert_eq!(told(TrailQuery { node: Some(start_of_eu), ..all() }).await, [5]);
    assert_eq!(told(TrailQuery { node: node("eu"), ..all() }).await, [0_u64; 0]);
    assert_eq!(told(TrailQuery { who: text("ops"), ..all() }).await, [5, 2, 1]);
    assert_eq!(told(TrailQuery { who: text("000000000000002a"), ..all() }).await, [5, 2, 1]);
    assert_eq!(told(TrailQuery { who: text("op"), ..all() }).await, [0_u64; 0]);
    assert_eq!(told(TrailQuery { what: text("rollBack"), ..all() }).await, [5]);
    assert_eq!(told(TrailQuery { what: text("regions/a"), ..all() }).await, [4, 3, 1]);
    assert_eq!(told(TrailQuery { what: text("_"), ..all() }).await, [0_u64; 0], "no pattern");
    let both = TrailQuery { who: text("ops"), what: text("putRegion"), since, ..all() };
    assert_eq!(told(both).await, [0_u64; 0]);
    let page = log.trail(TrailQuery::latest(2)).await.expect("trail");
    let below = page.last().map(|audited| audited.number);
    assert_eq!(told(TrailQuery { below, ..TrailQuery::latest(2) }).await, [3, 2]);
}

async fn what_was_refused_pushes_out_nothing_that_was_done(log: &impl AuditLog) {
    let told = async || {
        let trail = log.trail(TrailQuery::latest(100)).await.expect("trail");
        let told = trail.iter().map(|audited| {
            let is_done = matches!(audited.record.outcome, AuditOutcome::Done(_));
            (is_done, audited.record.attempt.at.unix_millis())
        });
        told.collect::<Vec<_>>()
    };
    let done = |at| attempt("putFlag", at).done(effect());
    log.record((0..5).map(done).collect()).await.expect("record");
    log.record((5..25).map(|at| refused(attempt("putFlag", at))).collect()).await.expect("record");
    let at = Timestamp::from_unix_millis;
    log.forget(Duration::MAX, at(25), 3).await.expect("forget");
    let kept = [(false, 24), (false, 23), (false, 22), (true, 4), (true, 3), (true, 2)];
    assert_eq!(told().await, kept);
    log.record(vec![done(25)]).await.expect("it goes on");
    log.forget(Duration::MAX, at(26), 3).await.expect("the oldest of what was done goes");
    let kept = [(true, 25), kept[0], kept[1], kept[2], kept[3], kept[4]];
    assert_eq!(told().await, kept);
}

async fn what_was_refused_without_a_token_pushes_out_no_other_refusal(log: &impl AuditLog) {
    let anonymous = |at| {
        let mut record = refused(Attempt { who: None, ..attempt("putFlag", at) });
        let AuditOutcome::Refused { count, .. } = &mut record.outcome else { return record };
        *count = at;
        record
    };
    log.record((1..3).map(|at| refused(attempt("putFlag", at))).collect()).await.expect("record");
    log.record((3..100).map(anonymous).collect()).await.expect("record");
    log.forget(Duration::MAX, Timestamp::EPOCH, 2).await.expect("forget");
    let trail = log.trail(TrailQuery::latest(100)).await.expect("trail");
    let told = trail.iter().map(|audited| match audited.record.outcome {
        AuditOutcome::Refused { count, .. } => (audited.record.attempt.at.unix_millis(), count),
        AuditOutcome::Done(_) => (0, 0),
    });
    assert_eq!(told.collect::<Vec<_>>(), [(99, 99), (98, 98), (2, 1), (1, 1)]);
}

/// The age of the records in the tests below: they are an hour apart.
const AGE: Duration = Duration::from_secs(80 * 3600);

/// Records something for each of these hours, in turn done, refused to a token and refused to none.
async fn record_hours(log: &impl AuditLog, hours: impl Iterator<Item = u64>) {
    let record = |(number, hour): (u64, u64)| {
        let attempt = attempt("putFlag", hour * 3_600_000);
        match number % 3 {
            0 => attempt.done(effect()),
            1 => refused(attempt),
            _ => refused(Attempt { who: None, ..attempt }),
        }
    };
    log.record((0..).zip(hours).map(record).collect()).await.expect("record");
}

/// Forgets by a clock that shows this hour, and returns the hours of what is kept, oldest first.
async fn hours_after(log: &impl AuditLog, hour: u64) -> Vec<u64> {
    let now = Timestamp::from_unix_millis(hour * 3_600_000);
    log.forget(AGE, now, usize::MAX).await.expect("forget");
    let trail = log.trail(TrailQuery::latest(1_000)).await.expect("trail");
    let hour = |audited: &Audited| audited.record.attempt.at.unix_millis() / 3_600_000;
    trail.iter().rev().map(hour).collect()
}

async fn what_is_old_by_the_trail_is_forgotten(log: &impl AuditLog) {
    assert_eq!(hours_after(log, 100).await, [0_u64; 0], "of nothing, nothing is forgotten");
    record_hours(log, 0..80).await;
    assert_eq!(hours_after(log, 80).await.len(), 80, "nothing is more than 80 hours old");
    record_hours(log, 80..100).await;
    assert_eq!(hours_after(log, 100).await, Vec::from_iter(20..100));
    assert_eq!(hours_after(log, 100).await, Vec::from_iter(20..100), "nor is more the next time");
    assert_eq!(hours_after(log, 105).await, Vec::from_iter(25..100));
}

async fn a_wrong_clock_does_not_erase_the_trail(log: &impl AuditLog) {
    record_hours(log, 0..80).await;
    let all = Vec::from_iter(0..80);
    assert_eq!(hours_after(log, 80).await, all);
    let ahead = 100_000;
    assert_eq!(hours_after(log, ahead).await, all[9..], "an eighth of the age at the most");
    record_hours(log, [ahead; 4].into_iter()).await;
    assert_eq!(hours_after(log, ahead).await, [&all[9..], &[ahead; 4]].concat());
    record_hours(log, [80].into_iter()).await;
    assert_eq!(hours_after(log, 80).await, [&all[9..], &[ahead; 4], &[80]].concat());
}

async fn a_commit_is_recorded_with_its_changes(store: &(impl AuditLog + ConfigStore)) {
    let line = |text: &str| text.parse().expect("a line");
    let propose = async |expected, names: &[&str]| {
        let proposal = Proposal {
            expected: Revision::new(expected),
            changes: names.iter().map(|name| region(name)).collect(),
            author: line("ops"),
            reason: line("because"),
            at: Timestamp::from_unix_millis(expected),
            lasting: BTreeMap::new(),
            attempt: Some(attempt("putRegion", expected)),
        };
        store.propose(proposal).await
    };
    propose(0, &["a"]).await.expect("valid");
    propose(0, &["b"]).await.expect_err("it is a conflict");
    let many: Vec<_> = (0..1_000).map(|number| format!("r{number}")).collect();
    propose(1, &many.iter().map(String::as_str).collect::<Vec<_>>()).await.expect("valid");
    let trail = log_of(store).await;
    let [(second, large), (first, small)] = &trail[..] else { panic!("{trail:?}") };
    assert_eq!((first, second), (&attempt("putRegion", 0), &attempt("putRegion", 1)));
    let reason = Some(line("because"));
    assert_eq!((small.revision, &small.reason), (Some(Revision::new(1)), &reason));
    assert_eq!(large.revision, Some(Revision::new(2)));
    let parts = ["\"path\":\"regions/a\"", "\"before\":null", "\"latitude\":52.5"];
    assert!(parts.iter().all(|part| small.changes.contains(part)), "{}", small.changes);
    assert!(large.changes.len() < 20_000, "{} bytes", large.changes.len());
}

async fn tokens_are_recorded_without_their_hashes(store: &(impl AuditLog + TokenStore)) {
    let record = TokenRecord {
        id: TokenId(0xabc),
        name: "ci".parse().expect("a line"),
        grant: Grant::unlimited(Scope::Viewer),
        hash: [0x77; 32],
        created: Timestamp::from_unix_millis(1),
        node: Some("node-1".parse().expect("a name")),
    };
    store.put_token(record, Some(attempt("createToken", 1))).await.expect("put");
    let remove = async |at| {
        store.remove_token(TokenId(0xabc), Some(attempt("deleteToken", at))).await.expect("remove")
    };
    assert!(remove(2).await);
    assert!(!remove(3).await, "and nothing is recorded");
    let trail = log_of(store).await;
    let [(revoked, after), (made, before)] = &trail[..] else { panic!("{trail:?}") };
    assert_eq!((made, revoked), (&attempt("createToken", 1), &attempt("deleteToken", 2)));
    for effect in [before, after] {
        assert!(effect.changes.contains("tokens/0000000000000abc"), "{}", effect.changes);
        assert!(effect.changes.contains("viewer"), "{}", effect.changes);
        assert!(!effect.changes.contains("77") && !effect.changes.contains("119"), "{effect:?}");
    }
    assert!(before.changes.contains("\"before\":null"), "{}", before.changes);
    assert!(after.changes.contains("\"after\":null"), "{}", after.changes);
}

async fn an_import_is_recorded_when_it_begins_and_ends(store: &(impl AuditLog + ConfigStore)) {
    let base = Snapshot::default();
    let parts = [
        ImportPart::Begin(base),
        ImportPart::Commits(vec![commit(1, "a"), commit(2, "b")]),
        ImportPart::End(Revision::new(2)),
    ];
    for (at, part) in (0..).zip(parts) {
        let import = Import { id: ImportId(1), part, attempt: Some(attempt("importLog", at)) };
        store.import(import).await.expect("it fits");
    }
    let trail = log_of(store).await;
    let [(end, adopted), (begin, nothing)] = &trail[..] else { panic!("{trail:?}") };
    assert_eq!((begin, end), (&attempt("importLog", 0), &attempt("importLog", 2)));
    assert_eq!((nothing.revision, adopted.revision), (None, Some(Revision::new(2))));
    assert!(adopted.changes.contains("regions/b"), "{}", adopted.changes);
}

/// Returns what was done, newest first.
async fn log_of(log: &impl AuditLog) -> Vec<(Attempt, Effect)> {
    let trail = log.trail(TrailQuery::latest(100)).await.expect("trail");
    let done = trail.into_iter().map(|Audited { record, .. }| match record.outcome {
        AuditOutcome::Done(effect) => (record.attempt, effect),
        refused @ AuditOutcome::Refused { .. } => panic!("{refused:?}"),
    });
    done.collect()
}

fn attempt(action: &str, at: u64) -> Attempt {
    Attempt {
        at: Timestamp::from_unix_millis(at),
        node: "node-1".parse().expect("a name"),
        who: Some(Actor {
            name: "ops".parse().expect("a line"),
            token: Some((TokenId(42), Scope::Operator)),
        }),
        address: Some("2001:db8::1".parse().expect("an address")),
        action: action.to_owned(),
        target: "/api/v1/config".to_owned(),
    }
}

fn refused(attempt: Attempt) -> AuditRecord {
    let outcome = AuditOutcome::Refused {
        status: 412,
        problem: "revision-conflict".to_owned(),
        detail: "somebody was \"faster\"".to_owned(),
        count: 1,
    };
    AuditRecord { attempt, outcome }
}

fn effect() -> Effect {
    Effect { revision: None, reason: None, changes: "{}".to_owned() }
}
