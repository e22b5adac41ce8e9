//! What the tasks share with the benches: commands, GeoIP data and Debian packages.

pub mod debian;
pub mod geoip;
pub mod shell;
