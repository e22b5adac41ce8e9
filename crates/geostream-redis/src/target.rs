//! Where Redis is, and how it is reached.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use fred::types::config::{ClusterDiscoveryPolicy, Config, Server, ServerConfig, TlsConnector};
use geostream_tls::{Authorities, AuthoritiesError};
use percent_encoding::percent_decode_str;
use rustls::ClientConfig;
use thiserror::Error;

/// Where Redis is and how it is reached: `redis://HOST:PORT/DATABASE`.
///
/// `redis-cluster://` and `redis-sentinel://` take several hosts, with commas between; `rediss` in
/// place of `redis` uses TLS. Its `Debug` and `Display` show no password.
#[derive(Clone)]
pub struct Target {
    config: Config,
    prefix: String,
    shown: String,
    travels_in_clear: bool,
}

/// Why a URL does not say where Redis is.
#[derive(Debug, Error)]
pub enum TargetError {
    /// It is no URL of Redis.
    #[error(
        "it is not a URL such as redis://HOST:6379/0, redis-cluster://HOST:6379,HOST:6379 or \
         redis-sentinel://HOST:26379/0?sentinelServiceName=NAME"
    )]
    Url,
    /// A host is missing, or its port is no number.
    #[error("the URL names a host that is not NAME, NAME:PORT or [ADDRESS]:PORT")]
    Host,
    /// There are several hosts where one is expected.
    #[error("several hosts are for redis-cluster:// and redis-sentinel://")]
    Hosts,
    /// What follows the hosts is no number of a database.
    #[error("the database is a number from 0 to 255, and a cluster has none but 0")]
    Database,
    /// Sentinels may watch over several servers.
    #[error("the URL does not say which server is meant: add ?sentinelServiceName=NAME")]
    Service,
    /// A parameter is not known. It is not named: it may be the rest of a password with a `?` in it.
    #[error(
        "the URL has a parameter that is not known; known are {}; in a password, ? is written %3F",
        PARAMETERS.join(", ")
    )]
    Parameter,
    /// There are authorities, and nobody to check by them.
    #[error("sslrootcert is for rediss://..: redis:// uses no TLS, and checks no certificate")]
    Plain,
    /// The authorities cannot be used.
    #[error(transparent)]
    Authorities(#[from] AuthoritiesError),
}

/// What may be said behind the `?` of a URL.
const PARAMETERS: &[&str] =
    &["prefix", "sentinelPassword", "sentinelServiceName", "sentinelUsername", "sslrootcert"];

/// What the keys begin with, unless the URL says another word.
const PREFIX: &str = "geostream";

#[derive(Clone, Copy)]
enum Kind {
    Server,
    Cluster,
    Sentinel,
}

#[derive(Default)]
struct Parameters {
    prefix: Option<String>,
    service: Option<String>,
    sentinel_username: Option<String>,
    sentinel_password: Option<String>,
    authorities: Option<PathBuf>,
}

impl Target {
    /// Reads a URL; a password in it goes before the other one.
    ///
    /// # Errors
    ///
    /// If it does not say where Redis is, or a file that it names cannot be read.
    pub fn parse(url: &str, password: Option<&str>) -> Result<Self, TargetError> {
        let (scheme, rest) = url.split_once("://").ok_or(TargetError::Url)?;
        let (kind, uses_tls) = kind(scheme).ok_or(TargetError::Url)?;
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = place.split_once('/').unwrap_or((place, ""));
        let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (username, inside) = user.split_once(':').unwrap_or((user, ""));
        let parameters = Parameters::read(query)?;
        if parameters.authorities.is_some() && !uses_tls {
            return Err(TargetError::Plain);
        }
        let hosts =
            hosts.split(',').map(|host| server(host, kind)).collect::<Result<Vec<_>, _>>()?;
        let names: Vec<_> = hosts.iter().map(ToString::to_string).collect();
        let travels_in_clear =
            !uses_tls && !hosts.iter().all(|server| is_this_machine(&server.host));
        let tls = uses_tls.then(|| tls(parameters.authorities.as_deref())).transpose()?;
        let prefix = parameters.prefix.clone().unwrap_or_else(|| PREFIX.to_owned());
        let config = Config {
            // The first connection is as little needed as any later one.
            fail_fast: false,
            username: given(username),
            password: given(inside).or_else(|| password.map(str::to_owned)),
            database: number(database, kind)?,
            server: parameters.servers(kind, hosts)?,
            tls: tls.map(|tls| TlsConnector::from(tls).into()),
            ..Config::default()
        };
        Ok(Self { config, prefix, shown: names.join(","), travels_in_clear })
    }

