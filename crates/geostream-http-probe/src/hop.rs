//! Where a request goes and what it calls itself there, from redirect to redirect.

use geostream_domain::{HealthCheck, ProbeFailure, ProbeMethod, ProbeProtocol};
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue, LOCATION};
use url::{Position, Url};

/// A request of HTTP: the check's own, or one to which a redirect leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hop {
    pub(crate) is_secure: bool,
    /// The host and the port that the connection goes to.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// What `Host` says.
    pub(crate) authority: String,
    /// The name that TLS asks for.
    pub(crate) name: String,
    /// The path with its query.
    pub(crate) path: String,
    /// Whether no redirect has led to another origin, which must not get the check's header fields.
    pub(crate) is_of_check: bool,
}

/// The most redirects that a probe follows.
pub(crate) const MOST_REDIRECTS: usize = 5;

/// The most bytes of a URL to which a redirect leads.
const MOST_OF_URL: usize = 4096;

impl Hop {
    /// Returns the check's own request.
    pub(crate) fn of(check: &HealthCheck) -> Self {
        let target = &check.target;
        let path = match target.url().path_and_query() {
            "" => "/".to_owned(),
            query if query.starts_with('?') => format!("/{query}"),
            path => path.to_owned(),
        };
        Self {
            is_secure: matches!(target.protocol(), ProbeProtocol::Https | ProbeProtocol::Grpcs),
            host: target.url().host().to_owned(),
            port: target.port(),
            authority: authority(check),
            name: check.tls_name().to_owned(),
            path,
            is_of_check: true,
        }
    }

    /// Returns where a redirect leads (RFC 9110, section 10.2.2).
    ///
    /// A URL of the host that the request named stays at the address that was connected to: the host
    /// may have several addresses, and the check is of this one. Another host is resolved.
    ///
    /// # Errors
    ///
    /// [`ProbeFailure::Redirect`] if there is no URL of HTTP, or one that gives up TLS.
    pub(crate) fn redirected(&self, headers: &HeaderMap) -> Result<Self, ProbeFailure> {
        let location = headers.get(LOCATION).and_then(|location| location.to_str().ok());
        let location = location.filter(|location| location.len() <= MOST_OF_URL);
        let here = Url::parse(&self.url()).map_err(|_| ProbeFailure::Redirect)?;
        let there = location.and_then(|location| here.join(location).ok());
        let there = there.ok_or(ProbeFailure::Redirect)?;
        let is_secure = there.scheme() == "https";
        let is_http = is_secure || there.scheme() == "http";
        let has_credentials = !there.username().is_empty() || there.password().is_some();
        if !is_http || has_credentials || (self.is_secure && !is_secure) {
            return Err(ProbeFailure::Redirect);
        }
        let path = there[Position::BeforePath..Position::AfterQuery].to_owned();
        if there.origin() == here.origin() {
            return Ok(Self { path, ..self.clone() });
        }
        let host = there.host_str().ok_or(ProbeFailure::Redirect)?;
        let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let is_same_host = there.host() == here.host();
        Ok(Self {
            is_secure,
            host: if is_same_host { self.host.clone() } else { name.clone() },
            port: there.port_or_known_default().ok_or(ProbeFailure::Redirect)?,
            authority: there[Position::BeforeHost..Position::AfterPort].to_owned(),
            name,
            path,
            is_of_check: false,
        })
    }

    /// Returns the whole URL, as the server knows it.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.is_secure { "https" } else { "http" };
        format!("{scheme}://{}{}", self.authority, self.path)
    }
}

/// Returns what `Host` says: the check's own host, or that of its URL.
fn authority(check: &HealthCheck) -> String {
    if let Some(host) = &check.request.host {
        return host.to_string();
    }
    let url = check.target.url();
    let host = url.host();
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host,
    }
}

/// Returns the method of a check's requests.
pub(crate) fn method(check: &HealthCheck) -> http::Method {
    match check.request.method {
        ProbeMethod::Get => http::Method::GET,
        ProbeMethod::Head => http::Method::HEAD,
    }
}

