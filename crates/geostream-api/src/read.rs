//! From documents to the domain: where everything is checked.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use geostream_domain as domain;

use crate::config::{
    AllDown, AllDownRule, Change, Check, CheckMethod, Config, FenceRule, Member, Objective,
    Override, Policy, Region, Service, Settings, WholeConfig,
};
use crate::fields::{FieldErrors, Fields, step};

impl Config {
    /// Turns the document into a configuration without overrides.
    ///
    /// # Errors
    ///
    /// Every bad field; or, once all can be read, the first part that does not fit the others.
    pub fn to_domain(&self) -> Result<domain::Config, FieldErrors> {
        let config = domain::Config::default().after(self.to_changes()?);
        config.map_err(|error| FieldErrors::one(pointer_in_config(&error.source), error.source))
    }

    /// Turns the document into the changes that lead to it from the empty configuration.
    ///
    /// # Errors
    ///
    /// Every bad field.
    pub fn to_changes(&self) -> Result<Vec<domain::Change>, FieldErrors> {
        let mut fields = Fields::default();
        let mut changes = Vec::new();
        for (id, region) in &self.regions {
            let at = format!("/regions{}", step(id));
            changes.extend(fields.part(at, region.to_domain(id)).map(domain::Change::PutRegion));
        }
        for (id, service) in &self.services {
            let at = format!("/services{}", step(id));
            changes.extend(fields.part(at, service.to_domain(id)).map(domain::Change::PutService));
        }
        for (name, &on) in &self.flags {
            let flag = fields.check(format_args!("/flags{}", step(name)), name.parse());
            changes.extend(flag.map(|flag| domain::Change::SetFlag(flag, on)));
        }
        let settings = fields.part("/settings", self.settings.to_domain());
        changes.extend(settings.unwrap_or_default().into_iter().map(domain::Change::SetSetting));
        fields.finish(Some(changes))
    }
}

impl WholeConfig {
    /// Turns the document into a configuration.
    ///
    /// # Errors
    ///
    /// As [`Config::to_domain`], or the first override that does not fit.
    pub fn to_domain(&self) -> Result<domain::Config, FieldErrors> {
        let overrides = self.overrides.iter().map(|(region, wish)| {
            Change::SetOverride { region: region.clone(), wish: wish.clone() }.to_domain()
        });
        let overrides: Vec<domain::Change> = overrides.collect::<Result<_, _>>()?;
        let config = self.config.to_domain()?.after(overrides);
        config.map_err(|error| FieldErrors::one("/overrides", error.source))
    }
}

/// Returns where in a declared configuration a rule that spans several parts is broken.
#[must_use]
pub fn pointer_in_config(error: &domain::ConfigError) -> String {
    use domain::ConfigError as E;
    match error {
        E::UnknownRegion(region) | E::NoOverride(region) | E::RegionInUse { region, .. } => {
            format!("/regions/{region}")
        }
        E::TooManyRegions => "/regions".to_owned(),
        E::TooManyServices => "/services".to_owned(),
        E::UnknownService(_) | E::ServiceIsDefault(_) => "/settings/default_service".to_owned(),
        E::NoMembers(service)
        | E::UnknownMember { service, .. }
        | E::UnknownStatic { service, .. }
        | E::BadOrder { service, .. }
        | E::FenceTooLong(service)
        | E::FenceTooComplex(service) => {
            format!("/services/{service}{}", pointer_in_service(error))
        }
    }
}

/// Returns where in a service's document a rule that spans several parts is broken.
#[must_use]
pub fn pointer_in_service(error: &domain::ConfigError) -> &'static str {
    use domain::ConfigError as E;
    match error {
        E::NoMembers(_) | E::UnknownMember { .. } => "/members",
        E::UnknownStatic { .. } => "/all_down/region",
        E::BadOrder { .. } => "/policy/without_location",
        E::FenceTooLong(_) | E::FenceTooComplex(_) => "/geofence",
        E::UnknownRegion(_)
        | E::UnknownService(_)
        | E::NoOverride(_)
        | E::RegionInUse { .. }
        | E::ServiceIsDefault(_)
        | E::TooManyRegions
        | E::TooManyServices => "",
    }
}

