//! Query strings: every parameter once, and none that is not known.

use std::borrow::Cow;
use std::fmt::Display;
use std::str::FromStr;

use geostream_api::FieldErrors;

/// The entries on a page of a history, unless others are asked for.
const PAGE: usize = 50;
const LARGEST_PAGE: usize = 500;

/// The parameters of a query string, taken out one by one.
#[derive(Debug)]
pub(crate) struct Query<'a> {
    parameters: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Query<'a> {
    pub(crate) fn of(uri: &'a http::Uri) -> Self {
        let query = uri.query().unwrap_or_default();
        Self { parameters: form_urlencoded::parse(query.as_bytes()).collect() }
    }

    /// Takes out a parameter as text.
    pub(crate) fn text(&mut self, name: &str) -> Result<Option<Cow<'a, str>>, FieldErrors> {
        let Some(position) = self.parameters.iter().position(|(given, _)| given == name) else {
            return Ok(None);
        };
        let (_, value) = self.parameters.swap_remove(position);
        if self.parameters.iter().any(|(given, _)| given == name) {
            return Err(FieldErrors::one(format!("?{name}"), "it is given twice"));
        }
        Ok(Some(value))
    }

    /// Takes out a parameter and parses it.
    pub(crate) fn parsed<T>(&mut self, name: &str) -> Result<Option<T>, FieldErrors>
    where
        T: FromStr<Err: Display>,
    {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let value = text.parse().map_err(|error| FieldErrors::one(format!("?{name}"), error))?;
        Ok(Some(value))
    }

    /// Takes out how many entries of a history are wanted.
    pub(crate) fn page_limit(&mut self) -> Result<usize, FieldErrors> {
        let limit = self.parsed("limit")?.unwrap_or(PAGE);
        if (1..=LARGEST_PAGE).contains(&limit) {
            Ok(limit)
        } else {
            Err(FieldErrors::one("?limit", format!("1 to {LARGEST_PAGE} are expected")))
        }
    }

    /// Ends the reading: what is left is unknown.
    pub(crate) fn end(self) -> Result<(), FieldErrors> {
        match self.parameters.first() {
            Some((name, _)) => {
                let name: String = name.chars().take(64).collect();
                Err(FieldErrors::one(format!("?{name}"), "there is no such parameter"))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(query: &str) -> http::Uri {
        format!("http://x/?{query}").parse().unwrap()
    }

    #[test]
    fn parameters_are_known_and_given_once() {
        let uri = uri("a=1&b=x%20y&c=&d=1&d=2");
        let mut query = Query::of(&uri);
        assert_eq!(query.parsed::<u8>("a"), Ok(Some(1)));
        assert_eq!(query.text("b"), Ok(Some("x y".into())));
        assert!(query.parsed::<u8>("c").unwrap_err().to_string().starts_with("?c: "));
        assert_eq!(query.text("e"), Ok(None));
        assert!(query.text("d").is_err());
        assert!(query.end().is_err());
    }
}
