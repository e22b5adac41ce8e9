//! Settings in the environment, which the server and the command line read by one prefix.

use crate::remedy::distance;

/// What the variables of GeoStream begin with.
pub const PREFIX: &str = "GEOSTREAM_";

/// The variables that the server reads.
pub const SERVER_VARIABLES: &[&str] = &[
    "GEOSTREAM_AUDIT_DAYS",
    "GEOSTREAM_AUDIT_RECORDS",
    "GEOSTREAM_BODY_TIMEOUT_SECONDS",
    "GEOSTREAM_BOOTSTRAP",
    "GEOSTREAM_CACHE",
    "GEOSTREAM_CACHE_PASSWORD_FILE",
    "GEOSTREAM_CLIENT_ADDRESS",
    "GEOSTREAM_CONFIG",
    "GEOSTREAM_CONTROL_LISTEN",
    "GEOSTREAM_CONTROL_PROXY_PROTOCOL",
    "GEOSTREAM_CORS_ORIGIN",
    "GEOSTREAM_DATA_DIR",
    "GEOSTREAM_DRAIN_TIMEOUT_SECONDS",
    "GEOSTREAM_GEOIP_FILE",
    "GEOSTREAM_GEOIP_REFRESH_SECONDS",
    "GEOSTREAM_HEADER_TIMEOUT_SECONDS",
    "GEOSTREAM_HEALTH_DAYS",
    "GEOSTREAM_LISTEN",
    "GEOSTREAM_LOG",
    "GEOSTREAM_LOG_FORMAT",
    "GEOSTREAM_MAX_CONNECTIONS",
    "GEOSTREAM_MAX_CONNECTIONS_PER_NETWORK",
    "GEOSTREAM_METRICS_LISTEN",
    "GEOSTREAM_METRICS_PROXY_PROTOCOL",
    "GEOSTREAM_NODE",
    "GEOSTREAM_PROBE_AUTHORITIES",
    "GEOSTREAM_PROBE_CANARY",
    "GEOSTREAM_PROBE_NETWORK",
    "GEOSTREAM_PROXY_PROTOCOL",
    "GEOSTREAM_REQUESTS_PER_SECOND",
    "GEOSTREAM_REQUESTS_PER_SECOND_PER_TOKEN",
    "GEOSTREAM_SHUTDOWN_DELAY_SECONDS",
    "GEOSTREAM_STORE",
    "GEOSTREAM_STORE_PASSWORD_FILE",
    "GEOSTREAM_TLS_CERTIFICATE",
    "GEOSTREAM_TLS_KEY",
    "GEOSTREAM_TRACE_ENDPOINT",
    "GEOSTREAM_TRACE_PARENT_BASED",
    "GEOSTREAM_TRACE_PROTOCOL",
    "GEOSTREAM_TRACE_RATIO",
    "GEOSTREAM_TRUSTED_PROXY",
    "GEOSTREAM_WORKERS",
];

/// The variables that the command line reads.
pub const COMMAND_LINE_VARIABLES: &[&str] = &[
    "GEOSTREAM_CA_FILE",
    "GEOSTREAM_DATA_DIR",
    "GEOSTREAM_SERVER",
    "GEOSTREAM_STORE",
    "GEOSTREAM_STORE_PASSWORD_FILE",
    "GEOSTREAM_TOKEN",
    "GEOSTREAM_TOKEN_FILE",
];

/// The variables that files in `deploy/` and `cargo xtask` read, in the environment of a person.
const OTHER_VARIABLES: &[&str] =
    &["GEOSTREAM_DB_PASSWORD", "GEOSTREAM_GEOIP_DIR", "GEOSTREAM_REACHABILITY_TARGETS"];

/// Warns of variables that have GeoStream's prefix and that no program reads, if there are any: in
/// one text, with the nearest known name of each.
///
/// Values do not appear in it, since a variable may hold a secret.
#[must_use]
pub fn unknown_variables(
    environment: impl IntoIterator<Item = (String, String)>,
) -> Option<String> {
    let mut unknown: Vec<String> = environment
        .into_iter()
        .filter(|(name, value)| name.starts_with(PREFIX) && !is_of_kubernetes(name, value))
        .map(|(name, _)| name)
        .filter(|name| !known().any(|known| known == name))
        .collect();
    unknown.sort_unstable();
    let described = unknown.iter().map(|name| {
        let nearest = known().min_by_key(|known| distance(known, &name.to_uppercase()));
        let nearest = nearest.unwrap_or_default();
        format!("{} (the nearest name is {nearest})", name.escape_debug())
    });
    let described: Vec<String> = described.collect();
    (!described.is_empty()).then(|| {
        let variables = if described.len() == 1 { "variable is" } else { "variables are" };
        format!("unknown environment {variables} ignored: {}", described.join(", "))
    })
}

