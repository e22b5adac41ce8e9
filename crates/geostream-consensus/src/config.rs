//! What a node is told when it starts.

use std::time::Duration;

use crate::error::ConfigError;
use crate::id::NodeId;

/// What a node is told when it starts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    /// Who this is.
    pub id: NodeId,
    /// How long it waits.
    pub timing: Timing,
    /// How much it holds.
    pub limits: Limits,
    /// Whether a leader may answer reads without asking the others, trusting in clocks.
    pub lease: Option<Lease>,
}

impl Config {
    /// Returns what suits a cluster in one place.
    #[must_use]
    pub fn new(id: NodeId) -> Self {
        Self { id, timing: Timing::LAN, limits: Limits::DEFAULT, lease: None }
    }

    /// Tells what is wrong, if anything is.
    ///
    /// # Errors
    ///
    /// Names the field and what to put there.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.timing.check()?;
        self.limits.check()
    }
}

/// How long a node waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timing {
    /// How often a leader shows that it is there.
    pub heartbeat: Duration,
    /// How long a follower waits for a leader before it wants to be one, at least. For as long as this
    /// after it has heard of a leader, it helps nobody to replace it.
    pub election_least: Duration,
    /// The same, at most: each time, a duration between the two is drawn.
    pub election_most: Duration,
    /// How long a leader waits for a follower to take a piece of a snapshot before it sends it again.
    pub chunk: Duration,
}

impl Timing {
    /// Within one place: a round trip takes less than 5 ms.
    pub const LAN: Self = Self {
        heartbeat: Duration::from_millis(25),
        election_least: Duration::from_millis(75),
        election_most: Duration::from_millis(150),
        chunk: Duration::from_millis(500),
    };

    /// Between continents: a round trip takes up to 150 ms.
    ///
    /// Where it takes longer, all grows with it. An attempt to be elected is begun anew after half of `election_least`
    /// at the earliest, and by then the answers must have come: three round trips are a good measure for
    /// `election_least`, six for `election_most`.
    pub const WAN: Self = Self {
        heartbeat: Duration::from_millis(50),
        election_least: Duration::from_millis(300),
        election_most: Duration::from_millis(600),
        chunk: Duration::from_secs(3),
    };

    fn check(&self) -> Result<(), ConfigError> {
        let Self { heartbeat, election_least: least, election_most: most, chunk } = *self;
        for (name, value) in [("timing.heartbeat", heartbeat), ("timing.chunk", chunk)] {
            if value.is_zero() {
                return Err(ConfigError::Zero(name));
            }
        }
        if heartbeat * 2 > least {
            return Err(ConfigError::Heartbeat { heartbeat, election: least });
        }
        if most <= least {
            return Err(ConfigError::Election { least, most });
        }
        Ok(())
    }
}

/// How much a node holds of what grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// What one command weighs.
    pub command_bytes: usize,
    /// How many entries wait to be committed.
    pub uncommitted_entries: u64,
    /// What they weigh; one is always let in.
    pub uncommitted_bytes: u64,
    /// How many entries a message carries.
    pub message_entries: u64,
    /// What they weigh; one is always carried.
    pub message_bytes: u64,
    /// How many entries are on their way to one follower.
    pub inflight_entries: u64,
    /// What they weigh; one is always let go.
    pub inflight_bytes: u64,
    /// What is given to the state machine at a time; one entry always is.
    pub apply_bytes: u64,
    /// How many reads wait to be answered.
    pub reads: usize,
    /// How many entries since the last snapshot call for another, ...
    pub snapshot_after_entries: u64,
    /// ... or what they weigh.
    pub snapshot_after_bytes: u64,
    /// How many entries before the snapshot are kept for followers that are a little behind.
    pub keep_entries: u64,
    /// What they weigh.
    pub keep_bytes: u64,
    /// How many committed entries there may be that no snapshot contains. With so many, nothing new is
    /// taken in until there is a snapshot: so more than `snapshot_after_entries` by what comes while the
    /// state machine applies them and a snapshot is made.
    pub backlog_entries: u64,
    /// What they weigh.
    pub backlog_bytes: u64,
    /// How many writes wait for the disk. With half as many a leader takes no more from clients, and
    /// with so many the node hears nobody.
    pub writes: u64,
    /// What a piece of a snapshot weighs.
    pub chunk_bytes: u64,
    /// How many nodes belong to the cluster.
    pub members: usize,
    /// How many entries a learner may lack when it is to vote.
    pub promotion_lag: u64,
}

