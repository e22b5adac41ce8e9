//! The server's own configuration: a TOML file, then the environment, then flags.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::{Parser, ValueEnum};
use geostream_api::{ConfigFile, TomlLines, not_a_number, read_toml};
use geostream_app::{LogFilter, Retention};
use geostream_domain as domain;
use geostream_http::{AllowedOrigin, ClientSource, Limits, NetworkLimit};
use geostream_pg::{Password, Target};
use geostream_redis as redis;
use geostream_tls::{IdentityFiles, ServerIdentity};
use ipnet::IpNet;
use serde::Deserialize;

use crate::address::ListenAddress;
use crate::addresses::Addresses;
use crate::trace::{self, Trace, TraceArguments};

/// For how many days a PostgreSQL keeps changes of health, unless told otherwise.
const HEALTH_DAYS: u16 = 90;

/// How long the audit trail is, unless told otherwise.
const AUDIT_DAYS: u16 = 90;
const DAY: Duration = Duration::from_secs(24 * 3600);
const AUDIT_RECORDS: usize = 100_000;

/// How many seconds the server serves on as not ready, unless told otherwise: HAProxy with its default
/// checks (`inter 2s fall 3`) takes a server out 6 s after that has said 503 for the first time.
const SHUTDOWN_DELAY_SECONDS: u64 = 7;

/// Answers which region should serve a client now.
///
/// Every setting can be given in the file, in the environment or as a flag; the later of these
/// wins.
#[derive(Debug, Parser)]
#[command(version, about, args_override_self = true)]
pub(crate) struct Arguments {
    /// The configuration file (TOML)
    #[arg(long, env = "GEOSTREAM_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    /// Check the configuration and end
    #[arg(long)]
    pub(crate) check_config: bool,

    /// Write a new admin token to admin.token in the data directory, as the first start does
    #[arg(long)]
    new_admin_token: bool,

    /// Where to listen [default: 127.0.0.1:8080]
    #[arg(long, env = "GEOSTREAM_LISTEN", value_name = "ADDRESS:PORT")]
    listen: Option<ListenAddress>,

    /// An address for control requests, which are then answered nowhere else [default: none]
    #[arg(long, env = "GEOSTREAM_CONTROL_LISTEN", value_name = "ADDRESS:PORT")]
    control_listen: Option<ListenAddress>,

    /// An address for metrics, which are then answered nowhere else [default: none]
    #[arg(long, env = "GEOSTREAM_METRICS_LISTEN", value_name = "ADDRESS:PORT")]
    metrics_listen: Option<ListenAddress>,

    /// Where to keep configuration, tokens and GeoIP files [default: ~/.local/share/geostream]
    #[arg(long, env = "GEOSTREAM_DATA_DIR", value_name = "DIRECTORY")]
    data_dir: Option<PathBuf>,

    /// The name of this node in logs, the audit trail and among nodes that share what they see; each
    /// start adds a number to it [default: node]
    #[arg(long, env = "GEOSTREAM_NODE", value_name = "NAME")]
    node: Option<NodeName>,

    /// Where the configuration is kept: `embedded` in the data directory, or the URL of a PostgreSQL
    /// that nodes share, postgres://USER@HOST:PORT/DATABASE [default: embedded]
    #[arg(long, env = "GEOSTREAM_STORE", value_name = "STORE", hide_env_values = true)]
    store: Option<String>,

    /// For how many days a PostgreSQL keeps changes of health [default: 90]
    #[arg(long, env = "GEOSTREAM_HEALTH_DAYS", value_name = "DAYS", value_parser = whole::<u16>)]
    health_days: Option<u16>,

    /// For how many days the audit trail is kept [default: 90]
    #[arg(long, env = "GEOSTREAM_AUDIT_DAYS", value_name = "DAYS", value_parser = whole::<u16>)]
    audit_days: Option<u16>,

    /// How many records the audit trail keeps of what was done, of what was refused to known
    /// tokens, and of what was refused without a valid token [default: 100000 each]
    #[arg(long, env = "GEOSTREAM_AUDIT_RECORDS", value_name = "NUMBER", value_parser = whole::<usize>)]
    audit_records: Option<usize>,

    /// A file with the password for the store; without, PGPASSWORD in the environment is used
    #[arg(long, env = "GEOSTREAM_STORE_PASSWORD_FILE", value_name = "FILE")]
    store_password_file: Option<PathBuf>,

    /// The password, by the environment only: arguments are seen by everybody on the machine
    #[arg(long, env = "PGPASSWORD", hide = true, hide_env_values = true)]
    store_password: Option<String>,

    /// The URL of a Redis in which nodes share what they have read from the store,
    /// redis://USER@HOST:PORT, redis-cluster://.. or redis-sentinel://.. [default: none]
    #[arg(long, env = "GEOSTREAM_CACHE", value_name = "URL", hide_env_values = true)]
    cache: Option<String>,

    /// A file with the password for the cache; without, `REDISCLI_AUTH` in the environment
    #[arg(long, env = "GEOSTREAM_CACHE_PASSWORD_FILE", value_name = "FILE")]
    cache_password_file: Option<PathBuf>,

    /// The password, by the environment only: arguments are seen by everybody on the machine
    #[arg(long, env = "REDISCLI_AUTH", hide = true, hide_env_values = true)]
    cache_password: Option<String>,

