//! What a token that is limited to services and regions may do and see.
//!
//! [`Control::limited_by`] says for each operation what it touches, and [`check`] asks the grant
//! about it, for every operation in one place. An operation that shows or takes many services and
//! regions goes on and leaves out, or refuses, what [`Visible`] does not name.

use geostream_api::{Config, Difference, KeptChanges, Settings};
use geostream_app::{Caller, WriteError};
use geostream_domain::{
    AllDown, Change, ChangeError, Commit, ConfigError, Grant, GrantError, RegionId, Service,
    ServiceId, Shortage, Touched,
};
use geostream_ports::{Attempt, Scope};

use crate::problem::{Failure, Kind};
use crate::routes::Control;

/// How the limits of a token hold for an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LimitedBy {
    /// By the region that the path names.
    RegionInPath,
    /// By the service that the path names.
    ServiceInPath,
    /// By each region and service that the operation shows or takes: its handler asks [`Visible`] about
    /// each. Or the operation has none.
    Parts,
    /// Not at all, so a limited token may not do it.
    Nothing,
}

impl Control {
    /// Returns how the limits of a token hold for the operation.
    pub(crate) fn limited_by(self) -> LimitedBy {
        match self {
            Self::GetRegion
            | Self::PutRegion
            | Self::DeleteRegion
            | Self::PutOverride
            | Self::DeleteOverride => LimitedBy::RegionInPath,
            Self::GetService | Self::PutService | Self::DeleteService => LimitedBy::ServiceInPath,
            Self::GetOpenapi
            | Self::GetStatus
            | Self::GetRegionHealth
            | Self::ListHealthChanges
            | Self::StreamEvents
            | Self::ReportOutcomes
            | Self::LookUpAddress
            | Self::GetConfig
            | Self::ListHistory
            | Self::GetHistory
            | Self::GetDiff
            | Self::ListRegions
            | Self::ListServices
            | Self::ListOverrides
            | Self::ListAudit
            | Self::ListTokens
            | Self::CreateToken
            | Self::DeleteToken => LimitedBy::Parts,
            Self::PutConfig
            | Self::ListLog
            | Self::GetRevision
            | Self::ImportLog
            | Self::RollBack
            | Self::ListFlags
            | Self::PutFlag
            | Self::GetSettings
            | Self::PutSettings
            | Self::GetBackup
            | Self::GetLogLevel
            | Self::PutLogLevel => LimitedBy::Nothing,
        }
    }
}

/// Permits an operation, with the parameter of its path, to a token.
///
/// A parameter that is no name touches nothing: the operation answers that there is no such thing.
pub(crate) fn check(
    grant: &Grant,
    needed: Scope,
    operation: Control,
    parameter: &str,
) -> Result<(), GrantError> {
    match operation.limited_by() {
        LimitedBy::RegionInPath => match parameter.parse() {
            Ok(region) => grant.permits(needed, Touched::Region(&region)),
            Err(_) => grant.permits(needed, Touched::Nothing),
        },
        LimitedBy::ServiceInPath => match parameter.parse() {
            Ok(service) => grant.permits(needed, Touched::Service(&service)),
            Err(_) => grant.permits(needed, Touched::Nothing),
        },
        LimitedBy::Parts => grant.permits(needed, Touched::Nothing),
        LimitedBy::Nothing => grant.permits(needed, Touched::Everything),
    }
}

/// What a caller sees of the services and regions: what the limits of its token name.
#[derive(Clone, Debug)]
pub(crate) struct Visible(Option<Caller>);

impl Visible {
    /// Shows what this caller may see; all where no token is needed.
    pub(crate) fn to(caller: Option<Caller>) -> Self {
        Self(caller)
    }

    pub(crate) fn caller(&self) -> Option<&Caller> {
        self.0.as_ref()
    }

    /// Tells whether the caller's token has the scope `admin`.
    pub(crate) fn is_to_admin(&self) -> bool {
        self.0.as_ref().is_some_and(|caller| caller.grant.scope.permits(Scope::Admin))
    }

    pub(crate) fn is_limited(&self) -> bool {
        self.0.as_ref().is_some_and(|caller| caller.grant.limits.is_some())
    }

    pub(crate) fn has_region(&self, region: &RegionId) -> bool {
        self.reaches(Touched::Region(region)).is_ok()
    }

    pub(crate) fn has_service(&self, service: &ServiceId) -> bool {
        self.reaches(Touched::Service(service)).is_ok()
    }

    /// Refuses what the token's limits do not name.
    pub(crate) fn check(&self, touched: Touched<'_>) -> Result<(), Failure> {
        self.reaches(touched).map_err(Failure::from)
    }

    fn reaches(&self, touched: Touched<'_>) -> Result<(), GrantError> {
        self.0.as_ref().map_or(Ok(()), |caller| caller.grant.reaches(touched))
    }

