//! Refusals that repeat, folded into few notes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use geostream_domain::ClientKey;
use geostream_ports::{AuditOutcome, AuditRecord, TokenId};

/// How long a fold gathers before its next note.
const WINDOW: Duration = Duration::from_secs(10);

/// The most folds of each kind, which bounds the memory and what a second can write.
const MOST: usize = 1_000;

/// How many refusals of one token are noted one by one in each window.
const WHOLE: u32 = 1_000;

/// Folds refusals, so that a flood of them costs the trail a few notes with a count.
///
/// A refusal without a valid token always goes into the fold of its client network, operation and
/// status. A token's refusals are noted one by one at first, since their details differ; those
/// beyond [`WHOLE`] in a window go into the fold of the token, operation and status. The two kinds
/// have separate limits, so that anonymous requests cannot displace what known tokens did.
#[derive(Debug, Default)]
pub(super) struct Folds {
    anonymous: BTreeMap<Key, Fold>,
    tokens: BTreeMap<Key, Fold>,
    /// How many refusals of each token were noted one by one since when.
    whole: BTreeMap<TokenId, (Instant, u32)>,
}

/// What becomes of a record.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Folded {
    /// It is to be noted by itself.
    Whole(AuditRecord),
    /// It is counted.
    Counted,
    /// There was no room for another fold.
    Lost,
}

/// What the refusals of a fold have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    /// A client network or a token; `None` for the networks beyond [`MOST`].
    source: Option<u64>,
    action: String,
    status: u16,
}

#[derive(Debug)]
struct Fold {
    /// The first refusal that was not noted yet, with the number of all of them; `None` if each
    /// was.
    pending: Option<AuditRecord>,
    /// When the next note may be written.
    due: Instant,
}

impl Folds {
    /// Takes in a record.
    pub(super) fn take_in(&mut self, record: AuditRecord, now: Instant) -> Folded {
        let AuditOutcome::Refused { status, .. } = record.outcome else {
            return Folded::Whole(record);
        };
        let action = record.attempt.action.clone();
        let Some(who) = &record.attempt.who else {
            let network =
                record.attempt.address.map(|address| ClientKey::of_address(address).into());
            let key = Key { source: network, action, status };
            add_anonymous(&mut self.anonymous, key, record, now);
            return Folded::Counted;
        };
        let Some((token, _)) = who.token else { return Folded::Whole(record) };
        if self.has_allowance(token, now) {
            return Folded::Whole(record);
        }
        let key = Key { source: Some(token.0), action, status };
        if self.tokens.len() >= MOST && !self.tokens.contains_key(&key) {
            return Folded::Lost;
        }
        add(&mut self.tokens, key, record, now + WINDOW);
        Folded::Counted
    }

    /// Tells whether another refusal of a token is noted by itself.
    fn has_allowance(&mut self, token: TokenId, now: Instant) -> bool {
        let (since, noted) = self.whole.entry(token).or_insert((now, 0));
        if now.saturating_duration_since(*since) >= WINDOW {
            (*since, *noted) = (now, 0);
        }
        *noted += 1;
        *noted <= WHOLE
    }

    /// Returns the notes whose time has come, and forgets folds that nothing was added to.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Vec<AuditRecord> {
        let mut notes = Vec::new();
        for folds in [&mut self.tokens, &mut self.anonymous] {
            folds.retain(|_, fold| {
                if fold.due > now {
                    return true;
                }
                fold.due = now + WINDOW;
                let pending = fold.pending.take();
                let goes_on = pending.is_some();
                notes.extend(pending);
                goes_on
            });
        }
        self.whole.retain(|_, (since, _)| now.saturating_duration_since(*since) < WINDOW);
        notes
    }

    /// Returns everything that was not noted yet.
    pub(super) fn finish(&mut self) -> Vec<AuditRecord> {
        let folds = self.tokens.values_mut().chain(self.anonymous.values_mut());
        folds.filter_map(|fold| fold.pending.take()).collect()
    }
}

/// Adds an anonymous refusal; where its network would be one too many, to the fold of all others.
fn add_anonymous(folds: &mut BTreeMap<Key, Fold>, key: Key, record: AuditRecord, now: Instant) {
    if folds.len() < MOST || folds.contains_key(&key) {
        // The first note of a network is due at once, so that an operator sees a flood begin.
        return add(folds, key, record, now);
    }
    let others = Key { source: None, ..key };
    add(folds, others, of_other_networks(record), now);
}

fn add(folds: &mut BTreeMap<Key, Fold>, key: Key, record: AuditRecord, first_due: Instant) {
    let fold = folds.entry(key).or_insert(Fold { pending: None, due: first_due });
    match fold.pending.as_mut().map(|pending| &mut pending.outcome) {
        Some(AuditOutcome::Refused { count, .. }) => *count = count.saturating_add(1),
        Some(AuditOutcome::Done(_)) | None => fold.pending = Some(record),
    }
}

