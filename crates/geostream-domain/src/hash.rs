//! Stable hashes: the same on every machine, in every version.

use std::net::IpAddr;

/// What the stable hash knows a client by: clients of one key share an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientKey(u64);

impl ClientKey {
    /// Returns the key of an address: its /24 for IPv4, its /48 for IPv6.
    ///
    /// A site's addresses share a prefix, so its clients keep to one region, and so does one client
    /// whose address changes a little. An IPv4-mapped IPv6 address is IPv4.
    #[must_use]
    pub fn of_address(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::of_bytes(&v4.octets()[..3]),
            IpAddr::V6(v6) => Self::of_bytes(&v6.octets()[..6]),
        }
    }

    /// Returns the key of any bytes that stay the same for a client, such as a player's id.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(stable_hash(bytes))
    }

    /// Returns a number by which some clients are told from others for one purpose; it has nothing
    /// to do with their draws.
    pub(crate) fn lot(self, purpose: u64) -> u64 {
        mix(mix(self.0).wrapping_add(purpose))
    }
}

impl From<ClientKey> for u64 {
    fn from(key: ClientKey) -> Self {
        key.0
    }
}

/// Returns a member's draw for a client: the least draw among equals wins.
///
/// Weighted rendezvous hashing: each member draws -log(u) / weight with a uniform u of its own, and
/// the minimum falls to each with a probability proportional to its weight. A member that comes or
/// goes changes no other's draw, so it moves only the clients it wins or loses. Source:
/// J. Resch, "New Hashing Algorithms for Data Storage", SNIA SDC 2015, after D. Thaler and
/// C. Ravishankar, "A Name-Based Mapping Scheme for Rendezvous", 1996.
pub(crate) fn draw(client: ClientKey, member: u64, weight: u32) -> u64 {
    let bits = mix(client.0 ^ member);
    if weight == 0 {
        return BEHIND_ALL | bits;
    }
    (negative_log2(bits) / f64::from(weight)).to_bits()
}

/// The sign bit: no draw of a member with a weight has it, since those are positive.
const BEHIND_ALL: u64 = 1 << 63;

/// Returns -log2 of the fraction `bits / 2^64`, at most 2e-5 off.
///
/// Made of exact IEEE 754 operations only, so that every machine draws the same; a library's
/// logarithm may differ in the last bit.
fn negative_log2(bits: u64) -> f64 {
    // The fraction is m / 2^(zeros + 1) with m from 1 to 2.
    let bits = bits | 1;
    let zeros = bits.leading_zeros();
    let mantissa = (bits << zeros << 1) >> 12;
    let m = f64::from_bits(0x3ff0_0000_0000_0000 | mantissa);
    // log2(m) = 2 / ln 2 * artanh(s) for s = (m - 1) / (m + 1), by its series.
    let s = (m - 1.0) / (m + 1.0);
    let squared = s * s;
    let series = 1.0 + squared * (1.0 / 3.0 + squared * (1.0 / 5.0 + squared / 7.0));
    f64::from(zeros + 1) - std::f64::consts::LOG2_E * 2.0 * s * series
}

/// Hashes bytes by FNV-1a of 64 bits (draft-eastlake-fnv-17), finished by [`mix`].
pub(crate) fn stable_hash(bytes: &[u8]) -> u64 {
    let fnv = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    mix(fnv)
}

/// Spreads every input bit over all output bits: the finaliser of SplitMix64, with the constants
/// of D. Stafford's "mix13".
pub(crate) fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_never_changes() {
        // An upgrade that changed these would move clients between equal regions.
        assert_eq!(stable_hash(b"us-west-2"), 0xcfda3264f1a7df66);
        let drawn = draw(ClientKey::of_bytes(b"player"), stable_hash(b"eu-west-1"), 3);
        assert!(f64::from_bits(drawn) > 0.0);
    }

    #[test]
    fn the_logarithm_is_within_its_bound_and_positive() {
        for step in 0..=1_000_000_u64 {
            let bits = step * (u64::MAX / 1_000_000);
            let exact = 64.0 - ((bits | 1) as f64).log2();
            assert!((negative_log2(bits) - exact).abs() < 2e-5, "-log2 of {bits}/2^64");
            assert!(negative_log2(bits) >= 0.0);
        }
    }

    #[test]
    fn neighbours_share_a_key_and_mapped_addresses_are_ipv4() {
        let key = |text: &str| ClientKey::of_address(text.parse().unwrap());
        assert_eq!(key("192.0.2.1"), key("192.0.2.254"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.9"));
        assert_eq!(key("2001:db8:1::1"), key("2001:db8:1:ffff::2"));
        assert_ne!(key("192.0.2.1"), key("192.0.3.1"));
    }
}