impl Region {
    /// Turns the document into a region of this id.
    ///
    /// # Errors
    ///
    /// Every bad field.
    pub fn to_domain(&self, id: &str) -> Result<Arc<domain::Region>, FieldErrors> {
        let mut fields = Fields::default();
        let id = fields.check("", id.parse());
        let name = fields.check_some("/name", self.name.as_ref().map(|name| name.parse()));
        let point = domain::GeoPoint::new(self.latitude, self.longitude);
        let at = match point {
            Err(domain::GeoPointError::Longitude(_)) => "/longitude",
            Err(domain::GeoPointError::Latitude(_)) | Ok(_) => "/latitude",
        };
        let point = fields.check(at, point);
        let endpoint =
            fields.check_some("/endpoint", self.endpoint.as_ref().map(|url| url.parse()));
        let capacity = fields.check_some("/capacity", self.capacity.map(domain::Capacity::new));
        let cost =
            fields.check_some("/cost_per_gb", self.cost_per_gb.map(domain::Cost::from_usd_per_gb));
        let labels = read_labels(&self.labels, &mut fields);
        let check = self.check.as_ref().map(|check| check.to_domain(endpoint.as_ref()));
        let check = check.and_then(|check| fields.part("/check", check));
        let region = id.zip(point).zip(labels).map(|((id, point), labels)| {
            Arc::new(domain::Region { id, name, point, endpoint, capacity, cost, labels, check })
        });
        fields.finish(region)
    }
}

impl Check {
    /// Turns the document into a check of a region with this endpoint.
    fn to_domain(
        &self,
        endpoint: Option<&domain::Endpoint>,
    ) -> Result<domain::HealthCheck, FieldErrors> {
        let mut fields = Fields::default();
        let url = fields.check_some("/url", self.url.as_ref().map(|url| url.parse()));
        if self.url.is_none() && endpoint.is_none() {
            fields.note("/url", "it is needed, since the region has no endpoint");
        }
        let url: Option<domain::Endpoint> = url.or_else(|| endpoint.cloned());
        let target = fields.check_some("/url", url.map(domain::ProbeTarget::new));
        let status = self.status.as_ref().map(|text| read_status(text));
        let status = fields.check_some("/status", status).unwrap_or_default();
        let body = fields.check_some("/body", self.body.as_ref().map(|text| text.parse()));
        let timing = self.timing(&mut fields);
        let protocol = target.as_ref().map(domain::ProbeTarget::protocol);
        let request = self.request(protocol, &mut fields);
        let check = target.zip(timing).zip(request).map(|((target, timing), request)| {
            domain::HealthCheck { target, request, status, body, timing }
        });
        fields.finish(check)
    }

    /// Reads what the request says beside the URL, of which the protocol is known unless the URL is
    /// wrong.
    fn request(
        &self,
        protocol: Option<domain::ProbeProtocol>,
        fields: &mut Fields,
    ) -> Option<domain::ProbeRequest> {
        use domain::ProbeRequestError as E;
        let host = self.host.as_ref().map(|text| {
            let wrong = "a DNS name or an IP address, with or without a port, is expected";
            text.parse().map_err(|_| wrong)
        });
        let host = fields.check_some("/host", host);
        let headers = read_headers(&self.headers, fields)?;
        let method = match self.method {
            Some(CheckMethod::Head) => domain::ProbeMethod::Head,
            Some(CheckMethod::Get) | None => domain::ProbeMethod::Get,
        };
        let follows_redirects = self.follow_redirects;
        let request = domain::ProbeRequest { host, method, headers, follows_redirects };
        let request = request.for_check(protocol?, self.body.is_some());
        let at = match request {
            Err(E::Host) => "/host",
            Err(E::Headers) => "/headers",
            Err(E::BodyOfHead) => "/body",
            Err(E::Redirects) => "/follow_redirects",
            Err(E::Method) | Ok(_) => "/method",
        };
        fields.check(at, request)
    }

    fn timing(&self, fields: &mut Fields) -> Option<domain::CheckTiming> {
        use domain::CheckTimingError as E;
        let usual = domain::CheckTiming::default();
        let (usual_fall, usual_rise, usual_ramp) = (usual.fall(), usual.rise(), usual.ramp());
        let millis = |given: Option<u32>, usual: Duration| {
            given.map_or(usual, |millis| Duration::from_millis(millis.into()))
        };
        let timing = domain::CheckTiming::new(
            millis(self.interval_ms, usual.interval()),
            millis(self.timeout_ms, usual.timeout()),
            self.fall.unwrap_or(usual_fall),
            self.rise.unwrap_or(usual_rise),
            self.ramp_seconds.map_or(usual_ramp, |seconds| Duration::from_secs(seconds.into())),
        );
        let at = match timing {
            Err(E::Timeout) => "/timeout_ms",
            Err(E::Fall) => "/fall",
            Err(E::Rise) => "/rise",
            Err(E::Ramp) => "/ramp_seconds",
            Err(E::Interval) | Ok(_) => "/interval_ms",
        };
        fields.check(at, timing)
    }
}

