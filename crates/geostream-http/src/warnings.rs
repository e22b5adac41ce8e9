//! What needs an operator's attention although the node answers, as `/ready`, the status and the
//! metrics tell it.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use geostream_api::{Time, Warning};
use geostream_app::{
    AdminsEnd, Doubts, KeptFiles, Reachability, StoreState, StoreTroubles, Trouble,
    UnassignedCountry,
};
use geostream_domain::{KnownSkew, RegionId, Skew, Skews, Timestamp};
use geostream_ports::GeoDatabase;
use geostream_tls::ServerIdentity;
use http::header::HeaderName;

/// The codes of all warnings, so that each has a metric that is 0 while its warning is absent.
pub(crate) const CODES: &[&str] = &[
    STORE_UNREADABLE,
    STORE_BEHIND,
    STORE_READ_ONLY,
    COMMITS_LOST,
    LAST_GOOD_NOT_WRITTEN,
    KNOWN_TOKENS_NOT_WRITTEN,
    ADMIN_TOKENS_END,
    CLOCK_SKEW,
    TARGETS_FORBIDDEN,
    UNASSIGNED_COUNTRIES,
    GEOIP_REFUSED,
    CERTIFICATE_EXPIRES,
    CERTIFICATE_REFUSED,
    NOTHING_ANSWERS,
    REGIONS_ABSTAINED,
    PROXY_NOT_TRUSTED,
];

const STORE_UNREADABLE: &str = "store-unreadable";
const STORE_BEHIND: &str = "store-behind";
const STORE_READ_ONLY: &str = "store-read-only";
const COMMITS_LOST: &str = "commits-lost";
const LAST_GOOD_NOT_WRITTEN: &str = "last-good-not-written";
const KNOWN_TOKENS_NOT_WRITTEN: &str = "known-tokens-not-written";
const ADMIN_TOKENS_END: &str = "admin-tokens-end";
const CLOCK_SKEW: &str = "clock-skew";
const TARGETS_FORBIDDEN: &str = "reachability-targets-forbidden";
const UNASSIGNED_COUNTRIES: &str = "unassigned-countries";
const GEOIP_REFUSED: &str = "geoip-refused";
const CERTIFICATE_EXPIRES: &str = "certificate-expires";
const CERTIFICATE_REFUSED: &str = "certificate-refused";
const NOTHING_ANSWERS: &str = "nothing-answers";
const REGIONS_ABSTAINED: &str = "regions-abstained";
const PROXY_NOT_TRUSTED: &str = "proxy-not-trusted";

/// The most regions that a warning names.
const NAMED: usize = 5;

/// What helps where nothing corroborates that regions are dead.
const LOOK_AT: &str = "look at the regions and at this node's network; reachability targets \
                       (settings.reachability_targets) tell a loss of regions from a fault of this \
                       node: configure some if there are none";

/// Returns the warning that admin tokens end; their names are not told, since no token is needed to
/// read it.
pub(crate) fn of_admins(end: Option<AdminsEnd>) -> Option<Warning> {
    let detail = match end? {
        AdminsEnd::Soon(number, first) => format!(
            "{number} admin token(s) will expire within a week, the first at {}; make others with \
             geostream-admin token add",
            Time(first)
        ),
        AdminsEnd::AllEnded(last) => format!(
            "every admin token has expired, the last at {}; start the server once with \
             --new-admin-token",
            Time(last)
        ),
    };
    Some(Warning { code: ADMIN_TOKENS_END.to_owned(), detail })
}

/// Returns the warnings that the server's certificate calls for, by the node's own clock.
pub(crate) fn of_certificate(identity: &ServerIdentity, now: Timestamp) -> Vec<Warning> {
    let validity = identity.validity();
    let end = Timestamp::EPOCH.after(validity.not_after);
    let is_overdue = now >= Timestamp::EPOCH.after(validity.overdue());
    let files = identity.files();
    let expiry = is_overdue.then(|| {
        let end = if now > end {
            format!("expired at {}: clients refuse it", Time(end))
        } else {
            format!("expires at {}", Time(end))
        };
        format!(
            "the TLS certificate {end}; put a new one into {} and its key into {}, which are read \
             again within seconds",
            files.certificates.display(),
            files.key.display()
        )
    });
    let refusal = identity.refusal().map(|refusal| {
        format!(
            "the TLS certificate or key on disk is not used, and the one before it is: {refusal}"
        )
    });
    let expiry = expiry.map(|detail| warning(CERTIFICATE_EXPIRES, detail));
    let refusal = refusal.map(|detail| warning(CERTIFICATE_REFUSED, detail));
    expiry.into_iter().chain(refusal).collect()
}

