//! What the child processes of the bench do: `geostream-bench attack --help`.

use std::net::SocketAddr;

use clap::Subcommand;

use crate::attacks::attacker::{self, Attack};
use crate::attacks::sink;

/// The part of a child process; each ends when its standard input does.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum Role {
    /// Attack a server
    Attacker {
        attack: Attack,
        target: SocketAddr,

        /// Send this many requests, and then say that they are answered
        #[arg(long)]
        requests: Option<u64>,
    },
    /// Take in all that is sent
    Sink {
        /// Answer each connection's first request with so many lines
        #[arg(long)]
        lines: Option<u32>,
    },
}

impl Role {
    pub(crate) fn play(self) -> anyhow::Result<()> {
        match self {
            Self::Attacker { attack, target, requests } => attacker::run(attack, target, requests),
            Self::Sink { lines } => sink::run(lines),
        }
    }
}
