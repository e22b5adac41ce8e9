//! Addresses whose reachability tells whether this node still has a network.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use crate::check::{HealthCheck, ProbeTarget};
use crate::hash::stable_hash;
use crate::monitor::{HealthMonitor, MonitorOutput, ProbeId, ProbeOutcome, Witness};
use crate::observation::Health;

/// Watches the canaries of a node.
///
/// Where there are any, they are the only witnesses: a region that is well may be on this node's
/// side of whatever cuts it off from the others.
#[derive(Clone, Debug, Default)]
pub(crate) struct Canaries {
    watched: BTreeMap<SocketAddr, HealthMonitor>,
    last_well: Option<Instant>,
}

impl Canaries {
    pub(crate) fn new(
        addresses: impl IntoIterator<Item = SocketAddr>,
        seed: u64,
        now: Instant,
    ) -> Self {
        let monitor = |address: SocketAddr| {
            let seed = seed ^ stable_hash(address.to_string().as_bytes());
            let timing = check(address).timing;
            (address, HealthMonitor::new(Some(timing), Health::Unknown, seed, now))
        };
        Self { watched: addresses.into_iter().map(monitor).collect(), last_well: None }
    }

    /// Returns when one of them was last well; `None` if there are none.
    pub(crate) fn witness(&self) -> Option<Witness> {
        (!self.watched.is_empty()).then_some(Witness::Others(self.last_well))
    }

    /// Tells whether any of them is well without a doubt; `None` if there are none.
    pub(crate) fn are_clear(&self) -> Option<bool> {
        let any = self.watched.values().any(HealthMonitor::is_clear);
        (!self.watched.is_empty()).then_some(any)
    }

    pub(crate) fn watches(&self, canary: SocketAddr) -> bool {
        self.watched.contains_key(&canary)
    }

    /// Has all of them asked out of turn.
    pub(crate) fn hurry(&mut self, now: Instant) {
        for monitor in self.watched.values_mut() {
            monitor.hurry(now);
        }
    }

    pub(crate) fn handle_outcome(
        &mut self,
        canary: SocketAddr,
        id: ProbeId,
        outcome: ProbeOutcome,
        now: Instant,
    ) {
        let Some(monitor) = self.watched.get_mut(&canary) else { return };
        if matches!(outcome, ProbeOutcome::Well(_)) {
            self.last_well = Some(now);
        }
        monitor.handle_outcome(id, outcome, now);
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        for monitor in self.watched.values_mut() {
            monitor.handle_timeout(now);
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.watched.values().filter_map(HealthMonitor::poll_timeout).min()
    }

    /// Returns which of them is to be asked.
    pub(crate) fn poll_probe(&mut self) -> Option<(SocketAddr, HealthCheck, ProbeId)> {
        for (address, monitor) in &mut self.watched {
            while let Some(output) = monitor.poll_output() {
                match output {
                    MonitorOutput::Probe(id) => return Some((*address, check(*address), id)),
                    // Whoever asks for their health finds it.
                    MonitorOutput::Changed { .. } => {}
                }
            }
        }
        None
    }

    pub(crate) fn health(&self) -> impl Iterator<Item = (SocketAddr, Health)> {
        self.watched.iter().map(|(address, monitor)| (*address, monitor.health()))
    }
}

fn check(canary: SocketAddr) -> HealthCheck {
    HealthCheck::of(ProbeTarget::tcp(canary))
}