    /// The threads that answer clients [default: one per core]
    #[arg(long, env = "GEOSTREAM_WORKERS", value_name = "NUMBER")]
    workers: Option<Workers>,

    /// The file of regions and services to begin with, if there is no configuration yet;
    /// docs/Configuration.md describes it
    #[arg(long, env = "GEOSTREAM_BOOTSTRAP", value_name = "FILE")]
    bootstrap: Option<PathBuf>,

    /// A GeoIP file; may be repeated [default: all .mmdb files in geoip/ of the data directory]
    #[arg(long, env = "GEOSTREAM_GEOIP_FILE", value_name = "FILE", value_delimiter = ',')]
    geoip_file: Vec<PathBuf>,

    /// How often it is looked for changed GeoIP files [default: 30]
    #[arg(long, env = "GEOSTREAM_GEOIP_REFRESH_SECONDS", value_name = "SECONDS")]
    geoip_refresh_seconds: Option<Seconds>,

    /// The proxies whose X-Forwarded-For is believed; may be repeated
    #[arg(long, env = "GEOSTREAM_TRUSTED_PROXY", value_name = "CIDR", value_delimiter = ',')]
    trusted_proxy: Vec<IpNet>,

    /// Where trusted proxies name their clients: `x-forwarded-for`, `forwarded` or `header:NAME`
    /// [default: x-forwarded-for]
    #[arg(long, env = "GEOSTREAM_CLIENT_ADDRESS", value_name = "SOURCE")]
    client_address: Option<ClientSource>,

    /// Whether trusted proxies begin each connection with the PROXY protocol, at `listen`
    #[arg(
        long,
        env = "GEOSTREAM_PROXY_PROTOCOL",
        value_name = "BOOL",
        num_args = 0..=1,
        default_missing_value = "true"
    )]
    proxy_protocol: Option<bool>,

    /// The same at `control.listen`
    #[arg(
        long,
        env = "GEOSTREAM_CONTROL_PROXY_PROTOCOL",
        value_name = "BOOL",
        num_args = 0..=1,
        default_missing_value = "true"
    )]
    control_proxy_protocol: Option<bool>,

    /// The same at `metrics.listen`
    #[arg(
        long,
        env = "GEOSTREAM_METRICS_PROXY_PROTOCOL",
        value_name = "BOOL",
        num_args = 0..=1,
        default_missing_value = "true"
    )]
    metrics_proxy_protocol: Option<bool>,

    /// An origin whose web pages may ask for regions from a browser (CORS), such as
    /// `https://play.example.com`, or `*` for all; may be repeated [default: none]
    #[arg(long, env = "GEOSTREAM_CORS_ORIGIN", value_name = "ORIGIN", value_delimiter = ',')]
    cors_origin: Vec<AllowedOrigin>,

    /// The most connections at once; more wait to be accepted [default: 10000]
    #[arg(long, env = "GEOSTREAM_MAX_CONNECTIONS", value_name = "NUMBER", value_parser = whole::<usize>)]
    max_connections: Option<usize>,

    /// Maximum connections at once per client network (/24 of IPv4, /48 of IPv6); 0 disables the
    /// limit; holds for loopback only if it is set [default: a tenth of the maximum, at least 100]
    #[arg(long, env = "GEOSTREAM_MAX_CONNECTIONS_PER_NETWORK", value_name = "NUMBER", value_parser = whole::<usize>)]
    max_connections_per_network: Option<usize>,

    /// Maximum requests per second per client network; 0 disables the limit; this node only, and
    /// only while the configuration has no `settings.requests_per_second` [default: 0]
    #[arg(long, env = "GEOSTREAM_REQUESTS_PER_SECOND", value_name = "NUMBER")]
    requests_per_second: Option<PerSecond>,

    /// Maximum requests per second per token; 0 disables the limit; this node only, and only while
    /// the configuration has no `settings.requests_per_second_per_token` [default: 0]
    #[arg(long, env = "GEOSTREAM_REQUESTS_PER_SECOND_PER_TOKEN", value_name = "NUMBER")]
    requests_per_second_per_token: Option<PerSecond>,

    /// How long a request's headers may take, and a connection be idle [default: 10]
    #[arg(long, env = "GEOSTREAM_HEADER_TIMEOUT_SECONDS", value_name = "SECONDS")]
    header_timeout_seconds: Option<Seconds>,

    /// How long a request's body may take [default: 10]
    #[arg(long, env = "GEOSTREAM_BODY_TIMEOUT_SECONDS", value_name = "SECONDS")]
    body_timeout_seconds: Option<Seconds>,

    /// How long the server says that it is not ready, and serves on, after SIGTERM; 0 disables the
    /// delay [default: 7]
    #[arg(long, env = "GEOSTREAM_SHUTDOWN_DELAY_SECONDS", value_name = "SECONDS")]
    shutdown_delay_seconds: Option<Delay>,

    /// How long requests under way may take when the server stops [default: 10]
    #[arg(long, env = "GEOSTREAM_DRAIN_TIMEOUT_SECONDS", value_name = "SECONDS")]
    drain_timeout_seconds: Option<Seconds>,

    /// A private network whose addresses may be probed; may be repeated
    #[arg(long, env = "GEOSTREAM_PROBE_NETWORK", value_name = "CIDR", value_delimiter = ',')]
    probe_network: Vec<IpNet>,

    /// Authorities (PEM) that probes trust beside the system's
    #[arg(long, env = "GEOSTREAM_PROBE_AUTHORITIES", value_name = "FILE")]
    probe_authorities: Option<PathBuf>,

    /// A reachability target: while none of them accepts connections, this node removes no region;
    /// may be repeated; this node only, and only while the configuration has no
    /// `settings.reachability_targets`
    #[arg(
        long,
        env = "GEOSTREAM_PROBE_CANARY",
        value_name = "ADDRESS:PORT",
        value_delimiter = ','
    )]
    probe_canary: Vec<SocketAddr>,

    /// The server's certificate chain (PEM): switches TLS on; a new one is used within 2 s
    #[arg(long, env = "GEOSTREAM_TLS_CERTIFICATE", value_name = "FILE")]
    tls_certificate: Option<PathBuf>,

    /// The certificate's private key (PEM)
    #[arg(long, env = "GEOSTREAM_TLS_KEY", value_name = "FILE")]
    tls_key: Option<PathBuf>,

    /// How logs are written [default: pretty]
    #[arg(long, env = "GEOSTREAM_LOG_FORMAT")]
    log_format: Option<LogFormat>,

    /// What is logged: a level, or several with the parts that they hold for, such as
    /// `info,geostream_http=debug` [default: info]
    #[arg(long, env = "GEOSTREAM_LOG", value_name = "FILTER")]
    log: Option<String>,

    #[command(flatten)]
    trace: TraceArguments,
}