    /// Tells whether what is said to Redis, the password included, goes to another machine without
    /// TLS.
    #[must_use]
    pub fn travels_in_clear(&self) -> bool {
        self.travels_in_clear
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// Returns the name of a key, or of a channel, that no other use of the same Redis has.
    pub(crate) fn name(&self, name: &str) -> String {
        format!("{}:{name}", self.prefix)
    }
}

impl Parameters {
    fn read(query: &str) -> Result<Self, TargetError> {
        let mut parameters = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "prefix" => parameters.prefix = given(value),
                "sentinelServiceName" => parameters.service = given(value),
                "sentinelUsername" => parameters.sentinel_username = given(value),
                "sentinelPassword" => parameters.sentinel_password = given(value),
                "sslrootcert" => parameters.authorities = given(value).map(PathBuf::from),
                _ => return Err(TargetError::Parameter),
            }
        }
        Ok(parameters)
    }

    fn servers(self, kind: Kind, mut hosts: Vec<Server>) -> Result<ServerConfig, TargetError> {
        match kind {
            Kind::Server if hosts.len() > 1 => Err(TargetError::Hosts),
            Kind::Server => Ok(ServerConfig::Centralized { server: hosts.remove(0) }),
            Kind::Cluster => {
                // What one node says of the others is asked of all that are known.
                let policy = ClusterDiscoveryPolicy::default();
                Ok(ServerConfig::Clustered { hosts, policy })
            }
            Kind::Sentinel => Ok(ServerConfig::Sentinel {
                hosts,
                service_name: self.service.ok_or(TargetError::Service)?,
                username: self.sentinel_username,
                password: self.sentinel_password,
            }),
        }
    }
}

fn kind(scheme: &str) -> Option<(Kind, bool)> {
    let secure = scheme.strip_prefix("rediss");
    let kind = match secure.or_else(|| scheme.strip_prefix("redis"))? {
        "" => Kind::Server,
        "-cluster" => Kind::Cluster,
        "-sentinel" => Kind::Sentinel,
        _ => return None,
    };
    Some((kind, secure.is_some()))
}