/// Returns the warnings that the store calls for, by what is decided by and by how it is now.
pub(crate) fn of_store(
    state: &StoreState,
    troubles: &StoreTroubles,
    now: Timestamp,
) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if let Some(detail) = unreadable(state, troubles, now) {
        warnings.push(warning(STORE_UNREADABLE, detail));
    }
    if let StoreState::Behind(behind) = state {
        warnings.push(warning(STORE_BEHIND, behind.to_string()));
    }
    if let (None, Some(trouble)) = (&troubles.reading, &troubles.writing) {
        let detail = format!("the store takes no writes: {}", in_words(trouble, now));
        warnings.push(warning(STORE_READ_ONLY, detail));
    }
    warnings
}

/// Returns the warnings that the files of the data directory call for.
pub(crate) fn of_directory(files: &KeptFiles, now: Timestamp) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if let Some(detail) = lost(files, now) {
        warnings.push(warning(COMMITS_LOST, detail));
    }
    if let Some(trouble) = &files.last_good_trouble {
        let error = in_words(trouble, now);
        let on_disk = match files.last_good {
            Some((revision, at)) => {
                let age = age_in_words(now.since(at));
                format!("would go back to revision {revision}, written {age} ago")
            }
            None => "would have no configuration".to_owned(),
        };
        let detail = format!(
            "last-good.json cannot be written: {error}; a start without the store {on_disk}"
        );
        warnings.push(warning(LAST_GOOD_NOT_WRITTEN, detail));
    }
    if let Some(trouble) = &files.tokens_trouble {
        let error = in_words(trouble, now);
        let detail = format!(
            "known-tokens.json cannot be written: {error}; after a start without the store, no \
             token would be valid"
        );
        warnings.push(warning(KNOWN_TOKENS_NOT_WRITTEN, detail));
    }
    warnings
}

fn lost(files: &KeptFiles, now: Timestamp) -> Option<String> {
    let unwritten = files.lost_trouble.as_ref().map(|trouble| {
        format!(
            "the log of this node names commits that the store has lost; they cannot be written to \
             the data directory: {}",
            in_words(trouble, now)
        )
    });
    let written = (!files.lost.is_empty()).then(|| {
        format!(
            "the store's log lacks commits that this node has decided by: see {} in its data \
             directory, make again what is still wanted, and remove the files",
            files.lost.join(", ")
        )
    });
    match (written, unwritten) {
        (Some(written), Some(unwritten)) => Some(format!("{written}; {unwritten}")),
        (written, unwritten) => written.or(unwritten),
    }
}

fn unreadable(state: &StoreState, troubles: &StoreTroubles, now: Timestamp) -> Option<String> {
    let saved = match state {
        StoreState::LastGood { saved, .. } => {
            let age = age_in_words(now.since(*saved));
            format!("; the configuration in use was saved {age} ago")
        }
        StoreState::Unread
        | StoreState::Current
        | StoreState::Behind(_)
        | StoreState::Nothing { .. } => String::new(),
    };
    if let Some(trouble) = &troubles.reading {
        return Some(format!("the store cannot be read: {}{saved}", in_words(trouble, now)));
    }
    match state {
        // The store can be read by now, and what it has is not in use yet.
        StoreState::LastGood { error, .. } | StoreState::Nothing { error } => {
            Some(format!("the store could not be read at the start: {error}{saved}"))
        }
        StoreState::Unread | StoreState::Current | StoreState::Behind(_) => None,
    }
}

/// Says what fails and since when.
fn in_words(Trouble { since, error }: &Trouble, now: Timestamp) -> String {
    let age = age_in_words(now.since(*since));
    format!("{error} (since {}, {age} ago)", Time(*since))
}