/// Makes a refusal the first of those whose client networks are not told apart.
fn of_other_networks(mut record: AuditRecord) -> AuditRecord {
    record.attempt.address = None;
    if let AuditOutcome::Refused { detail, .. } = &mut record.outcome {
        detail.push_str(" (many client networks, which are not told apart)");
    }
    record
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use geostream_domain::Timestamp;
    use geostream_ports::{Actor, Attempt, Scope};

    use super::*;

    #[test]
    fn a_flood_of_one_network_is_a_note_with_a_count_each_ten_seconds() {
        let mut folds = Folds::default();
        let start = epoch();
        let at = |seconds| start + Duration::from_secs(seconds);
        for _ in 0..50_000 {
            assert_eq!(folds.take_in(anonymous([192, 0, 2, 1]), start), Folded::Counted);
        }
        // An address of the same /24 is the same network.
        folds.take_in(anonymous([192, 0, 2, 99]), start);
        assert_eq!(counts(&folds.handle_timeout(at(1))), [50_001]);
        for _ in 0..50_000 {
            folds.take_in(anonymous([192, 0, 2, 1]), at(2));
        }
        assert_eq!(counts(&folds.handle_timeout(at(10))), [0_u64; 0]);
        assert_eq!(counts(&folds.handle_timeout(at(11))), [50_000]);
        assert_eq!(counts(&folds.handle_timeout(at(21))), [0_u64; 0]);
        assert!(folds.anonymous.is_empty(), "a quiet network takes no memory");
    }

    #[test]
    fn operations_and_networks_have_notes_of_their_own() {
        let mut folds = Folds::default();
        let now = epoch();
        folds.take_in(anonymous([192, 0, 2, 1]), now);
        folds.take_in(anonymous([198, 51, 100, 1]), now);
        let mut other = anonymous([192, 0, 2, 1]);
        other.attempt.action = "putRegion".to_owned();
        folds.take_in(other, now);
        assert_eq!(counts(&folds.handle_timeout(now)), [1, 1, 1]);
    }

    #[test]
    fn networks_beyond_the_limit_share_one_note() {
        let mut folds = Folds::default();
        let now = epoch();
        for network in 0..5_000_u16 {
            let [high, low] = network.to_be_bytes();
            folds.take_in(anonymous([10, high, low, 1]), now);
        }
        let notes = folds.handle_timeout(now);
        assert_eq!(notes.len(), MOST + 1);
        let shared: Vec<_> = notes.iter().filter(|note| note.attempt.address.is_none()).collect();
        let [shared] = &shared[..] else { panic!("{shared:?}") };
        assert_eq!(counts(&[(*shared).clone()]), [4_000]);
    }

    #[test]
    fn a_token_is_noted_whole_until_it_repeats_itself() {
        let mut folds = Folds::default();
        let now = epoch();
        let whole = |folded: &Folded| matches!(folded, Folded::Whole(_));
        let noted = (0..10_000).map(|_| folds.take_in(of_token(7), now)).filter(whole).count();
        assert_eq!(noted, 1_000);
        assert!(whole(&folds.take_in(of_token(8), now)), "others have their own allowance");
        assert_eq!(counts(&folds.handle_timeout(now)), [0_u64; 0]);
        assert_eq!(counts(&folds.handle_timeout(now + WINDOW)), [9_000]);
        assert!(whole(&folds.take_in(of_token(7), now + WINDOW)));
    }

    #[test]
    fn anonymous_floods_leave_room_for_tokens() {
        let mut folds = Folds::default();
        let now = epoch();
        for network in 0..5_000_u16 {
            let [high, low] = network.to_be_bytes();
            folds.take_in(anonymous([10, high, low, 1]), now);
        }
        (0..=WHOLE).for_each(|_| assert_ne!(folds.take_in(of_token(7), now), Folded::Lost));
    }

    #[test]
    fn the_end_leaves_nothing_unnoted() {
        let mut folds = Folds::default();
        let now = epoch();
        folds.take_in(anonymous([192, 0, 2, 1]), now);
        folds.handle_timeout(now);
        folds.take_in(anonymous([192, 0, 2, 1]), now);
        (0..WHOLE + 2).for_each(|_| drop(folds.take_in(of_token(7), now)));
        assert_eq!(counts(&folds.finish()), [2, 1]);
        assert_eq!(counts(&folds.finish()), [0_u64; 0]);
    }

    fn counts(notes: &[AuditRecord]) -> Vec<u64> {
        let count = |note: &AuditRecord| match note.outcome {
            AuditOutcome::Refused { count, .. } => count,
            AuditOutcome::Done(_) => 0,
        };
        notes.iter().map(count).collect()
    }

    fn anonymous(address: [u8; 4]) -> AuditRecord {
        let attempt = Attempt {
            at: Timestamp::EPOCH,
            node: "node".parse().unwrap(),
            who: None,
            address: Some(IpAddr::V4(Ipv4Addr::from(address))),
            action: "getConfig".to_owned(),
            target: "/api/v1/config".to_owned(),
        };
        let problem = "unauthorized".to_owned();
        let detail = "send a token".to_owned();
        let outcome = AuditOutcome::Refused { status: 401, problem, detail, count: 1 };
        AuditRecord { attempt, outcome }
    }

    fn of_token(id: u64) -> AuditRecord {
        let mut record = anonymous([192, 0, 2, 1]);
        let token = Some((TokenId(id), Scope::Reporter));
        record.attempt.who = Some(Actor { name: "ci".parse().unwrap(), token });
        record
    }

    #[expect(clippy::disallowed_methods, reason = "an arbitrary epoch")]
    fn epoch() -> Instant {
        Instant::now()
    }
}
