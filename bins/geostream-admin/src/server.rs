//! The server's URL, as it is given.

use std::net::IpAddr;

use ureq::http::Uri;

/// Reads the URL of a server.
///
/// On this machine, `http` is meant where no scheme is given. For another one the scheme has to be
/// written, since `http` would show the token to the network.
pub(crate) fn read_server(text: &str) -> Result<String, String> {
    let text = text.trim();
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, text),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let is_known = scheme.is_none_or(|scheme| {
        scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
    });
    if !is_known {
        return Err(format!("the scheme is http or https: write https://{authority}"));
    }
    if authority.is_empty() || authority.starts_with(':') {
        return Err(format!("no host: write http://127.0.0.1{authority}, for example"));
    }
    if rest.contains(['?', '#']) {
        return Err(format!("a server's URL has no query: write {}", example(scheme, authority)));
    }
    if let Some((server, _)) = rest.split_once("/api/v1") {
        let server = example(scheme, server);
        return Err(format!("the server's URL is expected and no endpoint's: write {server}"));
    }
    let url = match scheme {
        Some(_) => text.to_owned(),
        None if is_on_this_machine(&format!("http://{text}")) => format!("http://{text}"),
        None => {
            return Err(format!(
                "no scheme: write https://{text}, or http://{text} where the network is trusted \
                 with the token"
            ));
        }
    };
    match url.parse::<Uri>() {
        Ok(uri) if uri.host().is_some_and(|host| !host.is_empty()) => Ok(url),
        Ok(_) | Err(_) => Err("a URL is expected, such as https://geo.example.com:8080".to_owned()),
    }
}

fn example(scheme: Option<&str>, rest: &str) -> String {
    format!("{}://{rest}", scheme.unwrap_or("https"))
}

/// Tells whether a server is on this machine, by its URL.
pub(crate) fn is_on_this_machine(server: &str) -> bool {
    let Ok(uri) = server.parse::<Uri>() else { return false };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let is_loopback = |address: IpAddr| address.is_loopback();
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(is_loopback)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_on_this_machine_needs_no_scheme() {
        for (text, url) in [
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("localhost", "http://localhost"),
            ("LOCALHOST:1/", "http://LOCALHOST:1/"),
            ("[::1]:8080", "http://[::1]:8080"),
            (" http://127.0.0.1:8080 ", "http://127.0.0.1:8080"),
            ("https://geo.example.com", "https://geo.example.com"),
            ("HTTPS://geo.example.com/geostream", "HTTPS://geo.example.com/geostream"),
        ] {
            assert_eq!(read_server(text).as_deref(), Ok(url), "{text}");
        }
    }

    #[test]
    fn what_is_no_url_of_a_server_is_refused_with_what_to_write() {
        for (text, expected) in [
            ("geo.example.com", "write https://geo.example.com, or http://geo.example.com where"),
            ("10.0.0.1:8080", "write https://10.0.0.1:8080, or"),
            ("localhost.example.com", "no scheme"),
            ("ftp://geo.example.com/x", "write https://geo.example.com"),
            ("htp://127.0.0.1:1", "write https://127.0.0.1:1"),
            (":8080", "write http://127.0.0.1:8080"),
            ("", "no host"),
            ("http://", "no host"),
            ("localhost@example.com", "no scheme"),
            ("https://geo.example.com/?a=b", "write https://geo.example.com"),
            ("https://geo.example.com/api/v1/route", "write https://geo.example.com"),
            ("https://geo example", "a URL is expected"),
        ] {
            let refused = read_server(text).unwrap_err();
            assert!(refused.contains(expected), "{text}: {refused}");
        }
    }
}
