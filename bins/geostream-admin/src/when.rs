//! Times, as people read them: relative to now.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use geostream_api::Time;

/// The moment that times are told relative to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now(u64);

impl Now {
    /// Reads the clock.
    #[expect(clippy::disallowed_methods, reason = "a command has no other clock")]
    pub(crate) fn read() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(since.as_millis().try_into().unwrap_or(u64::MAX))
    }

    /// Says how long ago a time is, or in how long it comes: `3 min ago`, `in 2 h`.
    pub(crate) fn tell(self, time: Time) -> String {
        let Self(now) = self;
        let then = time.0.unix_millis();
        let distance = in_words(Duration::from_millis(now.abs_diff(then)));
        if then > now { format!("in {distance}") } else { format!("{distance} ago") }
    }

    /// Says how long ago something was that is known to the minute.
    pub(crate) fn tell_minute(self, time: Time) -> String {
        let Self(now) = self;
        let is_recent = now.saturating_sub(time.0.unix_millis()) < 2 * 60_000;
        if is_recent { "just now".to_owned() } else { self.tell(time) }
    }

    /// Says until when something lasts: `21:44 UTC (20 min)`, with the date if that is another day.
    pub(crate) fn until(self, time: Time) -> String {
        let Self(now) = self;
        let text = time.to_string();
        let clock = text.get(11..16).unwrap_or_default();
        let date = text.get(..10).unwrap_or_default();
        let is_today = now / DAY == time.0.unix_millis() / DAY;
        let day = if is_today { String::new() } else { format!("{date} ") };
        let left = Duration::from_millis(time.0.unix_millis().saturating_sub(now));
        format!("{day}{clock} UTC ({})", in_words(left))
    }
}

/// A day in milliseconds.
const DAY: u64 = 24 * 3_600_000;

/// Says a duration in its one or two largest units, rounded.
fn in_words(duration: Duration) -> String {
    let seconds = duration.as_millis().div_ceil(1_000);
    // Past one minute, the seconds only say how long the command took.
    let minutes = (seconds + 30) / 60;
    let (hours, days) = (minutes / 60, minutes / (24 * 60));
    let two = |large: u128, unit: &str, small: u128, part: &str| match small {
        0 => format!("{large} {unit}"),
        small => format!("{large} {unit} {small} {part}"),
    };
    if seconds < 60 {
        format!("{seconds} s")
    } else if hours == 0 {
        format!("{minutes} min")
    } else if days == 0 {
        two(hours, "h", minutes % 60, "min")
    } else if days < 7 {
        two(days, "d", hours % 24, "h")
    } else {
        format!("{days} d")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-12-01T21:24:00.000Z";

    fn now() -> Now {
        Now(NOW.parse::<Time>().unwrap().0.unix_millis())
    }

    #[test]
    fn times_are_told_relative_to_now() {
        for (time, expected) in [
            ("2026-12-01T21:23:58.500Z", "2 s ago"),
            ("2026-12-01T21:21:02.000Z", "3 min ago"),
            ("2026-12-01T19:24:00.000Z", "2 h ago"),
            ("2026-12-01T19:14:00.000Z", "2 h 10 min ago"),
            ("2026-11-29T18:24:00.000Z", "2 d 3 h ago"),
            ("2026-10-01T21:24:00.000Z", "61 d ago"),
            ("2026-12-01T21:43:59.900Z", "in 20 min"),
        ] {
            assert_eq!(now().tell(time.parse().unwrap()), expected, "{time}");
        }
    }

    #[test]
    fn a_minute_that_is_not_over_for_long_is_just_now() {
        for (time, expected) in [
            ("2026-12-01T21:24:00.000Z", "just now"),
            ("2026-12-01T21:23:00.000Z", "just now"),
            ("2026-12-01T21:22:00.000Z", "2 min ago"),
        ] {
            assert_eq!(now().tell_minute(time.parse().unwrap()), expected, "{time}");
        }
    }

    #[test]
    fn an_end_is_told_with_its_date_if_that_is_another_day() {
        for (time, expected) in [
            ("2026-12-01T21:43:59.900Z", "21:43 UTC (20 min)"),
            ("2026-12-02T01:24:00.000Z", "2026-12-02 01:24 UTC (4 h)"),
            ("2026-12-01T20:24:00.000Z", "20:24 UTC (0 s)"),
        ] {
            assert_eq!(now().until(time.parse().unwrap()), expected, "{time}");
        }
    }
}