impl Limits {
    /// Limits for configuration-sized commands.
    pub const DEFAULT: Self = Self {
        command_bytes: 1 << 20,
        uncommitted_entries: 16_384,
        uncommitted_bytes: 64 << 20,
        message_entries: 1_024,
        message_bytes: 1 << 20,
        inflight_entries: 4_096,
        inflight_bytes: 4 << 20,
        apply_bytes: 4 << 20,
        reads: 16_384,
        snapshot_after_entries: 16_384,
        snapshot_after_bytes: 64 << 20,
        keep_entries: 1_024,
        keep_bytes: 16 << 20,
        backlog_entries: 65_536,
        backlog_bytes: 256 << 20,
        writes: 16_384,
        chunk_bytes: 64 << 10,
        members: 16,
        promotion_lag: 256,
    };

    fn check(&self) -> Result<(), ConfigError> {
        let counts = [
            ("limits.uncommitted_entries", self.uncommitted_entries),
            ("limits.message_entries", self.message_entries),
            ("limits.inflight_entries", self.inflight_entries),
            ("limits.snapshot_after_entries", self.snapshot_after_entries),
            ("limits.snapshot_after_bytes", self.snapshot_after_bytes),
            ("limits.writes", self.writes),
            ("limits.chunk_bytes", self.chunk_bytes),
            ("limits.reads", self.reads as u64),
            ("limits.members", self.members as u64),
        ];
        if let Some((name, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return Err(ConfigError::Zero(name));
        }
        self.check_backlog()
    }

    /// A snapshot must be due before it is what everything waits for.
    fn check_backlog(&self) -> Result<(), ConfigError> {
        let pairs = [
            ("entries", self.backlog_entries, self.snapshot_after_entries),
            ("bytes", self.backlog_bytes, self.snapshot_after_bytes),
        ];
        let less = pairs.into_iter().find(|(_, backlog, snapshot_after)| backlog <= snapshot_after);
        less.map_or(Ok(()), |(of, backlog, snapshot_after)| {
            Err(ConfigError::Backlog { of, backlog, snapshot_after })
        })
    }
}

/// What must be true of clocks for a leader to answer reads alone (thesis, §6.4.1).
///
/// A clock that stands still or jumps breaks that: back at a leader, forward at a follower. A leader sees a
/// jump back only if it is told the time before the clock has made up for it. So what tells the time must be a
/// monotonic clock that goes on while the machine sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// By how many parts in a million the speeds of two nodes' clocks differ, at most.
    pub drift_ppm: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_named() {
        let mut config = Config::new(NodeId(1));
        assert_eq!(config.check(), Ok(()));
        config.limits.snapshot_after_bytes = config.limits.backlog_bytes;
        assert!(matches!(config.check(), Err(ConfigError::Backlog { of: "bytes", .. })));
        config.limits.reads = 0;
        assert_eq!(config.check(), Err(ConfigError::Zero("limits.reads")));
        config.timing.election_most = config.timing.election_least;
        assert!(matches!(config.check(), Err(ConfigError::Election { .. })));
        config.timing.heartbeat = config.timing.election_least;
        assert!(matches!(config.check(), Err(ConfigError::Heartbeat { .. })));
        config.timing.heartbeat = Duration::ZERO;
        assert_eq!(config.check(), Err(ConfigError::Zero("timing.heartbeat")));
    }

    #[test]
    fn the_timings_for_wide_areas_are_usable() {
        let config = Config { timing: Timing::WAN, ..Config::new(NodeId(1)) };
        assert_eq!(config.check(), Ok(()));
    }
}
