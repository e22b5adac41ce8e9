//! Changing and watching the configuration.

use std::borrow::Cow;
use std::sync::Arc;

use geostream_domain as domain;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::{Config, Override, OverrideAction, Region, Service, Settings};
use crate::fields::{FieldErrors, Fields};
use crate::health::{BudgetSpent, HeldRegion};
use crate::limits::Limits;
use crate::nodes::{ClockSkews, Node};
use crate::time::Time;

/// What a write led to, or would lead to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proposed {
    /// The revision after the write; for a dry run, the one that it was worked out on.
    pub revision: u64,
    /// What changed; empty if everything was so already, and then no revision was added.
    pub changes: Vec<Difference>,
    /// What whoever wrote should know of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// One part of a configuration before and after a change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// The part, such as `regions/us-west-2`.
    pub path: String,
    /// What it was; null if there was none.
    pub before: Option<Value>,
    /// What it is; null if it is gone.
    pub after: Option<Value>,
}

impl Difference {
    /// Returns what differs between two configurations.
    #[must_use]
    pub fn between(old: &domain::Config, new: &domain::Config) -> Vec<Self> {
        let changes = old.changes_to(new);
        changes.iter().map(|change| Self::of(change, old, new)).collect()
    }

    /// Returns what differs between two documents, of which one may be missing.
    #[must_use]
    pub fn of_documents<T: Serialize>(path: String, old: Option<&T>, new: Option<&T>) -> Self {
        Self { path, before: old.map(value), after: new.map(value) }
    }

    fn of(change: &domain::Change, old: &domain::Config, new: &domain::Config) -> Self {
        let part = |kind: &str, id: &dyn std::fmt::Display| format!("{kind}/{id}");
        let both = |path: String, view: &dyn Fn(&domain::Config) -> Option<Value>| Self {
            path,
            before: view(old),
            after: view(new),
        };
        match change {
            domain::Change::PutRegion(region) => {
                Self::of_region(part("regions", &region.id), &region.id, old, new)
            }
            domain::Change::RemoveRegion(id) => Self::of_region(part("regions", id), id, old, new),
            domain::Change::PutService(service) => both(part("services", &service.id), &|config| {
                config.services().get(&service.id).map(|service| value(Service::from(&**service)))
            }),
            domain::Change::RemoveService(id) => both(part("services", id), &|config| {
                config.services().get(id).map(|service| value(Service::from(&**service)))
            }),
            domain::Change::SetOverride(wish) => both(part("overrides", &wish.region), &|config| {
                config.overrides().get(&wish.region).map(|wish| value(Override::from(wish)))
            }),
            domain::Change::ClearOverride(region) => both(part("overrides", region), &|config| {
                config.overrides().get(region).map(|wish| value(Override::from(wish)))
            }),
            domain::Change::SetFlag(flag, _) => {
                both(part("flags", flag), &|config| Some(config.flag(*flag).into()))
            }
            domain::Change::SetSetting(setting) => {
                let name = name_of(setting);
                both(part("settings", &name), &|config| {
                    value(Settings::from(config.settings())).get(name).cloned()
                })
            }
        }
    }

    /// Differences are answered and audited, so they do not show the values of header fields.
    fn of_region(
        path: String,
        id: &domain::RegionId,
        old: &domain::Config,
        new: &domain::Config,
    ) -> Self {
        let document = |config: &domain::Config| {
            config.regions().get(id).map(|region| Region::from(&**region))
        };
        let before = document(old);
        let after = document(new).map(|after| value(after.redacted_since(before.as_ref())));
        Self { path, before: before.map(|before| value(before.redacted())), after }
    }
}

/// Returns what a setting is called in documents.
fn name_of(setting: &domain::Setting) -> &'static str {
    match setting {
        domain::Setting::DefaultService(_) => "default_service",
        domain::Setting::Alternatives(_) => "alternatives",
        domain::Setting::RequestsPerSecond(_) => "requests_per_second",
        domain::Setting::RequestsPerSecondPerToken(_) => "requests_per_second_per_token",
        domain::Setting::ReachabilityTargets(_) => "reachability_targets",
    }
}

/// Shows a document as JSON.
fn value(document: impl Serialize) -> Value {
    serde_json::to_value(document).expect("the vocabulary has text keys and finite numbers")
}

