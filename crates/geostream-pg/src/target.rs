//! Where the database is, and how it is reached.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deadpool_postgres::{PoolError, TimeoutType};
use geostream_ports::Chain;
use geostream_tls::{Authorities, AuthoritiesError};
use percent_encoding::percent_decode_str;
use rustls::ClientConfig;
use thiserror::Error;
use tokio::time::timeout;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, Connection, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::PgError;

/// Where a database is and how it is reached: `postgres://USER@HOST:PORT/DATABASE`.
///
/// Several hosts may be given, with commas between; the first that accepts writes is used. Its
/// `Debug` and `Display` show no password.
#[derive(Clone)]
pub struct Target {
    /// One for each host.
    configs: Arc<[Config]>,
    tls: MakeRustlsConnect,
    /// The host that was reached last.
    last: Arc<AtomicUsize>,
    /// The hosts' names, as errors show them.
    names: Arc<[String]>,
    /// Why the last attempt to connect has failed, by host; `None` if it has not.
    failure: Arc<Mutex<Option<String>>>,
    shown: String,
}

/// A password that is not in the URL: whatever is an argument, everybody on the machine can see.
#[derive(Clone)]
pub struct Password(String);

/// Why a URL does not say where a database is.
#[derive(Debug, Error)]
pub enum TargetError {
    /// It is no URL of a database.
    #[error("it is not a URL such as postgres://USER@HOST:5432/DATABASE")]
    Url(#[source] tokio_postgres::Error),
    /// It is a list of `host=.. dbname=..`, as libpq also takes it.
    #[error(
        "host=.. user=.. dbname=.. is not a URL; write it as postgres://USER@HOST:5432/DATABASE"
    )]
    Pairs,
    /// A needed part is missing.
    #[error("the URL names no {0}; postgres://USER@HOST:5432/DATABASE is expected")]
    Missing(&'static str),
    /// A parameter is not known. It is not named: it may be the rest of a password with a `?` in it.
    #[error(
        "the URL has a parameter that is not known; known are {}; in a password, ? is written %3F",
        PARAMETERS.join(", ")
    )]
    Parameter,
    /// The word on TLS is not known, or promises too little.
    #[error(
        "sslmode {0:?} is not offered: verify-full checks the certificate, disable uses no TLS"
    )]
    Mode(String),
    /// The file with the password cannot be read.
    #[error("{} cannot be read", .0.display())]
    File(PathBuf, #[source] io::Error),
    /// The authorities cannot be used.
    #[error(transparent)]
    Authorities(#[from] AuthoritiesError),
}

/// What may be said behind the `?` of a URL.
const PARAMETERS: &[&str] = &[
    "application_name",
    "channel_binding",
    "connect_timeout",
    "dbname",
    "host",
    "options",
    "password",
    "port",
    "sslmode",
    "sslrootcert",
    "target_session_attrs",
    "user",
];

/// How long one of several hosts may take before the next one is tried.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// The longest that an address of a host may take, whatever the URL says.
const LONGEST_PATIENCE: Duration = Duration::from_secs(10);

pub(crate) type TargetConnection =
    Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;

impl Password {
    /// Takes the password in a file, without the end of its line; else the one in the environment.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn given(
        file: Option<&Path>,
        environment: Option<&str>,
    ) -> Result<Option<Self>, TargetError> {
        let Some(path) = file else { return Ok(environment.map(|text| Self(text.to_owned()))) };
        let text =
            fs::read_to_string(path).map_err(|error| TargetError::File(path.to_owned(), error))?;
        Ok(Some(Self(text.trim_end_matches(['\r', '\n']).to_owned())))
    }
}

