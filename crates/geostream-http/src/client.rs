//! Which address a request comes from.

use std::net::IpAddr;

use http::HeaderMap;
use http::header::HeaderName;
use ipnet::IpNet;

/// The header in which proxies name whom they were asked by.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The proxies whose `X-Forwarded-For` is believed.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Believes the proxies in these networks.
    #[must_use]
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Returns the address of the client that a request comes from.
    ///
    /// Each proxy appends whom it was asked by, so the list is read from its end, as long as those
    /// who wrote it are trusted: what stands before was written by the client itself.
    #[must_use]
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        if self.0.is_empty() {
            return client;
        }
        let lines = headers.get_all("x-forwarded-for").iter().rev();
        let mut entries = lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(','));
        while self.trusts(client) {
            let Some(entry) = entries.next() else { break };
            let Some(address) = address_in(entry.trim()) else { break };
            client = address;
        }
        client
    }

    /// Tells whether a request seems to come from a proxy that was left out: from an address that
    /// is not public, and with the header.
    pub(crate) fn lacks(&self, peer: IpAddr, headers: &HeaderMap) -> bool {
        is_internal(peer) && headers.contains_key(FORWARDED_FOR) && !self.trusts(peer)
    }

    /// Tells whether this is a trusted proxy.
    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
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
fn address_in(entry: &str) -> Option<IpAddr> {
    let address = entry.parse::<IpAddr>().ok();
    let with_port = || entry.parse::<std::net::SocketAddr>().ok().map(|address| address.ip());
    let bare = || entry.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    address.or_else(with_port).or_else(bare).map(|address| address.to_canonical())
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
    use http::HeaderValue;

    #[test]
    fn a_proxy_that_was_left_out_has_an_internal_address_and_sends_the_header() {
        let trusted = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()]);
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

    #[test]
    fn only_trusted_proxies_speak_for_others() {
        let networks = ["10.0.0.0/8", "2001:db8::/32"];
        let trusted = TrustedProxies::new(networks.map(|n| n.parse().unwrap()).to_vec());
        for (peer, forwarded, client) in [
            ("192.0.2.1", &["203.0.113.9"][..], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", &["6.6.6.6, 203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", &["6.6.6.6, 203.0.113.9, 10.9.9.9"], "203.0.113.9"),
            ("10.0.0.1", &["6.6.6.6", "203.0.113.9,10.9.9.9"], "203.0.113.9"),
            ("10.0.0.1", &["203.0.113.9:4711"], "203.0.113.9"),
            ("::ffff:10.0.0.1", &["[2001:db9::1]:80"], "2001:db9::1"),
            ("10.0.0.1", &["nonsense"], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.9, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["10.0.0.2, 10.0.0.3"], "10.0.0.2"),
        ] {
            let mut headers = HeaderMap::new();
            for line in forwarded {
                headers.append("x-forwarded-for", HeaderValue::from_static(line));
            }
            let found = trusted.client(peer.parse().unwrap(), &headers);
            assert_eq!(found, client.parse::<IpAddr>().unwrap(), "{peer} {forwarded:?}");
        }
    }
}
