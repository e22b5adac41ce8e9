//! Addresses that clients are sent to, and that probes ask.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// An address that clients are sent to: `scheme://host`, then a port and a path if need be.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    text: String,
}

/// Why a text is no endpoint.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum EndpointError {
    /// The text is longer than [`Endpoint::MAX_LENGTH`].
    #[error("the URL is longer than {} characters", Endpoint::MAX_LENGTH)]
    TooLong,
    /// There is no `scheme://`.
    #[error("the URL has no scheme, such as https://")]
    Scheme,
    /// A character has no place in a URL.
    #[error("the URL holds a space, or another character that URLs write as %XX")]
    Character,
    /// User and password do not belong into configuration.
    #[error("the URL carries a user or password; credentials are not kept in configuration")]
    Credentials,
    /// The host is missing, or neither a name nor an address.
    #[error("the URL's host is missing, or neither a DNS name nor an IP address")]
    Host,
    /// The port is not a number from 1 to 65535.
    #[error("the URL's port is not a number from 1 to 65535")]
    Port,
}

impl Endpoint {
    /// The most bytes that an endpoint may have.
    pub const MAX_LENGTH: usize = 512;

    /// Returns the whole URL.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the scheme, such as `https`.
    #[must_use]
    pub fn scheme(&self) -> &str {
        self.split().0
    }

    /// Returns the host: a name, or an address, without the brackets of an IPv6 one.
    #[must_use]
    pub fn host(&self) -> &str {
        // It was split before, when it was parsed.
        split_port(self.split().1).map_or("", |(host, _)| host)
    }

    /// Returns the port, if the URL names one.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        split_port(self.split().1).ok()?.1?.parse().ok()
    }

    /// Returns the path with its query; empty where there is none.
    #[must_use]
    pub fn path_and_query(&self) -> &str {
        let path = self.split().2;
        path.split_once('#').map_or(path, |(path, _fragment)| path)
    }

    /// Splits into scheme, authority, and the rest.
    fn split(&self) -> (&str, &str, &str) {
        let (scheme, rest) = self.text.split_once("://").unwrap_or_default();
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        (scheme, &rest[..end], &rest[end..])
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    /// Parses the URL's parts by RFC 3986, section 3.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > Self::MAX_LENGTH {
            return Err(EndpointError::TooLong);
        }
        if !text.bytes().all(is_of_urls) {
            return Err(EndpointError::Character);
        }
        let (scheme, rest) = text.split_once("://").ok_or(EndpointError::Scheme)?;
        let mut letters = scheme.bytes();
        if !letters.next().is_some_and(|b| b.is_ascii_lowercase())
            || !letters.all(|b| {
                b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.')
            })
        {
            return Err(EndpointError::Scheme);
        }
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err(EndpointError::Credentials);
        }
        let (host, port) = split_port(authority)?;
        if !is_host(host) {
            return Err(EndpointError::Host);
        }
        if let Some(port) = port
            && !port.parse::<u16>().is_ok_and(|number| number != 0)
        {
            return Err(EndpointError::Port);
        }
        Ok(Self { text: text.to_owned() })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Splits `host:port`, where a host in brackets is an IPv6 address.
fn split_port(authority: &str) -> Result<(&str, Option<&str>), EndpointError> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or(EndpointError::Host)?;
        host.parse::<std::net::Ipv6Addr>().map_err(|_| EndpointError::Host)?;
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if after.is_empty() => Ok((host, None)),
            None => Err(EndpointError::Port),
        };
    }
    Ok(match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    })
}

fn is_host(host: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    host.contains(':') || (host.len() <= 253 && host.split('.').all(is_label))
}

/// Tells whether a character has a place in a URL (RFC 3986, section 2).
fn is_of_urls(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_urls_without_credentials() {
        for good in [
            "https://us.example.com",
            "http://192.0.2.1:8080/v1?a=b",
            "https://[2001:db8::1]:443/",
            "tcp://game-7.example.net:7777",
            "grpc://localhost",
        ] {
            assert!(good.parse::<Endpoint>().is_ok(), "{good}");
        }
        for (bad, error) in [
            ("us.example.com", EndpointError::Scheme),
            ("://x", EndpointError::Scheme),
            ("HTTPS://x", EndpointError::Scheme),
            ("https://", EndpointError::Host),
            ("https://a..b", EndpointError::Host),
            ("https://[::1", EndpointError::Host),
            ("https://[nope]", EndpointError::Host),
            ("https://x:0", EndpointError::Port),
            ("https://x:65536", EndpointError::Port),
            ("https://[::1]8", EndpointError::Port),
            ("https://root:secret@x", EndpointError::Credentials),
            ("https://a b", EndpointError::Character),
            ("https://ä", EndpointError::Character),
            ("https://x/\"", EndpointError::Character),
        ] {
            assert_eq!(bad.parse::<Endpoint>(), Err(error), "{bad}");
        }
    }
}
