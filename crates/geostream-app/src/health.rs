//! Watching the regions' health, and telling the routing table of it.

mod doubts;
mod driver;
mod kept;
mod region_health;
mod reports;
mod state;

#[cfg(test)]
mod cold_start;
#[cfg(test)]
mod overload;

pub use doubts::Doubts;
pub use driver::HealthDriver;
pub use region_health::{HealthEvent, Peers, RegionHealth, RegionStatus};
pub use reports::{Outcome, Reported};
