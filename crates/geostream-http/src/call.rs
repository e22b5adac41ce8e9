//! A request to a control operation, once its body has arrived.

use bytes::Bytes;
use geostream_domain::Line;
use geostream_ports::Attempt;
use http::{HeaderMap, Uri};

use crate::limited::Visible;
use crate::problem::{Failure, Kind};
use crate::query::Query;
use crate::routes::Control;

/// A request whose route is known and whose body has arrived.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) operation: Control,
    /// The path's parameter, if its pattern has one.
    pub(crate) parameter: String,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Who asks, where a token is needed, and for what.
    pub(crate) attempt: Attempt,
    /// What the caller may see and change.
    pub(crate) visible: Visible,
}

impl Call {
    /// Reads the path's parameter.
    ///
    /// What cannot be a name cannot be there.
    pub(crate) fn parameter<T: std::str::FromStr<Err: std::fmt::Display>>(
        &self,
    ) -> Result<T, Failure> {
        let invalid =
            |error| Failure::new(Kind::NotFound, format!("{:?}: {error}", self.parameter));
        self.parameter.parse().map_err(invalid)
    }

    /// Returns who writes.
    pub(crate) fn author(&self) -> Result<Line, Failure> {
        let author = self.attempt.who.as_ref().map(|who| who.name.clone());
        author.ok_or_else(|| Failure::unauthorized("a write needs a token"))
    }

    /// Refuses query parameters, for operations that take none.
    pub(crate) fn no_query(&self) -> Result<(), Failure> {
        Ok(Query::of(&self.uri).end()?)
    }
}
