//! What is wanted of a field that may be left out.

use std::fmt::Display;
use std::str::FromStr;

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
        wished(text, |text| text.parse().map_err(|error: T::Err| error.to_string()))
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
    let number = text.parse::<f64>().map_err(|error| error.to_string())?;
    if number.is_finite() { Ok(number) } else { Err("a finite number is expected".to_owned()) }
}

/// Reads such a number, or `none`.
pub(crate) fn number_or_none(text: &str) -> Result<Wish<f64>, String> {
    wished(text, number)
}