fn known() -> impl Iterator<Item = &'static str> {
    let read = SERVER_VARIABLES.iter().chain(COMMAND_LINE_VARIABLES);
    read.chain(OTHER_VARIABLES).copied()
}

/// Tells whether Kubernetes sets such a variable in each pod beside a Service whose name begins with
/// `geostream`: `GEOSTREAM_SERVICE_HOST`, `GEOSTREAM_SERVICE_PORT_HTTP`,
/// `GEOSTREAM_PORT=tcp://10.0.0.1:8080`, `GEOSTREAM_PORT_8080_TCP_ADDR`.
fn is_of_kubernetes(name: &str, value: &str) -> bool {
    let is_service = name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_");
    let is_link = name.ends_with("_PORT")
        && ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme));
    is_service || is_link || is_part_of_link(name)
}

/// Tells whether a name ends with `_PORT_8080_TCP`, or goes on from there as container links do.
fn is_part_of_link(name: &str) -> bool {
    let endings = ["_PROTO", "_PORT", "_ADDR"];
    let base = endings.iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name);
    let protocols = ["_TCP", "_UDP", "_SCTP"];
    let Some(rest) = protocols.iter().find_map(|protocol| base.strip_suffix(protocol)) else {
        return false;
    };
    let Some((before, port)) = rest.rsplit_once('_') else { return false };
    before.ends_with("_PORT") && port.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warning(variables: &[(&str, &str)]) -> Option<String> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        unknown_variables(variables.iter().map(owned))
    }

    #[test]
    fn an_unknown_variable_is_named_with_the_nearest_one_and_without_its_value() {
        for (name, nearest) in [
            ("GEOSTREAM_LISTN", "GEOSTREAM_LISTEN"),
            ("GEOSTREAM_Listen", "GEOSTREAM_LISTEN"),
            ("GEOSTREAM_TOKENFILE", "GEOSTREAM_TOKEN_FILE"),
            ("GEOSTREAM_TRUSTED_PROXIES", "GEOSTREAM_TRUSTED_PROXY"),
            ("GEOSTREAM_DATADIR", "GEOSTREAM_DATA_DIR"),
        ] {
            let told = warning(&[(name, "gs_secret")]).unwrap();
            let expected = format!("variable is ignored: {name} (the nearest name is {nearest})");
            assert!(told.ends_with(&expected), "{told}");
        }
        let two = warning(&[("GEOSTREAM_STOR", "x"), ("GEOSTREAM_LGO", "y"), ("PATH", "z")]);
        let two = two.unwrap();
        assert!(two.contains("variables are ignored: GEOSTREAM_LGO (") && two.contains("), GEO"));
    }

    #[test]
    fn known_variables_and_those_of_kubernetes_are_passed_over() {
        for (name, value) in [
            ("GEOSTREAM_LISTEN", "127.0.0.1:8080"),
            ("GEOSTREAM_TOKEN", "gs_x"),
            ("GEOSTREAM_DB_PASSWORD", "x"),
            ("GEOSTREAM_SERVICE_HOST", "10.0.0.1"),
            ("GEOSTREAM_SERVICE_PORT", "8080"),
            ("GEOSTREAM_SERVICE_PORT_HTTP", "8080"),
            ("GEOSTREAM_PORT", "tcp://10.0.0.1:8080"),
            ("GEOSTREAM_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
            ("GEOSTREAM_PORT_8080_TCP_PROTO", "tcp"),
            ("GEOSTREAM_PORT_8080_TCP_PORT", "8080"),
            ("GEOSTREAM_PORT_53_UDP_ADDR", "10.0.0.1"),
            ("GEOSTREAM_CONTROL_SERVICE_HOST", "10.0.0.1"),
            ("GEOSTREAM_CONTROL_PORT_8081_TCP_ADDR", "10.0.0.1"),
            ("HOME", "/root"),
        ] {
            assert_eq!(warning(&[(name, value)]), None, "{name}");
        }
        assert!(warning(&[("GEOSTREAM_PORT", "8080")]).is_some(), "a person has set this one");
        assert!(warning(&[("GEOSTREAM_PORT_HTTP_TCP", "x")]).is_some());
    }
}