/// A whole number within bounds.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "u64")]
struct Bounded<const LEAST: u64, const MOST: u64>(u64);

type Workers = Bounded<1, 1024>;
type Seconds = Bounded<1, 3600>;
type Delay = Bounded<0, 3600>;
type PerSecond = Bounded<0, 1_000_000_000>;

impl<const LEAST: u64, const MOST: u64> TryFrom<u64> for Bounded<LEAST, MOST> {
    type Error = String;

    fn try_from(number: u64) -> Result<Self, String> {
        if (LEAST..=MOST).contains(&number) {
            Ok(Self(number))
        } else {
            Err(format!("{LEAST} to {MOST} are expected, not {number}"))
        }
    }
}

impl<const LEAST: u64, const MOST: u64> FromStr for Bounded<LEAST, MOST> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        whole::<u64>(text)?.try_into()
    }
}

/// Reads a whole number.
fn whole<T: FromStr>(text: &str) -> Result<T, String> {
    // A number that does not fit is no text with a unit.
    let is_number = text.trim().parse::<i128>().is_ok();
    text.parse().map_err(|_| match is_number {
        true => format!("{text} is out of range"),
        false => not_a_number("", text),
    })
}

impl From<Seconds> for Duration {
    fn from(Bounded(seconds): Seconds) -> Self {
        Self::from_secs(seconds)
    }
}

impl From<Delay> for Duration {
    fn from(Bounded(seconds): Delay) -> Self {
        Self::from_secs(seconds)
    }
}

impl PerSecond {
    fn limit(self) -> domain::RequestLimit {
        domain::RequestLimit::new(self.0).unwrap_or_default()
    }
}

/// What this server is called; it leaves room for a number.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
struct NodeName(String);

impl Default for NodeName {
    fn default() -> Self {
        Self("node".to_owned())
    }
}

impl TryFrom<String> for NodeName {
    type Error = domain::NameError;

    fn try_from(name: String) -> Result<Self, domain::NameError> {
        domain::NodeId::of_start(&name, 0).map(|_numbered| Self(name))
    }
}

impl FromStr for NodeName {
    type Err = domain::NameError;

    fn from_str(text: &str) -> Result<Self, domain::NameError> {
        text.to_owned().try_into()
    }
}

/// How logs are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people
    #[default]
    Pretty,
    /// One JSON object a line
    Json,
}

impl LogFormat {
    /// Finds the format that arguments name which cannot be read as a whole, or else the environment.
    #[expect(clippy::disallowed_methods, reason = "clap, which reads it, has given up")]
    pub(crate) fn named(arguments: impl Iterator<Item = OsString>) -> Self {
        let arguments: Vec<_> = arguments.filter_map(|text| text.into_string().ok()).collect();
        let joined = arguments.iter().filter_map(|text| text.strip_prefix("--log-format="));
        let split = arguments.windows(2).filter(|pair| pair[0] == "--log-format");
        let named = joined.chain(split.map(|pair| &*pair[1])).last().map(str::to_owned);
        let named = named.or_else(|| std::env::var("GEOSTREAM_LOG_FORMAT").ok());
        named.and_then(|name| <Self as ValueEnum>::from_str(&name, false).ok()).unwrap_or_default()
    }
}

impl Arguments {
    /// Finds the format of the log where not all of the configuration can be read: the file may name
    /// it though something else in it is wrong.
    ///
    /// A check of the configuration logs nothing: it is run by a person.
    pub(crate) fn likely_log_format(&self) -> LogFormat {
        if self.check_config {
            return LogFormat::Pretty;
        }
        let in_file = || {
            let text = fs::read_to_string(self.config.as_ref()?).ok()?;
            let table: toml::Table = text.parse().ok()?;
            let name = table.get("log")?.get("format")?.as_str()?;
            <LogFormat as ValueEnum>::from_str(name, false).ok()
        };
        self.log_format.or_else(in_file).unwrap_or_default()
    }
}

