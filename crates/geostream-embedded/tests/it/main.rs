//! The contract of each port, and what is left after a crash.

mod contract;
mod crash;
