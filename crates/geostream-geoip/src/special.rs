//! Addresses that are not what they seem: IPv6 addresses in which an IPv4 address is, and blocks
//! that are given to nobody.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use geostream_ports::Network;

/// Returns the IPv4 address that an IPv6 address has in it, or else the address.
///
/// IPv4-mapped and -compatible (RFC 4291), 6to4 (RFC 3056), NAT64 (RFC 6052) and Teredo (RFC 4380,
/// where the client's address is inverted). GeoIP data place these blocks as a whole, where their
/// clients are not.
pub(crate) fn embedded(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address.to_canonical() else { return address.to_canonical() };
    let v4 = |high: u16, low: u16| {
        IpAddr::V4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
    };
    match v6.segments() {
        [0x2002, high, low, ..] => v4(high, low),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        [0x2001, 0, .., high, low] => v4(!high, !low),
        // ::1 and :: are addresses of IPv6.
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => v4(high, low),
        _ => IpAddr::V6(v6),
    }
}

/// Tells whether data may speak of an address by a network of this size.
///
/// An address of a special-purpose block (IANA's registries) is in no place, whatever GeoIP data
/// say. Of a block that operators use for networks of their own, a file that speaks of the block
/// itself may say where it is.
pub(crate) fn is_credible(address: IpAddr, network: Option<Network>) -> bool {
    match block_of(address) {
        Block::Public => true,
        Block::Own(prefix) => network.is_some_and(|network| network.prefix >= prefix),
        Block::Nowhere => false,
    }
}

/// The block that an address is in.
enum Block {
    Public,
    /// Operators use it for networks of their own; the block has this prefix.
    Own(u8),
    /// No client has its address there.
    Nowhere,
}

fn block_of(address: IpAddr) -> Block {
    match address {
        IpAddr::V4(address) => block_of_v4(address),
        IpAddr::V6(address) => block_of_v6(address),
    }
}

fn block_of_v4(address: Ipv4Addr) -> Block {
    let [a, b, c, _] = address.octets();
    match (a, b, c) {
        (10 | 127, ..) => Block::Own(8),
        (100, 64..=127, _) => Block::Own(10),
        (169, 254, _) | (192, 168, _) => Block::Own(16),
        (172, 16..=31, _) => Block::Own(12),
        // Used like private networks, when those are used up.
        (198, 18 | 19, _) => Block::Own(15),
        (0 | 224.., ..) | (192, 0, 0 | 2) | (198, 51, 100) | (203, 0, 113) => Block::Nowhere,
        _ => Block::Public,
    }
}

fn block_of_v6(address: Ipv6Addr) -> Block {
    match address.segments() {
        // NAT64 of an operator's own (RFC 8215).
        [0x64, 0xff9b, 1, ..] => Block::Own(48),
        [0xfc00..=0xfdff, ..] => Block::Own(7),
        [0xfe80..=0xfebf, ..] => Block::Own(10),
        [0, 0, 0, 0, 0, 0, 0, 1] => Block::Own(128),
        [0, 0, 0, 0, 0, 0, ..]
        | [0x100, 0, 0, 0, ..]
        // Benchmarks, ORCHID and ORCHIDv2, documentation.
        | [0x2001, 2, 0, ..]
        | [0x2001, 0x10..=0x2f | 0xdb8, ..]
        | [0x3fff, 0..=0xfff, ..]
        | [0x5f00 | 0xff00..=0xffff, ..] => Block::Nowhere,
        _ => Block::Public,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_address_is_found_in_an_ipv6_one() {
        for (address, found) in [
            ("5.9.0.1", "5.9.0.1"),
            ("::ffff:5.9.0.1", "5.9.0.1"),
            ("::5.9.0.1", "5.9.0.1"),
            ("2002:509:1::1", "5.9.0.1"),
            ("64:ff9b::509:1", "5.9.0.1"),
            ("2001:0:cb00:7101:0:fbff:faf6:fffe", "5.9.0.1"),
            ("::1", "::1"),
            ("::", "::"),
            ("2001:db8::509:1", "2001:db8::509:1"),
            ("64:ff9b:1::509:1", "64:ff9b:1::509:1"),
            ("2a01:4f8::1", "2a01:4f8::1"),
        ] {
            let found: IpAddr = found.parse().unwrap();
            assert_eq!(embedded(address.parse().unwrap()), found, "{address}");
        }
    }

    #[test]
    fn a_reserved_block_is_where_a_file_of_its_own_says_alone() {
        for (address, prefix, is_believed) in [
            ("8.8.8.8", 1, true),
            ("10.1.2.3", 8, true),
            ("10.1.2.3", 24, true),
            ("10.1.2.3", 7, false),
            ("127.0.0.2", 32, true),
            ("192.0.2.1", 8, false),
            ("192.0.2.1", 24, false),
            ("255.255.255.255", 1, false),
            ("2001:20::1", 20, false),
            ("2001:20::1", 28, false),
            ("2001:200::1", 20, true),
            ("fd00::1", 8, true),
            ("fe80::1", 3, false),
            ("::1", 3, false),
            ("2606:4700::1", 3, true),
        ] {
            let address: IpAddr = address.parse().unwrap();
            let network = Some(Network { address, prefix });
            assert_eq!(is_credible(address, network), is_believed, "{address}/{prefix}");
        }
    }
}
