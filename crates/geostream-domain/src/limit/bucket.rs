//! How often somebody may do something, at one node or at several together.

use std::time::{Duration, Instant};

/// Lets so many through at once, and so many a second over time.
///
/// Kept as the one moment at which the bucket would be full again: the generic cell rate algorithm
/// (ITU-T I.371, annex A), which equals a token bucket.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokenBucket {
    full_at: Option<Instant>,
}

/// How many a bucket lets through.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// How many at once, at least 1.
    burst: u32,
    /// How long one takes to come back.
    interval: Duration,
}

impl Rate {
    /// Allows so many a second, and a burst of as many; `None` for none or more than 10^9.
    #[must_use]
    pub fn per_second(rate: u32) -> Option<Self> {
        let interval = Duration::from_secs(1).checked_div(rate)?;
        (!interval.is_zero()).then_some(Self { burst: rate, interval })
    }

    /// Returns how many pass at once.
    #[must_use]
    pub fn burst(self) -> u32 {
        self.burst
    }

    /// Returns how long one takes to come back.
    #[must_use]
    pub fn interval(self) -> Duration {
        self.interval
    }

    /// Returns what is left to each of so many, at least one at once.
    #[must_use]
    pub fn divided_by(self, nodes: u32) -> Self {
        let nodes = nodes.max(1);
        Self { burst: self.burst.div_ceil(nodes), interval: self.interval * nodes }
    }
}

impl TokenBucket {
    /// Takes a token, or says how long until there is one.
    ///
    /// # Errors
    ///
    /// The wait, if the bucket is empty.
    pub fn take(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
        let room = rate.interval * rate.burst;
        // The rate may be another than before: by the present one, the bucket is at most empty.
        let full_at = self.full_at.map_or(now, |full_at| full_at.clamp(now, now + room));
        let full_at = full_at + rate.interval;
        match (full_at - now).checked_sub(room) {
            None | Some(Duration::ZERO) => {
                self.full_at = Some(full_at);
                Ok(())
            }
            Some(wait) => Err(wait),
        }
    }

    /// Tells whether the bucket is full: nothing is lost by forgetting it.
    #[must_use]
    pub fn is_full(&self, now: Instant) -> bool {
        self.full_at.is_none_or(|full_at| full_at <= now)
    }
}

/// One node's part of a bucket that several nodes share.
///
/// Nobody waits for the others. Each node has its share of the rate and of the burst, and charges the
/// shared bucket with what has passed by it. What the shares of others leave over is handed out by
/// the shared bucket, as a lease, to whoever wants more than its share. So all nodes together let
/// through what the bucket allows, wherever it is asked for; and a node that hears nobody goes on
/// with its share.
#[derive(Clone, Copy, Debug, Default)]
pub struct SharedBucket {
    own: TokenBucket,
    lease: Option<Lease>,
    /// How many have passed by the own share, and are not charged yet.
    spent: u32,
    /// How many have been asked for beyond it since the last request.
    wanted: u32,
}

/// What a node tells the shared bucket, and asks of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseRequest {
    /// How many have passed that are not charged yet.
    pub spent: u32,
    /// How many could pass beyond the node's share until the next request.
    pub wanted: u32,
}

/// What the shared bucket hands out to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// How many may pass.
    pub tokens: u32,
    /// When the lease ends: what is left of it is lost.
    pub until: Instant,
}

impl SharedBucket {
    /// Takes a token, or says how long until there is one; the share is this node's of the rate.
    ///
    /// # Errors
    ///
    /// The wait, if there is none.
    pub fn take(&mut self, share: Rate, now: Instant) -> Result<(), Duration> {
        let Err(wait) = self.own.take(share, now) else {
            self.spent = self.spent.saturating_add(1);
            return Ok(());
        };
        self.wanted = self.wanted.saturating_add(1);
        match self.lease.as_mut().filter(|lease| now < lease.until && lease.tokens > 0) {
            Some(lease) => {
                lease.tokens -= 1;
                Ok(())
            }
            None => Err(wait),
        }
    }

    /// Returns what is to be told and asked, if anything is.
    pub fn poll_request(&mut self, rate: Rate, now: Instant) -> Option<LeaseRequest> {
        let (spent, wanted) = (std::mem::take(&mut self.spent), std::mem::take(&mut self.wanted));
        let wanted = wanted.min(rate.burst).saturating_sub(self.left(now));
        (spent > 0 || wanted > 0).then_some(LeaseRequest { spent, wanted })
    }