/// Everything that the server is told, complete and checked.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) listen: Addresses,
    pub(crate) data_dir: PathBuf,
    /// Whether an admin token is made though there is one, since that one is lost.
    pub(crate) new_admin_token: bool,
    /// What this server is called among those that share what they see.
    pub(crate) node: String,
    pub(crate) store: Store,
    /// For how many days a PostgreSQL keeps how the health of regions has changed.
    pub(crate) health_days: u16,
    /// How long the audit trail is.
    pub(crate) audit: Retention,
    /// Where nodes share what they have read from the store.
    pub(crate) cache: Option<redis::Target>,
    pub(crate) workers: usize,
    /// The configuration of regions and services to begin with.
    pub(crate) bootstrap: Option<domain::Config>,
    pub(crate) geoip: GeoIp,
    pub(crate) probe: Probe,
    pub(crate) trusted_proxies: Vec<IpNet>,
    /// Where trusted proxies name their clients.
    pub(crate) client_address: ClientSource,
    pub(crate) proxy_protocol: ProxyProtocol,
    /// The origins whose web pages may ask for regions from a browser.
    pub(crate) cors_origins: Vec<AllowedOrigin>,
    pub(crate) limits: Limits,
    /// How long the server serves on as not ready when it is told to stop.
    pub(crate) shutdown_delay: Duration,
    /// How many connections a client network may have.
    pub(crate) per_network: NetworkLimit,
    /// How often one client may ask, where the shared configuration says nothing.
    pub(crate) requests_per_second: domain::RequestLimit,
    /// How often may be asked with one token, where the shared configuration says nothing.
    pub(crate) requests_per_second_per_token: domain::RequestLimit,
    /// What the listeners present to clients; `None` for plain HTTP.
    pub(crate) certificate: Option<Arc<ServerIdentity>>,
    pub(crate) log: Log,
    /// What is traced, and where it is sent; `None` for nothing.
    pub(crate) trace: Option<Trace>,
}

/// At which addresses trusted proxies begin each connection with the PROXY protocol.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProxyProtocol {
    pub(crate) clients: bool,
    pub(crate) control: bool,
    pub(crate) metrics: bool,
}

/// Where configuration, tokens and health are kept.
#[derive(Debug)]
pub(crate) enum Store {
    /// In the data directory.
    Embedded,
    /// In a database that nodes share.
    Postgres(Target),
}

/// Which GeoIP files are used, and how often they are looked at.
#[derive(Debug)]
pub(crate) struct GeoIp {
    /// The files; empty for all in the data directory.
    pub(crate) files: Vec<PathBuf>,
    pub(crate) refresh: Duration,
}

/// What probes may reach, and whom they trust.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Probe {
    /// Networks that may be probed although they are not public.
    pub(crate) networks: Vec<IpNet>,
    /// A file of authorities beside the system's.
    pub(crate) authorities: Option<PathBuf>,
    /// Addresses that tell whether this node has a network.
    pub(crate) canaries: Vec<SocketAddr>,
}

impl Probe {
    /// Returns what probes may reach beside public addresses.
    pub(crate) fn permitted(&self) -> domain::PermittedNetworks {
        permitted(&self.networks)
    }
}

fn permitted(networks: &[IpNet]) -> domain::PermittedNetworks {
    let networks = networks.iter().map(|network| (network.network(), network.prefix_len()));
    domain::PermittedNetworks::new(networks)
}

/// How and what is logged.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) format: LogFormat,
    pub(crate) filter: LogFilter,
}

/// The file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    listen: Option<ListenAddress>,
    data_dir: Option<PathBuf>,
    node: NodeName,
    store: Option<String>,
    store_password_file: Option<PathBuf>,
    health_days: Option<u16>,
    audit_days: Option<u16>,
    audit_records: Option<usize>,
    cache: Option<String>,
    cache_password_file: Option<PathBuf>,
    workers: Option<Workers>,
    bootstrap: Option<PathBuf>,
    geoip: FileGeoIp,
    probe: Probe,
    control: FileListener,
    metrics: FileListener,
    http: FileHttp,
    tls: FileTls,
    log: FileLog,
    trace: trace::File,
    /// Its text, for errors that point at a line.
    #[serde(skip)]
    lines: Lines,
}

/// The text that settings are in, for errors that only show when all of them are known.
#[derive(Debug, Default)]
struct Lines(String);

