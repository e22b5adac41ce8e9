//! What this node logs, which can be changed while it runs.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use geostream_domain::{Line, Timestamp};
use geostream_ports::Clock;
use thiserror::Error;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

/// What is logged: a level for everything, and others for parts of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(String);

/// A text that does not say what is to be logged.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "off, error, warn, info, debug or trace is expected, or several with the part that they hold \
     for, such as info,geostream_http=debug"
)]
pub struct LogFilterError;

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// More than anybody writes.
const LONGEST: usize = 1_000;

impl LogFilter {
    /// Returns it as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LogFilter {
    type Err = LogFilterError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_filter = text.len() <= LONGEST && text.split(',').all(is_directive);
        is_filter.then(|| Self(text.to_owned())).ok_or(LogFilterError)
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A word alone has to be a level: one that is misspelt would silence everything.
fn is_directive(text: &str) -> bool {
    let is_name = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b':'))
    };
    match text.split_once('=') {
        Some((part, level)) => is_name(part) && LEVELS.contains(&level),
        None => LEVELS.contains(&text),
    }
}

/// What is logged now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// What is logged.
    pub filter: LogFilter,
    /// What is logged after that, and after a restart.
    pub usual: LogFilter,
    /// Until when, where that has an end.
    pub until: Option<Timestamp>,
}

/// Changes what is logged, for a while or until it is changed again.
pub struct LogLevel<C> {
    apply: Box<dyn Fn(&LogFilter) + Send + Sync>,
    usual: LogFilter,
    held: Mutex<Option<Held>>,
    clock: C,
}

/// What is logged in the place of the usual.
struct Held {
    filter: LogFilter,
    until: Option<(Instant, Timestamp)>,
    _end: Option<AbortOnDropHandle<()>>,
}

impl<C> fmt::Debug for LogLevel<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogLevel").field("usual", &self.usual).finish_non_exhaustive()
    }
}

impl<C: Clock + 'static> LogLevel<C> {
    /// Logs this as a rule; what else is wanted is applied.
    pub fn new(
        usual: LogFilter,
        apply: impl Fn(&LogFilter) + Send + Sync + 'static,
        clock: C,
    ) -> Self {
        Self { apply: Box::new(apply), usual, held: Mutex::default(), clock }
    }

    /// Returns what is logged now.
    #[must_use]
    pub fn logged(&self) -> Logged {
        let held = self.held();
        let filter = held.as_ref().map_or(&self.usual, |held| &held.filter).clone();
        let until = held.as_ref().and_then(|held| Some(held.until?.1));
        Logged { filter, usual: self.usual.clone(), until }
    }

    /// Has this logged, for so long or until it is changed again.
    ///
    /// It has to be called in tokio's runtime.
    pub fn set(self: &Arc<Self>, filter: LogFilter, hold: Option<Duration>, author: &Line) {
        let mut held = self.held();
        let until = hold.map(|hold| (self.clock.now() + hold, self.clock.wall().after(hold)));
        let end = hold.map(|hold| {
            let this = Arc::clone(self);
            AbortOnDropHandle::new(tokio::spawn(async move {
                sleep(hold).await;
                this.go_back();
            }))
        });
        // In between, what is logged less of could keep quiet about it.
        tracing::info!(%filter, for_seconds = hold.map(|hold| hold.as_secs()), %author, "log level");
        (self.apply)(&filter);
        *held = Some(Held { filter, until, _end: end });
    }

    /// Logs the usual again, unless somebody has wanted something else meanwhile.
    fn go_back(&self) {
        let mut held = self.held();
        let until = held.as_ref().and_then(|held| Some(held.until?.0));
        if until.is_some_and(|until| until <= self.clock.now()) {
            (self.apply)(&self.usual);
            tracing::info!(filter = %self.usual, "log level as usual");
            *held = None;
        }
    }

    fn held(&self) -> MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_alone_is_a_level() {
        for text in ["info", "off", "info,geostream_http=debug", "decision=trace,warn", "a::b2=off"]
        {
            assert_eq!(text.parse(), Ok(LogFilter(text.to_owned())));
        }
        let long = format!("info{}", ",a=info".repeat(200));
        for text in
            ["", "inof", "INFO", "info,", "a=", "=info", "a=b", "info debug", "a[b]=info", &long]
        {
            assert_eq!(text.parse::<LogFilter>(), Err(LogFilterError), "{text}");
        }
    }
}
