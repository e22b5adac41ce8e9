//! Which address a request comes from.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use geostream_domain::ClientKey;
use http::HeaderMap;
use http::header::{FORWARDED, HeaderName, HeaderValue};
use ipnet::IpNet;
use serde::Deserialize;
use thiserror::Error;

/// Where proxies name whom they were asked by.
///
/// One way at a time: a client may send what its proxy does not write.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum ClientSource {
    /// `x-forwarded-for`: each proxy appends an address.
    #[default]
    ForwardedFor,
    /// `forwarded` (RFC 7239): each proxy appends an element with `for=`.
    Forwarded,
    /// `header:NAME`: the proxy sets a header that has one address, such as `CF-Connecting-IP`.
    Header(HeaderName),
}

/// A text that names no way to tell a client's address.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "{0:?} is no source of client addresses: x-forwarded-for, forwarded or header:NAME is \
     expected, as in header:CF-Connecting-IP"
)]
pub struct ClientSourceError(String);

impl FromStr for ClientSource {
    type Err = ClientSourceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ClientSourceError(text.chars().take(64).collect());
        let lower = text.to_ascii_lowercase();
        match lower.strip_prefix("header:") {
            Some(name) => name.parse().map(Self::Header).map_err(|_| error()),
            None if lower == "x-forwarded-for" => Ok(Self::ForwardedFor),
            None if lower == "forwarded" => Ok(Self::Forwarded),
            None => Err(error()),
        }
    }
}

impl TryFrom<String> for ClientSource {
    type Error = ClientSourceError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl ClientSource {
    /// The header that proxies write.
    pub(crate) fn header(&self) -> &HeaderName {
        static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
        static RFC_7239: HeaderName = FORWARDED;
        match self {
            Self::ForwardedFor => &X_FORWARDED_FOR,
            Self::Forwarded => &RFC_7239,
            Self::Header(name) => name,
        }
    }
}

/// The proxies that are believed, and where they name their clients.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies {
    networks: Vec<IpNet>,
    source: ClientSource,
}

impl TrustedProxies {
    /// Believes the proxies in these networks what they write there.
    #[must_use]
    pub fn new(networks: Vec<IpNet>, source: ClientSource) -> Self {
        Self { networks, source }
    }

    /// Returns where proxies name their clients.
    pub(crate) fn source(&self) -> &ClientSource {
        &self.source
    }

    /// Returns the address of the client that a request comes from.
    ///
    /// Each proxy appends whom it was asked by, so the list is read from its end, as long as those
    /// who wrote it are trusted: what stands before was written by the client itself, and may be
    /// anything.
    #[must_use]
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let peer = peer.to_canonical();
        if !self.trusts(peer) {
            return peer;
        }
        let lines = || headers.get_all(self.source.header()).iter().map(HeaderValue::as_bytes);
        match &self.source {
            ClientSource::ForwardedFor => {
                let entries = lines().rev().flat_map(|line| line.rsplit(|byte| *byte == b','));
                self.follow(peer, entries.map(<[u8]>::trim_ascii), address_in)
            }
            ClientSource::Forwarded => {
                let elements = lines().rev().flat_map(elements_from_end);
                self.follow(peer, elements.map(<[u8]>::trim_ascii), forwarded_for)
            }
            // A proxy that sets the header replaces what the client has sent, or puts its own last.
            ClientSource::Header(_) => {
                lines().next_back().and_then(|line| address_in(line.trim_ascii())).unwrap_or(peer)
            }
        }
    }

    /// Follows the entries from the latest on, as long as trusted proxies wrote them.
    fn follow<'a>(
        &self,
        peer: IpAddr,
        entries: impl Iterator<Item = &'a [u8]>,
        read: impl Fn(&[u8]) -> Option<IpAddr>,
    ) -> IpAddr {
        let mut client = peer;
        // Empty entries are passed over (RFC 9110, section 5.6.1.2).
        for entry in entries.filter(|entry| !entry.is_empty()) {
            let Some(address) = read(entry).filter(|_| self.trusts(client)) else { break };
            client = address;
        }
        client
    }

    /// Returns by what the rate of a client is counted: its network, and a trusted proxy by itself,
    /// so that clients of its network do not use up what it needs for its own requests.
    pub(crate) fn rate_key(&self, client: IpAddr) -> ClientKey {
        match client {
            IpAddr::V4(address) if self.trusts(client) => ClientKey::of_bytes(&address.octets()),
            IpAddr::V6(address) if self.trusts(client) => ClientKey::of_bytes(&address.octets()),
            IpAddr::V4(_) | IpAddr::V6(_) => ClientKey::of_address(client),
        }
    }

    /// Tells whether a request seems to come from a proxy that was left out: from an address that
    /// is not public, and with the header.
    pub(crate) fn lacks(&self, peer: IpAddr, headers: &HeaderMap) -> bool {
        is_internal(peer) && headers.contains_key(self.source.header()) && !self.trusts(peer)
    }

    /// Tells whether this is a trusted proxy.
    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address))
    }
}

