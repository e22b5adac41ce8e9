//! What needs an operator's attention although the node answers, as `/ready`, the status and the
//! metrics tell it.

use std::time::Duration;

use geostream_api::Warning;
use geostream_app::StoreState;
use geostream_domain::Timestamp;

/// The codes of all warnings, so that each has a metric that is 0 while its warning is absent.
pub(crate) const CODES: &[&str] = &[STORE_UNREADABLE, STORE_BEHIND];

const STORE_UNREADABLE: &str = "store-unreadable";
const STORE_BEHIND: &str = "store-behind";

/// Returns the warning that the store's state calls for.
pub(crate) fn of_store(store: &StoreState, now: Timestamp) -> Option<Warning> {
    match store {
        StoreState::Unread | StoreState::Current => None,
        StoreState::LastGood { saved, error } => {
            let age = age_in_words(now.since(*saved));
            let detail = format!("{error}; the configuration in use was saved {age} ago");
            Some(warning(STORE_UNREADABLE, detail))
        }
        StoreState::Behind(behind) => Some(warning(STORE_BEHIND, behind.to_string())),
        StoreState::Nothing { error } => Some(warning(STORE_UNREADABLE, error.clone())),
    }
}

fn warning(code: &str, detail: String) -> Warning {
    debug_assert!(CODES.contains(&code), "{code} is missing in CODES");
    Warning { code: code.to_owned(), detail }
}

fn age_in_words(age: Duration) -> String {
    match age.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}