    /// Refuses a service that names a region which the limits do not name, unless the service names
    /// it already: so what a limited token reads, it can write back.
    pub(crate) fn check_regions_of(
        &self,
        service: &Service,
        before: Option<&Service>,
    ) -> Result<(), Failure> {
        for region in regions_of(service) {
            let was_named =
                before.is_some_and(|before| regions_of(before).any(|old| old == region));
            if !was_named {
                self.check(Touched::Region(region))?;
            }
        }
        Ok(())
    }

    /// Leaves in a declared configuration what is visible: settings and flags hold for everything.
    pub(crate) fn config(&self, mut config: Config) -> Config {
        if self.is_limited() {
            config.regions.retain(|id, _| self.has_part("regions", id));
            config.services.retain(|id, _| self.has_part("services", id));
            config.flags.clear();
            config.settings = Settings::default();
        }
        config
    }

    /// Leaves in a commit what is visible; nothing is left of one that changes nothing visible.
    pub(crate) fn commit(&self, mut commit: Commit) -> Option<Commit> {
        if self.is_limited() {
            commit.changes.retain(|change| self.has_change(change));
            if commit.changes.is_empty() {
                return None;
            }
        }
        Some(commit)
    }

    fn has_change(&self, change: &Change) -> bool {
        match change {
            Change::PutRegion(region) => self.has_region(&region.id),
            Change::SetOverride(override_) => self.has_region(&override_.region),
            Change::RemoveRegion(region) | Change::ClearOverride(region) => self.has_region(region),
            Change::PutService(service) => self.has_service(&service.id),
            Change::RemoveService(service) => self.has_service(service),
            Change::SetFlag(..) | Change::SetSetting(_) => !self.is_limited(),
        }
    }

    /// Leaves what is visible of what differs between two configurations.
    pub(crate) fn differences(&self, mut differences: Vec<Difference>) -> Vec<Difference> {
        differences.retain(|difference| self.has_path(&difference.path));
        differences
    }

    /// Tells whether an entry of the audit trail is visible: what was done to something visible,
    /// and what was done with the caller's own token.
    pub(crate) fn has_attempt(&self, attempt: &Attempt) -> bool {
        let path = attempt.target.strip_prefix("/api/v1/");
        self.is_own(attempt) || path.is_some_and(|path| self.has_path(path))
    }

    /// Tells whether all of an entry of the audit trail is visible: to a limited token, what was done
    /// with itself.
    pub(crate) fn is_own(&self, attempt: &Attempt) -> bool {
        let Some(caller) = self.0.as_ref().filter(|_| self.is_limited()) else { return true };
        let of_token = attempt.who.as_ref().and_then(|who| who.token);
        of_token.is_some_and(|(id, _)| id == caller.id)
    }

    /// Leaves what is visible of the changes in an entry of the audit trail.
    pub(crate) fn kept_changes(&self, changes: KeptChanges) -> KeptChanges {
        KeptChanges { changes: self.differences(changes.changes), ..changes }
    }

    /// Tells whether a part of the configuration, such as `regions/eu-1`, is visible.
    fn has_path(&self, path: &str) -> bool {
        match path.split_once('/') {
            Some((kind, name)) => self.has_part(kind, name),
            None => !self.is_limited(),
        }
    }

    fn has_part(&self, kind: &str, name: &str) -> bool {
        match kind {
            "regions" | "overrides" => name.parse().is_ok_and(|region| self.has_region(&region)),
            "services" => name.parse().is_ok_and(|service| self.has_service(&service)),
            _ => !self.is_limited(),
        }
    }

    /// Answers that a write failed, without the names of services that are not visible.
    pub(crate) fn failure(&self, error: WriteError) -> Failure {
        match &error {
            WriteError::Invalid(ChangeError {
                source: ConfigError::RegionInUse { region, service },
                ..
            }) if !self.has_service(service) => {
                let detail = format!(
                    "region {region} is used by a service that this token is not limited to; it \
                     has to be taken out there first"
                );
                Failure::new(Kind::InUse, detail)
            }
            WriteError::LastRegion { region, services }
                if !services.iter().all(|service| self.has_service(service)) =>
            {
                let detail = format!(
                    "without {region}, no region is left that can serve the clients of services, \
                     of which this token is not limited to all; with force it is drained all the \
                     same"
                );
                Failure::new(Kind::LastRegion, detail)
            }
            WriteError::Conflict { .. }
            | WriteError::Invalid(_)
            | WriteError::LastRegion { .. }
            | WriteError::UnassignedCodes(_)
            | WriteError::Forbidden(_)
            | WriteError::NotKept(_)
            | WriteError::Unavailable(_) => error.into(),
        }
    }

    /// Says what services lack, without the names of those that are not visible.
    pub(crate) fn shortages(&self, shortages: &[Shortage]) -> Vec<String> {
        let (seen, others): (Vec<_>, Vec<_>) =
            shortages.iter().partition(|shortage| self.has_service(&shortage.service));
        let others = (!others.is_empty()).then(|| {
            let number = others.len();
            format!("services that this token is not limited to lack room as well: {number}")
        });
        seen.into_iter().map(ToString::to_string).chain(others).collect()
    }
}

