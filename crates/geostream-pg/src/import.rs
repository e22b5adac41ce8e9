//! Taking in another store's log.
//!
//! Its commits and checkpoints are put where the own ones would be. As long as the import is under
//! way, the head stays at 0 and has the import for its mark; what is there is beyond it.

use std::sync::Arc;

use geostream_api::{self as api, KeptChanges};
use geostream_domain::{Commit, Config, ReplayError, Revision, Snapshot};
use geostream_ports::{Attempt, Head, Import, ImportError, ImportId, ImportPart, Marked};
use tokio_postgres::types::Type;

use crate::error::PgError;
use crate::log::{
    CHECKPOINT_EVERY, LOCKED_HEAD, MOVE_HEAD, announce, checkpoint, forget, head, number, replay,
    revision,
};
use crate::session::{Purpose, Session};
use crate::store::PgStore;
use crate::tables::{self, text};
use crate::trail::note_done;

const ADD: &str = "INSERT INTO config_log (revision, mark, at, author, reason, change)
SELECT (c->>'revision')::bigint, gen_random_uuid(), (c->>'at')::timestamptz, c->>'author',
       c->>'reason', c->'changes'
FROM jsonb_array_elements($1::jsonb) AS c";

const REACHED: &str = "SELECT coalesce((SELECT max(revision) FROM config_log),
                (SELECT max(revision) FROM config_checkpoints), 0)";

/// Makes everything up to a revision the log.
const ADOPT: &str = "UPDATE config_head SET revision = $1, mark = coalesce(
    (SELECT mark FROM config_log WHERE revision = $1), gen_random_uuid())
RETURNING mark::text";

impl PgStore {
    /// Takes in a part of another log.
    pub(crate) async fn take_in(
        &self,
        Import { id, part, attempt }: Import,
    ) -> Result<Result<(), ImportError>, PgError> {
        let session = self.begin(Purpose::Write).await?;
        let Head { revision: current, mark } = head(&session.row(LOCKED_HEAD, &[]).await?)?;
        if current != Revision::ZERO {
            return Ok(Err(ImportError::NotEmpty { current }));
        }
        if let ImportPart::Begin(base) = part {
            begin(&session, id, &base).await?;
            note_done(&session, attempt, None, None, &KeptChanges::default()).await?;
            return Ok(Ok(session.commit().await?));
        }
        if mark != self::mark(id) {
            return Ok(Err(ImportError::NotBegun));
        }
        let reached = reached(&session).await?;
        match part {
            ImportPart::Begin(_) => Ok(Ok(())),
            ImportPart::Commits(commits) => add(session, reached, &commits).await,
            ImportPart::End(last) => self.adopt(session, reached, last, attempt).await,
        }
    }

    async fn adopt(
        &self,
        session: Session,
        reached: Snapshot,
        last: Revision,
        attempt: Option<Attempt>,
    ) -> Result<Result<(), ImportError>, PgError> {
        if reached.revision != last {
            let gap = ReplayError::Gap { expected: last, found: reached.revision };
            return Ok(Err(gap.into()));
        }
        tables::write(&session, &Config::default(), &reached.config).await?;
        let mark = session.row(ADOPT, &[(&number(last), Type::INT8)]).await?.try_get(0)?;
        let changes = KeptChanges::between(&Config::default(), &reached.config);
        note_done(&session, attempt, Some(last), None, &changes).await?;
        announce(&session, last).await?;
        session.commit().await?;
        self.remember(Marked { mark, snapshot: reached });
        Ok(Ok(()))
    }
}

async fn begin(session: &Session, id: ImportId, base: &Snapshot) -> Result<(), PgError> {
    forget(session).await?;
    let head = [(&number(Revision::ZERO) as _, Type::INT8), (&mark(id) as _, Type::TEXT)];
    session.run(MOVE_HEAD, &head).await?;
    checkpoint(session, base.revision, &base.config).await
}

async fn add(
    session: Session,
    mut reached: Snapshot,
    commits: &[Commit],
) -> Result<Result<(), ImportError>, PgError> {
    for commit in commits {
        reached = match reached.followed_by(commit) {
            Ok(reached) => reached,
            Err(error) => return Ok(Err(error.into())),
        };
        if reached.revision.get().is_multiple_of(CHECKPOINT_EVERY) {
            checkpoint(&session, reached.revision, &reached.config).await?;
        }
    }
    let documents: Vec<api::Commit> = commits.iter().map(Into::into).collect();
    session.run(ADD, &[(&text(&documents)?, Type::TEXT)]).await?;
    Ok(Ok(session.commit().await?))
}

/// Returns how far the import has come.
async fn reached(session: &Session) -> Result<Snapshot, PgError> {
    let revision = revision(&session.row(REACHED, &[]).await?, 0)?;
    let config = replay(session, revision).await?;
    let config = config.ok_or_else(|| {
        PgError::damaged("an import", format!("commits up to {revision} are not all there"))
    })?;
    Ok(Snapshot { revision, config: Arc::new(config) })
}

/// Writes an import's id as the database writes it.
fn mark(ImportId(id): ImportId) -> String {
    let hex = format!("{id:032x}");
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    parts.join("-")
}
