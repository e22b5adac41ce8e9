//! How far this node's clock is from others, and what its time is corrected by.
//!
//! A reading of another clock takes a round trip, and the other clock was read at an unknown moment
//! of it. So the skew is measured at the middle of the round trip and is off by half of it at most.
//! [`SkewWatch`] settles on another skew only where a reading contradicts the last one by more than
//! chance, so that a healthy node's time is its own clock's, without jitter.

use std::fmt;
use std::time::{Duration, Instant};

use crate::time::Timestamp;

/// A skew up to this is not corrected: networks and schedulers cause as much.
pub const NOISE: Duration = Duration::from_millis(100);

/// A settled skew is replaced where a reading differs by more than this and its uncertainty. It is
/// more than [`NOISE`], so that a skew close to that does not come and go.
const STEP: Duration = Duration::from_millis(200);

/// From this skew on, an operator is warned.
pub const SKEW_WARNS: Duration = Duration::from_secs(1);

/// Below this skew, the warning ends.
const SKEW_ENDS: Duration = Duration::from_millis(500);

/// How far this node's clock is ahead of another, in milliseconds; negative if it is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Skew(i64);

impl Skew {
    /// No skew.
    pub const ZERO: Self = Self(0);

    /// Takes milliseconds that this node's clock is ahead.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Returns the milliseconds that this node's clock is ahead.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Returns the skew of a clock that shows `own` while another shows `other`.
    #[must_use]
    pub fn between(own: Timestamp, other: Timestamp) -> Self {
        let millis = |at: Timestamp| i64::try_from(at.unix_millis()).unwrap_or(i64::MAX);
        Self(millis(own).saturating_sub(millis(other)))
    }

    /// Returns how much it is, whatever its direction.
    #[must_use]
    pub fn magnitude(self) -> Duration {
        Duration::from_millis(self.0.unsigned_abs())
    }

    /// Tells whether this node's clock is ahead.
    #[must_use]
    pub fn is_ahead(self) -> bool {
        self.0 > 0
    }

    /// Returns the difference of two skews against the same clock.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// Returns the time of the other clock while this node's shows this.
    #[must_use]
    pub fn correct(self, own: Timestamp) -> Timestamp {
        match self.0 {
            ahead @ 0.. => own.before(Duration::from_millis(ahead.unsigned_abs())),
            behind => own.after(Duration::from_millis(behind.unsigned_abs())),
        }
    }
}

impl fmt::Display for Skew {
    /// Writes `2 h ahead` or `850 ms behind`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = if self.0 < 0 { "behind" } else { "ahead" };
        let millis = self.0.unsigned_abs();
        let rounded = |unit: u64| millis.saturating_add(unit / 2) / unit;
        let seconds = rounded(1000);
        match seconds {
            0..10 => write!(f, "{millis} ms {side}"),
            10..120 => write!(f, "{seconds} s {side}"),
            120..7200 => write!(f, "{} min {side}", rounded(60_000)),
            7200..172_800 => write!(f, "{} h {side}", rounded(3_600_000)),
            _ => write!(f, "{} days {side}", rounded(86_400_000)),
        }
    }
}

/// What another clock showed during one round trip to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockReading {
    /// The middle of the round trip, by this node's monotonic clock.
    at: Instant,
    /// The same moment by this node's wall clock.
    wall: Timestamp,
    skew: Skew,
    uncertainty: Duration,
}

impl ClockReading {
    /// Takes what another clock has told, which was asked at these moments and answered after
    /// `took`.
    #[must_use]
    pub fn new(asked: Instant, asked_wall: Timestamp, took: Duration, told: Timestamp) -> Self {
        let half = took / 2;
        let wall = asked_wall.after(half);
        let skew = Skew::between(wall, told);
        Self { at: asked + half, wall, skew, uncertainty: half }
    }

    /// Returns how far this node's clock was ahead.
    #[must_use]
    pub fn skew(self) -> Skew {
        self.skew
    }

    /// Returns how far off the skew is at most.
    #[must_use]
    pub fn uncertainty(self) -> Duration {
        self.uncertainty
    }
}

/// Follows the skew against one other clock.
///
/// Between readings, and for as long as there are none, the last skew holds. If the wall clock is
/// set meanwhile, the monotonic clock shows by how much.
#[derive(Clone, Debug, Default)]
pub struct SkewWatch {
    latest: Option<ClockReading>,
    settled: Skew,
    is_beyond: bool,
}

