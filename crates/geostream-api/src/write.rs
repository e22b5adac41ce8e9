//! From the domain to documents.

use std::fmt;
use std::time::Duration;

use geostream_domain as domain;

use crate::config::{
    AllDown, AllDownRule, Change, Check, CheckMethod, Clients, Config, FenceRule, Member,
    Objective, Override, OverrideAction, Policy, Region, Service, Settings, WholeConfig,
};
use crate::time::Time;

impl From<&domain::Config> for Config {
    fn from(config: &domain::Config) -> Self {
        let by_id = |id: &dyn fmt::Display| id.to_string();
        let unusual =
            domain::Flag::ALL.into_iter().filter(|flag| config.flag(*flag) != flag.default_state());
        Self {
            regions: config.regions().iter().map(|(id, r)| (by_id(id), (&**r).into())).collect(),
            services: config.services().iter().map(|(id, s)| (by_id(id), (&**s).into())).collect(),
            flags: unusual.map(|flag| (flag.to_string(), config.flag(flag))).collect(),
            settings: config.settings().into(),
        }
    }
}

impl From<&domain::Config> for WholeConfig {
    fn from(config: &domain::Config) -> Self {
        let overrides = config.overrides().iter();
        Self {
            config: config.into(),
            overrides: overrides.map(|(id, wish)| (id.to_string(), wish.into())).collect(),
        }
    }
}

impl From<&domain::Region> for Region {
    fn from(region: &domain::Region) -> Self {
        Self {
            name: region.name.as_ref().map(ToString::to_string),
            latitude: region.point.latitude(),
            longitude: region.point.longitude(),
            endpoint: region.endpoint.as_ref().map(ToString::to_string),
            capacity: region.capacity.map(domain::Capacity::units),
            cost_per_gb: region.cost.map(domain::Cost::usd_per_gb),
            check: region.check.as_ref().map(Into::into),
            labels: region.labels.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
        }
    }
}

impl From<&domain::HealthCheck> for Check {
    fn from(check: &domain::HealthCheck) -> Self {
        let unless_default = |differs: bool, millis: u128| {
            differs.then(|| u32::try_from(millis).unwrap_or(u32::MAX))
        };
        let (timing, usual) = (check.timing, domain::CheckTiming::default());
        let differs = |of: fn(domain::CheckTiming) -> Duration| of(timing) != of(usual);
        let request = &check.request;
        let headers = request.headers.iter();
        Self {
            url: Some(check.target.url().to_string()),
            host: request.host.as_ref().map(ToString::to_string),
            method: match request.method {
                domain::ProbeMethod::Get => None,
                domain::ProbeMethod::Head => Some(CheckMethod::Head),
            },
            headers: headers
                .map(|(name, value)| (name.to_string(), value.reveal().to_owned()))
                .collect(),
            follow_redirects: request.follows_redirects,
            status: (check.status != domain::StatusCodes::default())
                .then(|| check.status.to_string()),
            body: check.body.as_ref().map(ToString::to_string),
            interval_ms: unless_default(
                differs(domain::CheckTiming::interval),
                timing.interval().as_millis(),
            ),
            timeout_ms: unless_default(
                differs(domain::CheckTiming::timeout),
                timing.timeout().as_millis(),
            ),
            fall: (timing.fall() != usual.fall()).then_some(timing.fall()),
            rise: (timing.rise() != usual.rise()).then_some(timing.rise()),
            ramp_seconds: unless_default(
                differs(domain::CheckTiming::ramp),
                timing.ramp().as_secs().into(),
            ),
        }
    }
}

impl From<&domain::Service> for Service {
    fn from(service: &domain::Service) -> Self {
        let member = |member: &domain::Member| Member {
            weight: member.weight.get(),
            priority: member.priority,
            bias_km: member.bias.km(),
        };
        Self {
            members: service.members.iter().map(|(id, m)| (id.to_string(), member(m))).collect(),
            policy: (&service.policy).into(),
            geofence: service.geofence.rules().iter().map(Into::into).collect(),
            all_down: (&service.all_down).into(),
            removal_budget_percent: service.removal_budget.percent(),
        }
    }
}

impl From<&domain::AllDown> for AllDown {
    fn from(all_down: &domain::AllDown) -> Self {
        let alone = |rule| Self { rule, region: None };
        match all_down {
            domain::AllDown::FailOpen => alone(AllDownRule::FailOpen),
            domain::AllDown::Closed => alone(AllDownRule::Closed),
            domain::AllDown::LastGood => alone(AllDownRule::LastGood),
            domain::AllDown::Static(region) => {
                Self { rule: AllDownRule::Static, region: Some(region.to_string()) }
            }
        }
    }
}

