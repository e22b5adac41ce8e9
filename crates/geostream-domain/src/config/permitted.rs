//! Which addresses may be probed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::config::check::ProbeTarget;

/// The networks that may be probed although they are not public.
///
/// Probes are requests from inside the operator's network to a URL that a holder of a token has
/// written. Without a limit, such a holder could explore that network, so that addresses that are
/// not public need a permission in the settings of the node.
///
/// ```
/// use geostream_domain::{PermittedNetworks, ProbeTarget};
///
/// let permitted = PermittedNetworks::new([("10.1.0.0".parse()?, 16)]);
/// let target = |url: &str| ProbeTarget::new(url.parse().expect("a URL"));
/// assert!(permitted.permits_target(&target("http://10.1.2.3/")?));
/// assert!(!permitted.permits_target(&target("http://localhost:8080/")?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PermittedNetworks(Vec<(IpAddr, u8)>);

impl PermittedNetworks {
    /// Permits these networks, each an address and the length of its prefix, and all public
    /// addresses.
    #[must_use]
    pub fn new(networks: impl IntoIterator<Item = (IpAddr, u8)>) -> Self {
        Self(networks.into_iter().collect())
    }

    /// Tells whether an address may be probed; an IPv4-mapped IPv6 address is IPv4.
    ///
    /// An address that NAT64 translates (`64:ff9b::/96`, RFC 6052) is judged by the IPv4 address in
    /// it. No network permits one that is not public: it would be of the translator's network.
    #[must_use]
    pub fn permits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        if let Some(translated) = translated(address) {
            return is_public_v4(translated);
        }
        is_public(address) || self.0.iter().any(|network| contains(*network, address))
    }

    /// Tells whether a target may be probed, as far as its URL says: a literal address and
    /// `localhost` are judged here, any other name when it has been resolved.
    #[must_use]
    pub fn permits_target(&self, target: &ProbeTarget) -> bool {
        let host = target.url().host();
        if let Some(address) = literal(host) {
            return self.permits(address);
        }
        let loopback: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        !is_localhost(host) || loopback.into_iter().any(|address| self.permits(address))
    }
}

/// Returns the IPv4 address to which NAT64 translates an address.
fn translated(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(address) = address else { return None };
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(embedded(high, low)),
        _ => None,
    }
}

fn contains((network, prefix): (IpAddr, u8), address: IpAddr) -> bool {
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(prefix.into())).unwrap_or(0);
            network.to_bits() & mask == address.to_bits() & mask
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(prefix.into())).unwrap_or(0);
            network.to_bits() & mask == address.to_bits() & mask
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

/// Returns the address that a host is without being resolved.
fn literal(host: &str) -> Option<IpAddr> {
    host.parse().ok().or_else(|| inet_aton(host).map(IpAddr::V4))
}

/// Reads the forms of an IPv4 address that resolvers accept besides the usual one, such as `127.1`,
/// `0x7f000001` and `0177.0.0.1` (`inet_aton` of POSIX).
fn inet_aton(host: &str) -> Option<Ipv4Addr> {
    let parts: Vec<u32> = host.split('.').map(number).collect::<Option<_>>()?;
    let (last, bytes) = parts.split_last()?;
    if bytes.len() > 3 || bytes.iter().any(|byte| *byte > 0xff) {
        return None;
    }
    let mut bits = 0_u64;
    for byte in bytes {
        bits = bits << 8 | u64::from(*byte);
    }
    let room = 8 * (4 - bytes.len());
    if u64::from(*last) >> room != 0 {
        return None;
    }
    u32::try_from(bits << room | u64::from(*last)).ok().map(Ipv4Addr::from)
}

/// Reads a number in C's notation: `0x` is hexadecimal, a leading `0` octal.
fn number(text: &str) -> Option<u32> {
    let lower = text.to_ascii_lowercase();
    if let Some(digits) = lower.strip_prefix("0x") {
        return u32::from_str_radix(digits, 16).ok();
    }
    match lower.strip_prefix('0') {
        Some("") => Some(0),
        Some(digits) => u32::from_str_radix(digits, 8).ok(),
        None if lower.bytes().all(|digit| digit.is_ascii_digit()) => lower.parse().ok(),
        None => None,
    }
}

/// Tells whether a name is one that resolvers answer with the loopback address by themselves (RFC
/// 6761, section 6.3).
fn is_localhost(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    let name = host.strip_suffix(".localdomain").unwrap_or(&host);
    name == "localhost" || name.ends_with(".localhost")
}

