//! Reading and writing the configuration, as a whole and in parts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use geostream_api::{
    Config, Diff, Difference, Fields, Flag, HistoryEntry, HistoryPage, Override, OverrideRequest,
    Proposed, Region, RollbackRequest, Service, Settings, Time, Toggle, pointer_in_config,
};
use geostream_app::{Intent, Written, fence_warnings, weight_warnings};
use geostream_domain::{self as domain, Change, Line, RegionId, Revision, ServiceId, Timestamp};
use geostream_ports::{Clock, GeoLocator, Store};
use serde::Serialize;

use crate::api::Api;
use crate::body;
use crate::call::Call;
use crate::control::{RevisionNumber, YEAR, expected_revision, intent, lone_intent};
use crate::problem::{Answer, Failure, Kind};
use crate::query::Query;

impl<S, G, C> Api<S, G, C>
where
    S: Store,
    G: GeoLocator,
    C: Clock + 'static,
{
    // === The whole ===

    pub(crate) fn get_config(&self, call: &Call) -> Result<Answer, Failure> {
        self.show(call, |config| Ok(call.visible.config(Config::from(config)).redacted()))
    }

    pub(crate) async fn put_config(&self, call: &Call) -> Result<Answer, Failure> {
        let mut query = Query::of(&call.uri);
        let dry_run = query.parsed("dry_run")?.unwrap_or(false);
        let intent = intent(call, &mut query, "declare the configuration")?;
        query.end()?;
        let mut document: Config = body::read(&call.headers, &call.body)?;
        if document.has_redacted() {
            document.keep_headers_of(&*self.base_of(intent.expected).await?);
        }
        let current = self.parts.configuration.current();
        let target = domain::Config::default().after(document.to_changes()?);
        let target = target.map_err(|error| {
            let pointer = pointer_in_config(&error.source);
            Failure::naming(Kind::InvalidConfiguration, pointer, error.source.to_string())
        })?;
        if dry_run {
            return self.propose_only(&intent, &current, &target);
        }
        written(call, &self.parts.configuration.replace(intent, &target).await?)
    }

    pub(crate) async fn list_history(&self, call: &Call) -> Result<Answer, Failure> {
        let mut query = Query::of(&call.uri);
        let below = query.parsed("below")?.map(|RevisionNumber(revision)| revision);
        let limit = query.page_limit()?;
        query.end()?;
        let commits = self.parts.configuration.history(below, limit).await?;
        let last = commits.last().filter(|_| commits.len() == limit);
        let next_below = last.map(|commit| commit.revision.get()).filter(|&last| last > 1);
        let commits = commits.into_iter().filter_map(|commit| call.visible.commit(commit));
        let commits = commits.map(|commit| history_entry(&commit)).collect();
        body::json(&HistoryPage { commits, next_below })
    }

    pub(crate) async fn get_history(&self, call: &Call) -> Result<Answer, Failure> {
        call.no_query()?;
        let RevisionNumber(revision) = call.parameter()?;
        match revision.get().checked_sub(1) {
            Some(before) => {
                let before = Revision::new(before);
                let (old, new) = (self.config_at(before).await?, self.config_at(revision).await?);
                diff(call, (before, &*old), (revision, &*new))
            }
            None => Err(Failure::new(Kind::NotFound, "revision 0 is the empty configuration")),
        }
    }

    pub(crate) async fn get_diff(&self, call: &Call) -> Result<Answer, Failure> {
        let mut query = Query::of(&call.uri);
        let needed = |name: &str, given: Option<RevisionNumber>| match given {
            Some(RevisionNumber(revision)) => Ok(revision),
            None => Err(Failure::field(format!("?{name}"), "a revision is needed")),
        };
        let from = needed("from", query.parsed("from")?)?;
        let to = needed("to", query.parsed("to")?)?;
        query.end()?;
        let old = self.config_at(from).await.map_err(|failure| failure.at("?from"))?;
        let new = self.config_at(to).await.map_err(|failure| failure.at("?to"))?;
        diff(call, (from, &*old), (to, &*new))
    }

    pub(crate) async fn config_at(
        &self,
        revision: Revision,
    ) -> Result<Arc<domain::Config>, Failure> {
        let config = self.parts.configuration.at(revision).await?;
        config.ok_or_else(|| {
            let detail = format!("revision {revision} was never committed, or is no longer kept");
            Failure::new(Kind::NotFound, detail)
        })
    }

    pub(crate) async fn roll_back(&self, call: &Call) -> Result<Answer, Failure> {
        let request: RollbackRequest = body::read(&call.headers, &call.body)?;
        let to = RevisionNumber::new(request.revision);
        let RevisionNumber(to) = to.map_err(|error| Failure::field("/revision", error))?;
        let deed = format!("roll back to revision {to}");
        let intent = lone_intent(call, &deed)?;
        let back = self.parts.configuration.roll_back(intent, to).await;
        written(call, &back.map_err(|error| Failure::from(error).at("/revision"))?)
    }

    // === Regions and services ===

    pub(crate) fn list_regions(&self, call: &Call) -> Result<Answer, Failure> {
        self.show(call, |config| {
            let regions = config.regions().iter().filter(|(id, _)| call.visible.has_region(id));
            let regions: BTreeMap<_, _> =
                regions.map(|(id, region)| (id.to_string(), shown(region))).collect();
            Ok(BTreeMap::from([("regions", regions)]))
        })
    }

    pub(crate) fn get_region(&self, call: &Call) -> Result<Answer, Failure> {
        let id: RegionId = call.parameter()?;
        self.show(call, |config| {
            let region = config.regions().get(&id);
            region.map(|region| shown(region)).ok_or_else(|| Failure::no_region(&id))
        })
    }

    pub(crate) async fn put_region(&self, call: &Call) -> Result<Answer, Failure> {
        let mut document: Region = body::read(&call.headers, &call.body)?;
        let id: RegionId = call.parameter()?;
        if document.has_redacted() {
            let kept = self.base_of(expected_revision(&call.headers)?).await?;
            if let Some(kept) = kept.regions().get(&id) {
                document.keep_headers_of(kept);
            }
        }
        let region = document.to_domain(id.as_str())?;
        let deed = format!("put region {id}");
        let put = self.commit(call, &deed, vec![Change::PutRegion(region)]).await;
        put.map_err(|failure| failure.in_region(&id))
    }

    pub(crate) async fn delete_region(&self, call: &Call) -> Result<Answer, Failure> {
        let id: RegionId = call.parameter()?;
        self.commit(call, &format!("remove region {id}"), vec![Change::RemoveRegion(id)]).await
    }

    pub(crate) fn list_services(&self, call: &Call) -> Result<Answer, Failure> {
        self.show(call, |config| {
            let services = config.services().iter();
            let services = services.filter(|(id, _)| call.visible.has_service(id));
            let services: BTreeMap<_, _> =
                services.map(|(id, service)| (id.to_string(), Service::from(&**service))).collect();
            Ok(BTreeMap::from([("services", services)]))
        })
    }

    pub(crate) fn get_service(&self, call: &Call) -> Result<Answer, Failure> {
        let id: ServiceId = call.parameter()?;
        self.show(call, |config| {
            let service = config.services().get(&id);
            let missing = || Failure::new(Kind::NotFound, format!("there is no service {id}"));
            service.map(|service| Service::from(&**service)).ok_or_else(missing)
        })
    }

    pub(crate) async fn put_service(&self, call: &Call) -> Result<Answer, Failure> {
        let document: Service = body::read(&call.headers, &call.body)?;
        let id: ServiceId = call.parameter()?;
        let service = document.to_domain(id.as_str())?;
        self.check_regions_of(call, &service).await?;
        self.commit(call, &format!("put service {id}"), vec![Change::PutService(service)]).await
    }

    /// Refuses a service that names regions which the limits of the caller's token do not name.
    ///
    /// What it named before is read at the revision that the write expects: the write fails if that
    /// is not the latest.
    async fn check_regions_of(
        &self,
        call: &Call,
        service: &domain::Service,
    ) -> Result<(), Failure> {
        if !call.visible.is_limited() {
            return Ok(());
        }
        let expected = expected_revision(&call.headers)?;
        let before = self.parts.configuration.at(expected).await?;
        let before = before.as_ref().and_then(|config| config.services().get(&service.id));
        call.visible.check_regions_of(service, before.map(|before| &**before))
    }

    pub(crate) async fn delete_service(&self, call: &Call) -> Result<Answer, Failure> {
        let id: ServiceId = call.parameter()?;
        let deed = format!("remove service {id}");
        let removed = self.commit(call, &deed, vec![Change::RemoveService(id)]).await;
        // Here a service that is not there is what was asked for, not a reference to it.
        removed.map_err(Failure::about_the_path)
    }

    // === Overrides, flags and settings ===

    pub(crate) fn list_overrides(&self, call: &Call) -> Result<Answer, Failure> {
        self.show(call, |config| {
            let now = self.parts.clock.wall();
            let hold = config
                .overrides()
                .iter()
                .filter(|(id, wish)| wish.holds_at(now) && call.visible.has_region(id));
            let overrides: BTreeMap<_, _> =
                hold.map(|(id, wish)| (id.to_string(), Override::from(wish))).collect();
            Ok(BTreeMap::from([("overrides", overrides)]))
        })
    }

    pub(crate) async fn put_override(&self, call: &Call) -> Result<Answer, Failure> {
        let request: OverrideRequest = body::read(&call.headers, &call.body)?;
        let region: RegionId = call.parameter()?;
        let caller = call.attempt.who.as_ref().map(|who| who.name.clone());
        let wish = read_override(&request, region, caller, self.parts.clock.wall())?;
        let lasts = request.duration_seconds.map(|seconds| Duration::from_secs(seconds.into()));
        let intent = lone_intent(call, wish.reason.as_str())?;
        let set = self.parts.configuration.set_override(intent, wish, lasts, request.force);
        let (written, shortages) = set.await.map_err(|error| call.visible.failure(error))?;
        answer(&written, call.visible.shortages(&shortages))
    }

    pub(crate) async fn delete_override(&self, call: &Call) -> Result<Answer, Failure> {
        let region: RegionId = call.parameter()?;
        let deed = format!("clear override of region {region}");
        self.commit(call, &deed, vec![Change::ClearOverride(region)]).await
    }

    pub(crate) fn list_flags(&self, call: &Call) -> Result<Answer, Failure> {
        self.show(call, |config| {
            let flags = domain::Flag::ALL.map(|flag| Flag {
                name: flag.to_string(),
                on: config.flag(flag),
                default: flag.default_state(),
                description: flag.description().to_owned(),
            });
            Ok(BTreeMap::from([("flags", flags)]))
        })
    }

    pub(crate) async fn put_flag(&self, call: &Call) -> Result<Answer, Failure> {
        let Toggle { on } = body::read(&call.headers, &call.body)?;
        let flag: domain::Flag = call.parameter()?;
        let deed = format!("switch flag {flag} {}", if on { "on" } else { "off" });
        self.commit(call, &deed, vec![Change::SetFlag(flag, on)]).await
    }

    pub(crate) fn get_settings(&self, call: &Call) -> Result<Answer, Failure> {
        self.show(call, |config| Ok(Settings::from(config.settings())))
    }

    pub(crate) async fn put_settings(&self, call: &Call) -> Result<Answer, Failure> {
        let document: Settings = body::read(&call.headers, &call.body)?;
        let changes = document.to_domain()?.into_iter().map(Change::SetSetting).collect();
        let put = self.commit(call, "set the settings", changes).await;
        put.map_err(|failure| failure.at("/default_service").below("/settings"))
    }

    // === Common ===

    /// Answers with a part of the configuration in use.
    fn show<T: Serialize>(
        &self,
        call: &Call,
        part: impl FnOnce(&domain::Config) -> Result<T, Failure>,
    ) -> Result<Answer, Failure> {
        call.no_query()?;
        let current = self.parts.configuration.current();
        body::json_at(current.revision, &part(&current.config)?)
    }

    /// Returns the configuration that a write goes by; the write fails if it is not the latest.
    async fn base_of(&self, expected: Revision) -> Result<Arc<domain::Config>, Failure> {
        let base = self.parts.configuration.at(expected).await?;
        base.ok_or_else(|| {
            let current = self.parts.configuration.current().revision;
            geostream_app::WriteError::Conflict { expected, current }.into()
        })
    }

    /// Commits changes as the request says, and answers with what changed.
    async fn commit(
        &self,
        call: &Call,
        deed: &str,
        changes: Vec<Change>,
    ) -> Result<Answer, Failure> {
        let intent = lone_intent(call, deed)?;
        let done = self.parts.configuration.write(intent, changes).await;
        written(call, &done.map_err(|error| call.visible.failure(error))?)
    }

    /// Answers what a declaration would change.
    fn propose_only(
        &self,
        intent: &Intent,
        current: &domain::Snapshot,
        target: &domain::Config,
    ) -> Result<Answer, Failure> {
        if intent.expected != current.revision {
            let (expected, current) = (intent.expected, current.revision);
            return Err(geostream_app::WriteError::Conflict { expected, current }.into());
        }
        let target = target.clone().with_overrides_of(&current.config);
        let steps = current.config.changes_to(&target);
        let forbidden = self.parts.configuration.judge(&current.config, &steps)?;
        let fences = fence_warnings(&current.config, &target, |_| true);
        let weights = weight_warnings(&current.config, &target, |_| true);
        let warnings = forbidden.iter().map(ToString::to_string).chain(fences).chain(weights);
        let warnings = warnings.collect();
        let changes = Difference::between(&current.config, &target);
        let revision = current.revision.get();
        body::json_at(current.revision, &Proposed { revision, changes, warnings })
    }
}

