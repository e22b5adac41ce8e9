//! What GeoStream's nodes share for speed, in Redis. Nothing is lost with it.
//!
//! [`Target`] says where Redis is: one server, a cluster, or a server under sentinels. [`Redis`] is
//! the connection: whatever is asked is answered within a quarter of a second or not at all, and a
//! Redis that is away is left alone for a second. [`RedisCache`] keeps the latest configuration.

mod cache;
mod connection;
mod counters;
mod error;
mod hosts;
mod target;
mod views;

pub use cache::RedisCache;
pub use connection::Redis;
pub use counters::RedisCounters;
pub use error::RedisError;
pub use target::{Target, TargetError};
pub use views::RedisViews;
