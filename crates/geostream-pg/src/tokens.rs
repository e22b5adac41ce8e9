//! The tokens.

use geostream_api::{self as api, KeptChanges};
use geostream_domain::{Grant, NodeId, Timestamp};
use geostream_ports::{Attempt, TokenId, TokenRecord, TokenStore, Unavailable};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::error::PgError;
use crate::log::millis;
use crate::session::{Purpose, Session, available};
use crate::store::PgStore;
use crate::tables::{parse, text};
use crate::trail::note_done;

/// Tokens with limits or an end have a table of their own, because programs that know no such table
/// would take them for tokens without either.
const TOKENS: &str = "SELECT id, name, scope, hash, (extract(epoch FROM created) * 1000)::bigint,
       node, NULL AS limits, NULL::bigint AS expires
FROM tokens
UNION ALL
SELECT id, name, scope, hash, (extract(epoch FROM created) * 1000)::bigint,
       node, limits::text, (extract(epoch FROM expires) * 1000)::bigint
FROM limited_tokens ORDER BY id";

const PUT_TOKEN: &str = "WITH other AS (DELETE FROM limited_tokens WHERE id = $1)
INSERT INTO tokens (id, name, scope, hash, created, node)
VALUES ($1, $2, $3, $4, to_timestamp($5 / 1000.0), $6)
ON CONFLICT (id) DO UPDATE SET name = excluded.name, scope = excluded.scope,
    hash = excluded.hash, created = excluded.created, node = excluded.node";

const PUT_LIMITED_TOKEN: &str = "WITH other AS (DELETE FROM tokens WHERE id = $1)
INSERT INTO limited_tokens (id, name, scope, hash, created, node, limits, expires)
VALUES ($1, $2, $3, $4, to_timestamp($5 / 1000.0), $6, $7::jsonb, to_timestamp($8 / 1000.0))
ON CONFLICT (id) DO UPDATE SET name = excluded.name, scope = excluded.scope,
    hash = excluded.hash, created = excluded.created, node = excluded.node,
    limits = excluded.limits, expires = excluded.expires";

/// Waits for all transactions that write tokens, and has others wait until the end of this one;
/// reading goes on. It needs no right that writing does not.
const LOCK_TOKENS: &str = "LOCK TABLE tokens, limited_tokens IN SHARE ROW EXCLUSIVE MODE";

const REMOVE_TOKEN: &str = "WITH plain AS (
    DELETE FROM tokens WHERE id = $1
    RETURNING id, name, scope, hash, (extract(epoch FROM created) * 1000)::bigint, node,
        NULL AS limits, NULL::bigint AS expires),
limited AS (
    DELETE FROM limited_tokens WHERE id = $1
    RETURNING id, name, scope, hash, (extract(epoch FROM created) * 1000)::bigint, node,
        limits::text, (extract(epoch FROM expires) * 1000)::bigint)
SELECT * FROM plain UNION ALL SELECT * FROM limited";

impl PgStore {
    async fn read_tokens(&self) -> Result<Vec<TokenRecord>, PgError> {
        let session = self.begin(Purpose::Read).await?;
        let rows = session.rows(TOKENS, &[]).await?;
        session.commit().await?;
        rows.iter().map(read_token).collect()
    }

    async fn write_token(
        &self,
        record: &TokenRecord,
        attempt: Option<Attempt>,
    ) -> Result<(), PgError> {
        let session = self.begin(Purpose::Write).await?;
        put_token(&session, record, attempt).await?;
        session.commit().await
    }

    async fn write_first_admin(
        &self,
        record: &TokenRecord,
        attempt: Option<Attempt>,
    ) -> Result<Option<TokenRecord>, PgError> {
        let session = self.begin(Purpose::Write).await?;
        session.run(LOCK_TOKENS, &[]).await?;
        let rows = session.rows(TOKENS, &[]).await?;
        let tokens: Vec<_> = rows.iter().map(read_token).collect::<Result<_, _>>()?;
        let first = TokenRecord::first_admin(tokens);
        if first.is_none() {
            put_token(&session, record, attempt).await?;
        }
        session.commit().await?;
        Ok(first)
    }

