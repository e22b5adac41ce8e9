//! What goes wrong in a run, and when: all of it drawn from a seed beforehand.

use std::fmt;
use std::time::Duration;

use geostream_consensus::{Lease, Limits, Timing};

use crate::agenda::Micros;
use crate::rng::Rng;

const MS: Micros = 1_000;

/// A run to be made.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed of all random numbers in the run.
    pub seed: u64,
    /// How many nodes found the cluster.
    pub founders: u64,
    /// How long things go wrong, in microseconds.
    pub length: u64,
    /// How many clients there are.
    pub clients: u16,
    /// How long a client rests between two requests, on average.
    pub rest: u64,
    pub(crate) weather: Weather,
    pub(crate) timing: Timing,
    pub(crate) limits: Limits,
    pub(crate) lease: Option<Lease>,
    /// What goes wrong, in the order of time.
    pub faults: Vec<(u64, Fault)>,
}

/// What goes wrong all the time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    /// Of a million messages, so many are lost, ...
    pub(crate) lost: u32,
    /// ... come twice, ...
    pub(crate) doubled: u32,
    /// ... or come late.
    pub(crate) late: u32,
    /// How long a message takes.
    pub(crate) delay: (Micros, Micros),
    /// How long a late one takes.
    pub(crate) lateness: (Micros, Micros),
    /// How long a write takes to be durable.
    pub(crate) sync: (Micros, Micros),
    /// Of a million writes, so many take ten times as long: later ones overtake them.
    pub(crate) slow_syncs: u32,
    /// How long the state machine takes to apply a page.
    pub(crate) apply: (Micros, Micros),
    /// By how many parts in a million clocks go wrong, at most.
    pub(crate) drift: u64,
    /// Of a million requests, so many are reads.
    pub(crate) reads: u32,
    /// Whether removed nodes go on running.
    pub(crate) ghosts: bool,
}

/// Something that goes wrong, or that an operator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// One part of the nodes does not reach the other; which is on which side is drawn from the number.
    Split(u64),
    /// One node reaches nobody and is reached by nobody.
    Isolate(Who),
    /// One node is heard by nobody, and hears all.
    Mute(Who),
    /// One node hears nobody, and is heard by all.
    Deafen(Who),
    /// One link breaks, in the direction from the one node to the other.
    CutLink(Who, Who),
    /// Every node that is up reaches only its neighbours in a ring.
    Ring,
    /// Two halves of those that are up, and only one node reaches both of them.
    Bridge,
    /// All links work again.
    Heal,
    /// A node loses power and comes back after so many microseconds.
    Crash(Who, u64),
    /// All nodes lose power.
    Blackout(u64),
    /// A process stands still, and then gets all at once that came meanwhile.
    Pause(Who, u64),
    /// A clock jumps by so many microseconds.
    Jump(Who, i64),
    /// A disk takes so long to answer anything.
    Stall(Who, u64),
    /// A state machine does nothing for so long.
    Hang(Who, u64),
    /// A disk fails a write; the node is started anew later.
    BreakDisk(Who),
    /// An operator wants a snapshot that the disk cannot keep; the node is started anew later.
    LoseSnapshot(Who),
    /// All that goes to or comes from a node takes so much longer.
    Slow(Who, u64),
    /// All that goes from the one node to the other takes so much longer.
    SlowLink(Who, Who, u64),
    /// An operator has leadership handed to a node.
    Transfer(Who),
    /// An operator adds a node.
    Grow,
    /// An operator removes a node.
    Shrink(Who),
    /// An operator adds a node and removes another at once.
    Replace(Who),
    /// An operator wants a removed machine back under its old id, with a new disk.
    Revive,
    /// An operator wants a snapshot.
    Compact(Who),
    /// Messages of long ago come again.
    Replay,
}

impl Fault {
    /// Tells whether links break that [`Fault::Heal`] repairs.
    fn is_cut(self) -> bool {
        match self {
            Self::Split(_)
            | Self::Isolate(_)
            | Self::Mute(_)
            | Self::Deafen(_)
            | Self::CutLink(..)
            | Self::Ring
            | Self::Bridge => true,
            Self::Heal
            | Self::Crash(..)
            | Self::Blackout(_)
            | Self::Pause(..)
            | Self::Jump(..)
            | Self::Stall(..)
            | Self::Hang(..)
            | Self::BreakDisk(_)
            | Self::LoseSnapshot(_)
            | Self::Slow(..)
            | Self::SlowLink(..)
            | Self::Transfer(_)
            | Self::Grow
            | Self::Shrink(_)
            | Self::Replace(_)
            | Self::Revive
            | Self::Compact(_)
            | Self::Replay => false,
        }
    }
}

/// Which node something happens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The one that leads then.
    Leader,
    /// One of those that are there then, by a number that wraps around.
    Nth(u64),
}

