//! What a probe's request says beside its URL.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

use super::ProbeProtocol;
use crate::config::endpoint::{Endpoint, EndpointError};

/// What a probe's request says beside its URL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProbeRequest {
    /// The host that the request and TLS name, where it is not the URL's.
    pub host: Option<ProbeHost>,
    /// The method.
    pub method: ProbeMethod,
    /// Header fields of the request.
    pub headers: ProbeHeaders,
    /// Whether the probe follows redirects.
    pub follows_redirects: bool,
}

/// A part of a request for which a check has no use.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ProbeRequestError {
    /// The protocol sends no host.
    #[error("a check of tcp:// has no use for it")]
    Host,
    /// The protocol sends no header fields.
    #[error("a check of tcp:// has no use for it")]
    Headers,
    /// Only HTTP has methods to choose from.
    #[error("only a check of http:// or https:// has use for it")]
    Method,
    /// The answer to `HEAD` has no body.
    #[error("the answer to HEAD has no body to look for a text in")]
    BodyOfHead,
    /// Only HTTP has redirects.
    #[error("only a check of http:// or https:// has use for it")]
    Redirects,
}

impl ProbeRequest {
    /// Takes what it says for a check of this protocol that may want a text in the body.
    ///
    /// A rule for which the check has no use would silently not hold, so it is refused.
    ///
    /// # Errors
    ///
    /// Names the first part for which the check has no use.
    pub fn for_check(
        self,
        protocol: ProbeProtocol,
        wants_text: bool,
    ) -> Result<Self, ProbeRequestError> {
        let is_http = matches!(protocol, ProbeProtocol::Http | ProbeProtocol::Https);
        let is_tcp = protocol == ProbeProtocol::Tcp;
        if is_tcp && self.host.is_some() {
            Err(ProbeRequestError::Host)
        } else if is_tcp && !self.headers.is_empty() {
            Err(ProbeRequestError::Headers)
        } else if !is_http && self.method != ProbeMethod::Get {
            Err(ProbeRequestError::Method)
        } else if wants_text && self.method == ProbeMethod::Head {
            Err(ProbeRequestError::BodyOfHead)
        } else if !is_http && self.follows_redirects {
            Err(ProbeRequestError::Redirects)
        } else {
            Ok(self)
        }
    }
}

/// The method of a probe's request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProbeMethod {
    /// `GET`.
    #[default]
    Get,
    /// `HEAD`: the answer has no body.
    Head,
}

/// A host with or without a port, as the header field `Host` carries it.
#[derive(Clone, PartialEq, Eq)]
pub struct ProbeHost(Endpoint);

/// What stands before the host in the URL by whose rules it is parsed.
const SCHEME: &str = "https://";

impl ProbeHost {
    /// Returns the host alone, which TLS asks for: without brackets and port.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.host()
    }

    /// Returns the whole text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str().strip_prefix(SCHEME).unwrap_or_default()
    }
}

impl FromStr for ProbeHost {
    type Err = EndpointError;

    /// Parses the host and the port of a URL (RFC 3986, section 3.2).
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains(['/', '?', '#']) {
            return Err(EndpointError::Host);
        }
        format!("{SCHEME}{text}").parse().map(Self)
    }
}

impl fmt::Display for ProbeHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for ProbeHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The header fields of a probe's request, at most [`ProbeHeaders::MAX`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProbeHeaders(BTreeMap<ProbeHeaderName, ProbeHeaderValue>);

/// More header fields than a request may have.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("more than {} header fields", ProbeHeaders::MAX)]
pub struct TooManyHeaders;

impl ProbeHeaders {
    /// The most header fields of a request.
    pub const MAX: usize = 8;

    /// Takes header fields.
    ///
    /// # Errors
    ///
    /// Refuses more than [`ProbeHeaders::MAX`].
    pub fn new(
        headers: BTreeMap<ProbeHeaderName, ProbeHeaderValue>,
    ) -> Result<Self, TooManyHeaders> {
        if headers.len() <= Self::MAX { Ok(Self(headers)) } else { Err(TooManyHeaders) }
    }

    /// Tells whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns them by their names.
    pub fn iter(&self) -> impl Iterator<Item = (&ProbeHeaderName, &ProbeHeaderValue)> {
        self.0.iter()
    }
}

/// The name of a header field, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProbeHeaderName(Arc<str>);

/// Why a text is no name of a header field that a check may send.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ProbeHeaderNameError {
    /// The text is empty or too long, or has a character that names do not have.
    #[error("the name of a header field is 1 to 64 lower-case letters, digits, - and _")]
    Text,
    /// The probe writes the field by itself.
    #[error("the probe sets this header field by itself")]
    Reserved,
    /// `Host` has a key of its own.
    #[error("the check's own key host sets the header field Host, and the name for TLS")]
    Host,
}

