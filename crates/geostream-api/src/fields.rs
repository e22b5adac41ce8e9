//! Errors that point at the field they concern.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A field that is wrong, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldError {
    /// Where in the request: a JSON pointer (RFC 6901) into the body, `?name` for a query parameter,
    /// `{name}` for a parameter of the path, or the name of a header.
    pub pointer: String,
    /// What is wrong with it and what is expected.
    pub detail: String,
}

/// Every bad field of a document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldErrors(pub Vec<FieldError>);

impl FieldErrors {
    /// Reports one field.
    pub fn one(pointer: impl Into<String>, detail: impl fmt::Display) -> Self {
        Self(vec![FieldError { pointer: pointer.into(), detail: detail.to_string() }])
    }
}

impl fmt::Display for FieldErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, FieldError { pointer, detail }) in self.0.iter().enumerate() {
            let separator = if number == 0 { "" } else { "\n" };
            write!(f, "{separator}{pointer}: {detail}")?;
        }
        Ok(())
    }
}

impl std::error::Error for FieldErrors {}

/// Collects the bad fields of a document while it is turned into something better.
#[derive(Debug, Default)]
pub struct Fields {
    errors: Vec<FieldError>,
}

impl Fields {
    /// Notes a value's error under its pointer, and goes on with the value if there is one.
    pub fn check<T, E: fmt::Display>(
        &mut self,
        pointer: impl fmt::Display,
        result: Result<T, E>,
    ) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.note(pointer, error);
                None
            }
        }
    }

    /// Does the same for a value that may be absent.
    pub fn check_some<T, E: fmt::Display>(
        &mut self,
        pointer: impl fmt::Display,
        result: Option<Result<T, E>>,
    ) -> Option<T> {
        self.check(pointer, result?)
    }

    /// Notes an error under its pointer.
    pub fn note(&mut self, pointer: impl fmt::Display, detail: impl fmt::Display) {
        self.errors.push(FieldError { pointer: pointer.to_string(), detail: detail.to_string() });
    }

    /// Takes over the errors of a part of the document, and goes on with the part if there is one.
    pub fn part<T>(
        &mut self,
        pointer: impl fmt::Display,
        part: Result<T, FieldErrors>,
    ) -> Option<T> {
        match part {
            Ok(part) => Some(part),
            Err(FieldErrors(errors)) => {
                self.errors.extend(errors.into_iter().map(|error| FieldError {
                    pointer: format!("{pointer}{}", error.pointer),
                    detail: error.detail,
                }));
                None
            }
        }
    }

    /// Returns what was made of the document, if nothing was wrong with it.
    ///
    /// # Errors
    ///
    /// Every field that was noted.
    ///
    /// # Panics
    ///
    /// If there is neither a value nor an error.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, FieldErrors> {
        if self.errors.is_empty() {
            Ok(value.expect("a field that is missing was noted"))
        } else {
            Err(FieldErrors(self.errors))
        }
    }
}

/// Writes a name as a step of a JSON pointer.
#[must_use]
pub fn step(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}
