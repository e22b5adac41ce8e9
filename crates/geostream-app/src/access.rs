//! Who a token belongs to.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use geostream_domain::{Line, NodeId};
use geostream_ports::{
    Actor, Attempt, Clock, Scope, TokenId, TokenRecord, TokenStore, Unavailable,
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
    records: ArcSwapOption<HashMap<TokenId, TokenRecord>>,
    /// What an earlier run knew, until they have been read.
    recalled: ArcSwapOption<HashMap<TokenId, TokenRecord>>,
    /// Held from checking to reading what was written: what is checked holds until it is written.
    turn: Mutex<()>,
    looks: Looks,
}

/// Whoever sent a valid token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The token's id.
    pub id: TokenId,
    /// The token's name: the author of what is done with it.
    pub name: Line,
    /// What it is good for.
    pub scope: Scope,
}

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
    #[error("it is the last admin token; make another one first")]
    LastAdmin,
    /// There is no such token.
    #[error("there is no token {0}")]
    Unknown(TokenId),
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
        Self { name: caller.name.clone(), token: Some((caller.id, caller.scope)) }
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
        let looks = Looks::default();
        Self { store, clock, records, recalled, turn: Mutex::new(()), looks }
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
        let by_id = records.into_iter().map(|record| (record.id, record)).collect();
        self.records.store(Some(Arc::new(by_id)));
        self.recalled.store(None);
        Ok(())
    }

    /// Takes what an earlier run knew of the tokens, for reading, until they have been read.
    pub(crate) fn recall(&self, records: Vec<TokenRecord>) {
        let by_id = records.into_iter().map(|record| (record.id, record)).collect();
        self.recalled.store(Some(Arc::new(by_id)));
    }

    /// Returns what the store has said of the tokens, in the order of their ids; `None` before it
    /// has.
    pub(crate) fn known(&self) -> Option<Vec<TokenRecord>> {
        let by_id = self.records.load_full()?;
        let mut records: Vec<_> = by_id.values().cloned().collect();
        records.sort_by_key(|record| record.id);
        Some(records)
    }

    /// Tells whether the tokens have ever been read: before, nobody's is known to be wrong.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.records.load().is_some()
    }

    /// Returns whoever a token belongs to; `None` if it is not valid.
    ///
    /// Takes as long for a secret that is wrong by one character as for one that is wrong at all.
    #[must_use]
    pub fn authenticate(&self, token: &str) -> Option<Caller> {
        let (id, secret) = token.strip_prefix(PREFIX)?.split_once('_')?;
        let id = id.parse().ok()?;
        let records = self.records.load();
        let recalled = self.recalled.load();
        let (record, scope) = match (&*records, &*recalled) {
            (Some(records), _) => records.get(&id).map(|record| (record, record.scope))?,
            (None, Some(recalled)) => recalled
                .get(&id)
                .and_then(|record| Some((record, recalled_scope(record.scope)?)))?,
            (None, None) => return None,
        };
        let is_right: bool = hash(secret).ct_eq(&record.hash).into();
        is_right.then(|| Caller { id: record.id, name: record.name.clone(), scope })
    }

    /// Tells whether a token may have been made at another node since the tokens were read: it is
    /// written as one, and its id is not known here.
    #[must_use]
    pub fn may_be_new(&self, token: &str) -> bool {
        let Some((id, secret)) = token.strip_prefix(PREFIX).and_then(|rest| rest.split_once('_'))
        else {
            return false;
        };
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_written_so = secret.len() == SECRET_DIGITS && secret.bytes().all(is_digit);
        let records = self.records.load();
        let is_unknown =
            |id: TokenId| records.as_ref().is_some_and(|by_id| !by_id.contains_key(&id));
        is_written_so && id.parse().is_ok_and(is_unknown)
    }

    /// Does what [`Access::authenticate`] does, after the next [`Access::load`].
    ///
    /// Many requests wait for one load. Where too many wait already, or the load does not come, the
    /// answer is by what is known.
    pub async fn authenticate_after_load(&self, token: &str) -> Option<Caller> {
        self.looks.next().await;
        self.authenticate(token)
    }

    /// Makes a token.
    ///
    /// # Errors
    ///
    /// If there are too many, or the store cannot be used.
    pub async fn create(
        &self,
        name: Line,
        scope: Scope,
        attempt: Option<Attempt>,
    ) -> Result<NewToken, AccessError> {
        let _turn = self.turn.lock().await;
        if self.records().len() >= Self::MAX_TOKENS {
            return Err(AccessError::TooMany);
        }
        let node = attempt.as_ref().map(|attempt| attempt.node.clone());
        let made = self.draw(name, scope, node)?;
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
        scope: Scope,
        node: Option<NodeId>,
    ) -> Result<NewToken, AccessError> {
        let mut random = [0; SECRET_BYTES + size_of::<u64>()];
        getrandom::fill(&mut random).map_err(AccessError::NoRandomness)?;
        let (secret, id) = random.split_at(SECRET_BYTES);
        let id = TokenId(id.iter().fold(0, |id, &byte| id << 8 | u64::from(byte)));
        let secret: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let text = format!("{PREFIX}{id}_{secret}");
        let created = self.clock.wall();
        let record = TokenRecord { id, name, scope, hash: hash(&secret), created, node };
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
    /// If there is no such token, it is the last admin's, or the store cannot be used.
    pub async fn revoke(&self, id: TokenId, attempt: Option<Attempt>) -> Result<(), AccessError> {
        let _turn = self.turn.lock().await;
        let scope = self.records().get(&id).map(|record| record.scope);
        match scope {
            None => return Err(AccessError::Unknown(id)),
            Some(Scope::Admin) if self.admins() == 1 => return Err(AccessError::LastAdmin),
            Some(_) => {}
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
        let mut records: Vec<_> = by_id.values().cloned().collect();
        records.sort_by_key(|record| (record.created, record.id));
        records
    }

    fn admins(&self) -> usize {
        self.records().values().filter(|record| record.scope == Scope::Admin).count()
    }

    fn records(&self) -> Arc<HashMap<TokenId, TokenRecord>> {
        self.records.load_full().unwrap_or_default()
    }
}

fn tell_made(TokenRecord { id, name, scope, .. }: &TokenRecord) {
    tracing::info!(%id, %name, %scope, "token made");
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
