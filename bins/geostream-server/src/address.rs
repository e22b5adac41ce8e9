//! Addresses to listen on, as settings give them.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::Deserialize;

/// An address with a port; what is not one is refused with what to write instead.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct ListenAddress(pub(crate) SocketAddr);

/// The port that the errors name where none was given.
const USUAL_PORT: u16 = 8080;

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|_| instead_of(text))
    }
}

impl TryFrom<String> for ListenAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// Says what to write instead of a text that is no address with a port.
fn instead_of(text: &str) -> String {
    if let Some((scheme, _)) = text.split_once("://") {
        return format!(
            "an address is expected and no URL: write what is behind {scheme}://, such as \
             127.0.0.1:8080"
        );
    }
    if let Ok(address) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        return format!("no port: write {}, for example", SocketAddr::new(address, USUAL_PORT));
    }
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    match (host, port.parse::<u16>()) {
        ("" | "*" | "+", Ok(port)) => format!(
            "no address before the port: write 0.0.0.0:{port} for all IPv4 addresses of this \
             machine, [::]:{port} for those of IPv6 as well, or 127.0.0.1:{port} for this machine \
             alone"
        ),
        ("localhost", Ok(port)) => format!(
            "localhost is a name, and an address is expected: write 127.0.0.1:{port} or \
             [::1]:{port}"
        ),
        _ => "ADDRESS:PORT is expected, such as 127.0.0.1:8080, 0.0.0.0:8080 or [::1]:8080"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_address_is_refused_with_what_to_write() {
        for (text, expected) in [
            (":8080", "write 0.0.0.0:8080 for all IPv4 addresses of this machine, [::]:8080"),
            ("*:9000", "127.0.0.1:9000 for this machine alone"),
            ("9000", "write 0.0.0.0:9000"),
            ("127.0.0.1", "no port: write 127.0.0.1:8080"),
            ("::1", "write [::1]:8080"),
            ("[::1]", "write [::1]:8080"),
            ("localhost:81", "write 127.0.0.1:81"),
            ("http://127.0.0.1:8080", "write what is behind http://"),
            ("127.0.0.1:99999", "ADDRESS:PORT is expected"),
            (":", "ADDRESS:PORT is expected"),
            ("", "ADDRESS:PORT is expected"),
        ] {
            let refused = text.parse::<ListenAddress>().unwrap_err();
            assert!(refused.contains(expected), "{text}: {refused}");
        }
        for text in ["127.0.0.1:0", "[::]:8080"] {
            assert!(text.parse::<ListenAddress>().is_ok(), "{text}");
        }
    }
}
