//! Addresses whose reachability tells whether a node has a network.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use thiserror::Error;

/// The addresses that every node asks whether it still has a network: none is a region of the
/// configuration, and each accepts TCP connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReachabilityTargets(BTreeSet<SocketAddr>);

/// Why addresses cannot be the reachability targets of a configuration.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ReachabilityTargetsError {
    /// There are more than [`ReachabilityTargets::MAX`].
    #[error("there can be at most {max} reachability targets", max = ReachabilityTargets::MAX)]
    TooMany,
    /// One is given twice.
    #[error("{0} is given twice")]
    Twice(SocketAddr),
    /// One has the port 0, which accepts no connection.
    #[error("{0} has the port 0; a port from 1 to 65535 is expected")]
    NoPort(SocketAddr),
}

impl ReachabilityTargets {
    /// The most of them: every node asks each of them once a second.
    pub const MAX: usize = 16;

    /// Takes any number of different addresses up to [`ReachabilityTargets::MAX`]; none means that
    /// no node has a reachability target.
    ///
    /// # Errors
    ///
    /// Names the first address that does not fit.
    pub fn new(
        addresses: impl IntoIterator<Item = SocketAddr>,
    ) -> Result<Self, ReachabilityTargetsError> {
        let mut targets = BTreeSet::new();
        for address in addresses {
            if address.port() == 0 {
                return Err(ReachabilityTargetsError::NoPort(address));
            }
            if !targets.insert(address) {
                return Err(ReachabilityTargetsError::Twice(address));
            }
            if targets.len() > Self::MAX {
                return Err(ReachabilityTargetsError::TooMany);
            }
        }
        Ok(Self(targets))
    }

    /// Returns the addresses in their order.
    pub fn iter(&self) -> impl Iterator<Item = SocketAddr> {
        self.0.iter().copied()
    }

    /// Tells whether an address is one of them.
    #[must_use]
    pub fn contains(&self, address: SocketAddr) -> bool {
        self.0.contains(&address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    #[test]
    fn addresses_are_few_and_different_and_have_a_port() {
        use ReachabilityTargetsError as E;
        let most = u16::try_from(ReachabilityTargets::MAX).unwrap();
        for (ports, expected) in [
            (vec![], None),
            (vec![443, 53], None),
            ((1..=most).collect(), None),
            ((1..=most + 1).collect(), Some(E::TooMany)),
            (vec![443, 53, 443], Some(E::Twice(address(443)))),
            (vec![443, 0], Some(E::NoPort(address(0)))),
        ] {
            let targets = ReachabilityTargets::new(ports.iter().map(|port| address(*port)));
            assert_eq!(targets.as_ref().err().copied(), expected, "{ports:?}");
            let Ok(targets) = targets else { continue };
            assert_eq!(targets.iter().count(), ports.len());
            assert!(ports.iter().all(|port| targets.contains(address(*port))));
        }
    }
}
