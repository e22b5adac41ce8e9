//! What needs an operator's attention although the node answers, as `/ready`, the status and the
//! metrics tell it.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use geostream_api::{Time, Warning};
use geostream_app::{Doubts, Reachability, StoreState};
use geostream_domain::{RegionId, Timestamp};

/// The codes of all warnings, so that each has a metric that is 0 while its warning is absent.
pub(crate) const CODES: &[&str] = &[
    STORE_UNREADABLE,
    STORE_BEHIND,
    TARGETS_FORBIDDEN,
    NOTHING_ANSWERS,
    REGIONS_ABSTAINED,
    PROXY_NOT_TRUSTED,
];

const STORE_UNREADABLE: &str = "store-unreadable";
const STORE_BEHIND: &str = "store-behind";
const TARGETS_FORBIDDEN: &str = "reachability-targets-forbidden";
const NOTHING_ANSWERS: &str = "nothing-answers";
const REGIONS_ABSTAINED: &str = "regions-abstained";
const PROXY_NOT_TRUSTED: &str = "proxy-not-trusted";

/// The most regions that a warning names.
const NAMED: usize = 5;

/// What helps where nothing corroborates that regions are dead.
const LOOK_AT: &str = "look at the regions and at this node's network; reachability targets \
                       (settings.reachability_targets) tell a loss of regions from a fault of this \
                       node: configure some if there are none";

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

/// Returns the warning that reachability targets call for which the node may not probe.
pub(crate) fn of_targets(reachability: &Reachability) -> Option<Warning> {
    let forbidden: Vec<_> = reachability.forbidden.iter().map(ToString::to_string).collect();
    let detail = format!(
        "this node leaves out the reachability targets {}, which are not public addresses; permit \
         their networks with probe.networks in its settings",
        forbidden.join(", ")
    );
    (!forbidden.is_empty()).then(|| warning(TARGETS_FORBIDDEN, detail))
}

/// Returns the warning that nothing answers this node's probes.
pub(crate) fn of_loss(doubts: &Doubts, now: Instant, wall: Timestamp) -> Option<Warning> {
    let age = now.saturating_duration_since(doubts.unanswered(now)?);
    let since = Time(wall.before(age));
    let lasts = age_in_words(age);
    let detail = format!(
        "no probe of a region or reachability target has succeeded since {since} ({lasts}); this node \
         removes no region for that; {LOOK_AT}"
    );
    Some(warning(NOTHING_ANSWERS, detail))
}

/// Returns the warning that this node abstains from regions.
pub(crate) fn of_abstaining(doubts: &Doubts, now: Instant) -> Option<Warning> {
    let named: Vec<_> = doubts.abstained(now).take(NAMED).map(RegionId::as_str).collect();
    if named.is_empty() {
        return None;
    }
    let more = match doubts.abstained(now).count() - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let named = named.join(", ");
    let detail = format!(
        "probes fail at {named}{more}, and nothing corroborates that they are dead: this node does not \
         remove them; {LOOK_AT}"
    );
    Some(warning(REGIONS_ABSTAINED, detail))
}

/// Returns the warning that a proxy forwards requests and is not trusted.
pub(crate) fn of_proxy(proxy: IpAddr) -> Warning {
    let detail = format!(
        "requests with X-Forwarded-For come from {proxy}, which http.trusted_proxies does not name: \
         their clients are all taken to be there; name it if it is a proxy of yours that sets the header"
    );
    warning(PROXY_NOT_TRUSTED, detail)
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