fn server(host: &str, kind: Kind) -> Result<Server, TargetError> {
    let usual = match kind {
        Kind::Server | Kind::Cluster => 6379,
        Kind::Sentinel => 26379,
    };
    let (name, port) = match host.strip_prefix('[') {
        Some(address) => address.split_once(']').ok_or(TargetError::Host)?,
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    if name.is_empty() {
        return Err(TargetError::Host);
    }
    let port = match port.strip_prefix(':') {
        Some(port) => port.parse().map_err(|_| TargetError::Host)?,
        None if port.is_empty() => usual,
        None => return Err(TargetError::Host),
    };
    Ok(Server::new(name, port))
}

/// Tells whether a host is this machine, by a name that always is (RFC 6761, section 6.3) or by its
/// address.
fn is_this_machine(host: &str) -> bool {
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    let is_loopback = |address: IpAddr| address.to_canonical().is_loopback();
    name == "localhost" || name.ends_with(".localhost") || host.parse().is_ok_and(is_loopback)
}

fn number(database: &str, kind: Kind) -> Result<Option<u8>, TargetError> {
    if database.is_empty() {
        return Ok(None);
    }
    let number = database.parse().map_err(|_| TargetError::Database)?;
    match kind {
        Kind::Cluster if number > 0 => Err(TargetError::Database),
        Kind::Cluster | Kind::Server | Kind::Sentinel => Ok(Some(number)),
    }
}

/// Reads a part of a URL, if there is something in it.
fn given(text: &str) -> Option<String> {
    let decoded = percent_decode_str(text).decode_utf8_lossy();
    (!decoded.is_empty()).then(|| decoded.into_owned())
}

fn tls(authorities: Option<&Path>) -> Result<ClientConfig, AuthoritiesError> {
    authorities.map_or(Authorities::System, Authorities::File).client_config()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_say_where_redis_is() {
        for (url, shown) in [
            ("redis://cache1", "cache1:6379"),
            ("redis://cache1:7000/3", "cache1:7000"),
            ("rediss://user@[::1]:7000", "::1:7000"),
            ("redis-cluster://a,b:7001", "a:6379,b:7001"),
            ("redis-sentinel://a,b/0?sentinelServiceName=main", "a:26379,b:26379"),
        ] {
            assert_eq!(Target::parse(url, None).unwrap().to_string(), shown, "{url}");
        }
        let other = Target::parse("redis://cache1?prefix=blue", None).unwrap();
        assert_eq!(other.name("config"), "blue:config");
    }

    #[test]
    fn only_what_leaves_this_machine_without_tls_travels_in_clear() {
        for (url, expected) in [
            ("redis://cache1", true),
            ("redis://:secret@192.0.2.7:6379", true),
            ("redis-cluster://127.0.0.1,cache2", true),
            ("redis-sentinel://[2001:db8::1]?sentinelServiceName=main", true),
            ("rediss://cache1", false),
            ("redis://localhost", false),
            ("redis://cache.localhost.", false),
            ("redis://127.0.0.53", false),
            ("redis://[::1]:7000", false),
            ("redis://[::ffff:127.0.0.1]", false),
        ] {
            let target = Target::parse(url, None).unwrap();
            assert_eq!(target.travels_in_clear(), expected, "{url}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_url_is_said() {
        for (url, expected) in [
            ("cache1:6379", "it is not a URL such as redis://"),
            ("postgres://cache1", "it is not a URL such as redis://"),
            ("redis://", "names a host that is not"),
            ("redis://cache1:port", "names a host that is not"),
            ("redis://[::1", "names a host that is not"),
            ("redis://a,b", "several hosts are for redis-cluster://"),
            ("redis://a/main", "the database is a number"),
            ("redis-cluster://a/1", "a cluster has none but 0"),
            ("redis-sentinel://a", "add ?sentinelServiceName=NAME"),
            ("redis://a?ssl=on", "a parameter that is not known; known are prefix"),
            ("rediss://a?sslrootcert=/no/where.pem", "/no/where.pem"),
            ("redis://a?sslrootcert=/some.pem", "redis:// uses no TLS"),
        ] {
            let error = Target::parse(url, None).unwrap_err().to_string();
            assert!(error.contains(expected), "{url}: {error}");
        }
    }

    #[test]
    fn passwords_are_used_and_not_shown() {
        let outside = Target::parse("redis://cache1", Some("secret")).unwrap();
        assert_eq!(outside.config.password.as_deref(), Some("secret"));
        let inside = Target::parse("redis://me:in%20side@cache1", Some("secret")).unwrap();
        assert_eq!(inside.config.username.as_deref(), Some("me"));
        assert_eq!(inside.config.password.as_deref(), Some("in side"));
        assert!(!format!("{inside:?} {inside} {outside:?}").contains("side@"));
        assert!(!format!("{inside:?} {outside:?} {outside}").contains("secret"));
        for url in ["redis://me:secret@cache1:port", "redis://me:a?secret@cache1"] {
            let error = Target::parse(url, None).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("secret"));
        }
    }
}