impl Target {
    /// Reads a URL; a password in it goes before the other one.
    ///
    /// # Errors
    ///
    /// If it does not say where a database is, or a file that it names cannot be read.
    pub fn parse(url: &str, password: Option<&Password>) -> Result<Self, TargetError> {
        let has_scheme =
            ["postgres://", "postgresql://"].iter().any(|start| url.starts_with(start));
        if !has_scheme && url.contains('=') {
            return Err(TargetError::Pairs);
        }
        let (place, query) = url.split_once('?').unwrap_or((url, ""));
        let mut passed_on = Vec::new();
        let (mut mode, mut authorities) = (None, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "sslmode" => mode = Some(value),
                "sslrootcert" => {
                    let path = percent_decode_str(value).decode_utf8_lossy().into_owned();
                    authorities = Some(PathBuf::from(path));
                }
                _ if PARAMETERS.contains(&name) => passed_on.push(pair),
                _ => return Err(TargetError::Parameter),
            }
        }
        let whole: Config =
            format!("{place}?{}", passed_on.join("&")).parse().map_err(TargetError::Url)?;
        let uses_tls = match mode {
            Some("disable") => false,
            // What encrypts also looks at whom it speaks to.
            Some("require" | "verify-full") => true,
            Some(other) => return Err(TargetError::Mode(other.to_owned())),
            None => !whole.get_hosts().iter().all(is_on_this_machine),
        };
        Self::new(&whole, uses_tls, authorities.as_deref(), password)
    }

    fn new(
        whole: &Config,
        uses_tls: bool,
        authorities: Option<&Path>,
        password: Option<&Password>,
    ) -> Result<Self, TargetError> {
        whole.get_user().ok_or(TargetError::Missing("user"))?;
        let database = whole.get_dbname().ok_or(TargetError::Missing("database"))?;
        let (hosts, ports) = (whole.get_hosts(), whole.get_ports());
        if hosts.is_empty() {
            return Err(TargetError::Missing("host"));
        }
        let port = |number| ports.get(number).or_else(|| ports.first()).copied().unwrap_or(5432);
        let hosts: Vec<_> =
            hosts.iter().enumerate().map(|(number, host)| (host, port(number))).collect();
        let common = common(whole, hosts.len(), uses_tls, password);
        let config = |&(host, port): &(&Host, u16)| {
            let mut config = common.clone();
            match host {
                Host::Tcp(name) => config.host(name),
                Host::Unix(directory) => config.host_path(directory),
            };
            config.port(port);
            config
        };
        let names: Vec<_> = hosts.iter().map(|(host, port)| shown(host, *port)).collect();
        Ok(Self {
            configs: hosts.iter().map(config).collect(),
            tls: MakeRustlsConnect::new(tls(uses_tls, authorities)?),
            last: Arc::default(),
            failure: Arc::default(),
            shown: format!("{}/{database}", names.join(",")),
            names: names.into(),
        })
    }

    /// Connects, if that does not take too long.
    pub(crate) async fn connect_within(
        &self,
        patience: Duration,
    ) -> Result<(Client, TargetConnection), PgError> {
        match timeout(patience, self.connect()).await {
            Ok(connected) => connected.map_err(|error| self.connecting_error(error)),
            Err(_) => Err(self.waiting_error()),
        }
    }

    /// Connects to the host that was reached last, or to the next one that can be reached.
    ///
    /// It is for whoever calls this to limit the time: the last host is waited for without an end.
    pub(crate) async fn connect(
        &self,
    ) -> Result<(Client, TargetConnection), tokio_postgres::Error> {
        let first = self.last.load(Ordering::Relaxed);
        let count = self.configs.len();
        let mut attempt = Attempt::new(self);
        for number in (first..).take(count - 1).map(|number| number % count) {
            if let Ok(Ok(connected)) = timeout(PATIENCE, attempt.reach(number)).await {
                return Ok(connected);
            }
        }
        attempt.reach((first + count - 1) % count).await
    }

    /// Returns what each of several hosts has said to the last attempt to connect, if that has
    /// failed: the first host of the URL first.
    pub(crate) fn failure(&self) -> Option<String> {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.clone().filter(|_| self.configs.len() > 1)
    }

    /// Says why the pool has no connection to the target.
    pub(crate) fn pool_error(&self, error: PoolError) -> PgError {
        match error {
            PoolError::Backend(error) => self.connecting_error(error),
            PoolError::Timeout(TimeoutType::Wait) => PgError::Busy,
            PoolError::Timeout(TimeoutType::Create) => self.waiting_error(),
            PoolError::Timeout(TimeoutType::Recycle)
            | PoolError::Closed
            | PoolError::NoRuntimeSpecified
            | PoolError::PostCreateHook(_) => PgError::Timeout,
        }
    }

    /// Says why there is no connection; of several hosts, why not to each.
    fn connecting_error(&self, error: tokio_postgres::Error) -> PgError {
        if let Some(failures) = self.failure() {
            return PgError::Hosts { target: self.to_string(), failures };
        }
        if error.as_db_error().is_some() {
            return error.into();
        }
        PgError::Connection { target: self.to_string(), source: error }
    }

    /// Says why connecting was given up.
    fn waiting_error(&self) -> PgError {
        match self.failure() {
            Some(failures) => PgError::Hosts { target: self.to_string(), failures },
            None => PgError::Timeout,
        }
    }

    async fn reach(
        &self,
        number: usize,
    ) -> Result<(Client, TargetConnection), tokio_postgres::Error> {
        let connected = self.configs[number].connect(self.tls.clone()).await?;
        self.last.store(number, Ordering::Relaxed);
        Ok(connected)
    }
}

