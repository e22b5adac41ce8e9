//! Real servers for tests, each on a free loopback port and in a temporary directory.
//!
//! Those that keep data run as an unprivileged user, and all end with the process that started them,
//! however that ends.
//! Whatever cannot be done panics, as in the tests that it is for: a test without its server has
//! failed.

#![expect(clippy::missing_panics_doc, reason = "everything here panics where it cannot be done")]

mod account;
mod balancer;
mod collector;
mod keeper;
mod pooler;
mod postgres;
mod process;
mod prometheus;
mod proxy;
mod redis;
mod wall_clock;

pub use balancer::Balancer;
pub use collector::{CollectedSpan, Collector};
pub use pooler::Pooler;
pub use postgres::Postgres;
pub use prometheus::{Prometheus, check_metrics, promtool_in};
pub use proxy::Proxy;
pub use redis::Redis;
pub use wall_clock::WallClock;
