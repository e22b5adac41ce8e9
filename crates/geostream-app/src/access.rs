//! Who a token belongs to.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use geostream_domain::{Grant, Line, NodeId, Timestamp, WiderError};
use geostream_ports::{
    Actor, Attempt, Clock, SavedTokens, Scope, TokenId, TokenRecord, TokenStore, Unavailable,
};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use thiserror::Error;
use tokio::sync::Mutex;

use crate::looks::Looks;

/// Says who a token belongs to and what it is good for.
///
/// A token is `gs_`, its id and its secret: 16 and 64 hexadecimal digits with a `_` between. What
/// is kept is a hash of the secret, which has 256 random bits.
#[derive(Debug)]
pub struct Access<T, C> {
    store: T,
    clock: C,
    /// `None` until they have been read once.
    records: ArcSwapOption<HashMap<TokenId, Known>>,
    /// What an earlier run knew, until they have been read.
    recalled: ArcSwapOption<Recalled>,
    /// When each token that is known was last used at this node.
    uses: std::sync::Mutex<BTreeMap<TokenId, LastUse>>,
    /// Held from checking to reading what was written: what is checked holds until it is written.
    turn: Mutex<()>,
    looks: Looks,
}

/// A token's record, and when the token was last used.
#[derive(Debug)]
struct Known {
    record: TokenRecord,
    used: LastUse,
}

/// What an earlier run knew of the tokens, and when that was read from the store.
#[derive(Debug)]
struct Recalled {
    by_id: HashMap<TokenId, Known>,
    at: Timestamp,
}

/// The minute since 1970 in which a token was last used; 0 for never.
#[derive(Clone, Debug, Default)]
struct LastUse(Arc<AtomicU64>);

impl LastUse {
    /// Notes a use. A minute in which the token was used already costs one load.
    fn note(&self, now: Timestamp) {
        let minute = now.unix_millis() / MINUTE;
        if self.0.load(Ordering::Relaxed) != minute {
            self.0.store(minute, Ordering::Relaxed);
        }
    }

    fn at(&self) -> Option<Timestamp> {
        let minute = self.0.load(Ordering::Relaxed);
        (minute > 0).then(|| Timestamp::from_unix_millis(minute * MINUTE))
    }
}

const MINUTE: u64 = 60_000;

/// The holder of a valid token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The token's id.
    pub id: TokenId,
    /// The token's name: the author of what is done with it.
    pub name: Line,
    /// What it is good for.
    pub grant: Grant,
}

/// Why a text gives no access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// It is no token that is known here.
    Unknown,
    /// It is a token that ended then.
    Expired(Timestamp),
}

/// How the admin tokens without limits end that end soon, or have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminsEnd {
    /// So many end soon, the first of them then.
    Soon(usize, Timestamp),
    /// No admin token is valid any more; the last one ended then.
    AllEnded(Timestamp),
}

/// How long before its end an admin token is told of, if it was made for at least [`LASTING`].
const ENDS_SOON: Duration = Duration::from_secs(7 * 86_400);

/// Tokens that are made for less are replaced often, by programs that need no reminder.
const LASTING: Duration = Duration::from_secs(14 * 86_400);

/// A token that was just made: the only time that its text is known.
pub struct NewToken {
    /// What is kept of it.
    pub record: TokenRecord,
    text: String,
}

impl NewToken {
    /// Returns the text that goes behind `Bearer`.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for NewToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewToken").field("record", &self.record).finish_non_exhaustive()
    }
}