/// The most characters that are told of a host, and the most hosts that are told of.
const LONGEST_FAILURE: usize = 160;
const FAILURES: usize = 8;

/// One attempt to connect, and what each host has said to it.
///
/// When it is dropped, by its end or since it takes too long, the target keeps that.
struct Attempt<'a> {
    target: &'a Target,
    failures: BTreeMap<usize, String>,
    is_connected: bool,
}

impl<'a> Attempt<'a> {
    fn new(target: &'a Target) -> Self {
        Self { target, failures: BTreeMap::new(), is_connected: false }
    }

    async fn reach(
        &mut self,
        number: usize,
    ) -> Result<(Client, TargetConnection), tokio_postgres::Error> {
        // Unless it says something.
        self.failures.insert(number, "does not answer in time".to_owned());
        let reached = self.target.reach(number).await;
        match &reached {
            Ok(_) => self.is_connected = true,
            Err(error) => drop(self.failures.insert(number, in_short(error))),
        }
        reached
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let told = self.failures.iter().take(FAILURES);
        let told = told.map(|(number, why)| format!("{}: {why}", self.target.names[*number]));
        let mut told: Vec<_> = told.collect();
        if self.failures.len() > FAILURES {
            told.push(format!("and {} more", self.failures.len() - FAILURES));
        }
        let failure = (!self.is_connected).then(|| told.join("; "));
        *self.target.failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }
}

/// Says in a few words what a host has said.
fn in_short(error: &tokio_postgres::Error) -> String {
    let whole = Chain(error).to_string();
    let text = whole.strip_prefix("error connecting to server: ").unwrap_or(&whole);
    text.chars()
        .map(|char| if char.is_control() { ' ' } else { char })
        .take(LONGEST_FAILURE)
        .collect()
}

/// Returns what holds for each host alike.
fn common(whole: &Config, hosts: usize, uses_tls: bool, password: Option<&Password>) -> Config {
    let mut config = Config::new();
    config.user(whole.get_user().unwrap_or_default());
    config.dbname(whole.get_dbname().unwrap_or_default());
    config.application_name(whole.get_application_name().unwrap_or("geostream"));
    let given = password.map(|Password(text)| text.as_bytes());
    if let Some(password) = whole.get_password().or(given) {
        config.password(password);
    }
    if let Some(options) = whole.get_options() {
        config.options(options);
    }
    let session = whole.get_target_session_attrs();
    let is_choice = hosts > 1 && session == TargetSessionAttrs::Any;
    config.target_session_attrs(if is_choice { TargetSessionAttrs::ReadWrite } else { session });
    config.ssl_mode(if uses_tls { SslMode::Require } else { SslMode::Disable });
    config.channel_binding(whole.get_channel_binding());
    let patience = whole.get_connect_timeout().copied().unwrap_or(PATIENCE);
    config.connect_timeout(patience.min(LONGEST_PATIENCE));
    config.keepalives_idle(Duration::from_secs(15));
    config.tcp_user_timeout(Duration::from_secs(10));
    config
}

fn tls(is_used: bool, authorities: Option<&Path>) -> Result<ClientConfig, AuthoritiesError> {
    match authorities {
        Some(path) => Authorities::File(path),
        None if is_used => Authorities::System,
        None => Authorities::Empty,
    }
    .client_config()
}

