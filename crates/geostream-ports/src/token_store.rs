//! Who may do what.

use std::fmt;
use std::future::Future;
use std::str::FromStr;

use geostream_domain::{Grant, Line, NodeId, Scope, Timestamp};
use thiserror::Error;

use crate::{Attempt, Unavailable};

/// Keeps what is known of tokens; never a token itself.
pub trait TokenStore: Send + Sync + 'static {
    /// Returns every token's record.
    fn tokens(&self) -> impl Future<Output = Result<Vec<TokenRecord>, Unavailable>> + Send;

    /// Adds a record, or replaces the one of that id.
    ///
    /// The attempt, if it is somebody's, is recorded in the audit trail.
    fn put_token(
        &self,
        record: TokenRecord,
        attempt: Option<Attempt>,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// Adds a record of scope admin unless there is one of that scope without limits, which is
    /// returned: the oldest.
    ///
    /// Looking and adding are one step. Of any number of nodes that ask at once, one adds its record,
    /// and the attempt is recorded if the record is added.
    fn put_first_admin(
        &self,
        record: TokenRecord,
        attempt: Option<Attempt>,
    ) -> impl Future<Output = Result<Option<TokenRecord>, Unavailable>> + Send;

    /// Removes a record, and tells whether there was one.
    ///
    /// If there was, the attempt is recorded as well.
    fn remove_token(
        &self,
        id: TokenId,
        attempt: Option<Attempt>,
    ) -> impl Future<Output = Result<bool, Unavailable>> + Send;
}

/// What is known of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRecord {
    /// Tells tokens apart; part of the token's text, and no secret.
    pub id: TokenId,
    /// Who uses it: the author of what is done with it.
    pub name: Line,
    /// What it is good for.
    pub grant: Grant,
    /// The SHA-256 of the token's secret. The secret has 256 random bits, so it needs no salt and
    /// no slow hash.
    pub hash: [u8; 32],
    /// When it was made.
    pub created: Timestamp,
    /// The node that made it; `None` where earlier versions have not kept it.
    pub node: Option<NodeId>,
}

impl TokenRecord {
    /// Tells whether it may make any other token: it has the scope admin, and no limits.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.grant.scope == Scope::Admin && self.grant.limits.is_none()
    }

    /// Returns the admin token without limits that was made first, even if it has expired.
    pub fn first_admin(records: impl IntoIterator<Item = Self>) -> Option<Self> {
        let admins = records.into_iter().filter(Self::is_admin);
        admins.min_by_key(|record| (record.created, record.id))
    }
}

/// A token's number, written as 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId(pub u64);

impl From<TokenId> for u64 {
    fn from(id: TokenId) -> Self {
        id.0
    }
}

/// A text that is no token's id.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a token's id has 16 hexadecimal digits")]
pub struct TokenIdError;

impl FromStr for TokenId {
    type Err = TokenIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_id =
            text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !is_id {
            return Err(TokenIdError);
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| TokenIdError)
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