/// Why tokens are not as they were to be.
#[derive(Debug, Error)]
pub enum AccessError {
    /// There are as many tokens as there may be.
    #[error("there are {} tokens, and no more are kept; remove some", Access::<(), ()>::MAX_TOKENS)]
    TooMany,
    /// It is the last token that can make others.
    #[error("it is the last admin token that does not expire; make another one first")]
    LastAdmin,
    /// There is no such token.
    #[error("there is no token {0}")]
    Unknown(TokenId),
    /// The token would be able to do more than the one that makes it.
    #[error(transparent)]
    Wider(#[from] WiderError),
    /// The token would have ended already.
    #[error("the token would have ended already")]
    Past,
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    NoRandomness(#[source] getrandom::Error),
    /// The store cannot be used.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

const PREFIX: &str = "gs_";
const SECRET_BYTES: usize = 32;
const SECRET_DIGITS: usize = 2 * SECRET_BYTES;

impl From<&Caller> for Actor {
    fn from(caller: &Caller) -> Self {
        Self { name: caller.name.clone(), token: Some((caller.id, caller.grant.scope)) }
    }
}

impl<T, C> Access<T, C> {
    /// The most tokens that are kept.
    pub const MAX_TOKENS: usize = 1_000;
}

impl<T: TokenStore, C: Clock> Access<T, C> {
    /// Grants access by the tokens in this store, none before [`Access::load`].
    pub fn new(store: T, clock: C) -> Self {
        let records = ArcSwapOption::empty();
        let recalled = ArcSwapOption::empty();
        let uses = std::sync::Mutex::default();
        let looks = Looks::default();
        Self { store, clock, records, recalled, uses, turn: Mutex::new(()), looks }
    }

    /// Reads the tokens from the store.
    ///
    /// # Errors
    ///
    /// If the store cannot be used.
    pub async fn load(&self) -> Result<(), Unavailable> {
        let _turn = self.turn.lock().await;
        let _look = self.looks.begin();
        self.read().await
    }

    /// Waits until a request has a token that is not known here, so that [`Access::load`] is wanted.
    pub async fn load_wanted(&self) {
        self.looks.wanted().await;
    }

    async fn read(&self) -> Result<(), Unavailable> {
        let records = self.store.tokens().await?;
        let by_id = self.with_uses(records);
        // What is remembered of uses is bounded by the number of tokens.
        self.uses().retain(|id, _| by_id.contains_key(id));
        self.records.store(Some(Arc::new(by_id)));
        self.recalled.store(None);
        Ok(())
    }

    /// Takes what an earlier run knew of the tokens, for reading, until they have been read.
    pub(crate) fn recall(&self, saved: &SavedTokens) {
        let by_id = self.with_uses(saved.records.clone());
        self.recalled.store(Some(Arc::new(Recalled { by_id, at: saved.at })));
    }

    /// Takes when an earlier run saw each token used, unless it was used since.
    pub(crate) fn recall_uses(&self, used: &BTreeMap<TokenId, Timestamp>) {
        let mut uses = self.uses();
        for (&id, at) in used.iter().take(Self::MAX_TOKENS) {
            let minute = at.unix_millis() / MINUTE;
            uses.entry(id).or_default().0.fetch_max(minute, Ordering::Relaxed);
        }
    }

    /// Returns when each token was last used at this node, to the minute.
    pub fn last_uses(&self) -> BTreeMap<TokenId, Timestamp> {
        self.uses().iter().filter_map(|(&id, used)| Some((id, used.at()?))).collect()
    }

    fn with_uses(&self, records: Vec<TokenRecord>) -> HashMap<TokenId, Known> {
        let mut uses = self.uses();
        let known = records.into_iter().map(|record| {
            let used = uses.entry(record.id).or_default().clone();
            (record.id, Known { record, used })
        });
        known.collect()
    }

    fn uses(&self) -> std::sync::MutexGuard<'_, BTreeMap<TokenId, LastUse>> {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what the store has said of the tokens, in the order of their ids; `None` before it
    /// has.
    pub(crate) fn known(&self) -> Option<Vec<TokenRecord>> {
        let by_id = self.records.load_full()?;
        let mut records: Vec<_> = by_id.values().map(|known| known.record.clone()).collect();
        records.sort_by_key(|record| record.id);
        Some(records)
    }

    /// Tells whether the tokens have ever been read: before, nobody's is known to be wrong.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.records.load().is_some()
    }

    /// Returns the caller that a token belongs to.
    ///
    /// Takes as long for a secret that is wrong by one character as for one that is wrong at all.
    ///
    /// # Errors
    ///
    /// If the token is not known, or has expired.
    pub fn authenticate(&self, token: &str) -> Result<Caller, Denied> {
        let (id, secret) = split(token).ok_or(Denied::Unknown)?;
        let records = self.records.load();
        let recalled = self.recalled.load();
        let now = self.clock.wall();
        let (known, scope, now) = match (&*records, &*recalled) {
            (Some(records), _) => {
                let known = records.get(&id).ok_or(Denied::Unknown)?;
                (known, Some(known.record.grant.scope), now)
            }
            (None, Some(recalled)) => {
                let known = recalled.by_id.get(&id).ok_or(Denied::Unknown)?;
                // A clock that went back since makes no token valid that had expired by then.
                (known, recalled_scope(known.record.grant.scope), now.max(recalled.at))
            }
            (None, None) => return Err(Denied::Unknown),
        };
        let TokenRecord { id, name, grant, hash: of_secret, .. } = &known.record;
        let is_right: bool = hash(secret).ct_eq(of_secret).into();
        if !is_right {
            return Err(Denied::Unknown);
        }
        if let Some(end) = grant.expires.filter(|_| !grant.holds_at(now)) {
            return Err(Denied::Expired(end));
        }
        let scope = scope.ok_or(Denied::Unknown)?;
        known.used.note(now);
        Ok(Caller { id: *id, name: name.clone(), grant: Grant { scope, ..grant.clone() } })
    }

    /// Tells whether the token of a caller that was authenticated before is valid still: it was not
    /// revoked, and has not expired.
    #[must_use]
    pub fn is_valid(&self, caller: &Caller) -> bool {
        let now = self.clock.wall();
        if let Some(records) = &*self.records.load() {
            return records.contains_key(&caller.id) && caller.grant.holds_at(now);
        }
        let recalled = self.recalled.load();
        recalled.as_ref().is_some_and(|recalled| {
            recalled.by_id.contains_key(&caller.id) && caller.grant.holds_at(now.max(recalled.at))
        })
    }

    /// Tells whether a token may have been made at another node since the tokens were read: it is
    /// written as one, and its id is not known here.
    #[must_use]
    pub fn may_be_new(&self, token: &str) -> bool {
        let Some((id, secret)) = split(token) else { return false };
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_written_so = secret.len() == SECRET_DIGITS && secret.bytes().all(is_digit);
        let records = self.records.load();
        let is_unknown =
            |id: TokenId| records.as_ref().is_some_and(|by_id| !by_id.contains_key(&id));
        is_written_so && is_unknown(id)
    }

    /// Does what [`Access::authenticate`] does, after the next [`Access::load`].
    ///
    /// Many requests wait for one load. Where too many wait already, or the load does not come, the
    /// answer is by what is known.
    ///
    /// # Errors
    ///
    /// If the token is not known, or has expired.
    pub async fn authenticate_after_load(&self, token: &str) -> Result<Caller, Denied> {
        self.looks.next().await;
        self.authenticate(token)
    }

    /// Makes a token, which can never do more than that of its maker; the node itself has no maker.
    ///
    /// # Errors
    ///
    /// If it would be wider than the maker's, or have ended already, there are too many, or the
    /// store cannot be used.
    pub async fn create(
        &self,
        name: Line,
        grant: Grant,
        maker: Option<&Caller>,
        attempt: Option<Attempt>,
    ) -> Result<NewToken, AccessError> {
        if let Some(maker) = maker {
            maker.grant.covers(&grant)?;
        }
        if !grant.holds_at(self.clock.wall()) {
            return Err(AccessError::Past);
        }
        let _turn = self.turn.lock().await;
        if self.records().len() >= Self::MAX_TOKENS {
            return Err(AccessError::TooMany);
        }
        let node = attempt.as_ref().map(|attempt| attempt.node.clone());
        let made = self.draw(name, grant, node)?;
        self.store.put_token(made.record.clone(), attempt).await?;
        self.read().await?;
        tell_made(&made.record);
        Ok(made)
    }

    /// Draws a token, which is not valid yet.
    ///
    /// # Errors
    ///
    /// If the system gives no random numbers.
    pub fn draw(
        &self,
        name: Line,
        grant: Grant,
        node: Option<NodeId>,
    ) -> Result<NewToken, AccessError> {
        let mut random = [0; SECRET_BYTES + size_of::<u64>()];
        getrandom::fill(&mut random).map_err(AccessError::NoRandomness)?;
        let (secret, id) = random.split_at(SECRET_BYTES);
        let id = TokenId(id.iter().fold(0, |id, &byte| id << 8 | u64::from(byte)));
        let secret: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let text = format!("{PREFIX}{id}_{secret}");
        let created = self.clock.wall();
        let record = TokenRecord { id, name, grant, hash: hash(&secret), created, node };
        Ok(NewToken { record, text })
    }

    /// Makes a drawn token valid if there is no admin token, at any node; else returns the admin
    /// token that was made first.
    ///
    /// After an error the token may be valid all the same. Then asking again with the same one tells.
    ///
    /// # Errors
    ///
    /// If there are too many, or the store cannot be used.
    pub async fn first_admin(
        &self,
        drawn: &NewToken,
        attempt: Option<Attempt>,
    ) -> Result<Option<TokenRecord>, AccessError> {
        let is_another = |first: &TokenRecord| first.id != drawn.record.id;
        let _turn = self.turn.lock().await;
        self.read().await?;
        // Nearly every start ends here: only a first one has to lock anything.
        if let Some(first) = TokenRecord::first_admin(self.list()) {
            return Ok(Some(first).filter(is_another));
        }
        if self.records().len() >= Self::MAX_TOKENS {
            return Err(AccessError::TooMany);
        }
        let first = self.store.put_first_admin(drawn.record.clone(), attempt).await?;
        self.read().await?;
        let first = first.filter(is_another);
        if first.is_none() {
            tell_made(&drawn.record);
        }
        Ok(first)
    }

    /// Removes a token: it is not valid from now on.
    ///
    /// # Errors
    ///
    /// If there is no such token within the limits of the revoker's, it is the last valid admin token
    /// without limits, or the store cannot be used.
    pub async fn revoke(
        &self,
        id: TokenId,
        revoker: Option<&Caller>,
        attempt: Option<Attempt>,
    ) -> Result<(), AccessError> {
        let _turn = self.turn.lock().await;
        let records = self.records();
        let is_seen = |record: &&TokenRecord| {
            revoker.is_none_or(|revoker| revoker.grant.reaches_all_of(&record.grant))
        };
        let record = records.get(&id).map(|known| &known.record).filter(is_seen);
        let record = record.ok_or(AccessError::Unknown(id))?;
        let now = self.clock.wall();
        if is_last_admin(record, records.values().map(|known| &known.record), now) {
            return Err(AccessError::LastAdmin);
        }
        self.store.remove_token(id, attempt).await?;
        self.read().await?;
        tracing::info!(%id, "token revoked");
        Ok(())
    }

    /// Returns what is known of every token, the oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<TokenRecord> {
        let by_id = self.records();
        let mut records: Vec<_> = by_id.values().map(|known| known.record.clone()).collect();
        records.sort_by_key(|record| (record.created, record.id));
        records
    }

    /// Returns how the admin tokens without limits end, if an operator should know.
    #[must_use]
    pub fn admins_end(&self) -> Option<AdminsEnd> {
        let records = self.records();
        let admins = records.values().map(|known| &known.record).filter(|known| known.is_admin());
        admins_end(admins, self.clock.wall())
    }

    fn records(&self) -> Arc<HashMap<TokenId, Known>> {
        self.records.load_full().unwrap_or_default()
    }
}

fn tell_made(TokenRecord { id, name, grant, .. }: &TokenRecord) {
    tracing::info!(%id, %name, scope = %grant.scope, "token made");
}

/// Takes a token apart, into its id and its secret.
fn split(token: &str) -> Option<(TokenId, &str)> {
    let (id, secret) = token.strip_prefix(PREFIX)?.split_once('_')?;
    Some((id.parse().ok()?, secret))
}

/// Tells whether revoking a token would leave no admin token: none that lasts, or, where there is
/// none that lasts, none that is valid. What expires cannot make what lasts.
fn is_last_admin<'a>(
    record: &TokenRecord,
    records: impl Iterator<Item = &'a TokenRecord>,
    now: Timestamp,
) -> bool {
    let is_valid = |record: &TokenRecord| record.is_admin() && record.grant.holds_at(now);
    let admins: Vec<_> = records.filter(|other| is_valid(other)).collect();
    let lasts = |record: &TokenRecord| record.grant.expires.is_none();
    let lasting = admins.iter().filter(|other| lasts(other)).count();
    is_valid(record) && ((lasts(record) && lasting == 1) || admins.len() == 1)
}