impl Lines {
    /// Names a setting, and the line that it is in unless something else has gone over that.
    fn name(&self, setting: &str, is_overruled: bool) -> String {
        let pointer = format!("/{}", setting.replace('.', "/"));
        match TomlLines::of(&self.0).and_then(|lines| lines.find(&pointer)) {
            Some(line) if !is_overruled => format!("line {line}: {setting}"),
            Some(_) | None => setting.to_owned(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileGeoIp {
    files: Vec<PathBuf>,
    refresh_seconds: Seconds,
}

impl Default for FileGeoIp {
    fn default() -> Self {
        Self { files: Vec::new(), refresh_seconds: Bounded(30) }
    }
}

/// A listener of its own.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileListener {
    listen: Option<ListenAddress>,
    proxy_protocol: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileHttp {
    trusted_proxies: Vec<IpNet>,
    client_address: ClientSource,
    proxy_protocol: bool,
    cors_origins: Vec<AllowedOrigin>,
    max_connections: usize,
    max_connections_per_network: Option<usize>,
    requests_per_second: PerSecond,
    requests_per_second_per_token: PerSecond,
    header_timeout_seconds: Seconds,
    body_timeout_seconds: Seconds,
    shutdown_delay_seconds: Delay,
    drain_timeout_seconds: Seconds,
}

impl Default for FileHttp {
    fn default() -> Self {
        Self {
            trusted_proxies: Vec::new(),
            client_address: ClientSource::default(),
            proxy_protocol: false,
            cors_origins: Vec::new(),
            max_connections: 10_000,
            max_connections_per_network: None,
            requests_per_second: Bounded(0),
            requests_per_second_per_token: Bounded(0),
            header_timeout_seconds: Bounded(10),
            body_timeout_seconds: Bounded(10),
            shutdown_delay_seconds: Bounded(SHUTDOWN_DELAY_SECONDS),
            drain_timeout_seconds: Bounded(10),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileTls {
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileLog {
    format: LogFormat,
    filter: Option<String>,
}

impl Config {
    /// Reads the file, and puts the environment and the flags over it.
    pub(crate) fn read(arguments: &Arguments) -> anyhow::Result<Self> {
        let file = match &arguments.config {
            Some(path) => File::read(path)?,
            None => File::default(),
        };
        let lines = &file.lines;
        let workers = workers(arguments.workers.or(file.workers))?;
        let proxy_protocol = proxy_protocol(arguments, &file, lines)?;
        let bootstrap = arguments.bootstrap.clone().or(file.bootstrap);
        let store = store(arguments, file.store, file.store_password_file, lines)?;
        Ok(Self {
            listen: {
                let own = (file.control.listen, file.metrics.listen);
                addresses(arguments, file.listen, own, lines)?
            },
            data_dir: data_dir(arguments.data_dir.clone().or(file.data_dir))?,
            new_admin_token: arguments.new_admin_token,
            node: arguments.node.clone().unwrap_or(file.node).0,
            cache: cache(arguments, file.cache, file.cache_password_file, &store, lines)?,
            store,
            health_days: arguments.health_days.or(file.health_days).unwrap_or(HEALTH_DAYS),
            audit: retention(arguments, file.audit_days, file.audit_records),
            workers,
            bootstrap: bootstrap.as_deref().map(read_bootstrap).transpose()?,
            geoip: GeoIp {
                files: given(&arguments.geoip_file, file.geoip.files),
                refresh: arguments
                    .geoip_refresh_seconds
                    .unwrap_or(file.geoip.refresh_seconds)
                    .into(),
            },
            probe: probe(arguments, file.probe, lines)?,
            limits: limits(arguments, &file.http, workers, lines)?,
            shutdown_delay: arguments
                .shutdown_delay_seconds
                .unwrap_or(file.http.shutdown_delay_seconds)
                .into(),
            per_network: per_network(arguments, &file.http),
            requests_per_second: arguments
                .requests_per_second
                .unwrap_or(file.http.requests_per_second)
                .limit(),
            requests_per_second_per_token: arguments
                .requests_per_second_per_token
                .unwrap_or(file.http.requests_per_second_per_token)
                .limit(),
            proxy_protocol,
            client_address: arguments.client_address.clone().unwrap_or(file.http.client_address),
            trusted_proxies: given(&arguments.trusted_proxy, file.http.trusted_proxies),
            cors_origins: given(&arguments.cors_origin, file.http.cors_origins),
            certificate: certificate(arguments, file.tls)?,
            log: log(arguments, file.log)
                .with_context(|| lines.name("log.filter", arguments.log.is_some()))?,
            trace: Trace::read(&arguments.trace, &file.trace)?,
        })
    }
}

impl File {
    /// Reads a file; paths in it are relative to its directory.
    fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("reading the configuration {}", path.display()))?;
        let mut file: Self = read_toml(&text).with_context(|| format!("in {}", path.display()))?;
        file.lines = Lines(text);
        let directory = path.parent().unwrap_or_else(|| Path::new("."));
        let tls_paths = file.tls.certificate.iter_mut().chain(&mut file.tls.key);
        let paths = file.data_dir.iter_mut().chain(&mut file.bootstrap);
        let paths = paths.chain(&mut file.store_password_file);
        let paths = paths.chain(&mut file.cache_password_file);
        let paths = paths.chain(&mut file.probe.authorities);
        for path in paths.chain(&mut file.geoip.files).chain(tls_paths) {
            *path = directory.join(&*path);
        }
        Ok(file)
    }
}

/// Returns how much of the audit trail is kept.
fn retention(arguments: &Arguments, days: Option<u16>, records: Option<usize>) -> Retention {
    let days = arguments.audit_days.or(days).unwrap_or(AUDIT_DAYS);
    let records = arguments.audit_records.or(records).unwrap_or(AUDIT_RECORDS);
    Retention { age: DAY * u32::from(days), records }
}

/// Returns where the server listens, as the arguments say, or else the file.
fn addresses(
    arguments: &Arguments,
    clients: Option<ListenAddress>,
    (control, metrics): (Option<ListenAddress>, Option<ListenAddress>),
    lines: &Lines,
) -> anyhow::Result<Addresses> {
    let address = |ListenAddress(address): ListenAddress| address;
    let clients = arguments.listen.or(clients).map(address);
    let addresses = Addresses {
        clients: clients.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8080))),
        control: arguments.control_listen.or(control).map(address),
        metrics: arguments.metrics_listen.or(metrics).map(address),
    };
    let is_overruled = |setting: &str| match setting {
        "control.listen" => arguments.control_listen.is_some(),
        "metrics.listen" => arguments.metrics_listen.is_some(),
        _ => arguments.listen.is_some(),
    };
    addresses.check(|setting| lines.name(setting, is_overruled(setting)))?;
    Ok(addresses)
}

/// Returns where the PROXY protocol is spoken.
fn proxy_protocol(
    arguments: &Arguments,
    file: &File,
    lines: &Lines,
) -> anyhow::Result<ProxyProtocol> {
    let spoken = ProxyProtocol {
        clients: arguments.proxy_protocol.unwrap_or(file.http.proxy_protocol),
        control: arguments.control_proxy_protocol.unwrap_or(file.control.proxy_protocol),
        metrics: arguments.metrics_proxy_protocol.unwrap_or(file.metrics.proxy_protocol),
    };
    let ProxyProtocol { clients, control, metrics } = spoken;
    let has_proxies = !arguments.trusted_proxy.is_empty() || !file.http.trusted_proxies.is_empty();
    let name = lines.name("http.proxy_protocol", arguments.proxy_protocol.is_some());
    ensure!(
        has_proxies || !(clients || control || metrics),
        "{name}: the PROXY protocol is read from trusted proxies only; name them in \
         http.trusted_proxies"
    );
    Ok(spoken)
}

/// Returns how many threads answer clients.
fn workers(given: Option<Workers>) -> anyhow::Result<usize> {
    match given {
        Some(Bounded(workers)) => workers.try_into().context("workers"),
        None => Ok(std::thread::available_parallelism().map_or(1, usize::from)),
    }
}

fn limits(
    arguments: &Arguments,
    file: &FileHttp,
    workers: usize,
    lines: &Lines,
) -> anyhow::Result<Limits> {
    let connections = arguments.max_connections.unwrap_or(file.max_connections);
    let name = lines.name("http.max_connections", arguments.max_connections.is_some());
    ensure!(connections >= workers, "{name}: at least one per worker is needed");
    Ok(Limits {
        connections: connections.div_ceil(workers),
        header_patience: arguments
            .header_timeout_seconds
            .unwrap_or(file.header_timeout_seconds)
            .into(),
        body_patience: arguments.body_timeout_seconds.unwrap_or(file.body_timeout_seconds).into(),
        drain_patience: arguments
            .drain_timeout_seconds
            .unwrap_or(file.drain_timeout_seconds)
            .into(),
        // Each listener has its own.
        proxy_protocol: false,
    })
}

/// Returns how many connections a client network may have: a part of all, unless that is set.
fn per_network(arguments: &Arguments, file: &FileHttp) -> NetworkLimit {
    let all = arguments.max_connections.unwrap_or(file.max_connections);
    let given = arguments.max_connections_per_network.or(file.max_connections_per_network);
    NetworkLimit {
        connections: given.unwrap_or_else(|| (all / 10).max(100)),
        includes_loopback: given.is_some(),
    }
}

/// Reads where the store is. No error shows what was given, since a password may be in it.
fn store(
    arguments: &Arguments,
    file: Option<String>,
    password_file: Option<PathBuf>,
    lines: &Lines,
) -> anyhow::Result<Store> {
    let text = arguments.store.clone().or(file).unwrap_or_else(|| "embedded".to_owned());
    if text == "embedded" {
        return Ok(Store::Embedded);
    }
    let is_url = text.starts_with("postgres://") || text.starts_with("postgresql://");
    let name = lines.name("store", arguments.store.is_some());
    ensure!(is_url, "{name}: `embedded` or postgres://USER@HOST:PORT/DATABASE is expected");
    let is_overruled = arguments.store_password_file.is_some();
    let file = arguments.store_password_file.clone().or(password_file);
    let password = Password::given(file.as_deref(), arguments.store_password.as_deref());
    let password = password.with_context(|| lines.name("store_password_file", is_overruled))?;
    Target::parse(&text, password.as_ref()).map(Store::Postgres).context(name)
}

/// Reads where the cache is. No error shows what was given, since a password may be in it.
fn cache(
    arguments: &Arguments,
    file: Option<String>,
    password_file: Option<PathBuf>,
    store: &Store,
    lines: &Lines,
) -> anyhow::Result<Option<redis::Target>> {
    let name = lines.name("cache", arguments.cache.is_some());
    let Some(url) = arguments.cache.clone().or(file) else { return Ok(None) };
    match store {
        Store::Embedded => {
            bail!("{name}: it is for nodes that share a store: --store postgres://..")
        }
        Store::Postgres(_) => {}
    }
    let password = match arguments.cache_password_file.clone().or(password_file) {
        Some(path) => {
            let is_overruled = arguments.cache_password_file.is_some();
            let password = read_password(&path);
            Some(password.with_context(|| lines.name("cache_password_file", is_overruled))?)
        }
        None => arguments.cache_password.clone(),
    };
    redis::Target::parse(&url, password.as_deref()).map(Some).context(name)
}

/// Returns what is in a file, without the end of its line.
fn read_password(path: &Path) -> anyhow::Result<String> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// Returns what is given in the environment or as flags, or else what the file says.
fn given<T: Clone>(flags: &[T], file: Vec<T>) -> Vec<T> {
    if flags.is_empty() { file } else { flags.to_vec() }
}

fn probe(arguments: &Arguments, file: Probe, lines: &Lines) -> anyhow::Result<Probe> {
    let networks = given(&arguments.probe_network, file.networks);
    let canaries = given(&arguments.probe_canary, file.canaries);
    let permitted = permitted(&networks);
    let name = lines.name("probe.canaries", !arguments.probe_canary.is_empty());
    // One that is never asked would keep every dead region in service.
    for canary in &canaries {
        let address = canary.ip();
        ensure!(
            permitted.permits(address),
            "{name}: {address} is not public; permit it in probe.networks"
        );
    }
    let authorities = arguments.probe_authorities.clone().or(file.authorities);
    Ok(Probe { networks, authorities, canaries })
}

fn log(arguments: &Arguments, file: FileLog) -> anyhow::Result<Log> {
    let filter = arguments.log.clone().or(file.filter).unwrap_or_else(|| "info".to_owned());
    let filter = filter.parse().with_context(|| format!("log: {filter:?}"))?;
    Ok(Log { format: arguments.log_format.unwrap_or(file.format), filter })
}

fn certificate(
    arguments: &Arguments,
    file: FileTls,
) -> anyhow::Result<Option<Arc<ServerIdentity>>> {
    let certificates = arguments.tls_certificate.clone().or(file.certificate);
    match (certificates, arguments.tls_key.clone().or(file.key)) {
        (Some(certificates), Some(key)) => {
            let identity = ServerIdentity::read(IdentityFiles { certificates, key });
            Ok(Some(Arc::new(identity.context("reading the TLS certificate")?)))
        }
        (None, None) => Ok(None),
        (Some(_), None) => bail!("a TLS certificate needs its key: --tls-key"),
        (None, Some(_)) => bail!("a TLS key needs its certificate: --tls-certificate"),
    }
}

fn data_dir(given: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let at_home = || std::env::home_dir().map(|home| home.join(".local/share/geostream"));
    given.or_else(at_home).context("there is no home directory; set --data-dir")
}

/// Reads the configuration of regions and services to begin with.
fn read_bootstrap(path: &Path) -> anyhow::Result<domain::Config> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let inside = || format!("in {}", path.display());
    let file = ConfigFile::parse(path, text).with_context(inside)?;
    file.config.to_domain().map_err(|errors| file.locate(errors)).with_context(inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(text: &str) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("geostream.toml");
        fs::write(&path, text).unwrap();
        let config = path.to_str().unwrap();
        let arguments = Arguments::parse_from(["geostream-server", "--config", config]);
        format!("{:#}", Config::read(&arguments).unwrap_err())
    }

    #[test]
    fn flags_go_over_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("geostream.toml");
        fs::write(&path, "listen = \"127.0.0.1:1\"\nworkers = 3\ndata_dir = \"data\"").unwrap();
        let arguments = ["geostream-server", "--config", path.to_str().unwrap(), "--workers", "5"];
        let config = Config::read(&Arguments::parse_from(arguments)).unwrap();
        assert_eq!(config.listen.clients.port(), 1);
        assert_eq!(config.workers, 5);
        assert_eq!(config.data_dir, directory.path().join("data"), "relative to the file");
    }

    /// Returns the table of settings in the documentation: file, environment, flag.
    fn documented() -> impl Iterator<Item = [String; 3]> {
        let text = include_str!("../../../docs/operating.md");
        let table =
            text.lines().skip_while(|line| *line != "| file | environment | flag | default |");
        let rows = table.skip(2).take_while(|line| line.starts_with('|'));
        rows.flat_map(|row| {
            let cells: Vec<Vec<&str>> = row
                .split('|')
                .skip(1)
                .map(|cell| cell.split('`').skip(1).step_by(2).collect())
                .collect();
            let names = |number: usize| [0, 1, 2].map(|cell: usize| cells[cell][number].to_owned());
            (0..cells[0].len()).map(names).collect::<Vec<_>>()
        })
    }

    #[test]
    fn every_setting_has_three_names_that_are_documented() {
        let mut settings = std::collections::BTreeMap::new();
        for [setting, environment, flag] in documented() {
            let (table, key) = setting.rsplit_once('.').map_or(("", &*setting), |parts| parts);
            let known = format!(
                "{}{key} = {{ }}",
                if table.is_empty() { String::new() } else { format!("[{table}]\n") }
            );
            let error = toml::from_str::<File>(&known).unwrap_err();
            assert!(!error.message().starts_with("unknown field"), "{setting}: {error}");
            settings.insert(flag, environment);
        }
        let command = <Arguments as clap::CommandFactory>::command();
        let told = ["config", "check-config", "new-admin-token"];
        let arguments = command.get_arguments().filter(|argument| !argument.is_hide_set());
        for argument in arguments.filter(|argument| !told.contains(&argument.get_long().unwrap())) {
            let flag = format!("--{}", argument.get_long().unwrap());
            let environment = argument.get_env().unwrap().to_str().unwrap();
            assert_eq!(settings.remove(&flag).as_deref(), Some(environment), "{flag}");
        }
        assert!(settings.is_empty(), "there are no such flags: {settings:?}");
    }

    #[test]
    fn the_variables_that_are_read_are_known_to_both_programs() {
        let command = <Arguments as clap::CommandFactory>::command();
        let variables = command.get_arguments().filter_map(|argument| argument.get_env()?.to_str());
        let mut variables: Vec<_> =
            variables.filter(|variable| variable.starts_with(geostream_api::PREFIX)).collect();
        variables.sort_unstable();
        assert_eq!(variables, geostream_api::SERVER_VARIABLES);
    }

    #[test]
    fn flags_that_are_no_numbers_are_refused_with_what_to_write() {
        for (flag, value, expected) in [
            ("--header-timeout-seconds", "10s", "without a unit: 10 for seconds"),
            ("--requests-per-second", "500/s", "write 500: a number, without a unit"),
            ("--max-connections", "10k", "write 10000: a number, without a unit"),
            ("--audit-days", "70000", "70000 is out of range"),
            ("--listen", ":8080", "write 0.0.0.0:8080"),
        ] {
            let parsed = Arguments::try_parse_from(["geostream-server", flag, value]);
            let refused = parsed.unwrap_err().to_string();
            assert!(refused.contains(flag) && refused.contains(expected), "{refused}");
        }
    }

    #[test]
    fn certificate_and_key_may_be_given_in_different_places() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(path("cert.pem"), identity.cert.pem()).unwrap();
        fs::write(path("key.pem"), identity.signing_key.serialize_pem()).unwrap();
        let file = "[tls]\ncertificate = \"cert.pem\"\nkey = \"old.pem\"";
        fs::write(path("geostream.toml"), file).unwrap();
        let (file, key) = (path("geostream.toml"), path("key.pem"));
        let arguments = ["geostream-server", "--config", &file, "--tls-key", &key];
        let config = Config::read(&Arguments::parse_from(arguments)).unwrap();
        assert!(config.certificate.is_some());
    }

