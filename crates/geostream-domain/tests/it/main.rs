//! What holds for every configuration and every client.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod allocation;
mod decisions;
mod diff;
mod drain;
mod eligibility;
mod health;
mod latency_fit;
mod quorum;
mod removal;
mod simulation;
mod spill;
mod ttl;
mod world;