/// Returns a region's document as answers show it: without the values of header fields.
fn shown(region: &domain::Region) -> Region {
    Region::from(region).redacted()
}

/// Answers what differs between two revisions.
fn diff(
    call: &Call,
    old: (Revision, &domain::Config),
    new: (Revision, &domain::Config),
) -> Result<Answer, Failure> {
    let changes = call.visible.differences(Difference::between(old.1, new.1));
    body::json(&Diff { from: old.0.get(), to: new.0.get(), changes })
}

fn written(call: &Call, written: &Written) -> Result<Answer, Failure> {
    answer(written, written.warnings(|service| call.visible.has_service(service)))
}

fn answer(written: &Written, warnings: Vec<String>) -> Result<Answer, Failure> {
    let revision = written.after.revision;
    let changes = Difference::between(&written.before, &written.after.config);
    body::json_at(revision, &Proposed { revision: revision.get(), changes, warnings })
}

pub(crate) fn history_entry(commit: &domain::Commit) -> HistoryEntry {
    let told = commit.changes.iter().take(HistoryEntry::SUMMARY);
    HistoryEntry {
        revision: commit.revision.get(),
        at: Time(commit.at),
        author: commit.author.to_string(),
        reason: commit.reason.to_string(),
        changes: commit.changes.len(),
        summary: told.map(HistoryEntry::in_words).collect(),
    }
}

fn read_override(
    request: &OverrideRequest,
    region: RegionId,
    caller: Option<Line>,
    now: Timestamp,
) -> Result<domain::Override, Failure> {
    let mut fields = Fields::default();
    let reason = fields.check("/reason", request.reason.parse());
    let owner = match &request.owner {
        Some(owner) => fields.check("/owner", owner.parse()),
        None => caller,
    };
    let longest = YEAR.as_secs();
    let duration = request.duration_seconds.map(u64::from);
    if duration.is_some_and(|seconds| !(1..=longest).contains(&seconds)) {
        fields.note("/duration_seconds", format_args!("1 to {longest} are expected"));
    }
    let expires = duration.map(|seconds| now.after(Duration::from_secs(seconds)));
    let action = request.action.into();
    let wish = owner.zip(reason).map(|(owner, reason)| domain::Override {
        region,
        action,
        owner,
        reason,
        since: now,
        expires,
    });
    Ok(fields.finish(wish)?)
}
