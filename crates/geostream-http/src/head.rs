//! What a request's head must say for its framing and its host to be beyond doubt.
//!
//! hyper accepts a head that two servers in a row may read differently. Such a request is refused
//! before anything is done for it (RFC 9112, sections 3.2 and 6.1; RFC 9113, section 8.3.1).

use http::header::{HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Uri, Version};

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadHead {
    /// The header that is to blame.
    pub(crate) header: &'static str,
    pub(crate) detail: &'static str,
}

/// Checks a head, except for what hyper has checked already.
pub(crate) fn check(version: Version, uri: &Uri, headers: &HeaderMap) -> Result<(), BadHead> {
    check_host(version, uri, headers)?;
    check_coding(headers)
}

fn check_host(version: Version, uri: &Uri, headers: &HeaderMap) -> Result<(), BadHead> {
    let bad = |detail| Err(BadHead { header: "host", detail });
    let mut hosts = headers.get_all(HOST).iter();
    let Some(host) = hosts.next() else {
        return match version {
            Version::HTTP_11 => bad("a request of HTTP/1.1 names its host"),
            Version::HTTP_2 if uri.authority().is_none() => bad("the request names no authority"),
            // HTTP/1.0 has no such header.
            _ => Ok(()),
        };
    };
    if hosts.next().is_some() {
        return bad("the request names more than one host");
    }
    if !is_authority(host.as_bytes()) {
        return bad("the host is not NAME, NAME:PORT, or an address");
    }
    match uri.authority() {
        Some(authority) if version == Version::HTTP_2 && !is_same(authority.as_str(), host) => {
            bad("the host is not the request's :authority")
        }
        Some(_) | None => Ok(()),
    }
}

fn check_coding(headers: &HeaderMap) -> Result<(), BadHead> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        (Some(_), _) => {
            let detail = "the only coding that is understood is `chunked`, once";
            Err(BadHead { header: "transfer-encoding", detail })
        }
    }
}

fn is_same(authority: &str, host: &HeaderValue) -> bool {
    authority.as_bytes().eq_ignore_ascii_case(host.as_bytes())
}

/// Tells whether this is a host, perhaps with a port (RFC 3986, section 3.2), without user info.
fn is_authority(text: &[u8]) -> bool {
    let (host, port) = match text.first() {
        Some(b'[') => {
            let Some(end) = text.iter().position(|&byte| byte == b']') else { return false };
            let (literal, port) = text.split_at(end + 1);
            if !is_ip_literal(&literal[1..end]) {
                return false;
            }
            (literal, port)
        }
        Some(_) | None => {
            let end = text.iter().position(|&byte| byte == b':').unwrap_or(text.len());
            let (name, port) = text.split_at(end);
            if !is_name(name) {
                return false;
            }
            (name, port)
        }
    };
    !host.is_empty() && is_port(port)
}

fn is_ip_literal(literal: &[u8]) -> bool {
    let text = std::str::from_utf8(literal).unwrap_or_default();
    text.parse::<std::net::Ipv6Addr>().is_ok()
}

/// Tells whether all of these are characters of a registered name, percent-encoding included.
fn is_name(name: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%".contains(byte);
    name.iter().all(is_plain)
}

/// Tells whether this is nothing, or a colon and a number of 16 bits, which may be missing.
fn is_port(text: &[u8]) -> bool {
    match text.split_first() {
        None => true,
        Some((b':', digits)) => {
            digits.len() <= 5
                && digits.iter().all(u8::is_ascii_digit)
                && digits.iter().fold(0, |port, digit| port * 10 + u32::from(digit - b'0'))
                    <= u32::from(u16::MAX)
        }
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(version: Version, uri: &str, headers: &[(&str, &str)]) -> &'static str {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: http::HeaderName = name.parse().unwrap();
            map.append(name, value.parse().unwrap());
        }
        match check(version, &uri.parse().unwrap(), &map) {
            Ok(()) => "",
            Err(bad) => bad.header,
        }
    }

    #[test]
    fn a_request_names_one_host() {
        let one = &[("host", "a")][..];
        let two = &[("host", "a"), ("host", "a")][..];
        let other = &[("host", "B")][..];
        for (version, uri, headers, expected) in [
            (Version::HTTP_11, "/", one, ""),
            (Version::HTTP_11, "/", &[], "host"),
            (Version::HTTP_11, "/", two, "host"),
            (Version::HTTP_11, "http://b/", one, ""),
            (Version::HTTP_10, "/", &[], ""),
            (Version::HTTP_10, "/", one, ""),
            (Version::HTTP_10, "/", two, "host"),
            (Version::HTTP_2, "http://b/", &[], ""),
            (Version::HTTP_2, "http://b/", other, ""),
            (Version::HTTP_2, "http://b/", one, "host"),
            (Version::HTTP_2, "/", one, ""),
            (Version::HTTP_2, "/", two, "host"),
            (Version::HTTP_2, "/", &[], "host"),
        ] {
            assert_eq!(checked(version, uri, headers), expected, "{version:?} {uri} {headers:?}");
        }
    }

    #[test]
    fn a_host_is_an_authority() {
        let good =
            "a a.b:1 a:65535 a: 192.0.2.1:80 [2001:db8::1] [::1]:8080 x_y a%20b xn--bcher-kva";
        for host in good.split(' ') {
            assert_eq!(checked(Version::HTTP_11, "/", &[("host", host)]), "", "{host}");
        }
        let bad = [
            "", ":80", "a b", "a/b", "a@b", "http://a", "a:b", "a:65536", "a:1:2", "::1", "[::1",
            "[]", "[x]", "[::1]x", "a,b/", "a?b", "a#b", "a\\b", "\"a\"", "<a>",
        ];
        for host in bad {
            assert_eq!(checked(Version::HTTP_11, "/", &[("host", host)]), "host", "{host}");
        }
    }

    #[test]
    fn the_only_coding_is_chunked_and_once() {
        for (codings, is_good) in [
            (&["chunked"][..], true),
            (&["CHUNKED"], true),
            (&["gzip, chunked"], false),
            (&["gzip", "chunked"], false),
            (&["chunked", "chunked"], false),
            (&["chunked, chunked"], false),
            (&["identity"], false),
            (&[""], false),
        ] {
            let mut headers = vec![("host", "a")];
            headers.extend(codings.iter().map(|&coding| ("transfer-encoding", coding)));
            let expected = if is_good { "" } else { "transfer-encoding" };
            assert_eq!(checked(Version::HTTP_11, "/", &headers), expected, "{codings:?}");
        }
    }
}
