//! What this node logs.

use std::time::Duration;

use geostream_api::{Fields, KeptChanges, LogLevel, LogLevelRequest, Time};
use geostream_app::{LogFilter, Logged};
use geostream_ports::{Clock, Effect, GeoLocator, Store};

use crate::api::Api;
use crate::body;
use crate::call::Call;
use crate::problem::{Answer, Failure, Kind};

/// The longest that something may be logged by itself: a day.
const LONGEST_SECONDS: u32 = 86_400;

impl<S, G, C> Api<S, G, C>
where
    S: Store,
    G: GeoLocator,
    C: Clock + 'static,
{
    pub(crate) fn log_level(&self) -> Result<Answer, Failure> {
        body::json(&self.logged())
    }

    fn logged(&self) -> LogLevel {
        let Logged { filter, usual, until } = self.parts.log_level.logged();
        let text = |filter: &LogFilter| filter.to_string();
        LogLevel { filter: text(&filter), usual: text(&usual), until: until.map(Time) }
    }

    pub(crate) fn set_log_level(&self, call: &Call) -> Result<Answer, Failure> {
        call.no_query()?;
        let request: LogLevelRequest = body::read(&call.headers, &call.body)?;
        let mut fields = Fields::default();
        let filter = fields.check("/filter", request.filter.parse());
        let hold = request.duration_seconds;
        if hold.is_some_and(|seconds| !(1..=LONGEST_SECONDS).contains(&seconds)) {
            let expected = format_args!("1 to {LONGEST_SECONDS} are expected");
            fields.note("/duration_seconds", expected);
        }
        let filter: LogFilter = fields.finish(filter)?;
        let hold = hold.map(|seconds| Duration::from_secs(seconds.into()));
        let author = call.author()?;
        let before = self.logged();
        self.parts.log_level.set(filter, hold, &author);
        let after = self.logged();
        let changes = written(&KeptChanges::of_log_level(&before, &after))?;
        let effect = Effect { revision: None, reason: None, changes };
        self.parts.trail.note(call.attempt.clone().done(effect), self.parts.clock.now());
        body::json(&after)
    }
}

fn written(changes: &KeptChanges) -> Result<String, Failure> {
    serde_json::to_string(changes).map_err(|error| {
        tracing::error!(%error, "an entry of the audit trail cannot be written");
        Failure::new(Kind::Internal, "an entry of the audit trail cannot be written")
    })
}
