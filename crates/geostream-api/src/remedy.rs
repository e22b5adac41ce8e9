//! What to write instead of a value or a name that is refused.
//!
//! The readers of TOML and JSON say what they expect (`invalid type: string "1s", expected u32`),
//! and not what to write. Files, request bodies and flags add that from here.

/// Returns what to write instead, for what a reader of documents says of a field.
///
/// The field's name tells the unit that it takes: `interval_ms` takes milliseconds.
#[must_use]
pub fn remedy(field: &str, refusal: &str) -> Option<String> {
    unknown_name(refusal)
        .or_else(|| text_for_number(field, refusal))
        .or_else(|| number_for_text(refusal))
}

/// Says what to write instead of a text that is no number, as the value of this flag or field.
#[must_use]
pub fn not_a_number(field: &str, text: &str) -> String {
    let field = field.replace('-', "_");
    let unit = unit_of(&field).map(|unit| format!(" of {unit}")).unwrap_or_default();
    let quantity = quantity(text);
    let is_place = field.ends_with("tude");
    let time = quantity.as_ref().filter(|_| !is_place).and_then(Quantity::as_time);
    if let (None, Some((seconds, millis))) = (unit_of(&field), time) {
        return format!(
            "a number is expected, without a unit: {seconds} for seconds, {millis} for milliseconds"
        );
    }
    match quantity.and_then(|quantity| quantity.in_unit_of(&field)) {
        Some(number) => format!("write {number}: a number{unit}, without a unit"),
        None => format!("a number{unit} is expected, without a unit"),
    }
}

/// Returns the name that is meant by one that is not known, if one is near enough.
#[must_use]
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = plain(name);
    let ranked = known.into_iter().map(|known| {
        let other = self::plain(known);
        // A unit or another word is left out more often than letters are confused.
        let is_longer = other.strip_prefix(&plain).is_some_and(|rest| rest.starts_with('_'));
        let distance = if is_longer { 1 } else { distance(&plain, &other) };
        (distance, known)
    });
    let (distance, known) = ranked.min()?;
    (distance <= (plain.len() / 3).max(1)).then_some(known)
}

/// Returns how many letters have to be added, removed, replaced or swapped with the next to make
/// one name of another.
pub(crate) fn distance(one: &str, other: &str) -> usize {
    let one: Vec<char> = one.chars().collect();
    let other: Vec<char> = other.chars().collect();
    let mut before = vec![0; other.len() + 1];
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for (row, letter) in one.iter().enumerate() {
        let mut next = vec![row + 1];
        for (column, candidate) in other.iter().enumerate() {
            let replaced = last[column] + usize::from(letter != candidate);
            let mut least = replaced.min(last[column + 1] + 1).min(next[column] + 1);
            let is_swapped =
                row > 0 && column > 0 && one[row - 1] == *candidate && other[column - 1] == *letter;
            if is_swapped {
                least = least.min(before[column - 1] + 1);
            }
            next.push(least);
        }
        before = last;
        last = next;
    }
    last[other.len()]
}

fn plain(name: &str) -> String {
    name.to_lowercase().replace('-', "_")
}

fn unknown_name(refusal: &str) -> Option<String> {
    let is_name =
        refusal.starts_with("unknown field `") || refusal.starts_with("unknown variant `");
    let mut names = refusal.split('`').skip(1).step_by(2);
    let name = names.next().filter(|_| is_name)?;
    let meant = nearest(name, names)?;
    let example = match unit_of(meant) {
        Some("milliseconds") => ", a number of milliseconds (1000 for 1 s)".to_owned(),
        Some("seconds") => ", a number of seconds (60 for 1 min)".to_owned(),
        Some(unit) => format!(", a number of {unit}"),
        None => String::new(),
    };
    Some(format!("write `{meant}`{example}"))
}

fn text_for_number(field: &str, refusal: &str) -> Option<String> {
    const NUMBERS: [&str; 10] =
        ["u8", "u16", "u32", "u64", "usize", "i32", "i64", "f32", "f64", "a number"];
    let rest = refusal.strip_prefix("invalid type: string \"")?;
    let (text, expected) = rest.rsplit_once("\", expected ")?;
    NUMBERS.contains(&expected.trim()).then(|| {
        let said = not_a_number(field, text);
        said.replace("without a unit", "without quotes and without a unit")
    })
}

fn number_for_text(refusal: &str) -> Option<String> {
    let rest = refusal.strip_prefix("invalid type: integer `")?;
    let (number, expected) = rest.split_once("`, expected ")?;
    (expected.trim() == "a string").then(|| format!("write it in quotes: \"{number}\""))
}

/// Returns the unit that a field takes, by its name.
fn unit_of(field: &str) -> Option<&'static str> {
    let units = [
        ("_ms", "milliseconds"),
        ("_seconds", "seconds"),
        ("_days", "days"),
        ("_percent", "percent"),
        ("_km", "kilometres"),
    ];
    units.into_iter().find(|(ending, _)| field.ends_with(ending)).map(|(_, unit)| unit)
}

/// A number with a unit.
struct Quantity {
    number: f64,
    unit: String,
}

fn quantity(text: &str) -> Option<Quantity> {
    let text = text.trim().trim_start_matches(['$', '€', '£']).trim_start();
    let is_part = |letter: char| letter.is_ascii_digit() || "+-.,_".contains(letter);
    let end = text.find(|letter| !is_part(letter)).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let digits = digits.replace('_', "");
    let groups: Vec<&str> = digits.split(',').collect();
    let digits = match groups[..] {
        [whole] => whole.to_owned(),
        // One comma before other than three digits is a decimal comma.
        [whole, part] if part.len() != 3 => format!("{whole}.{part}"),
        _ => groups.concat(),
    };
    let number = digits.parse::<f64>().ok().filter(|number| number.is_finite())?;
    Some(Quantity { number, unit: unit.trim().to_owned() })
}