/// Returns the regions that a service names.
fn regions_of(service: &Service) -> impl Iterator<Item = &RegionId> {
    let fixed = match &service.all_down {
        AllDown::Static(region) => Some(region),
        AllDown::FailOpen | AllDown::Closed | AllDown::LastGood => None,
    };
    service.members.keys().chain(fixed)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use geostream_domain::{GeoPoint, GrantLimits, NamePattern, Region};
    use geostream_ports::TokenId;

    use super::*;
    use crate::routes::{Operation, ROUTES};

    fn grant(services: &[&str], regions: &[&str]) -> Grant {
        let patterns = |texts: &[&str]| -> Vec<NamePattern> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let limits = GrantLimits::new(patterns(services), patterns(regions)).unwrap();
        Grant { limits: Some(Arc::new(limits)), ..Grant::unlimited(Scope::Admin) }
    }

    fn visible(services: &[&str], regions: &[&str]) -> Visible {
        Visible::to(Some(Caller {
            id: TokenId(7),
            name: "ci".parse().unwrap(),
            grant: grant(services, regions),
        }))
    }

    fn control() -> impl Iterator<Item = Control> {
        ROUTES.iter().filter_map(|route| match route.operation {
            Operation::Control(control) => Some(control),
            Operation::Decide(_) | Operation::Watch(_) => None,
        })
    }

    #[test]
    fn what_cannot_be_limited_is_refused_and_the_reference_lists_it() {
        let reference = include_str!("../../../docs/API_Reference.md");
        let (_, refused) = reference.split_once("cannot be limited:").unwrap();
        let (refused, _) = refused.split_once("\n\n").unwrap();
        let limited = grant(&["*"], &["*"]);
        for operation in control() {
            let is_refused = check(&limited, Scope::Viewer, operation, "a").is_err();
            let name = format!("`{}`", Operation::Control(operation).id());
            assert_eq!(refused.contains(&name), is_refused, "{name}");
        }
    }

    #[test]
    fn what_a_path_names_has_to_be_named_by_the_limits() {
        let limited = grant(&["api"], &["eu-*"]);
        for (operation, parameter, expected) in [
            (Control::PutRegion, "eu-1", true),
            (Control::PutRegion, "us-1", false),
            (Control::PutOverride, "us-1", false),
            (Control::GetService, "api", true),
            (Control::GetService, "eu-1", false),
            (Control::GetRegion, "api", false),
            (Control::GetRegion, "%20", true),
        ] {
            let done = check(&limited, Scope::Viewer, operation, parameter);
            assert_eq!(done.is_ok(), expected, "{operation:?} {parameter}");
        }
        let viewer = Grant { scope: Scope::Viewer, ..limited };
        let error = check(&viewer, Scope::Admin, Control::PutRegion, "us-1").unwrap_err();
        assert_eq!(error, GrantError::Scope(Scope::Admin), "the scope is told of first");
    }

    #[test]
    fn a_service_gets_no_new_region_that_the_limits_do_not_name() {
        let service = |members: &[&str]| {
            let members = members.iter().map(|member| member.parse().unwrap());
            Service::new("api".parse().unwrap(), members)
        };
        let visible = visible(&["api"], &["eu-*"]);
        let ask = |new: &Service, old: Option<&Service>| visible.check_regions_of(new, old).is_ok();
        let both = service(&["eu-1", "us-1"]);
        assert!(ask(&service(&["eu-1", "eu-2"]), None));
        assert!(!ask(&both, None));
        assert!(ask(&both, Some(&both)), "what was read is written back");
        assert!(ask(&service(&["eu-1"]), Some(&both)));
        assert!(!ask(&both, Some(&service(&["eu-1"]))));
        let fixed = Service { all_down: AllDown::Static("us-1".parse().unwrap()), ..both.clone() };
        assert!(!ask(&fixed, Some(&service(&["eu-1"]))));
    }

    #[test]
    fn of_a_commit_only_what_is_visible_is_left() {
        let region = |id: &str| {
            Change::from(Region::new(id.parse().unwrap(), GeoPoint::new(1.0, 2.0).unwrap()))
        };
        let commit = |changes| Commit {
            revision: geostream_domain::Revision::new(1),
            changes,
            author: "ci".parse().unwrap(),
            reason: "test".parse().unwrap(),
            at: geostream_domain::Timestamp::EPOCH,
        };
        let visible = visible(&[], &["eu-*"]);
        let left = visible.commit(commit(vec![region("eu-1"), region("us-1")])).unwrap();
        assert_eq!(left.changes, [region("eu-1")]);
        let flag = Change::SetFlag(geostream_domain::Flag::PublicExplain, false);
        assert_eq!(visible.commit(commit(vec![region("us-1"), flag.clone()])), None);
        assert!(Visible::to(None).commit(commit(vec![flag])).is_some());
    }
}
