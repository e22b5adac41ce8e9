//! Tables for servers that only look things up: the right region is computed for them beforehand.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context as _, bail};
use geostream_domain::{GeoPoint, Rtt};
use geostream_geoip::Database;
use serde_json::json;

use crate::places::{Region, by_distance, nearest};
use xtask::shell::say;

/// Where reserved addresses begin that nobody has: multicast and above.
const END: u32 = 224 << 24;

/// What a network's clients should be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    first: u32,
    prefix: u8,
    region: usize,
}

/// The tables for a set of regions.
#[derive(Debug)]
pub(crate) struct Maps<'a> {
    regions: &'a [Region],
    networks: Vec<Network>,
    /// How many addresses of each country have each region as their nearest.
    countries: BTreeMap<String, BTreeMap<usize, u64>>,
}

impl<'a> Maps<'a> {
    /// Computes the nearest region for every network of the data.
    pub(crate) fn new(regions: &'a [Region], database: &Database) -> anyhow::Result<Self> {
        say("computing the regions of all networks, for the peers' maps");
        let mut maps = Self { regions, networks: Vec::new(), countries: BTreeMap::new() };
        // There are fewer places than networks.
        let mut known: HashMap<[u64; 2], usize> = HashMap::new();
        let mut at = 0;
        while at < END {
            let address = Ipv4Addr::from(at);
            let found = database.find(IpAddr::V4(address));
            let Some((place, network)) = found.and_then(|place| Some((place, place.network?)))
            else {
                // What nobody describes are whole blocks.
                at = (at | 0xff) + 1;
                continue;
            };
            let IpAddr::V4(first) = network.address else {
                bail!("{address} is in no IPv4 network")
            };
            let first = u32::from(first);
            let size = 1_u32.checked_shl(32 - u32::from(network.prefix)).context("a network")?;
            if let Some(point) = place.location.point {
                let region = *known.entry(key(point)).or_insert_with(|| nearest(regions, point));
                maps.push(Network { first, prefix: network.prefix, region });
                if let Some(country) = place.location.country {
                    let of = maps.countries.entry(country.as_str().to_owned()).or_default();
                    *of.entry(region).or_default() += u64::from(size);
                }
            }
            at = first.checked_add(size).context("the end of all addresses")?;
        }
        say(&format!(
            "{} networks, neighbours with the same region put together",
            maps.networks.len()
        ));
        Ok(maps)
    }

    /// Adds the next network; two halves with the same region become one.
    fn push(&mut self, mut network: Network) {
        while let Some(before) = self.networks.last()
            && let Some(both) = before.and(network)
        {
            network = both;
            self.networks.pop();
        }
        self.networks.push(network);
    }

    /// Returns lines of a network and its region.
    pub(crate) fn networks(&self) -> String {
        let mut text = String::new();
        for &Network { first, prefix, region } in &self.networks {
            // Writing to a string cannot fail.
            writeln!(text, "{}/{prefix} {}", Ipv4Addr::from(first), self.regions[region].id).ok();
        }
        text
    }

    /// Returns lines of a country and the region that is right for most of its addresses.
    pub(crate) fn countries(&self) -> String {
        let mut text = String::new();
        let mut everywhere: BTreeMap<usize, u64> = BTreeMap::new();
        for (country, of) in &self.countries {
            writeln!(text, "{country} {};", self.regions[most(of)].id).ok();
            for (region, addresses) in of {
                *everywhere.entry(*region).or_default() += addresses;
            }
        }
        text + &format!("default {};\n", self.regions[most(&everywhere)].id)
    }

    /// Returns lines of a region and the body that answers it, between these two.
    ///
    /// The latencies are those of a client that is where the region is: nothing else is known.
    pub(crate) fn bodies(&self, before: &str, after: &str) -> String {
        let mut text = String::new();
        for region in self.regions {
            let rtt =
                |to: &Region| Rtt::over_distance(region.point.distance_km(to.point)).as_millis();
            let next = by_distance(self.regions, region.point);
            let next = next.iter().skip(1).take(2).map(|&place| &self.regions[place]);
            let alternatives: Vec<_> =
                next.map(|next| json!({ "region": next.id, "latency_ms": rtt(next) })).collect();
            let body = json!({
                "region": region.id, "latency_ms": rtt(region), "reason": "lookup",
                "alternatives": alternatives,
            });
            writeln!(text, "{} {before}{body}{after}", region.id).ok();
        }
        text
    }
}

impl Network {
    /// Returns what two networks are together, if they are halves of one with the same region.
    fn and(self, next: Self) -> Option<Self> {
        let size = 1_u32.checked_shl(32 - u32::from(self.prefix))?;
        let are_halves = self.prefix == next.prefix
            && self.first & size == 0
            && self.first.checked_add(size) == Some(next.first);
        (are_halves && self.region == next.region).then(|| Self { prefix: self.prefix - 1, ..self })
    }
}

fn key(point: GeoPoint) -> [u64; 2] {
    [point.latitude().to_bits(), point.longitude().to_bits()]
}

fn most(of: &BTreeMap<usize, u64>) -> usize {
    of.iter()
        .max_by_key(|(_region, addresses)| **addresses)
        .map(|(region, _)| *region)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_with_the_same_region_become_one() {
        let network = |text: &str, region| {
            let (first, prefix) = text.split_once('/').unwrap();
            let first = u32::from(first.parse::<Ipv4Addr>().unwrap());
            Network { first, prefix: prefix.parse().unwrap(), region }
        };
        let mut maps = Maps { regions: &[], networks: Vec::new(), countries: BTreeMap::new() };
        for (text, region) in [
            ("1.0.0.0/24", 1),
            ("1.0.1.0/25", 1),
            ("1.0.1.128/25", 1),
            ("1.0.2.0/24", 1),
            ("1.0.3.0/24", 2),
        ] {
            maps.push(network(text, region));
        }
        let expected = [("1.0.0.0/23", 1), ("1.0.2.0/24", 1), ("1.0.3.0/24", 2)];
        assert_eq!(maps.networks, expected.map(|(text, region)| network(text, region)));
    }
}
