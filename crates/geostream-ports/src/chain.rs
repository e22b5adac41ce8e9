//! Errors on one line.

use std::error::Error;
use std::fmt;

/// Shows an error with all its causes, for the place where it is handled.
///
/// Errors keep their causes in `source` and out of their own text, so that nothing is said twice.
#[derive(Debug)]
pub struct Chain<'a>(pub &'a dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