/// Reads header fields; errors do not show their values.
fn read_headers(
    headers: &BTreeMap<String, String>,
    fields: &mut Fields,
) -> Option<domain::ProbeHeaders> {
    let mut read = BTreeMap::new();
    for (name, value) in headers {
        let at = format!("/headers{}", step(name));
        let name: Option<domain::ProbeHeaderName> = fields.check(&at, name.parse());
        let value = if Check::is_redacted(value) {
            let detail = "the value is redacted, and one is kept only for this region, as long as \
                          the check's scheme, host and port stay the same: state it";
            Err(detail.to_owned())
        } else {
            value.parse().map_err(|error: domain::ProbeHeaderValueError| error.to_string())
        };
        let value: Option<domain::ProbeHeaderValue> = fields.check(&at, value);
        read.extend(name.zip(value));
    }
    fields.check("/headers", domain::ProbeHeaders::new(read))
}

/// Reads `200`, `200-399` or `200-299,401`.
fn read_status(text: &str) -> Result<domain::StatusCodes, String> {
    let mut ranges = Vec::new();
    for part in text.split(',').map(str::trim) {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| {
            let wrong =
                || format!("{part:?} is no status code; 200, 200-399 or 200-299,401 is expected");
            text.parse::<u16>().map_err(|_| wrong())
        };
        let range = domain::StatusRange::new(number(from)?, number(to)?);
        ranges.push(range.map_err(|error| error.to_string())?);
    }
    domain::StatusCodes::new(ranges).map_err(|error| error.to_string())
}

fn read_labels(labels: &BTreeMap<String, String>, fields: &mut Fields) -> Option<domain::Labels> {
    let mut read = BTreeMap::new();
    for (key, value) in labels {
        let at = format!("/labels{}", step(key));
        let key = fields.check(&at, key.parse());
        let value = fields.check(&at, value.parse());
        read.extend(key.zip(value));
    }
    fields.check("/labels", domain::Labels::new(read))
}

impl Service {
    /// Turns the document into a service of this id.
    ///
    /// # Errors
    ///
    /// Every bad field.
    pub fn to_domain(&self, id: &str) -> Result<Arc<domain::Service>, FieldErrors> {
        let mut fields = Fields::default();
        let id = fields.check("", id.parse());
        let mut members = BTreeMap::new();
        for (region, member) in &self.members {
            let at = format!("/members{}", step(region));
            let region = fields.check(&at, region.parse());
            let member = fields.part(&at, member.to_domain());
            members.extend(region.zip(member));
        }
        if self.members.is_empty() {
            fields.note("/members", "at least one region is expected");
        }
        let policy = fields.part("/policy", self.policy.to_domain());
        let rules = self.geofence.iter().enumerate().filter_map(|(number, rule)| {
            fields.part(format_args!("/geofence/{number}"), rule.to_domain())
        });
        let rules = rules.collect();
        let geofence = fields.check("/geofence", domain::Geofence::new(rules));
        let all_down = fields.part("/all_down", self.all_down.to_domain());
        let budget = domain::RemovalBudget::from_percent(self.removal_budget_percent);
        let budget = fields.check("/removal_budget_percent", budget);
        let service = id.zip(policy).zip(geofence).zip(all_down).zip(budget).map(
            |((((id, policy), geofence), all_down), removal_budget)| {
                let service =
                    domain::Service { id, members, policy, geofence, all_down, removal_budget };
                Arc::new(service)
            },
        );
        fields.finish(service)
    }
}

impl AllDown {
    fn to_domain(&self) -> Result<domain::AllDown, FieldErrors> {
        let rule = match (self.rule, &self.region) {
            (AllDownRule::Static, Some(region)) => {
                let region = region.parse();
                return region
                    .map(domain::AllDown::Static)
                    .map_err(|error| FieldErrors::one("/region", error));
            }
            (AllDownRule::Static, None) => {
                return Err(FieldErrors::one("/region", "the rule static needs a region"));
            }
            (_, Some(_)) => {
                return Err(FieldErrors::one("/region", "only the rule static has use for it"));
            }
            (AllDownRule::FailOpen, None) => domain::AllDown::FailOpen,
            (AllDownRule::Closed, None) => domain::AllDown::Closed,
            (AllDownRule::LastGood, None) => domain::AllDown::LastGood,
        };
        Ok(rule)
    }
}

impl Member {
    fn to_domain(self) -> Result<domain::Member, FieldErrors> {
        let mut fields = Fields::default();
        let weight = fields.check("/weight", domain::Weight::new(self.weight));
        let bias = fields.check("/bias_km", domain::Bias::from_km(self.bias_km));
        let member = weight.zip(bias).map(|(weight, bias)| domain::Member {
            weight,
            priority: self.priority,
            bias,
        });
        fields.finish(member)
    }
}

