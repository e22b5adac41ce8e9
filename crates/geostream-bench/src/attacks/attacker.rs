//! The attacker: a child process, so that its memory and processor time are its own.

mod flood;
mod heavy;
mod hoard;
mod http2;
mod shared;
mod unauthorized;
mod unread;

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;

use clap::ValueEnum;

use crate::attacks::attacker::flood::Flood;
use crate::attacks::attacker::shared::Attacker;
use crate::process::permit_many_files;

pub(crate) use crate::attacks::attacker::shared::Counts;

/// What an attacker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Attack {
    /// Batches whose answers are never taken
    Streams,
    /// Explanations that are never taken
    Explanations,
    /// Connections that ask for little, again and again
    Connections,
    /// Connections that begin a preface
    Preface,
    /// Window updates of one byte
    WindowUpdates,
    /// Settings that move the initial window of many streams to and fro
    InitialWindows,
    /// Priorities of streams that do not exist
    Priorities,
    /// Pings
    Pings,
    /// Pieces of a body that are empty
    EmptyData,
    /// Control requests without a valid token
    Unauthorized,
    /// Metrics and explanations
    Heavy,
}

impl Attack {
    /// The floods of small HTTP/2 frames.
    pub(super) const FRAMES: [Self; 5] =
        [Self::WindowUpdates, Self::InitialWindows, Self::Priorities, Self::Pings, Self::EmptyData];
}

/// Attacks until standard input ends, and then prints what it counted.
pub(super) fn run(attack: Attack, target: SocketAddr, requests: Option<u64>) -> anyhow::Result<()> {
    permit_many_files()?;
    let attacker = Attacker { target, tally: Arc::default() };
    match attack {
        Attack::Streams => unread::begin(&attacker, &unread::batch()),
        Attack::Explanations => unread::begin(&attacker, &unread::explanation()),
        Attack::Connections => hoard::begin(attacker.clone(), hoard::ASKING)?,
        Attack::Preface => hoard::begin(attacker.clone(), hoard::BEGINNING)?,
        Attack::WindowUpdates => flood::begin(&attacker, Flood::window_updates),
        Attack::InitialWindows => flood::begin(&attacker, Flood::initial_windows),
        Attack::Priorities => flood::begin(&attacker, Flood::priorities),
        Attack::Pings => flood::begin(&attacker, Flood::pings),
        Attack::EmptyData => flood::begin(&attacker, Flood::empty_data),
        Attack::Unauthorized => match requests {
            Some(requests) => unauthorized::send(&attacker, requests),
            None => unauthorized::begin(&attacker),
        },
        Attack::Heavy => heavy::begin(&attacker),
    }
    writeln!(io::stdout(), "the attack is in full swing")?;
    io::copy(&mut io::stdin(), &mut io::sink())?;
    writeln!(io::stdout(), "{}", serde_json::to_string(&attacker.tally.counts())?)?;
    Ok(())
}