/// Puts a check's header fields into a request. The values are marked, so that nothing below shows
/// them and HTTP/2 does not compress them.
pub(crate) fn put_headers(check: &HealthCheck, headers: &mut HeaderMap) {
    for (name, value) in check.request.headers.iter() {
        let name = HeaderName::from_bytes(name.as_str().as_bytes());
        let value = HeaderValue::from_str(value.reveal());
        if let (Ok(name), Ok(mut value)) = (name, value) {
            value.set_sensitive(true);
            headers.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use geostream_domain::{ProbeRequest, ProbeTarget};

    use super::*;

    fn hop(url: &str, host: Option<&str>) -> Hop {
        let host = host.map(|host| host.parse().unwrap());
        let request = ProbeRequest { host, ..ProbeRequest::default() };
        let target = ProbeTarget::new(url.parse().unwrap()).unwrap();
        Hop::of(&HealthCheck { request, ..HealthCheck::of(target) })
    }

    /// Says where a hop goes, and under which name.
    fn told(hop: &Hop) -> String {
        let Hop { host, port, name, is_of_check, .. } = hop;
        let own = if *is_of_check { "" } else { ", another origin" };
        format!("{} at {host}:{port} as {name}{own}", hop.url())
    }

    #[test]
    fn a_request_names_its_own_host_or_that_of_the_url() {
        for (url, host, expected) in [
            ("https://a.example", None, "https://a.example/ at a.example:443 as a.example"),
            ("http://a.example:81?q", None, "http://a.example:81/?q at a.example:81 as a.example"),
            ("http://[::1]:81/h", None, "http://[::1]:81/h at ::1:81 as ::1"),
            (
                "https://192.0.2.10/h",
                Some("api.example.com"),
                "https://api.example.com/h at 192.0.2.10:443 as api.example.com",
            ),
            (
                "https://192.0.2.10:8443/h",
                Some("api.example.com:444"),
                "https://api.example.com:444/h at 192.0.2.10:8443 as api.example.com",
            ),
        ] {
            assert_eq!(told(&hop(url, host)), expected);
        }
    }

    #[test]
    fn a_redirect_to_the_host_that_was_named_stays_at_its_address() {
        let secure = hop("https://192.0.2.10:8443/a/b?q", Some("api.example.com"));
        let plain = hop("http://192.0.2.10:8080/a/b", Some("api.example.com"));
        let own = "at 192.0.2.10:8443 as api.example.com";
        for (from, location, expected) in [
            (&secure, "/c", Some(format!("https://api.example.com/c {own}"))),
            (&secure, "c?d#e", Some(format!("https://api.example.com/a/c?d {own}"))),
            (&secure, "../c", Some(format!("https://api.example.com/c {own}"))),
            (&secure, "https://API.example.com/c", Some(format!("https://api.example.com/c {own}"))),
            (
                &secure,
                "https://api.example.com:444/c",
                Some(
                    "https://api.example.com:444/c at 192.0.2.10:444 as api.example.com, another \
                     origin"
                        .to_owned(),
                ),
            ),
            (
                &plain,
                "https://api.example.com/c",
                Some(
                    "https://api.example.com/c at 192.0.2.10:443 as api.example.com, another origin"
                        .to_owned(),
                ),
            ),
            (
                &secure,
                "//login.example.com/",
                Some(
                    "https://login.example.com/ at login.example.com:443 as login.example.com, \
                     another origin"
                        .to_owned(),
                ),
            ),
            (
                &secure,
                "https://[2001:db8::1]/",
                Some(
                    "https://[2001:db8::1]/ at 2001:db8::1:443 as 2001:db8::1, another origin"
                        .to_owned(),
                ),
            ),
            (
                &secure,
                "https://2130706433/",
                Some("https://127.0.0.1/ at 127.0.0.1:443 as 127.0.0.1, another origin".to_owned()),
            ),
            (&secure, "http://api.example.com/c", None),
            (&secure, "ftp://api.example.com/c", None),
            (&secure, "https://u:p@api.example.com/c", None),
            (&secure, "https://", None),
        ] {
            let headers = HeaderMap::from_iter([(LOCATION, location.parse().unwrap())]);
            let found = from.redirected(&headers);
            assert_eq!(found.as_ref().map(told).ok(), expected, "{location}");
        }
        assert_eq!(secure.redirected(&HeaderMap::new()), Err(ProbeFailure::Redirect));
    }
}