/// Tells whether an address is of this machine, of a private network, or shared by a carrier's.
fn is_internal(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [a, b, ..] = address.octets();
            let is_shared = a == 100 && (64..128).contains(&b);
            address.is_loopback() || address.is_private() || address.is_link_local() || is_shared
        }
        IpAddr::V6(address) => {
            let is_local = address.is_unique_local() || address.is_unicast_link_local();
            address.is_loopback() || is_local
        }
    }
}

/// Reads an entry: an address, perhaps with a port, an IPv6 one then in brackets.
fn address_in(entry: &[u8]) -> Option<IpAddr> {
    let entry = std::str::from_utf8(entry).ok()?;
    let address = entry.parse::<IpAddr>().ok();
    let with_port = || entry.parse::<SocketAddr>().ok().map(|address| address.ip());
    let bare = || entry.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    address.or_else(with_port).or_else(bare).map(|address| address.to_canonical())
}

/// Returns the elements of a line of `Forwarded`, the last one first.
///
/// Quotes are followed from the end, where a trusted proxy has closed each: one that a client has
/// left open does not swallow what its proxy has appended.
fn elements_from_end(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut is_quoted = false;
    line.rsplit(move |byte| {
        is_quoted ^= *byte == b'"';
        *byte == b',' && !is_quoted
    })
}

/// Reads the address of an element's `for=`; names and `unknown` are none.
fn forwarded_for(element: &[u8]) -> Option<IpAddr> {
    let mut is_quoted = false;
    let pairs = element.split(move |byte| {
        is_quoted ^= *byte == b'"';
        *byte == b';' && !is_quoted
    });
    let value = pairs.map(<[u8]>::trim_ascii).find_map(|pair| {
        let (name, value) = (pair.get(..4)?, pair.get(4..)?);
        name.eq_ignore_ascii_case(b"for=").then_some(value)
    })?;
    let quoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
    address_in(quoted.unwrap_or(value))
}