impl Policy {
    fn to_domain(&self) -> Result<domain::Policy, FieldErrors> {
        let mut fields = Fields::default();
        let objective = self.objective(&mut fields);
        let mut without_location = Vec::new();
        for (number, region) in self.without_location.iter().enumerate() {
            let at = format_args!("/without_location/{number}");
            without_location.extend(fields.check(at, region.parse::<domain::RegionId>()));
        }
        fields.finish(objective.map(|objective| domain::Policy { objective, without_location }))
    }

    fn objective(&self, fields: &mut Fields) -> Option<domain::Objective> {
        use Objective as O;
        let band = fields
            .check_some("/band_ms", self.band_ms.map(domain::Band::from_millis))
            .unwrap_or_default();
        let band_km = fields
            .check_some("/band_km", self.band_km.map(domain::BandKm::from_km))
            .unwrap_or_default();
        let allowance =
            fields.check_some("/allowance_ms", self.allowance_ms.map(domain::Rtt::from_millis));
        let name = self.objective;
        for (pointer, given, used) in [
            ("/band_ms", self.band_ms.is_some(), !matches!(name, O::Proximity | O::Weighted)),
            ("/band_km", self.band_km.is_some(), matches!(name, O::Proximity)),
            ("/allowance_ms", self.allowance_ms.is_some(), matches!(name, O::Cost | O::Load)),
        ] {
            if given && !used {
                fields.note(pointer, format_args!("the objective {name} has no use for it"));
            }
        }
        let needed = |fields: &mut Fields| {
            if self.allowance_ms.is_none() {
                let detail =
                    format_args!("the objective {name} needs it: the latency that is good enough");
                fields.note("/allowance_ms", detail);
            }
            allowance
        };
        Some(match name {
            O::Latency => domain::Objective::Latency { band },
            O::Proximity => domain::Objective::Proximity { band: band_km },
            O::Cost => domain::Objective::Cost { allowance: needed(fields)?, band },
            O::Load => domain::Objective::Load { allowance: needed(fields)?, band },
            O::Priority => domain::Objective::Priority { band },
            O::Weighted => domain::Objective::Weighted,
        })
    }
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Latency => "latency",
            Self::Proximity => "proximity",
            Self::Cost => "cost",
            Self::Load => "load",
            Self::Priority => "priority",
            Self::Weighted => "weighted",
        })
    }
}

impl FenceRule {
    fn to_domain(&self) -> Result<domain::FenceRule, FieldErrors> {
        let mut fields = Fields::default();
        let clients = domain::ClientSelector {
            countries: read_all("/clients/countries", &self.clients.countries, &mut fields),
            groups: read_all("/clients/groups", &self.clients.groups, &mut fields),
            continents: read_all("/clients/continents", &self.clients.continents, &mut fields),
            unknown: self.clients.unknown,
        };
        let allow = read_all("/allow", &self.allow, &mut fields);
        let deny = read_all("/deny", &self.deny, &mut fields);
        if self.allow.is_empty() && self.deny.is_empty() {
            fields.note("", "the rule allows and denies nothing; give it allow or deny");
        }
        fields.finish(Some(domain::FenceRule { clients, allow, deny }))
    }
}

fn read_all<T>(pointer: &str, texts: &[String], fields: &mut Fields) -> Vec<T>
where
    T: std::str::FromStr<Err: fmt::Display>,
{
    let read = texts.iter().enumerate();
    read.filter_map(|(number, text)| fields.check(format_args!("{pointer}/{number}"), text.parse()))
        .collect()
}

impl Settings {
    /// Turns the document into every setting.
    ///
    /// # Errors
    ///
    /// Every bad field.
    pub fn to_domain(&self) -> Result<Vec<domain::Setting>, FieldErrors> {
        let mut fields = Fields::default();
        let service =
            fields.check_some("/default_service", self.default_service.as_ref().map(|s| s.parse()));
        let count = fields
            .check_some("/alternatives", self.alternatives.map(domain::AlternativeCount::new));
        let requests =
            fields.check_some("/requests_per_second", self.requests_per_second.map(read_limit));
        let per_token = self.requests_per_second_per_token.map(read_limit);
        let per_token = fields.check_some("/requests_per_second_per_token", per_token);
        let targets = self.reachability_targets.as_deref().map(read_targets);
        let targets = targets.and_then(|targets| fields.part("/reachability_targets", targets));
        fields.finish(Some(vec![
            domain::Setting::DefaultService(service),
            domain::Setting::Alternatives(count.unwrap_or_default()),
            domain::Setting::RequestsPerSecond(requests),
            domain::Setting::RequestsPerSecondPerToken(per_token),
            domain::Setting::ReachabilityTargets(targets),
        ]))
    }
}