fn admins_end<'a>(
    admins: impl Iterator<Item = &'a TokenRecord>,
    now: Timestamp,
) -> Option<AdminsEnd> {
    let (valid, ended): (Vec<_>, Vec<_>) = admins.partition(|record| record.grant.holds_at(now));
    if valid.is_empty() {
        let last = ended.iter().filter_map(|record| record.grant.expires).max();
        return last.map(AdminsEnd::AllEnded);
    }
    let ends = valid.iter().filter_map(|record| {
        let end = record.grant.expires?;
        (end.since(now) <= ENDS_SOON && end.since(record.created) >= LASTING).then_some(end)
    });
    let first = ends.clone().min()?;
    Some(AdminsEnd::Soon(ends.count(), first))
}

/// Returns what a token is good for that may have been revoked since: reading at the most. Reports
/// can remove regions, so they have to wait.
fn recalled_scope(scope: Scope) -> Option<Scope> {
    match scope {
        Scope::Reporter => None,
        Scope::Viewer | Scope::Operator | Scope::Admin => Some(Scope::Viewer),
    }
}

fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_token_that_was_made_to_last_is_told_of_a_week_before_its_end() {
        const DAY: u64 = 86_400_000;
        let at = |day: u64| Timestamp::from_unix_millis(day * DAY);
        let admin = |created, end: Option<u64>| TokenRecord {
            id: TokenId(created),
            name: "ops".parse().expect("a line"),
            grant: Grant { expires: end.map(at), ..Grant::unlimited(Scope::Admin) },
            hash: [0; 32],
            created: at(created),
            node: None,
        };
        let check = |admins: &[TokenRecord]| admins_end(admins.iter(), at(100));
        let lasting = admin(0, None);
        assert_eq!(check(&[]), None);
        assert_eq!(check(&[lasting.clone(), admin(0, Some(108))]), None, "it is too early");
        assert_eq!(check(&[admin(0, Some(107))]), Some(AdminsEnd::Soon(1, at(107))));
        let three = [lasting.clone(), admin(1, Some(107)), admin(2, Some(103))];
        assert_eq!(check(&three), Some(AdminsEnd::Soon(2, at(103))));
        assert_eq!(check(&[lasting.clone(), admin(99, Some(101))]), None, "it is short-lived");
        assert_eq!(check(&[lasting, admin(0, Some(50))]), None, "it has ended");
        let ended = [admin(0, Some(50)), admin(0, Some(100))];
        assert_eq!(check(&ended), Some(AdminsEnd::AllEnded(at(100))));
    }
}