    /// Keeps what nobody has heard for the next time, but no more than the bucket can have filled
    /// by since.
    pub fn handle_unheard(&mut self, request: LeaseRequest, rate: Rate) {
        self.spent = self.spent.saturating_add(request.spent).min(rate.burst);
    }

    /// Notes that another rate holds from now on: what is leased, and what is still to be charged, is
    /// a burst of that rate at most. The fill stays, as the time until the bucket is full.
    pub fn handle_rate(&mut self, rate: Rate) {
        self.spent = self.spent.min(rate.burst);
        if let Some(lease) = &mut self.lease {
            lease.tokens = lease.tokens.min(rate.burst);
        }
    }

    /// Takes in what was handed out, beside what is left.
    pub fn handle_lease(&mut self, lease: Lease, now: Instant) {
        let tokens = lease.tokens.saturating_add(self.left(now));
        self.lease = Some(Lease { tokens, ..lease });
    }

    /// Tells whether nothing is lost by forgetting it.
    #[must_use]
    pub fn is_full(&self, now: Instant) -> bool {
        self.own.is_full(now) && self.left(now) == 0
    }

    fn left(&self, now: Instant) -> u32 {
        self.lease.filter(|lease| now < lease.until).map_or(0, |lease| lease.tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shared bucket, as whoever keeps it runs it.
    #[derive(Default)]
    struct Kept(f64, Option<Instant>);

    impl Kept {
        fn lease(&mut self, rate: Rate, request: LeaseRequest, now: Instant) -> u32 {
            let burst = f64::from(rate.burst);
            let since = self
                .1
                .replace(now)
                .map_or(burst, |before| (now - before).as_secs_f64() / rate.interval.as_secs_f64());
            self.0 = (self.0 + since).min(burst) - f64::from(request.spent);
            let reserved = rate.burst - rate.divided_by(3).burst;
            let tokens = (0..request.wanted)
                .take_while(|token| self.0 >= f64::from(reserved + token + 1))
                .map(|_| 1)
                .sum();
            self.0 -= f64::from(tokens);
            tokens
        }
    }

    /// Lets three nodes ask for so many in each millisecond, and returns how many pass in each
    /// second. The shared bucket is asked by each node ten times a second.
    fn passed(rate: Rate, demand: [u32; 3], seconds: u32) -> Vec<u32> {
        const EVERY: u32 = 100;
        let (start, share) = (start(), rate.divided_by(3));
        let (mut shared, mut nodes) = (Kept::default(), [SharedBucket::default(); 3]);
        let mut second = |second: u32| {
            let mut passed = 0;
            for millis in second * 1_000..(second + 1) * 1_000 {
                let now = start + Duration::from_millis(millis.into());
                for (offset, (node, demand)) in
                    [0, 33, 66].into_iter().zip(nodes.iter_mut().zip(demand))
                {
                    passed +=
                        (0..demand).map(|_| u32::from(node.take(share, now).is_ok())).sum::<u32>();
                    if !(millis + offset).is_multiple_of(EVERY) {
                        continue;
                    }
                    let Some(request) = node.poll_request(rate, now) else { continue };
                    let tokens = shared.lease(rate, request, now);
                    let until = now + Duration::from_millis(500);
                    node.handle_lease(Lease { tokens, until }, now);
                }
            }
            passed
        };
        (0..seconds).map(&mut second).collect()
    }

    #[test]
    fn nodes_together_let_through_the_rate_wherever_it_is_asked_for() {
        let rate = Rate::per_second(300).unwrap();
        for demand in [[1, 1, 1], [3, 0, 0], [0, 2, 1], [5, 1, 0]] {
            let passed = passed(rate, demand, 10);
            assert!((300..=610).contains(&passed[0]), "a burst, and a second: {passed:?}");
            let rest: u32 = passed[1..].iter().sum();
            assert!((2_565..=2_835).contains(&rest), "{demand:?}: {passed:?}");
        }
    }

    #[test]
    fn a_node_that_hears_nobody_has_its_share() {
        let rate = Rate::per_second(30).unwrap();
        let (mut bucket, now, share) = (SharedBucket::default(), start(), rate.divided_by(3));
        let passed = |bucket: &mut SharedBucket, now| {
            (0..100).filter(|_| bucket.take(share, now).is_ok()).count()
        };
        assert_eq!(passed(&mut bucket, now), 10);
        let request = bucket.poll_request(rate, now);
        assert_eq!(request, Some(LeaseRequest { spent: 10, wanted: 30 }));
        assert_eq!(bucket.poll_request(rate, now), None, "nobody has asked since");
        bucket.handle_unheard(LeaseRequest { spent: 10, wanted: 30 }, rate);
        let again = Some(LeaseRequest { spent: 10, wanted: 0 });
        assert_eq!(bucket.poll_request(rate, now), again, "and is told again");
        bucket.handle_unheard(LeaseRequest { spent: 1_000, wanted: 0 }, rate);
        assert_eq!(bucket.poll_request(rate, now).map(|request| request.spent), Some(30));
        let later = now + Duration::from_millis(500);
        assert_eq!(passed(&mut bucket, later), 5);
        let until = later + Duration::from_millis(300);
        bucket.handle_lease(Lease { tokens: 2, until }, later);
        assert_eq!(passed(&mut bucket, later), 2);
        assert!(bucket.take(share, later).unwrap_err() <= Duration::from_millis(100));
        bucket.handle_lease(Lease { tokens: 2, until }, later);
        assert_eq!(passed(&mut bucket, until), 3, "what is left of a lease ends with it");
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let rate = Rate::per_second(10).unwrap();
        let mut bucket = TokenBucket::default();
        let now = start();
        let passed = |bucket: &mut TokenBucket, now| {
            (0..100).filter(|_| bucket.take(rate, now).is_ok()).count()
        };
        assert_eq!(passed(&mut bucket, now), 10);
        assert_eq!(bucket.take(rate, now), Err(Duration::from_millis(100)));
        assert_eq!(passed(&mut bucket, now + Duration::from_millis(550)), 5);
        assert!(!bucket.is_full(now + Duration::from_secs(1)));
        assert!(bucket.is_full(now + Duration::from_secs(2)));
        assert_eq!(passed(&mut bucket, now + Duration::from_secs(60)), 10, "no more than a burst");
        assert_eq!(Rate::per_second(0), None);
    }

    #[test]
    fn a_bucket_keeps_its_fill_when_the_rate_changes() {
        let rate = |number| Rate::per_second(number).unwrap();
        let passed = |bucket: &mut SharedBucket, share, now| {
            (0..10_000).filter(|_| bucket.take(share, now).is_ok()).count()
        };
        for (before, taken, after, expected) in [
            (10, 10, 1_000, 0),
            (10, 5, 1_000, 500),
            (1_000, 1_000, 10, 0),
            (1_000, 500, 10, 5),
            (10, 0, 1_000, 1_000),
        ] {
            let mut bucket = SharedBucket::default();
            let now = start();
            assert!((0..taken).all(|_| bucket.take(rate(before), now).is_ok()));
            bucket.handle_rate(rate(after));
            let case = format!("{taken} of {before}, then {after}");
            assert_eq!(passed(&mut bucket, rate(after), now), expected, "{case}");
            let later = now + Duration::from_millis(500);
            let refilled = usize::try_from(after / 2).unwrap();
            assert_eq!(passed(&mut bucket, rate(after), later), refilled, "{case}");
        }
    }

    #[test]
    fn no_debt_and_no_lease_outlives_a_change_of_the_rate() {
        let mut bucket = SharedBucket::default();
        let now = start();
        // One in three seconds is this node's share, and it is spent.
        let slow = Rate::per_second(1).unwrap().divided_by(3);
        assert_eq!(bucket.take(slow, now), Ok(()));
        let fast = Rate::per_second(1_000).unwrap().divided_by(3);
        let wait = bucket.take(fast, now).unwrap_err();
        assert!(wait <= Duration::from_millis(3), "not the rest of three seconds: {wait:?}");
        let until = now + Duration::from_millis(500);
        bucket.handle_lease(Lease { tokens: 1_000, until }, now);
        let low = Rate::per_second(5).unwrap();
        bucket.handle_rate(low);
        let passed = (0..100).filter(|_| bucket.take(low, now).is_ok()).count();
        assert_eq!(passed, 5, "a burst of the lower rate is left of the lease");
    }

    #[expect(clippy::disallowed_methods, reason = "any moment will do")]
    fn start() -> Instant {
        Instant::now()
    }
}