    async fn delete_token(&self, id: TokenId, attempt: Option<Attempt>) -> Result<bool, PgError> {
        let session = self.begin(Purpose::Write).await?;
        let removed = session.rows(REMOVE_TOKEN, &[(&id.to_string(), Type::TEXT)]).await?;
        if let Some(row) = removed.first() {
            let changes = KeptChanges::of_token(Some(&describe(&read_token(row)?)), None);
            note_done(&session, attempt, None, None, &changes).await?;
        }
        session.commit().await?;
        Ok(!removed.is_empty())
    }
}

impl TokenStore for PgStore {
    async fn tokens(&self) -> Result<Vec<TokenRecord>, Unavailable> {
        available(self.read_tokens()).await
    }

    async fn put_token(
        &self,
        record: TokenRecord,
        attempt: Option<Attempt>,
    ) -> Result<(), Unavailable> {
        available(self.write_token(&record, attempt)).await
    }

    async fn put_first_admin(
        &self,
        record: TokenRecord,
        attempt: Option<Attempt>,
    ) -> Result<Option<TokenRecord>, Unavailable> {
        available(self.write_first_admin(&record, attempt)).await
    }

    async fn remove_token(
        &self,
        id: TokenId,
        attempt: Option<Attempt>,
    ) -> Result<bool, Unavailable> {
        available(self.delete_token(id, attempt)).await
    }
}

async fn put_token(
    session: &Session,
    record: &TokenRecord,
    attempt: Option<Attempt>,
) -> Result<(), PgError> {
    let id = record.id.to_string();
    let created = millis(record.created);
    let node = record.node.as_ref().map(NodeId::as_str);
    let Grant { scope, limits, expires } = &record.grant;
    let limits = limits.as_ref().map(|limits| text(&api::TokenLimits::from(&**limits)));
    let limits = limits.transpose()?;
    let expires = expires.map(millis);
    let row = [
        (&id as _, Type::TEXT),
        (&record.name.as_str() as _, Type::TEXT),
        (&scope.as_str() as _, Type::TEXT),
        (&record.hash.as_slice() as _, Type::BYTEA),
        (&created as _, Type::INT8),
        (&node as _, Type::TEXT),
        (&limits as _, Type::TEXT),
        (&expires as _, Type::INT8),
    ];
    if record.grant.is_plain() {
        session.run(PUT_TOKEN, &row[..6]).await?;
    } else {
        session.run(PUT_LIMITED_TOKEN, &row).await?;
    }
    let changes = KeptChanges::of_token(None, Some(&describe(record)));
    note_done(session, attempt, None, None, &changes).await
}

/// Returns what everybody may know of a token.
fn describe(record: &TokenRecord) -> api::Token {
    let TokenRecord { id, name, grant, created, node, .. } = record;
    api::Token::of_grant(id.to_string(), name, grant, *created, node.as_ref())
}

fn read_token(row: &Row) -> Result<TokenRecord, PgError> {
    let id: &str = row.try_get(0)?;
    let unreadable = |error: Box<dyn std::error::Error + Send + Sync>| {
        PgError::damaged(format!("token {id}"), error)
    };
    let (hash, created): (&[u8], i64) = (row.try_get(3)?, row.try_get(4)?);
    let node = row.try_get::<_, Option<&str>>(5)?.map(str::parse).transpose();
    let scope = row.try_get::<_, &str>(2)?.parse().map_err(|error| unreadable(Box::new(error)))?;
    let limits = row.try_get::<_, Option<&str>>(6)?.map(|limits| {
        let document: api::TokenLimits = parse("the limits of a token", limits)?;
        document.to_domain().map_err(|error| unreadable(Box::new(error)))
    });
    let limits = limits.transpose()?;
    let expires = row.try_get::<_, Option<i64>>(7)?;
    let expires = expires.map(|expires| Timestamp::from_unix_millis(expires.unsigned_abs()));
    Ok(TokenRecord {
        id: id.parse().map_err(|error| unreadable(Box::new(error)))?,
        name: row.try_get::<_, &str>(1)?.parse().map_err(|error| unreadable(Box::new(error)))?,
        grant: Grant { scope, limits, expires },
        hash: hash.try_into().map_err(|error| unreadable(Box::new(error)))?,
        created: Timestamp::from_unix_millis(created.unsigned_abs()),
        node: node.map_err(|error| unreadable(Box::new(error)))?,
    })
}