impl Quantity {
    /// Returns the number that says the same in the unit of a field.
    fn in_unit_of(&self, field: &str) -> Option<f64> {
        let Self { number, unit } = self;
        let factor = match (unit_of(field), &*unit.to_lowercase()) {
            (_, "") => 1.0,
            (Some("milliseconds"), unit) => millis(unit)?,
            (Some("seconds"), unit) => millis(unit)? / 1e3,
            (Some("days"), unit) => millis(unit)? / 86_400e3,
            (Some("kilometres"), "km") => 1.0,
            (Some("kilometres"), "m") => 1e-3,
            (Some("kilometres"), "mi" | "miles") => 1.609_344,
            (Some("kilometres"), _) => return None,
            (_, "%" | "percent" | "usd" | "$" | "€" | "°" | "n" | "e" | "° n" | "° e") => 1.0,
            (_, "s" | "w" | "° s" | "° w") => -1.0,
            (_, "rps" | "qps" | "rq/s" | "req/s" | "reqs/s" | "requests/s") => 1.0,
            (_, unit) if unit.starts_with('/') || unit.starts_with("per ") => 1.0,
            (None, "k") => 1e3,
            (None, "m") if unit == "M" => 1e6,
            (_, _) => return None,
        };
        Some(rounded(number * factor))
    }

    /// Returns a time in seconds and in milliseconds.
    fn as_time(&self) -> Option<(f64, f64)> {
        let factor = millis(&self.unit)?;
        Some((rounded(self.number * factor / 1e3), rounded(self.number * factor)))
    }
}

/// Rounds to millionths: 0.1 is no sum of powers of two.
fn rounded(number: f64) -> f64 {
    (number * 1e6).round() / 1e6
}

fn millis(unit: &str) -> Option<f64> {
    Some(match unit {
        "ms" | "msec" | "msecs" | "millisecond" | "milliseconds" => 1.0,
        "s" | "sec" | "secs" | "second" | "seconds" => 1e3,
        "m" | "min" | "mins" | "minute" | "minutes" => 60e3,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3_600e3,
        "d" | "day" | "days" => 86_400e3,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_with_a_unit_is_told_as_a_number() {
        for (field, text, expected) in [
            ("capacity", "1000/s", "write 1000: a number, without quotes"),
            ("capacity", "10k", "write 10000: "),
            ("capacity", "1,000", "write 1000: "),
            ("interval_ms", "1s", "write 1000: a number of milliseconds, without quotes"),
            ("interval_ms", "0.5 min", "write 30000: "),
            ("header_timeout_seconds", "1500 ms", "write 1.5: a number of seconds"),
            ("audit_days", "2d", "write 2: a number of days"),
            ("removal_budget_percent", "5 %", "write 5: a number of percent"),
            ("cost_per_gb", "$0.09", "write 0.09: "),
            ("cost_per_gb", "0.09 USD", "write 0.09: "),
            ("latitude", "50,1", "write 50.1: "),
            ("latitude", "33.9 S", "write -33.9: "),
            (
                "",
                "2 min",
                "a number is expected, without quotes and without a unit: 120 for seconds",
            ),
            ("band_km", "100 miles", "write 160.9344: "),
            ("interval_ms", "1 fortnight", "a number of milliseconds is expected"),
            ("capacity", "much", "a number is expected"),
        ] {
            let refusal = format!("invalid type: string {text:?}, expected u32");
            let told = remedy(field, &refusal).unwrap();
            assert!(told.starts_with(expected), "{field} {text}: {told}");
        }
        assert_eq!(not_a_number("capacity", "1000/s"), "write 1000: a number, without a unit");
    }

    #[test]
    fn a_name_that_is_not_known_is_told_as_the_nearest() {
        let expected = "`url`, `status`, `interval_ms`, `timeout_ms`, `ramp_seconds`";
        for (name, meant) in [
            ("interval", Some("write `interval_ms`, a number of milliseconds (1000 for 1 s)")),
            ("ramp", Some("write `ramp_seconds`, a number of seconds (60 for 1 min)")),
            ("interval-ms", Some("write `interval_ms`, a number of milliseconds (1000 for 1 s)")),
            ("staus", Some("write `status`")),
            ("URL", Some("write `url`")),
            ("weight", None),
        ] {
            let refusal = format!("unknown field `{name}`, expected one of {expected}");
            assert_eq!(remedy("check", &refusal).as_deref(), meant, "{name}");
        }
        let rule = "unknown variant `fail-open`, expected one of `fail_open`, `closed`";
        assert_eq!(remedy("rule", rule).as_deref(), Some("write `fail_open`"));
    }

    #[test]
    fn a_number_for_a_text_is_quoted() {
        let refusal = "invalid type: integer `200`, expected a string";
        assert_eq!(remedy("status", refusal).as_deref(), Some("write it in quotes: \"200\""));
        assert_eq!(remedy("status", "invalid type: map, expected a string"), None);
    }

    #[test]
    fn letters_that_are_swapped_are_one_step() {
        for (one, other, steps) in
            [("listen", "litsen", 1), ("listen", "listn", 1), ("", "abc", 3), ("a", "a", 0)]
        {
            assert_eq!(distance(one, other), steps, "{one} {other}");
        }
    }
}