/// The fields that frame a message or that the probe writes by itself.
const RESERVED: [&str; 12] = [
    "connection",
    "content-length",
    "content-type",
    "expect",
    "keep-alive",
    "proxy-connection",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl ProbeHeaderName {
    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ProbeHeaderName {
    type Err = ProbeHeaderNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_of_names = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
        if !(1..=64).contains(&text.len()) || !text.bytes().all(is_of_names) {
            return Err(ProbeHeaderNameError::Text);
        }
        match text {
            "host" => Err(ProbeHeaderNameError::Host),
            name if RESERVED.contains(&name) => Err(ProbeHeaderNameError::Reserved),
            name => Ok(Self(name.into())),
        }
    }
}

impl fmt::Display for ProbeHeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The value of a header field. It may be a secret, so neither `Debug` nor an error shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct ProbeHeaderValue(Arc<str>);

/// A text that is no value of a header field.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error(
    "the value of a header field is 1 to 1024 printable ASCII characters, without space at either end"
)]
pub struct ProbeHeaderValueError;

impl ProbeHeaderValue {
    /// Returns the value, which may be a secret.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl FromStr for ProbeHeaderValue {
    type Err = ProbeHeaderValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_printable = |byte: u8| matches!(byte, b' '..=b'~');
        let is_value = (1..=1024).contains(&text.len())
            && text.bytes().all(is_printable)
            && text.trim_matches(' ').len() == text.len();
        if is_value { Ok(Self(text.into())) } else { Err(ProbeHeaderValueError) }
    }
}

impl fmt::Debug for ProbeHeaderValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_with_or_without_a_port() {
        for (text, name) in [
            ("api.example.com", "api.example.com"),
            ("api.example.com:8443", "api.example.com"),
            ("192.0.2.1", "192.0.2.1"),
            ("[2001:db8::1]:443", "2001:db8::1"),
        ] {
            let host: ProbeHost = text.parse().unwrap();
            assert_eq!((host.as_str(), host.name()), (text, name));
        }
        for bad in ["", "a b", "https://a", "a/", "a?b", "a#b", "u@a", "a:0", "a..b", ":443"] {
            assert!(bad.parse::<ProbeHost>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn header_fields_that_frame_a_message_are_refused() {
        use ProbeHeaderNameError as E;
        for (name, expected) in [
            ("authorization", Ok("authorization")),
            ("x_probe-1", Ok("x_probe-1")),
            ("host", Err(E::Host)),
            ("content-length", Err(E::Reserved)),
            ("transfer-encoding", Err(E::Reserved)),
            ("Host", Err(E::Text)),
            ("", Err(E::Text)),
            ("a:b", Err(E::Text)),
            ("a\r\nb", Err(E::Text)),
        ] {
            let parsed = name.parse::<ProbeHeaderName>();
            assert_eq!(parsed.as_ref().map(ProbeHeaderName::as_str).map_err(|e| *e), expected);
        }
        assert_eq!("x".repeat(65).parse::<ProbeHeaderName>(), Err(E::Text));
    }

    #[test]
    fn a_value_has_no_line_breaks_and_is_not_shown() {
        for bad in ["", " a", "a ", "a\r\nb: c", "a\tb", "ä", &"x".repeat(1025)] {
            assert!(bad.parse::<ProbeHeaderValue>().is_err(), "{bad:?}");
        }
        let value: ProbeHeaderValue = "Bearer s3cret".parse().unwrap();
        assert_eq!(value.reveal(), "Bearer s3cret");
        let headers = BTreeMap::from([("authorization".parse().unwrap(), value)]);
        let headers = ProbeHeaders::new(headers).unwrap();
        assert!(!format!("{headers:?}").contains("s3cret"));
    }

    #[test]
    fn a_part_for_which_a_check_has_no_use_is_refused() {
        use ProbeProtocol as P;
        use ProbeRequestError as E;
        let host = || ProbeRequest { host: "a".parse().ok(), ..ProbeRequest::default() };
        let head = || ProbeRequest { method: ProbeMethod::Head, ..ProbeRequest::default() };
        let follow = || ProbeRequest { follows_redirects: true, ..ProbeRequest::default() };
        let headers = || {
            let field = ("x-a".parse().unwrap(), "1".parse().unwrap());
            let headers = ProbeHeaders::new(BTreeMap::from([field])).unwrap();
            ProbeRequest { headers, ..ProbeRequest::default() }
        };
        for (request, protocol, wants_text, expected) in [
            (host(), P::Https, true, None),
            (host(), P::Grpcs, false, None),
            (host(), P::Tcp, false, Some(E::Host)),
            (headers(), P::Grpc, false, None),
            (headers(), P::Tcp, false, Some(E::Headers)),
            (head(), P::Http, false, None),
            (head(), P::Http, true, Some(E::BodyOfHead)),
            (head(), P::Grpc, false, Some(E::Method)),
            (follow(), P::Https, true, None),
            (follow(), P::Grpcs, false, Some(E::Redirects)),
            (ProbeRequest::default(), P::Tcp, true, None),
        ] {
            let refused = request.clone().for_check(protocol, wants_text).err();
            assert_eq!(refused, expected, "{request:?} {protocol:?}");
        }
    }
}