    #[test]
    fn errors_in_the_regions_to_begin_with_point_at_their_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("regions.toml");
        fs::write(&path, "[regions.a]\nlongitude = 2.0\nlatitude = 91.0\n").unwrap();
        let error = format!("{:#}", read_bootstrap(&path).unwrap_err());
        assert!(error.contains("/regions/a/latitude: line 3: latitude 91 is not"), "{error}");
    }

    #[test]
    fn errors_point_at_the_line() {
        for (text, expected) in [
            ("\nlisten = \"nowhere\"", "line 2"),
            ("[http]\nmax_conections = 5", "unknown field `max_conections`"),
            ("[geoip]\nfiles = [\"a\"\nrefresh", "line 3"),
            ("[http]\nbody_timeout_seconds = 0", "line 2"),
            ("[http]\nbody_timeout_seconds = 0", "1 to 3600 are expected, not 0"),
            ("[http]\nshutdown_delay_seconds = 3601", "0 to 3600 are expected, not 3601"),
            ("\nworkers = 0", "line 2"),
            ("workers = 1025", "1 to 1024"),
            ("node = \"a b\"", "' ' at position 1 is not allowed"),
            ("workers = 2\n[http]\nmax_connections = 1", "line 3: http.max_connections: at least"),
            (
                "listen = \"127.0.0.1:1\"\n[control]\nlisten = \"127.0.0.1:1\"",
                "line 3: control.listen and listen are both 127.0.0.1:1",
            ),
            ("bootstrap = \"missing.toml\"", "missing.toml"),
            ("[probe]\ncanaries = [\"example.com:443\"]", "line 2"),
            ("[probe]\ncanaries = [\"10.1.2.3:443\"]", "line 2: probe.canaries: 10.1.2.3 is not"),
            ("[probe]\ncanaries = [\"10.1.2.3:443\"]", "permit it in probe.networks"),
            ("store = \"mysql://me:secret@db\"", "line 1: store: `embedded` or postgres://"),
            ("store = \"postgres://me:secret@db\"", "the URL names no database"),
            ("store = \"postgres://me:secret@db:x/y\"", "store: it is not a URL such as"),
            ("store = \"postgres://me@db/x\"\nstore_password_file = \"missing\"", "missing"),
            ("cache = \"redis://cache1\"", "line 1: cache: it is for nodes that share a store"),
            ("store = \"postgres://me@db/x\"\ncache = \"redis://me:secret@a:b\"", "cache: the URL"),
            (
                "store = \"postgres://me@db/x\"\ncache = \"redis://a\"\ncache_password_file = \"gone\"",
                "cache_password_file: reading",
            ),
            ("[log]\nfilter = \"inof\"", "line 2: log.filter: log: \"inof\": off, error, warn,"),
            ("listen = \":8080\"", "line 1"),
            ("[control]\nlisten = \":8081\"", "write 0.0.0.0:8081 for all IPv4 addresses"),
            ("[http]\nheader_timeout_seconds = \"10s\"", "write 10: a number of seconds"),
            ("[http]\nheader_timeout = 10", "write `header_timeout_seconds`"),
            ("listen: 127.0.0.1:8080", "this is YAML"),
            ("[tls]\ncertificate = \"missing.pem\"", "--tls-key"),
            ("[tls]\ncertificate = \"missing.pem\"\nkey = \"key.pem\"", "missing.pem"),
        ] {
            let error = error_of(text);
            assert!(error.contains(expected), "{text}: {error}");
            assert!(!error.contains("secret"), "{text}: {error}");
        }
    }
}