/// Returns the warning that geofences call for which name codes that no country has.
pub(crate) fn of_fences(unassigned: &[UnassignedCountry]) -> Option<Warning> {
    let named: Vec<_> = unassigned.iter().take(NAMED).map(ToString::to_string).collect();
    let more = unassigned.len() - named.len();
    let more = if more == 0 { String::new() } else { format!(", and {more} more") };
    let detail = format!(
        "rules of an earlier version name codes that no country has, so they hold for no client of \
         it; put the services again with the right codes: {}{more}",
        named.join("; ")
    );
    (!unassigned.is_empty()).then(|| warning(UNASSIGNED_COUNTRIES, detail))
}

/// Returns the warning that GeoIP files call for which cannot be used.
pub(crate) fn of_geoip(files: &[GeoDatabase]) -> Option<Warning> {
    let refused = files.iter().filter(|file| !file.is_of_no_use);
    let refused: Vec<_> = refused
        .filter_map(|file| Some(format!("{}: {}", file.path, file.refused.as_ref()?)))
        .take(NAMED)
        .collect();
    let detail = format!(
        "GeoIP files are missing, damaged or of an unknown layout; what was in use before stays: {}",
        refused.join("; ")
    );
    (!refused.is_empty()).then(|| warning(GEOIP_REFUSED, detail))
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
pub(crate) fn of_proxy(proxy: IpAddr, header: &HeaderName) -> Warning {
    let detail = format!(
        "requests with the header {header} come from {proxy}, which http.trusted_proxies does not name: \
         their clients are all taken to be there; name it if it is a proxy of yours that sets the header"
    );
    warning(PROXY_NOT_TRUSTED, detail)
}

/// Writes `2 h ahead of` or `2 h behind` another clock.
fn beside(skew: Skew, other: &str) -> String {
    if skew.is_ahead() { format!("{skew} of {other}") } else { format!("{skew} {other}") }
}

/// Returns the warning that the skews of the node's clock call for.
pub(crate) fn of_clocks(skews: &Skews) -> Option<Warning> {
    let beyond = |known: Option<KnownSkew>| known.filter(|known| known.is_beyond);
    let against = [
        ("the store's clock", beyond(skews.store)),
        ("the cache's clock", beyond(skews.cache)),
        ("the clocks of most other nodes", beyond(skews.peers)),
    ];
    let differences: Vec<_> =
        against.into_iter().filter_map(|(other, known)| Some(beside(known?.skew, other))).collect();
    if differences.is_empty() {
        return None;
    }
    let follows = match skews.store {
        Some(_) => {
            "this node judges overrides by the store's clock all the same; after a restart without \
             the store it would judge them by its own"
        }
        None => {
            "the store's clock has not been read since the start, so overrides are judged by this \
             node's and end too early or too late"
        }
    };
    let detail = format!(
        "this node's clock is {}; {follows}; its logs and checks of certificates go by its own; set \
         the clock (timedatectl status, chronyc tracking), or, if every node says this, that of \
         the other server",
        differences.join(", ")
    );
    Some(warning(CLOCK_SKEW, detail))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn known(millis: i64, is_beyond: bool) -> KnownSkew {
        let skew = Skew::from_millis(millis);
        KnownSkew { skew, settled: skew, is_beyond }
    }

    #[test]
    fn a_wrong_clock_is_told_with_its_direction_and_what_it_differs_from() {
        let store = Some(known(-7_200_000, true));
        let skews = Skews { store, cache: Some(known(3, false)), peers: None };
        let warning = of_clocks(&skews).expect("it is two hours off");
        assert_eq!(warning.code, "clock-skew");
        assert!(warning.detail.starts_with("this node's clock is 2 h behind the store's clock;"));
        assert!(!warning.detail.contains("cache"), "{}", warning.detail);
        let ahead = Some(known(90_000, true));
        let skews = Skews { store: None, cache: ahead, peers: ahead };
        let warning = of_clocks(&skews).expect("it is ahead");
        assert!(
            warning.detail.contains("90 s ahead of the cache's clock, 90 s ahead of the clocks")
        );
        assert!(warning.detail.contains("has not been read since the start"));
        let skews = Skews { store: Some(known(900, false)), ..Skews::default() };
        assert_eq!(of_clocks(&skews), None);
    }
}
