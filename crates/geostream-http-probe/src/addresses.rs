//! Which addresses may be probed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// The networks that may be probed although they are not public.
#[derive(Clone, Debug, Default)]
pub struct PermittedNetworks(Vec<IpNet>);

impl PermittedNetworks {
    /// Permits these networks, and all public addresses.
    #[must_use]
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Tells whether an address may be probed; an IPv4-mapped IPv6 address is IPv4.
    #[must_use]
    pub fn permits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        is_public(address) || self.0.iter().any(|network| network.contains(&address))
    }
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
        // 64:ff9b::/96 translates to IPv4, and 2002::/16 tunnels to it.
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
        let permitted = PermittedNetworks::new(vec!["10.1.0.0/16".parse().unwrap()]);
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
            ("64:ff9b::7f00:1", false),
        ] {
            assert_eq!(permitted.permits(address.parse().unwrap()), is_permitted, "{address}");
        }
    }
}
