//! How old the entries of a trail are, by the trail and not by one reading of a clock.

use std::time::Duration;

use crate::time::Timestamp;

/// Returns how many of the oldest entries are older than an age.
///
/// The entries come in the order in which they were written. An entry is as old as the gaps between
/// all that were written after it, and from the last of them to now. A gap counts as
/// [`longest_gap`] at the most, forwards and backwards: so a clock that jumps ages the trail by no
/// more than that, a clock that jumps back again makes up for it, and after a pause in which
/// nothing was written, entries are kept longer. The newest eight entries are never older than the age.
#[must_use]
pub fn outlived(written: &[Timestamp], now: Timestamp, age: Duration) -> usize {
    let most = millis(longest_gap(age));
    let limit = millis(age);
    let mut old = 0_i64;
    let mut next = now;
    let mut first_kept = written.len();
    for (position, &at) in written.iter().enumerate().rev() {
        old = old.saturating_add(gap(at, next).clamp(-most, most));
        if old <= limit {
            first_kept = position;
        }
        next = at;
    }
    first_kept
}

/// Returns the longest gap between two entries that counts in full, where entries are kept for an
/// age: an eighth of it.
#[must_use]
pub fn longest_gap(age: Duration) -> Duration {
    age / 8
}

/// Returns the milliseconds from one moment to another.
fn gap(from: Timestamp, to: Timestamp) -> i64 {
    let forwards = millis(to.since(from));
    let backwards = millis(from.since(to));
    forwards - backwards
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGE: Duration = Duration::from_secs(80 * DAY);
    const DAY: u64 = 86_400;

    /// Returns how many entries, written on these days, are too old on another day.
    fn check(days: impl IntoIterator<Item = u64>, today: u64) -> usize {
        let on = |day: u64| Timestamp::EPOCH.after(Duration::from_secs(day * DAY));
        let written: Vec<_> = days.into_iter().map(on).collect();
        outlived(&written, on(today), AGE)
    }

    #[test]
    fn entries_go_when_they_are_older_than_the_age() {
        assert_eq!(check([], 100), 0);
        assert_eq!(check(0..100, 100), 20, "the days 0 to 19 are more than 80 days ago");
        assert_eq!(check(0..100, 99), 19);
        assert_eq!(check((0..100).map(|day| day - day % 10), 100), 20, "gaps of ten days");
    }

    #[test]
    fn a_clock_that_jumps_forward_erases_no_more_than_an_eighth() {
        assert_eq!(check(0..80, 80), 0);
        assert_eq!(check(0..80, 80 + 3_650), 9, "by the reading alone, all would go");
        let written_by_wrong_clock = (0..80).chain([4_000; 50]);
        assert_eq!(check(written_by_wrong_clock, 4_000), 9, "however much is written by it");
    }

    #[test]
    fn a_clock_that_jumps_back_again_has_erased_nothing() {
        let mended = (0..80).chain([4_000, 4_000, 80]);
        assert_eq!(check(mended, 80), 0);
        let flapping = (0..80).chain((0..1_000).flat_map(|_| [4_000, 80]));
        assert_eq!(check(flapping, 80), 0);
    }

    #[test]
    fn a_clock_that_was_ahead_keeps_no_entry_for_ever() {
        let ahead_then_right = (4_000..4_010).chain(20..130);
        assert_eq!(check(ahead_then_right, 130), 10 + 30);
    }

    #[test]
    fn the_newest_entry_stays_however_late_it_is() {
        assert_eq!(check([0], u64::from(u16::MAX)), 0);
        assert_eq!(check([], u64::from(u16::MAX)), 0);
    }

    #[test]
    fn numbers_beyond_every_clock_do_no_harm() {
        let most = Timestamp::from_unix_millis(u64::MAX);
        for (at, now) in [(Timestamp::EPOCH, most), (most, Timestamp::EPOCH)] {
            assert_eq!(outlived(&[at, at], now, Duration::MAX), 0);
        }
    }
}