/// One commit of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// The revision that it led to.
    pub revision: u64,
    /// When it was proposed.
    pub at: Time,
    /// Who proposed it.
    pub author: String,
    /// Why.
    pub reason: String,
    /// How many changes it has.
    pub changes: usize,
    /// The first ten of them in words.
    pub summary: Vec<String>,
}

impl HistoryEntry {
    /// The most changes that a summary tells of.
    pub const SUMMARY: usize = 10;

    /// Says in words what a change does.
    #[must_use]
    pub fn in_words(change: &domain::Change) -> String {
        match change {
            domain::Change::PutRegion(region) => format!("put region {}", region.id),
            domain::Change::RemoveRegion(id) => format!("remove region {id}"),
            domain::Change::PutService(service) => format!("put service {}", service.id),
            domain::Change::RemoveService(id) => format!("remove service {id}"),
            domain::Change::SetOverride(wish) => {
                format!("override region {}: {}", wish.region, wish.action.as_str())
            }
            domain::Change::ClearOverride(region) => format!("clear override of region {region}"),
            domain::Change::SetFlag(flag, on) => {
                format!("switch flag {flag} {}", if *on { "on" } else { "off" })
            }
            domain::Change::SetSetting(domain::Setting::DefaultService(Some(service))) => {
                format!("set default service {service}")
            }
            domain::Change::SetSetting(domain::Setting::DefaultService(None)) => {
                "set no default service".to_owned()
            }
            domain::Change::SetSetting(domain::Setting::Alternatives(count)) => {
                format!("set alternatives {}", count.get())
            }
            domain::Change::SetSetting(
                setting @ (domain::Setting::RequestsPerSecond(limit)
                | domain::Setting::RequestsPerSecondPerToken(limit)),
            ) => in_words(setting, limit.map(domain::RequestLimit::per_second)),
            domain::Change::SetSetting(setting @ domain::Setting::ReachabilityTargets(targets)) => {
                let listed = |targets: &domain::ReachabilityTargets| {
                    let addresses: Vec<_> =
                        targets.iter().map(|target| target.to_string()).collect();
                    if addresses.is_empty() { "none".to_owned() } else { addresses.join(", ") }
                };
                in_words(setting, targets.as_ref().map(listed))
            }
        }
    }
}

/// Says in words that a setting has a value, or is left to the nodes.
fn in_words(setting: &domain::Setting, value: Option<impl std::fmt::Display>) -> String {
    let name = name_of(setting);
    match value {
        Some(value) => format!("set {name} {value}"),
        None => format!("leave {name} to each node"),
    }
}

/// A page of the log, newest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryPage {
    /// The commits.
    pub commits: Vec<HistoryEntry>,
    /// Where the next page begins, as the query parameter `below`; null on the last page.
    pub next_below: Option<u64>,
}

/// Goes back to what an earlier revision said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    /// The revision to go back to.
    pub revision: u64,
}

/// Sets an operator's word on a region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OverrideRequest {
    /// `drain`, `up` or `down`.
    pub action: OverrideAction,
    /// Why; kept in the history too, unless the request gives another reason for it.
    pub reason: String,
    /// Who wants it; without, the token's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// After how many seconds it ends by itself, up to a year; without, it stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_seconds: Option<u32>,
    /// Whether to drain a region even if it is the last of a service that can serve.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
}

/// A flag and its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flag {
    /// Its name.
    pub name: String,
    /// Whether it is on.
    pub on: bool,
    /// Whether it is on where nobody has set it.
    pub default: bool,
    /// What it does when it is on.
    pub description: String,
}

/// Switches a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Toggle {
    /// Whether it is to be on.
    pub on: bool,
}

/// What a node logs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLevel {
    /// What is logged now.
    pub filter: String,
    /// What is logged as a rule.
    pub usual: String,
    /// When that is logged again; null where nothing ends by itself.
    pub until: Option<Time>,
}

/// Has something else logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogLevelRequest {
    /// What is to be logged, such as `info,geostream_http=debug`.
    pub filter: String,
    /// After how many seconds the usual is logged again, up to a day; without, that stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_seconds: Option<u32>,
}