/// Tells whether an address belongs to the public internet, by IANA's special-purpose registries.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = matches!(
        (a, b, c),
        (0 | 10 | 127 | 224.., _, _)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 168, _)
            | (198, 18 | 19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    );
    !is_special
}

/// Only `2000::/3` is given out, and parts of it embed an IPv4 address or are not to be reached.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, ..] = address.segments();
    match (a, b) {
        // 2002::/16 tunnels to IPv4.
        (0x2002, high) => is_public_v4(embedded(high, c)),
        (0x2001, 0 | 0xdb8) | (0x3fff, 0..=0x0fff) => false,
        (0x2000..=0x3fff, _) => true,
        _ => false,
    }
}

fn embedded(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(high) << 16 | u32::from(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_and_permitted_addresses_are_probed() {
        let permitted = PermittedNetworks::new([("10.1.0.0".parse().unwrap(), 16)]);
        for (address, is_permitted) in [
            ("8.8.8.8", true),
            ("2606:4700::1111", true),
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("10.2.0.1", false),
            ("127.0.0.1", false),
            ("::ffff:127.0.0.1", false),
            ("::1", false),
            ("::", false),
            ("0.0.0.0", false),
            ("169.254.169.254", false),
            ("100.64.0.1", false),
            ("172.31.255.255", false),
            ("192.168.0.1", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("fe80::1", false),
            ("fc00::1", false),
            ("fd12::1", false),
            ("ff02::1", false),
            ("2001:db8::1", false),
            ("2002:7f00:1::1", false),
            ("2002:808:808::1", true),
            ("64:ff9b::808:808", true),
            ("64:ff9b::a01:203", false),
            ("64:ff9b::7f00:1", false),
            ("64:ff9b::a9fe:a9fe", false),
            ("64:ff9b:1::808:808", false),
            ("64:ff9b:0:0:0:1:808:808", false),
        ] {
            assert_eq!(permitted.permits(address.parse().unwrap()), is_permitted, "{address}");
        }
    }

    #[test]
    fn networks_of_any_length_contain_what_begins_alike() {
        for (network, prefix, address, contained) in [
            ("0.0.0.0", 0, "127.0.0.1", true),
            ("127.0.0.1", 32, "127.0.0.1", true),
            ("127.0.0.1", 32, "127.0.0.2", false),
            ("10.1.2.3", 16, "10.1.0.1", true),
            ("::", 0, "::1", true),
            ("::", 0, "127.0.0.1", false),
            ("fd00::", 8, "fd12::1", true),
            ("fd00::", 8, "fe80::1", false),
            ("::1", 128, "::1", true),
            ("64:ff9b::", 96, "64:ff9b::7f00:1", false),
            ("127.0.0.0", 8, "64:ff9b::7f00:1", false),
        ] {
            let networks = PermittedNetworks::new([(network.parse().unwrap(), prefix)]);
            let permitted = networks.permits(address.parse().unwrap());
            assert_eq!(permitted, contained, "{address} in {network}/{prefix}");
        }
    }

    #[test]
    fn literal_addresses_and_localhost_are_judged_by_their_url_and_other_names_are_not() {
        let loopback = PermittedNetworks::new([("127.0.0.0".parse().unwrap(), 8)]);
        for (url, is_literal) in [
            ("http://127.0.0.1/", true),
            ("http://127.1:8080/", true),
            ("http://2130706433/", true),
            ("http://0x7f.0.0.1/", true),
            ("http://0X7F000001/", true),
            ("http://0177.0.0.1/", true),
            ("tcp://[::ffff:127.0.0.1]:443", true),
            ("https://localhost/healthz", true),
            ("https://LocalHost/healthz", true),
            ("grpc://api.localhost:50051", true),
            ("http://localhost.localdomain/", true),
            ("http://localhost.example.com/", false),
            ("http://127.0.0.1.example.com/", false),
            ("http://0x7f.example/", false),
            ("http://8.8.8.8/", false),
            ("http://08.8.8.8/", false),
            ("http://256.0.0.1/", false),
            ("http://1.2.3.4.5/", false),
        ] {
            let target = ProbeTarget::new(url.parse().unwrap()).unwrap();
            assert_eq!(!PermittedNetworks::default().permits_target(&target), is_literal, "{url}");
            assert!(loopback.permits_target(&target), "{url}");
        }
    }
}