fn is_on_this_machine(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => {
            name == "localhost" || name.parse().is_ok_and(|address: IpAddr| address.is_loopback())
        }
        Host::Unix(_) => true,
    }
}

fn shown(host: &Host, port: u16) -> String {
    match host {
        Host::Tcp(name) => format!("{name}:{port}"),
        Host::Unix(directory) => directory.display().to_string(),
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Target").field(&self.shown).finish()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

#[cfg(test)]
mod tests {
    use tokio_postgres::config::ChannelBinding;

    use super::*;

    fn error_of(url: &str) -> String {
        Target::parse(url, None).unwrap_err().to_string()
    }

    #[test]
    fn urls_name_everything_and_promise_no_less_than_is_kept() {
        for (url, expected) in [
            ("geostream.redb", "it is not a URL such as"),
            ("host=db1 user=me dbname=geostream", "write it as postgres://"),
            ("user=me password=secret", "write it as postgres://"),
            ("postgres://db1/geostream", "names no user"),
            ("postgres://me@db1", "names no database"),
            ("postgres:///geostream?user=me", "names no host"),
            ("postgres://me@db1/geostream?sslmode=prefer", "verify-full"),
            ("postgres://me@db1/geostream?sslcrl=x", "a parameter that is not known"),
            ("postgres://me@db1/geostream?sslrootcert=/no/where.pem", "/no/where.pem"),
        ] {
            assert!(error_of(url).contains(expected), "{url}: {}", error_of(url));
        }
    }

    #[test]
    fn tls_is_left_out_on_this_machine_only() {
        for (hosts, mode) in [
            ("127.0.0.1", SslMode::Disable),
            ("localhost:5433", SslMode::Disable),
            ("%2Frun%2Fpostgresql", SslMode::Disable),
            ("db1", SslMode::Require),
            ("localhost,db1", SslMode::Require),
        ] {
            let target = Target::parse(&format!("postgres://me@{hosts}/geostream"), None).unwrap();
            assert_eq!(target.configs[0].get_ssl_mode(), mode, "{hosts}");
        }
        let plain = Target::parse("postgres://me@db1/geostream?sslmode=disable", None).unwrap();
        assert_eq!(plain.configs[0].get_ssl_mode(), SslMode::Disable);
    }

    #[test]
    fn urls_of_managed_databases_are_taken() {
        let url = "postgresql://me@db1/geostream?sslmode=require&channel_binding=require\
                   &connect_timeout=3";
        let target = Target::parse(url, None).unwrap();
        let config = &target.configs[0];
        assert_eq!(config.get_channel_binding(), ChannelBinding::Require);
        assert_eq!(config.get_connect_timeout(), Some(&Duration::from_secs(3)));
        let patient = Target::parse("postgres://me@db1/geostream?connect_timeout=600", None);
        assert_eq!(patient.unwrap().configs[0].get_connect_timeout(), Some(&LONGEST_PATIENCE));
        let plain = Target::parse("postgres://me@db1/geostream", None).unwrap();
        assert_eq!(plain.configs[0].get_channel_binding(), ChannelBinding::Prefer);
    }

    #[test]
    fn passwords_are_used_and_not_shown() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "secret\n").unwrap();
        let given = Password::given(Some(file.path()), Some("other")).unwrap().unwrap();
        let target = Target::parse("postgres://me@db1,db2:5433/geostream", Some(&given)).unwrap();
        assert_eq!(target.configs[1].get_password(), Some(&b"secret"[..]));
        assert_eq!(target.to_string(), "db1:5432,db2:5433/geostream");
        let inside = Target::parse("postgres://me:inside@db1/geostream", Some(&given)).unwrap();
        assert_eq!(inside.configs[0].get_password(), Some(&b"inside"[..]));
        assert!(!format!("{inside:?} {inside} {given:?}").contains("inside"));
        assert!(!error_of("postgres://me:secret@db1:port/geostream").contains("secret"));
        assert!(!error_of("postgres://me:a?secret@db1/geostream").contains("secret"));
    }
}