impl Plan {
    /// Draws a plan: not everything goes wrong in every run, so that what does goes far.
    #[must_use]
    pub fn draw(seed: u64, length: Duration) -> Self {
        let mut rng = Rng::of(seed, 1);
        let length = Micros::try_from(length.as_micros()).unwrap_or(Micros::MAX);
        let founders = rng.pick(&[3, 3, 3, 3, 5, 5, 5, 1, 2, 4, 7]);
        let clients = rng.pick(&[1, 3, 8, 20]);
        let weather = Weather::draw(&mut rng);
        let limits = draw_limits(&mut rng);
        let lease = rng.hits(250_000).then_some(Lease { drift_ppm: 3_000 });
        let mut plan = Self {
            seed,
            founders,
            length,
            clients,
            rest: rng.pick(&[10, 40, 40, 100]) * MS * u64::from(clients),
            weather,
            timing: Timing::LAN,
            limits,
            lease,
            faults: draw_faults(&mut rng, length),
        };
        if plan.lease.is_some() {
            plan.weather.drift = plan.weather.drift.min(1_000);
        }
        plan
    }

    /// Returns the plan by which speed is measured: five nodes, 100 requests a second, nothing wrong
    /// but a little loss.
    #[must_use]
    pub fn steady(seed: u64, length: Duration) -> Self {
        let length = Micros::try_from(length.as_micros()).unwrap_or(Micros::MAX);
        Self {
            seed,
            founders: 5,
            length,
            clients: 10,
            rest: 98 * MS,
            weather: Weather { lost: 1_000, reads: 0, ..Weather::FAIR },
            timing: Timing::LAN,
            limits: Limits::DEFAULT,
            lease: None,
            faults: Vec::new(),
        }
    }

    /// Returns the plan for measuring elections: the leader loses power again and again.
    #[must_use]
    pub fn elections(seed: u64, founders: u64, timing: Timing, delay: (u64, u64)) -> Self {
        let pause = 6_000 * MS;
        let crash = |nth: u64| ((nth + 1) * pause, Fault::Crash(Who::Leader, pause / 2));
        Self {
            founders,
            clients: 4,
            rest: 20 * MS,
            weather: Weather { delay, ..Weather::FAIR },
            timing,
            faults: (0..10_u64).map(crash).collect(),
            ..Self::steady(seed, Duration::from_micros(11 * pause))
        }
    }

    /// Returns the plan for counting elections that nobody needs: an hour in which one message of a hundred is lost,
    /// and no node fails.
    #[must_use]
    pub fn lossy_hour(seed: u64, founders: u64, timing: Timing, delay: (u64, u64)) -> Self {
        Self {
            founders,
            clients: 1,
            rest: 1_000 * MS,
            weather: Weather { delay, lost: 10_000, ..Weather::FAIR },
            timing,
            ..Self::steady(seed, Duration::from_secs(3_600))
        }
    }

    /// Returns the same without something that goes wrong all the time; all ways to do so.
    pub(crate) fn calmer(&self) -> Vec<Self> {
        let changes: [fn(&mut Weather); 8] = [
            |w| w.lost = 0,
            |w| w.doubled = 0,
            |w| w.late = 0,
            |w| w.slow_syncs = 0,
            |w| w.drift = 0,
            |w| w.reads = 0,
            |w| w.delay.1 = w.delay.0,
            |w| w.ghosts = false,
        ];
        let apply = |change: &fn(&mut Weather)| {
            let mut plan = self.clone();
            change(&mut plan.weather);
            plan
        };
        let mut calmer: Vec<_> = changes.iter().map(apply).collect();
        calmer.push(Self { lease: None, ..self.clone() });
        calmer.push(Self { clients: 1, ..self.clone() });
        calmer.push(Self { founders: 3.min(self.founders), ..self.clone() });
        calmer
    }
}

impl Weather {
    /// A good day in one place.
    const FAIR: Self = Self {
        lost: 0,
        doubled: 0,
        late: 0,
        delay: (200, 800),
        lateness: (MS, 2 * MS),
        sync: (300, 900),
        slow_syncs: 0,
        apply: (10, 50),
        drift: 200,
        reads: 150_000,
        ghosts: true,
    };

    /// Returns what is left when the bad weather is over; clocks still go as they go.
    pub(crate) fn cleared(self) -> Self {
        Self { drift: self.drift, reads: self.reads, ..Self::FAIR }
    }

    fn draw(rng: &mut Rng) -> Self {
        let slowest = rng.pick(&[1, 3, 10]) * MS;
        Self {
            lost: rng.pick(&[0, 0, 1_000, 20_000, 100_000]),
            doubled: rng.pick(&[0, 0, 10_000, 100_000]),
            late: rng.pick(&[0, 0, 2_000, 50_000]),
            delay: (100, slowest),
            lateness: (slowest, rng.pick(&[20, 100, 400]) * MS),
            sync: (100, rng.pick(&[300, 1_000, 5_000])),
            slow_syncs: rng.pick(&[0, 10_000, 200_000]),
            apply: (10, rng.pick(&[20, 1_000, 20_000])),
            drift: rng.pick(&[0, 200, 1_000, 20_000]),
            reads: rng.pick(&[0, 150_000, 500_000]),
            ghosts: rng.hits(500_000),
        }
    }
}

