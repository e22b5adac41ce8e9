//! The contract of each port, and what is left after a crash.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod backup;
mod contract;
mod crash;
