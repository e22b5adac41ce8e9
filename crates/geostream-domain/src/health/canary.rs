//! Addresses whose reachability tells whether this node still has a network.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use crate::config::{HealthCheck, ProbeTarget};
use crate::hash::stable_hash;
use crate::health::evidence::{ProbeId, ProbeOutcome, Witness};
use crate::health::monitor::{HealthMonitor, MonitorOutput};
use crate::health::observation::Health;

/// Watches the canaries of a node.
///
/// Where there are any, they are the only witnesses: a region that is well may be on this node's
/// side of whatever cuts it off from the others.
#[derive(Clone, Debug, Default)]
pub(crate) struct Canaries {
    watched: BTreeMap<SocketAddr, Canary>,
}

#[derive(Clone, Debug)]
struct Canary {
    monitor: HealthMonitor,
    last_well: Option<Instant>,
    /// Whether an answer, or its absence, has said anything of it yet.
    is_known: bool,
}

impl Canaries {
    pub(crate) fn new(
        addresses: impl IntoIterator<Item = SocketAddr>,
        seed: u64,
        now: Instant,
    ) -> Self {
        let canary = |address| (address, Canary::new(address, seed, now));
        Self { watched: addresses.into_iter().map(canary).collect() }
    }

    /// Watches these from now on, and no others. One that was watched before goes on undisturbed;
    /// a new one is unknown, and asked at once: until it has answered, no region is proven dead
    /// unless another of them vouches for that.
    pub(crate) fn handle_addresses(
        &mut self,
        addresses: impl IntoIterator<Item = SocketAddr>,
        seed: u64,
        now: Instant,
    ) {
        let mut before = std::mem::take(&mut self.watched);
        let canary = |address| {
            let known = before.remove(&address);
            (address, known.unwrap_or_else(|| Canary::hurried(address, seed, now)))
        };
        self.watched = addresses.into_iter().map(canary).collect();
    }

    /// Returns when one of them was last well; `None` if there are none.
    pub(crate) fn witness(&self) -> Option<Witness> {
        let last_well = self.watched.values().filter_map(|canary| canary.last_well).max();
        (!self.watched.is_empty()).then_some(Witness::Others(last_well))
    }

    /// Tells whether any of them is well without a doubt; `None` as long as nothing is known of any.
    pub(crate) fn are_clear(&self) -> Option<bool> {
        let known = self.watched.values().filter(|canary| canary.is_known);
        known.map(|canary| canary.monitor.is_clear()).reduce(|any, is_clear| any || is_clear)
    }

    pub(crate) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.watched.keys().copied()
    }

    pub(crate) fn watches(&self, canary: SocketAddr) -> bool {
        self.watched.contains_key(&canary)
    }

    /// Has all of them asked out of turn.
    pub(crate) fn hurry(&mut self, now: Instant) {
        for canary in self.watched.values_mut() {
            canary.monitor.hurry(now);
        }
    }

    pub(crate) fn handle_outcome(
        &mut self,
        canary: SocketAddr,
        id: ProbeId,
        outcome: ProbeOutcome,
        now: Instant,
    ) {
        let Some(canary) = self.watched.get_mut(&canary) else { return };
        match outcome {
            ProbeOutcome::Well(_) => {
                canary.last_well = Some(now);
                canary.is_known = true;
            }
            ProbeOutcome::Failed(_) => canary.is_known = true,
            ProbeOutcome::NotAsked => {}
        }
        canary.monitor.handle_outcome(id, outcome, now);
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        for canary in self.watched.values_mut() {
            canary.monitor.handle_timeout(now);
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.watched.values().filter_map(|canary| canary.monitor.poll_timeout()).min()
    }

    /// Returns which of them is to be asked.
    pub(crate) fn poll_probe(&mut self) -> Option<(SocketAddr, HealthCheck, ProbeId)> {
        for (address, canary) in &mut self.watched {
            while let Some(output) = canary.monitor.poll_output() {
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
        self.watched.iter().map(|(address, canary)| (*address, canary.monitor.health()))
    }
}

impl Canary {
    fn new(address: SocketAddr, seed: u64, now: Instant) -> Self {
        let seed = seed ^ stable_hash(address.to_string().as_bytes());
        let timing = check(address).timing;
        let monitor = HealthMonitor::new(Some(timing), Health::Unknown, seed, now);
        Self { monitor, last_well: None, is_known: false }
    }

    fn hurried(address: SocketAddr, seed: u64, now: Instant) -> Self {
        let mut canary = Self::new(address, seed, now);
        canary.monitor.hurry(now);
        canary
    }
}

fn check(canary: SocketAddr) -> HealthCheck {
    HealthCheck::of(ProbeTarget::tcp(canary))
}
