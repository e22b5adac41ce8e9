//! The log as a whole, which can be moved from one store to another.

use geostream_api::{self as api, FieldErrors, Fields, ImportRequest, LogPage};
use geostream_domain::{Commit, Revision, Snapshot};
use geostream_ports::{Attempt, Clock, GeoLocator, Import, ImportId, ImportPart, Store};

use crate::api::Api;
use crate::body;
use crate::body::no_content;
use crate::call::Call;
use crate::control::RevisionNumber;
use crate::problem::{Answer, Failure};
use crate::query::Query;

/// The changes on a page, unless one commit alone has more.
const CHANGES: usize = 20_000;

impl<S, G, C> Api<S, G, C>
where
    S: Store,
    G: GeoLocator,
    C: Clock + 'static,
{
    pub(crate) async fn list_log(&self, call: &Call) -> Result<Answer, Failure> {
        let mut query = Query::of(&call.uri);
        let after = query.parsed("after")?.map_or(Revision::ZERO, |RevisionNumber(after)| after);
        let limit = query.page_limit()?;
        query.end()?;
        let kept = self.parts.configuration.commits(after, limit).await?;
        let page = first_page(&kept);
        let is_last = page.len() == kept.len() && kept.len() < limit;
        let next = page.last().map(|commit| commit.revision.get()).filter(|_| !is_last);
        // An import needs the values of header fields, which may be secrets.
        let document = |commit: &Commit| {
            let document = api::Commit::from(commit);
            if call.visible.is_to_admin() { document } else { document.redacted() }
        };
        body::json(&LogPage { commits: page.iter().map(document).collect(), next_after: next })
    }

    pub(crate) async fn get_revision(&self, call: &Call) -> Result<Answer, Failure> {
        call.no_query()?;
        let RevisionNumber(revision) = call.parameter()?;
        let config = self.config_at(revision).await?;
        let document = api::Snapshot::from(&Snapshot { revision, config });
        body::json(&if call.visible.is_to_admin() { document } else { document.redacted() })
    }

    pub(crate) async fn import_log(&self, call: &Call) -> Result<Answer, Failure> {
        call.no_query()?;
        let request: ImportRequest = body::read(&call.headers, &call.body)?;
        let import = read_import(&request, &call.attempt)?;
        self.parts.configuration.import(import).await?;
        Ok(no_content())
    }
}

/// Returns as many commits as fit on a page.
fn first_page(commits: &[Commit]) -> &[Commit] {
    let mut changes = 0;
    let fits = |commit: &&Commit| {
        changes += commit.changes.len();
        changes <= CHANGES
    };
    let fitting = commits.iter().take_while(fits).count();
    &commits[..fitting.max(1).min(commits.len())]
}

fn read_import(request: &ImportRequest, attempt: &Attempt) -> Result<Import, FieldErrors> {
    let mut fields = Fields::default();
    let id = fields.check("/import", read_id(&request.import));
    let part = fields.part("/part", read_part(&request.part));
    let attempt = Some(attempt.clone());
    fields.finish(id.zip(part).map(|(id, part)| Import { id, part, attempt }))
}

fn read_id(text: &str) -> Result<ImportId, &'static str> {
    let is_id = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let id = is_id.then(|| u128::from_str_radix(text, 16).ok()).flatten();
    id.map(ImportId).ok_or("32 hexadecimal digits are expected")
}

fn read_part(part: &api::ImportPart) -> Result<ImportPart, FieldErrors> {
    let mut fields = Fields::default();
    let part = match part {
        api::ImportPart::Begin(base) => {
            fields.check("/begin/revision", RevisionNumber::new(base.revision));
            fields.part("/begin", base.to_domain()).map(ImportPart::Begin)
        }
        api::ImportPart::Commits(commits) => {
            let commits = commits.iter().enumerate().map(|(number, commit)| {
                fields.part(format_args!("/commits/{number}"), commit.to_domain())
            });
            commits.collect::<Option<_>>().map(ImportPart::Commits)
        }
        api::ImportPart::End(last) => {
            let last = fields.check("/end", RevisionNumber::new(*last));
            last.map(|RevisionNumber(last)| ImportPart::End(last))
        }
    };
    fields.finish(part)
}