fn read_limit(per_second: u64) -> Result<domain::RequestLimit, domain::RequestLimitError> {
    domain::RequestLimit::new(per_second)
}

/// Reads addresses with a port; errors point at the one that they concern.
fn read_targets(texts: &[String]) -> Result<domain::ReachabilityTargets, FieldErrors> {
    let mut fields = Fields::default();
    let addresses = texts.iter().enumerate().filter_map(|(number, text)| {
        let expected = || format!("{text:?} is not an address with a port, such as 192.0.2.1:443");
        fields.check(format_args!("/{number}"), text.parse::<SocketAddr>().map_err(|_| expected()))
    });
    let addresses: Vec<_> = addresses.collect();
    if addresses.len() < texts.len() {
        return fields.finish(None);
    }
    domain::ReachabilityTargets::new(addresses.iter().copied()).map_err(|error| {
        use domain::ReachabilityTargetsError as E;
        let place = match error {
            E::TooMany => None,
            E::Twice(address) | E::NoPort(address) => {
                addresses.iter().rposition(|other| *other == address)
            }
        };
        FieldErrors::one(place.map_or_else(String::new, |number| format!("/{number}")), error)
    })
}

impl Override {
    fn to_domain(&self, region: &str) -> Result<domain::Override, FieldErrors> {
        let mut fields = Fields::default();
        let region = fields.check("", region.parse());
        let owner = fields.check("/owner", self.owner.parse());
        let reason = fields.check("/reason", self.reason.parse());
        let wish =
            region.zip(owner).zip(reason).map(|((region, owner), reason)| domain::Override {
                region,
                action: self.action.into(),
                owner,
                reason,
                since: self.since.0,
                expires: self.expires.map(|time| time.0),
            });
        fields.finish(wish)
    }
}

impl Change {
    /// Turns what a store has kept into the change that it was.
    ///
    /// # Errors
    ///
    /// Every bad field, which only a damaged store has.
    pub fn to_domain(&self) -> Result<domain::Change, FieldErrors> {
        let name = |text: &str| text.parse().map_err(|e| FieldErrors::one("", e));
        let service_name = |text: &str| text.parse().map_err(|e| FieldErrors::one("", e));
        Ok(match self {
            Self::PutRegion { id, region } => domain::Change::PutRegion(region.to_domain(id)?),
            Self::RemoveRegion { id } => domain::Change::RemoveRegion(name(id)?),
            Self::PutService { id, service } => domain::Change::PutService(service.to_domain(id)?),
            Self::RemoveService { id } => domain::Change::RemoveService(service_name(id)?),
            Self::SetOverride { region, wish } => {
                domain::Change::SetOverride(wish.to_domain(region)?)
            }
            Self::ClearOverride { region } => domain::Change::ClearOverride(name(region)?),
            Self::SetFlag { flag, on } => {
                let flag = flag.parse().map_err(|e| FieldErrors::one("/flag", e))?;
                domain::Change::SetFlag(flag, *on)
            }
            Self::SetDefaultService { service } => {
                let service = service.as_deref().map(service_name).transpose()?;
                domain::Change::SetSetting(domain::Setting::DefaultService(service))
            }
            Self::SetAlternatives { count } => {
                let count = domain::AlternativeCount::new(*count);
                let count = count.map_err(|e| FieldErrors::one("/count", e))?;
                domain::Change::SetSetting(domain::Setting::Alternatives(count))
            }
            Self::SetRequestsPerSecond { limit } => {
                let limit = read_kept_limit(*limit)?;
                domain::Change::SetSetting(domain::Setting::RequestsPerSecond(limit))
            }
            Self::SetRequestsPerSecondPerToken { limit } => {
                let limit = read_kept_limit(*limit)?;
                domain::Change::SetSetting(domain::Setting::RequestsPerSecondPerToken(limit))
            }
            Self::SetReachabilityTargets { targets } => {
                let targets = targets.as_deref().map(read_targets).transpose()?;
                domain::Change::SetSetting(domain::Setting::ReachabilityTargets(targets))
            }
        })
    }
}

fn read_kept_limit(limit: Option<u64>) -> Result<Option<domain::RequestLimit>, FieldErrors> {
    let limit = limit.map(read_limit).transpose();
    limit.map_err(|error| FieldErrors::one("/limit", error))
}
