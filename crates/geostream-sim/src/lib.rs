//! A whole Raft cluster in one thread, under simulated time, with everything going wrong that can.
//!
//! A [`Plan`] is drawn from a seed: how bad network, disks and clocks are, and what happens when. [`run`]
//! makes that run and stops at the first property that does not hold. The same plan gives the same run,
//! to the last bit.

mod agenda;
mod checkers;
mod clients;
mod clock;
mod disk;
mod history;
mod machine;
mod model;
#[cfg(mutants)]
mod mutants;
mod network;
mod operator;
mod plan;
mod rng;
mod scenario;
mod show;
mod shrink;
mod world;

pub use crate::checkers::Violation;
#[cfg(mutants)]
pub use crate::model::check_mutant;
pub use crate::model::{Bounds, CHECKS, Checked, Left, check};
#[cfg(mutants)]
pub use crate::mutants::{Finding, MUTANTS, contradicted, hunt};
pub use crate::plan::{Fault, Plan, Who};
pub use crate::scenario::{play, scenarios};
pub use crate::shrink::shrink;
pub use crate::world::{Outcome, run};
pub use geostream_consensus::Timing;