/// Draws limits that are reached often.
fn draw_limits(rng: &mut Rng) -> Limits {
    let snapshot_after_entries = rng.pick(&[2, 10, 100, 1_000, 1_000_000]);
    let snapshot_after_bytes = rng.pick(&[600, 8_000, 64 << 20, 64 << 20]);
    // A snapshot that takes longer to send than the next one to come would never arrive.
    let often = snapshot_after_entries < 100 || snapshot_after_bytes < 8_000;
    let smallest_chunk = if often { 256 } else { 16 };
    Limits {
        uncommitted_entries: rng.pick(&[4, 64, 16_384]),
        uncommitted_bytes: rng.pick(&[200, 1 << 20]),
        message_entries: rng.pick(&[1, 3, 1_024]),
        message_bytes: rng.pick(&[50, 1 << 20]),
        inflight_entries: rng.pick(&[1, 8, 4_096]),
        inflight_bytes: rng.pick(&[100, 4 << 20]),
        apply_bytes: rng.pick(&[1, 200, 4 << 20]),
        reads: rng.pick(&[2, 1_024]),
        snapshot_after_entries,
        snapshot_after_bytes,
        keep_entries: rng.pick(&[0, 0, 5, 1_024]),
        keep_bytes: rng.pick(&[300, 16 << 20]),
        backlog_entries: snapshot_after_entries + rng.pick(&[20, 1_000, 50_000]),
        backlog_bytes: snapshot_after_bytes + rng.pick(&[1_500, 30_000, 64 << 20]),
        writes: rng.pick(&[8, 64, 4_096]),
        chunk_bytes: rng.pick(&[smallest_chunk, 4 * smallest_chunk, 4_096]),
        promotion_lag: rng.pick(&[4, 256]),
        ..Limits::DEFAULT
    }
}

fn draw_faults(rng: &mut Rng, length: Micros) -> Vec<(Micros, Fault)> {
    let gap = rng.pick(&[150, 500, 1_500, 4_000]) * MS;
    let kinds: Vec<u64> = (0..KINDS).filter(|_| rng.hits(400_000)).collect();
    let mut faults = Vec::new();
    let mut at = rng.between(200 * MS, 400 * MS);
    while at < length && !kinds.is_empty() {
        let kind = rng.pick(&kinds);
        let fault = draw_fault(rng, kind);
        faults.push((at, fault));
        if rng.hits(400_000) && fault.is_cut() {
            faults.push((at + rng.between(10 * MS, 2 * gap), Fault::Heal));
        }
        at += rng.between(1, 2 * gap);
    }
    faults.sort_by_key(|(at, _)| *at);
    faults
}

const KINDS: u64 = 25;

fn draw_who(rng: &mut Rng) -> Who {
    if rng.hits(400_000) { Who::Leader } else { Who::Nth(rng.below(16)) }
}

fn draw_fault(rng: &mut Rng, kind: u64) -> Fault {
    let who = draw_who(rng);
    let short = rng.pick(&[1, 20, 150, 600]);
    let time = rng.between(short * MS / 2, short * MS);
    match kind {
        0 => Fault::Heal,
        1 => Fault::Split(rng.next_u64()),
        2 => Fault::Isolate(who),
        3 => Fault::Mute(who),
        4 => Fault::Deafen(who),
        5 => Fault::Ring,
        6 => Fault::Bridge,
        7 => Fault::Crash(who, time),
        8 => Fault::Blackout(time),
        9 => Fault::Pause(who, time),
        10 => {
            let by = i64::try_from(time).unwrap_or(i64::MAX);
            Fault::Jump(who, if rng.hits(500_000) { by } else { -by })
        }
        11 => Fault::Stall(who, time),
        12 => Fault::BreakDisk(who),
        13 => Fault::Slow(who, time / 4),
        14 => Fault::Transfer(Who::Nth(rng.below(16))),
        15 => Fault::Grow,
        16 => Fault::Shrink(who),
        17 => Fault::Replace(who),
        18 => Fault::Compact(who),
        19 => Fault::Replay,
        20 => Fault::CutLink(who, draw_who(rng)),
        21 => Fault::SlowLink(who, draw_who(rng), time),
        22 => Fault::LoseSnapshot(who),
        // At the longest, longer than clients wait for a leader that does not get on.
        23 => Fault::Hang(who, 8 * time),
        _ => Fault::Revive,
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, founders, clients, weather, limits, .. } = self;
        writeln!(f, "seed {seed}: {founders} founders, {clients} clients, lease {:?}", self.lease)?;
        writeln!(f, "  {weather:?}\n  {limits:?}")?;
        for (at, fault) in &self.faults {
            writeln!(f, "  {:>12.3} ms  {fault:?}", *at as f64 / 1_000.0)?;
        }
        Ok(())
    }
}