/// Asks for a new token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// Who will use it: the author of what is done with it.
    pub name: String,
    /// `reporter`, `viewer`, `operator` or `admin`.
    pub scope: String,
    /// The services that it reaches, such as `api` or `eu-*`; without these and without regions, it
    /// reaches everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<Vec<String>>,
    /// The regions that it reaches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regions: Option<Vec<String>>,
    /// When it ends; without, it ends only by being revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Time>,
}

impl TokenRequest {
    /// Returns what is asked for.
    ///
    /// # Errors
    ///
    /// If a field is wrong. A list without an entry is, so that a list that was meant to limit the
    /// token never leaves it without limits.
    pub fn to_domain(&self) -> Result<(domain::Line, domain::Grant), FieldErrors> {
        let mut fields = Fields::default();
        let name = fields.check("/name", self.name.parse());
        let scope = fields.check("/scope", self.scope.parse());
        for (at, list) in [("/services", &self.services), ("/regions", &self.regions)] {
            if list.as_ref().is_some_and(Vec::is_empty) {
                fields.note(at, "at least one name is expected");
            }
        }
        let limits = match (&self.services, &self.regions) {
            (None, None) => None,
            (services, regions) => {
                let listed = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
                let limits = TokenLimits { services: listed(services), regions: listed(regions) };
                fields.part("", limits.to_domain())
            }
        };
        let expires = self.expires.map(|Time(expires)| expires);
        let grant = scope.map(|scope| domain::Grant { scope, limits, expires });
        fields.finish(name.zip(grant))
    }
}

/// The services and regions that a token is limited to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenLimits {
    /// Names of services, and beginnings of names with a `*` behind.
    pub services: Vec<String>,
    /// The same for regions.
    pub regions: Vec<String>,
}

impl From<&domain::GrantLimits> for TokenLimits {
    fn from(limits: &domain::GrantLimits) -> Self {
        let texts =
            |patterns: &[domain::NamePattern]| patterns.iter().map(ToString::to_string).collect();
        Self { services: texts(limits.services()), regions: texts(limits.regions()) }
    }
}

impl TokenLimits {
    /// Returns what the limits say.
    ///
    /// # Errors
    ///
    /// If a name is none, or there are none or too many.
    pub fn to_domain(&self) -> Result<Arc<domain::GrantLimits>, FieldErrors> {
        let mut fields = Fields::default();
        let mut read = |kind: &str, texts: &[String]| {
            let patterns = texts
                .iter()
                .enumerate()
                .map(|(number, text)| fields.check(format_args!("/{kind}/{number}"), text.parse()));
            patterns.collect::<Option<Vec<domain::NamePattern>>>()
        };
        let services = read("services", &self.services);
        let regions = read("regions", &self.regions);
        let named = fields.finish(services.zip(regions))?;
        let limits = domain::GrantLimits::new(named.0, named.1);
        limits.map(Arc::new).map_err(|error| FieldErrors::one("", error))
    }
}

/// A new token; its text is shown this once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewToken {
    /// The text that goes behind `Bearer`.
    pub token: String,
    /// What is kept of it.
    #[serde(flatten)]
    pub record: Token,
}

/// What is known of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Tells tokens apart; no secret.
    pub id: String,
    /// Who uses it.
    pub name: String,
    /// `reporter`, `viewer`, `operator` or `admin`.
    pub scope: String,
    /// When it was made.
    pub created: Time,
    /// The node that made it; null where an earlier version did.
    #[serde(default)]
    pub node: Option<String>,
    /// The services that it reaches; where it names neither services nor regions, it reaches
    /// everything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
    /// The regions that it reaches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<String>,
    /// When it ends; absent where only revoking ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Time>,
    /// Whether it has ended.
    #[serde(default, skip_serializing_if = "is_no")]
    pub expired: bool,
    /// The minute in which the node that is asked was last asked with it; absent where that was
    /// never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used: Option<Time>,
    /// Whether it is the token of the request that lists it; absent for all others.
    #[serde(default, skip_serializing_if = "is_no")]
    pub current: bool,
}

