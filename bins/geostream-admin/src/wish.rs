//! What is wanted of a field that may be left out.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use geostream_api::not_a_number;

/// A value, or `none` to take back what was said.
#[derive(Clone, Debug)]
pub(crate) struct Wish<T>(Option<T>);

impl<T: Clone> Wish<T> {
    /// Changes a field as is wanted of it, if anything is.
    pub(crate) fn apply(wish: Option<&Self>, field: &mut Option<T>) {
        if let Some(Self(wanted)) = wish {
            field.clone_from(wanted);
        }
    }
}

impl<T: FromStr<Err: Display>> FromStr for Wish<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        wished(text, |text| {
            text.parse().map_err(|error: T::Err| match error.to_string() {
                error if error.contains("digit") => not_a_number("", text),
                error => error,
            })
        })
    }
}

fn wished<T>(text: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Result<Wish<T>, String> {
    if text == "none" {
        return Ok(Wish(None));
    }
    let value = read(text).map_err(|error| format!("{error}; or none, to take it back"))?;
    Ok(Wish(Some(value)))
}

/// Reads a number that JSON can tell: no NaN, and nothing infinite.
pub(crate) fn number(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().map_err(|_| not_a_number("", text))?;
    if number.is_finite() { Ok(number) } else { Err("a finite number is expected".to_owned()) }
}

/// Reads degrees north, whose texts may end with N or S.
pub(crate) fn latitude(text: &str) -> Result<f64, String> {
    number(text).map_err(|error| of_place("latitude", text, error))
}

/// Reads degrees east, whose texts may end with E or W.
pub(crate) fn longitude(text: &str) -> Result<f64, String> {
    number(text).map_err(|error| of_place("longitude", text, error))
}

fn of_place(field: &str, text: &str, error: String) -> String {
    if text.parse::<f64>().is_ok() { error } else { not_a_number(field, text) }
}

/// Reads a whole number of percent.
pub(crate) fn percent(text: &str) -> Result<u8, String> {
    text.parse().map_err(|_| not_a_number("_percent", text))
}

/// Reads a duration with its unit.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| match text.trim().parse::<u64>() {
        Ok(number) => format!("a unit is missing: {number}s, {number}m, {number}h or {number}d"),
        Err(_) => format!("{error}; write a number and s, m, h or d, such as 30m or 1h30m"),
    })
}

/// Reads such a number, or `none`.
pub(crate) fn number_or_none(text: &str) -> Result<Wish<f64>, String> {
    wished(text, number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_with_a_unit_is_refused_with_the_number_to_write() {
        let capacity = "1000/s".parse::<Wish<u32>>().unwrap_err();
        assert!(
            capacity.starts_with("write 1000: a number, without a unit; or none"),
            "{capacity}"
        );
        let interval = "1s".parse::<Wish<u32>>().unwrap_err();
        assert!(interval.contains("1 for seconds, 1000 for milliseconds"), "{interval}");
        let budget = percent("5 %").unwrap_err();
        assert!(budget.starts_with("write 5: a number of percent"), "{budget}");
        assert!(latitude("33,9 S").unwrap_err().starts_with("write -33.9"));
        assert_eq!(longitude("nan").unwrap_err(), "a finite number is expected");
        assert!(number_or_none("$0.09").unwrap_err().starts_with("write 0.09"));
    }

    #[test]
    fn a_duration_without_a_unit_is_refused_with_the_units() {
        assert!(duration("20").unwrap_err().contains("20s, 20m, 20h or 20d"));
        assert!(duration("20 moons").unwrap_err().contains("such as 30m"));
        assert_eq!(duration("20m"), Ok(Duration::from_secs(1200)));
    }
}