/// What is known of the skew against one other clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownSkew {
    /// By how much this node's clock is ahead, as last measured.
    pub skew: Skew,
    /// The skew that corrections use: zero while it is within [`NOISE`].
    pub settled: Skew,
    /// Whether an operator is to be warned.
    pub is_beyond: bool,
}

/// The skews of this node's clock against others, as far as they are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skews {
    /// Against the clock of the store.
    pub store: Option<KnownSkew>,
    /// Against the clock of the cache.
    pub cache: Option<KnownSkew>,
    /// The largest against another node.
    pub peers: Option<KnownSkew>,
}

impl SkewWatch {
    /// Takes in a reading, and tells whether the corrected time makes a step by it.
    pub fn handle_reading(&mut self, reading: ClockReading) -> bool {
        let ClockReading { at, wall, skew, uncertainty } = reading;
        let before = self.skew_at(at, wall);
        let contradiction = skew.minus(before).magnitude();
        let is_noise = skew.magnitude() <= NOISE && uncertainty <= NOISE;
        self.settled = if is_noise {
            Skew::ZERO
        } else if contradiction > STEP + uncertainty {
            skew
        } else {
            before
        };
        let magnitude = skew.magnitude();
        self.is_beyond = if self.is_beyond {
            magnitude >= SKEW_ENDS
        } else {
            magnitude > SKEW_WARNS + uncertainty
        };
        self.latest = Some(reading);
        self.settled != before
    }

    /// Returns what is known; `None` before the first reading.
    #[must_use]
    pub fn known(&self) -> Option<KnownSkew> {
        let Self { latest, settled, is_beyond } = *self;
        latest.map(|ClockReading { skew, .. }| KnownSkew { skew, settled, is_beyond })
    }

    /// Returns the time of the other clock, while this node's clocks show these; this node's own
    /// before the first reading.
    #[must_use]
    pub fn time_at(&self, now: Instant, wall: Timestamp) -> Timestamp {
        self.skew_at(now, wall).correct(wall)
    }

    /// Returns the settled skew, and by how much the wall clock was set since the last reading.
    fn skew_at(&self, now: Instant, wall: Timestamp) -> Skew {
        let Some(ClockReading { at, wall: then, .. }) = self.latest else { return Skew::ZERO };
        let expected = match now.checked_duration_since(at) {
            Some(passed) => then.after(passed),
            None => then.before(at.saturating_duration_since(now)),
        };
        let step = Skew::between(wall, expected);
        if step.magnitude() > NOISE {
            Skew(self.settled.0.saturating_add(step.0))
        } else {
            self.settled
        }
    }
}