impl From<&domain::Policy> for Policy {
    fn from(policy: &domain::Policy) -> Self {
        use domain::Objective as O;
        let (band_ms, band_km, allowance_ms) = match policy.objective {
            O::Latency { band } | O::Priority { band } => (Some(band.as_millis()), None, None),
            O::Proximity { band } => (None, Some(band.as_km()), None),
            O::Cost { allowance, band } | O::Load { allowance, band } => {
                (Some(band.as_millis()), None, Some(allowance.as_millis()))
            }
            O::Weighted => (None, None, None),
        };
        let without_location = policy.without_location.iter().map(ToString::to_string).collect();
        let objective = policy.objective.into();
        Self { objective, band_ms, band_km, allowance_ms, without_location }
    }
}

impl From<domain::Objective> for Objective {
    fn from(objective: domain::Objective) -> Self {
        match objective {
            domain::Objective::Latency { .. } => Self::Latency,
            domain::Objective::Proximity { .. } => Self::Proximity,
            domain::Objective::Cost { .. } => Self::Cost,
            domain::Objective::Load { .. } => Self::Load,
            domain::Objective::Priority { .. } => Self::Priority,
            domain::Objective::Weighted => Self::Weighted,
        }
    }
}

impl From<&domain::FenceRule> for FenceRule {
    fn from(rule: &domain::FenceRule) -> Self {
        let texts = |selectors: &[domain::LabelSelector]| {
            selectors.iter().map(ToString::to_string).collect()
        };
        Self {
            clients: Clients {
                countries: rule.clients.countries.iter().map(ToString::to_string).collect(),
                groups: rule.clients.groups.iter().map(ToString::to_string).collect(),
                continents: rule.clients.continents.iter().map(ToString::to_string).collect(),
                unknown: rule.clients.unknown,
            },
            allow: texts(&rule.allow),
            deny: texts(&rule.deny),
        }
    }
}

impl From<&domain::Settings> for Settings {
    fn from(settings: &domain::Settings) -> Self {
        Self {
            default_service: settings.default_service.as_ref().map(ToString::to_string),
            alternatives: Some(settings.alternatives.get()),
            requests_per_second: settings.requests_per_second.map(write_limit),
            requests_per_second_per_token: settings.requests_per_second_per_token.map(write_limit),
            reachability_targets: settings.reachability_targets.as_ref().map(write_targets),
        }
    }
}

fn write_limit(limit: domain::RequestLimit) -> u64 {
    limit.per_second().into()
}

fn write_targets(targets: &domain::ReachabilityTargets) -> Vec<String> {
    targets.iter().map(|address| address.to_string()).collect()
}

impl From<&domain::Override> for Override {
    fn from(wish: &domain::Override) -> Self {
        Self {
            action: wish.action.into(),
            owner: wish.owner.to_string(),
            reason: wish.reason.to_string(),
            since: Time(wish.since),
            expires: wish.expires.map(Time),
        }
    }
}

impl From<domain::OverrideAction> for OverrideAction {
    fn from(action: domain::OverrideAction) -> Self {
        match action {
            domain::OverrideAction::Drain => Self::Drain,
            domain::OverrideAction::Up => Self::Up,
            domain::OverrideAction::Down => Self::Down,
        }
    }
}

impl From<OverrideAction> for domain::OverrideAction {
    fn from(action: OverrideAction) -> Self {
        match action {
            OverrideAction::Drain => Self::Drain,
            OverrideAction::Up => Self::Up,
            OverrideAction::Down => Self::Down,
        }
    }
}

impl From<&domain::Change> for Change {
    fn from(change: &domain::Change) -> Self {
        match change {
            domain::Change::PutRegion(region) => {
                Self::PutRegion { id: region.id.to_string(), region: (&**region).into() }
            }
            domain::Change::RemoveRegion(id) => Self::RemoveRegion { id: id.to_string() },
            domain::Change::PutService(service) => {
                Self::PutService { id: service.id.to_string(), service: (&**service).into() }
            }
            domain::Change::RemoveService(id) => Self::RemoveService { id: id.to_string() },
            domain::Change::SetOverride(wish) => {
                Self::SetOverride { region: wish.region.to_string(), wish: wish.into() }
            }
            domain::Change::ClearOverride(region) => {
                Self::ClearOverride { region: region.to_string() }
            }
            domain::Change::SetFlag(flag, on) => Self::SetFlag { flag: flag.to_string(), on: *on },
            domain::Change::SetSetting(domain::Setting::DefaultService(service)) => {
                Self::SetDefaultService { service: service.as_ref().map(ToString::to_string) }
            }
            domain::Change::SetSetting(domain::Setting::Alternatives(count)) => {
                Self::SetAlternatives { count: count.get() }
            }
            domain::Change::SetSetting(domain::Setting::RequestsPerSecond(limit)) => {
                Self::SetRequestsPerSecond { limit: limit.map(write_limit) }
            }
            domain::Change::SetSetting(domain::Setting::RequestsPerSecondPerToken(limit)) => {
                Self::SetRequestsPerSecondPerToken { limit: limit.map(write_limit) }
            }
            domain::Change::SetSetting(domain::Setting::ReachabilityTargets(targets)) => {
                Self::SetReachabilityTargets { targets: targets.as_ref().map(write_targets) }
            }
        }
    }
}