/// Reads the address of a client that somebody else names.
pub(crate) fn read_address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| {
        let shown: String = text.chars().take(64).collect();
        format!("{shown:?} is not an IPv4 or IPv6 address")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusted(source: ClientSource) -> TrustedProxies {
        let networks = ["10.0.0.0/8", "2001:db8::/32"];
        TrustedProxies::new(networks.map(|network| network.parse().unwrap()).to_vec(), source)
    }

    #[test]
    fn a_proxy_that_was_left_out_has_an_internal_address_and_sends_the_header() {
        let trusted = trusted(ClientSource::ForwardedFor);
        let mut forwarded = HeaderMap::new();
        forwarded.append("X-Forwarded-For", HeaderValue::from_static("203.0.113.9"));
        for (peer, is_lacking) in [
            ("127.0.0.1", true),
            ("::1", true),
            ("172.16.0.1", true),
            ("192.168.1.1", true),
            ("169.254.1.1", true),
            ("100.64.0.1", true),
            ("fd00::1", true),
            ("fe80::1", true),
            ("10.0.0.1", false),
            ("203.0.113.1", false),
            ("100.128.0.1", false),
            ("2001:db8::1", false),
        ] {
            let peer = peer.parse().unwrap();
            assert_eq!(trusted.lacks(peer, &forwarded), is_lacking, "{peer}");
            assert!(!trusted.lacks(peer, &HeaderMap::new()), "{peer} without the header");
        }
    }

    fn check(source: &ClientSource, peer: &str, lines: &[&[u8]], client: &str) {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(source.header(), HeaderValue::from_bytes(line).unwrap());
        }
        let found = trusted(source.clone()).client(peer.parse().unwrap(), &headers);
        assert_eq!(found, client.parse::<IpAddr>().unwrap(), "{source:?} {peer} {lines:?}");
    }

    #[test]
    fn only_trusted_proxies_speak_for_others() {
        for (peer, forwarded, client) in [
            ("192.0.2.1", &[&b"203.0.113.9"[..]][..], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &[b"203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", &[b"6.6.6.6, 203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", &[b"6.6.6.6, 203.0.113.9, 10.9.9.9"], "203.0.113.9"),
            ("10.0.0.1", &[b"6.6.6.6", b"203.0.113.9,10.9.9.9"], "203.0.113.9"),
            ("10.0.0.1", &[b"203.0.113.9:4711"], "203.0.113.9"),
            ("::ffff:10.0.0.1", &[b"[2001:db9::1]:80"], "2001:db9::1"),
            ("10.0.0.1", &[b"nonsense"], "10.0.0.1"),
            ("10.0.0.1", &[b"203.0.113.9, unknown"], "10.0.0.1"),
            ("10.0.0.1", &[b"10.0.0.2, 10.0.0.3"], "10.0.0.2"),
            // What the client has sent stands to the left, whatever it is.
            ("10.0.0.1", &[b"\xe9, 203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", &["\u{1f1e9}, 203.0.113.9".as_bytes()], "203.0.113.9"),
            ("10.0.0.1", &[b"\xff\xfe", b"203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", &[b"\"6.6.6.6, 203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", &[b"203.0.113.9, \xe9"], "10.0.0.1"),
            // Empty entries say nothing.
            ("10.0.0.1", &[b"203.0.113.9,"], "203.0.113.9"),
            ("10.0.0.1", &[b"203.0.113.9, , 10.0.0.7"], "203.0.113.9"),
            ("10.0.0.1", &[b", 203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", &[b"203.0.113.9", b""], "203.0.113.9"),
            ("10.0.0.1", &[b" , ,"], "10.0.0.1"),
        ] {
            check(&ClientSource::ForwardedFor, peer, forwarded, client);
        }
    }

    #[test]
    fn forwarded_is_read_from_its_end() {
        for (lines, client) in [
            (&[&b"for=203.0.113.9"[..]][..], "203.0.113.9"),
            (&[b"For=203.0.113.9;proto=https;by=10.0.0.1"], "203.0.113.9"),
            (&[b"proto=https; for=203.0.113.9"], "203.0.113.9"),
            (&[b"for=\"[2001:db9::1]:4711\""], "2001:db9::1"),
            (&[b"for=\"203.0.113.9:80\""], "203.0.113.9"),
            (&[b"for=6.6.6.6, for=203.0.113.9, for=10.2.2.2"], "203.0.113.9"),
            (&[b"for=6.6.6.6", b"for=203.0.113.9"], "203.0.113.9"),
            (&[b"for=\"6.6.6.6, for=203.0.113.9"], "203.0.113.9"),
            (&[b"for=6.6.6.6;host=\"a,b;c\", for=203.0.113.9;host=\"a,b;c\""], "203.0.113.9"),
            (&[b"\xe9, for=203.0.113.9"], "203.0.113.9"),
            (&[b"for=203.0.113.9, , for=10.2.2.2"], "203.0.113.9"),
            (&[b"for=203.0.113.9, for=unknown"], "10.0.0.1"),
            (&[b"for=203.0.113.9, for=_hidden"], "10.0.0.1"),
            (&[b"for=203.0.113.9, proto=https"], "10.0.0.1"),
            (&[b"203.0.113.9"], "10.0.0.1"),
        ] {
            check(&ClientSource::Forwarded, "10.0.0.1", lines, client);
            check(&ClientSource::Forwarded, "192.0.2.1", lines, "192.0.2.1");
        }
    }

    #[test]
    fn a_header_of_ones_choice_has_one_address() {
        let source: ClientSource = "header:CF-Connecting-IP".parse().unwrap();
        for (lines, client) in [
            (&[&b"203.0.113.9"[..]][..], "203.0.113.9"),
            (&[b" 2001:db9::1 "], "2001:db9::1"),
            (&[b"6.6.6.6", b"203.0.113.9"], "203.0.113.9"),
            (&[b"6.6.6.6, 203.0.113.9"], "10.0.0.1"),
            (&[b"\xe9"], "10.0.0.1"),
            (&[], "10.0.0.1"),
        ] {
            check(&source, "10.0.0.1", lines, client);
            check(&source, "192.0.2.1", lines, "192.0.2.1");
        }
    }

    #[test]
    fn a_proxys_rate_is_its_own() {
        let trusted = trusted(ClientSource::default());
        let key = |address: &str| trusted.rate_key(address.parse().unwrap());
        assert_eq!(key("192.0.2.1"), key("192.0.2.9"), "clients are counted by their network");
        assert_ne!(key("10.0.0.1"), key("10.0.0.2"));
        assert_eq!(key("10.0.0.1"), key("10.0.0.1"));
    }

    #[test]
    fn one_source_is_named() {
        assert_eq!("X-Forwarded-For".parse(), Ok(ClientSource::ForwardedFor));
        assert_eq!("Forwarded".parse(), Ok(ClientSource::Forwarded));
        for text in ["", "header:", "header:a b", "cf-connecting-ip", "x-forwarded-for,forwarded"] {
            assert!(text.parse::<ClientSource>().is_err(), "{text}");
        }
    }
}