impl Token {
    /// Tells what is always known of a token.
    #[must_use]
    pub fn of_grant(
        id: String,
        name: &domain::Line,
        grant: &domain::Grant,
        created: domain::Timestamp,
        node: Option<&domain::NodeId>,
    ) -> Self {
        let limits = grant.limits.as_ref().map(|limits| TokenLimits::from(&**limits));
        let (services, regions) =
            limits.map(|limits| (limits.services, limits.regions)).unwrap_or_default();
        Self {
            id,
            name: name.to_string(),
            scope: grant.scope.to_string(),
            created: Time(created),
            node: node.map(ToString::to_string),
            services,
            regions,
            expires: grant.expires.map(Time),
            expired: false,
            last_used: None,
            current: false,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_no(flag: &bool) -> bool {
    !flag
}

/// How the node is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The server's version.
    pub version: String,
    /// What it is called among the nodes that share what they see.
    #[serde(default)]
    pub node: String,
    /// The other nodes; null if it shares what it sees with nobody.
    pub peers: Option<Peers>,
    /// When it was started.
    pub started: Time,
    /// The revision that it decides by.
    pub revision: u64,
    /// When its routing table was made.
    pub table_compiled: Time,
    /// Why the store cannot be read or takes no writes now, or has less than the node decides by.
    /// Null if it works.
    pub store_error: Option<String>,
    /// What needs an operator's attention although the node answers; the same as in `/ready`.
    #[serde(default)]
    pub warnings: Vec<Warning>,
    /// How many regions there are.
    pub regions: usize,
    /// How many services there are.
    pub services: usize,
    /// The overrides that hold.
    pub overrides: std::collections::BTreeMap<String, Override>,
    /// Services whose removal budget is spent.
    #[serde(default)]
    pub budget_spent: Vec<BudgetSpent>,
    /// The regions that answer their probes and are held back for flapping.
    #[serde(default)]
    pub held: Vec<HeldRegion>,
    /// The regions that would be taken for dead, if this node saw anybody else well.
    #[serde(default)]
    pub abstaining: Vec<String>,
    /// The regions whose addresses this node may not probe: `probe.networks` does not permit them.
    #[serde(default)]
    pub probe_forbidden: Vec<String>,
    /// The limits in force; null from a server of an earlier version.
    #[serde(default)]
    pub limits: Option<Limits>,
    /// How far its clock is ahead of others.
    #[serde(default)]
    pub clock_skew_ms: ClockSkews,
    /// This node and, if it shares what it sees, those that it hears or has missed lately.
    #[serde(default)]
    pub nodes: Vec<Node>,
    /// The GeoIP data.
    pub geo: Vec<GeoDatabase>,
}

/// Something that needs an operator's attention although the node answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// What kind it is, such as `store-unreadable`: a stable word for programs. The list grows.
    pub code: String,
    /// What is wrong and what helps, for people.
    pub detail: String,
}

/// The answer of `/health` and `/ready` where all is well; a node that is not ready answers with a
/// [`Problem`](crate::Problem).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// `alive` or `ready`.
    pub status: Cow<'static, str>,
    /// What needs an operator's attention although the node answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
}

/// The nodes that a node shares what it sees with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peers {
    /// Those that it hears.
    pub nodes: Vec<String>,
    /// Why it cannot hear them: it then acts on its own view.
    pub error: Option<String>,
    /// Whether it sees no region well, and so votes on none.
    pub abstains: bool,
}

/// A file of GeoIP data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GeoDatabase {
    /// The file's path.
    pub path: String,
    /// The data in use, unless the file has never been well.
    #[serde(flatten)]
    pub data: Option<GeoData>,
    /// Why what lies there is not used.
    pub refused: Option<String>,
}

/// GeoIP data in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GeoData {
    /// The type that the file says it is of.
    pub kind: String,
    /// When the data was made.
    pub built: Time,
    /// The size of the file in bytes.
    pub bytes: u64,
    /// `ipv4`, `ipv6` or `both`.
    pub families: String,
    /// What has to be shown beside results for people.
    pub attribution: Option<String>,
}

/// What two configurations differ in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Diff {
    /// The revision that is compared.
    pub from: u64,
    /// The revision that it is compared with.
    pub to: u64,
    /// What differs.
    pub changes: Vec<Difference>,
}

impl Config {
    /// Tells whether the document declares nothing, as an empty file does.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.regions.is_empty() && self.services.is_empty()
    }
}