impl KnownSkew {
    /// Judges a node's clock by those of its peers, all measured against the same clock; `None`
    /// without peers.
    ///
    /// Returns the largest skew. It is beyond what is tolerated if more than half of the peers, and
    /// two at least, differ by more than [`SKEW_WARNS`]: of two nodes that differ, neither is known
    /// to be right.
    #[must_use]
    pub fn among_peers(own: Skew, peers: impl IntoIterator<Item = Skew>) -> Option<Self> {
        let skews: Vec<Skew> = peers.into_iter().map(|peer| own.minus(peer)).collect();
        let largest = skews.iter().copied().max_by_key(|skew| skew.magnitude())?;
        let differing = skews.iter().filter(|skew| skew.magnitude() > SKEW_WARNS).count();
        let is_beyond = differing >= 2 && differing * 2 > skews.len();
        Some(Self { skew: largest, settled: largest, is_beyond })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: u64 = 1_800_000_000_000;
    const HOUR: i64 = 3_600_000;

    /// A node's clocks, of which the wall clock can be wrong.
    struct Clocks {
        boot: Instant,
        ahead: i64,
    }

    impl Clocks {
        #[expect(clippy::disallowed_methods, reason = "any moment will do")]
        fn new(ahead: i64) -> Self {
            Self { boot: Instant::now(), ahead }
        }

        /// Returns both clocks so many milliseconds after noon.
        fn at(&self, millis: u64) -> (Instant, Timestamp) {
            let own = Skew::from_millis(-self.ahead).correct(at(millis));
            (self.boot + Duration::from_millis(millis), own)
        }

        /// Asks a right clock at this moment.
        fn read(&self, millis: u64, took: u64) -> ClockReading {
            let (now, wall) = self.at(millis);
            let told = at(millis + took / 2);
            ClockReading::new(now, wall, Duration::from_millis(took), told)
        }

        fn time(&self, watch: &SkewWatch, millis: u64) -> Timestamp {
            let (now, wall) = self.at(millis);
            watch.time_at(now, wall)
        }
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_unix_millis(NOON + millis)
    }

    #[test]
    fn a_wrong_clock_is_corrected_by_the_first_reading() {
        for ahead in [2 * HOUR, -24 * HOUR, 201, -201] {
            let clocks = Clocks::new(ahead);
            let mut watch = SkewWatch::default();
            assert!(watch.handle_reading(clocks.read(0, 0)));
            assert_eq!(clocks.time(&watch, 700), at(700), "{ahead}");
            assert_eq!(watch.known().map(|known| known.skew.millis()), Some(ahead));
        }
    }

    #[test]
    fn noise_is_not_corrected() {
        let mut watch = SkewWatch::default();
        for (second, ahead) in (0..).zip([0, 60, -30, 40, 100, 3]) {
            let clocks = Clocks::new(ahead);
            assert!(!watch.handle_reading(clocks.read(second * 1000, 2)), "{ahead}");
            let (now, wall) = clocks.at(second * 1000);
            assert_eq!(watch.time_at(now, wall), wall, "{ahead}");
        }
    }

    #[test]
    fn a_slow_answer_moves_no_time() {
        let clocks = Clocks::new(0);
        let (now, wall) = clocks.at(0);
        let mut watch = SkewWatch::default();
        // The other clock was read at the end of a round trip of three seconds.
        let late = ClockReading::new(now, wall, Duration::from_secs(3), at(3000));
        assert!(!watch.handle_reading(late));
        assert_eq!(clocks.time(&watch, 4000), at(4000));
        assert!(!watch.known().is_some_and(|known| known.is_beyond));
    }

    #[test]
    fn a_clock_that_is_set_changes_nothing_before_the_next_reading() {
        let mut clocks = Clocks::new(0);
        let mut watch = SkewWatch::default();
        watch.handle_reading(clocks.read(0, 0));
        for ahead in [2 * HOUR, -HOUR, 0] {
            clocks.ahead = ahead;
            assert_eq!(clocks.time(&watch, 900), at(900), "{ahead}");
        }
        clocks.ahead = HOUR;
        assert!(!watch.handle_reading(clocks.read(1000, 0)), "the time goes on");
        assert_eq!(clocks.time(&watch, 5000), at(5000));
        clocks.ahead = 0;
        assert_eq!(clocks.time(&watch, 86_400_000), at(86_400_000), "without the store, too");
        assert!(!watch.handle_reading(clocks.read(86_401_000, 0)));
        assert_eq!(watch.known().map(|known| known.settled), Some(Skew::ZERO));
    }

    #[test]
    fn the_warning_ends_well_below_where_it_begins() {
        let mut watch = SkewWatch::default();
        let cases =
            [(900, false), (1100, true), (900, true), (-600, true), (499, false), (1000, false)];
        for (second, (ahead, expected)) in (0..).zip(cases) {
            watch.handle_reading(Clocks::new(ahead).read(second * 1000, 2));
            assert_eq!(watch.known().map(|known| known.is_beyond), Some(expected), "{ahead}");
        }
    }

    #[test]
    fn among_peers_the_majority_is_right() {
        let check = |own: i64, peers: &[i64], largest: Option<i64>, is_beyond: bool| {
            let peers = peers.iter().copied().map(Skew::from_millis);
            let known = KnownSkew::among_peers(Skew::from_millis(own), peers);
            assert_eq!(known.map(|known| known.skew.millis()), largest);
            assert_eq!(known.is_some_and(|known| known.is_beyond), is_beyond);
        };
        check(0, &[], None, false);
        check(0, &[7_200_000], Some(-7_200_000), false);
        check(7_200_000, &[0], Some(7_200_000), false);
        check(0, &[0, 7_200_000], Some(-7_200_000), false);
        check(7_200_000, &[0, 200], Some(7_200_000), true);
        check(-5000, &[0, 200, -5000], Some(-5200), true);
    }

    #[test]
    fn a_skew_is_told_in_words() {
        let told = [850, -90_000, 7_199_998, -259_200_000].map(Skew::from_millis);
        let told = told.map(|skew| skew.to_string());
        assert_eq!(told, ["850 ms ahead", "90 s behind", "2 h ahead", "3 days behind"]);
    }
}
