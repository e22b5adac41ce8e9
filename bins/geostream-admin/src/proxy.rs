//! Which proxy a server is asked through, by the variables that other programs use as well.

use std::env;

use ureq::Proxy;
use ureq::http::Uri;

/// A proxy, and the variable that names it.
#[derive(Clone, Debug)]
pub(crate) struct NamedProxy {
    pub(crate) proxy: Proxy,
    variable: &'static str,
}

impl std::fmt::Display for NamedProxy {
    /// Shows where it is, without its user and password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{} of {}", self.proxy.host(), self.proxy.port(), self.variable)
    }
}

/// Returns the variables that name a proxy for this scheme, the first of which is used.
///
/// `HTTPS_PROXY` is for `https` alone: the proxy of another scheme would read the token.
fn variables(scheme: Option<&str>) -> [&'static str; 4] {
    match scheme {
        Some("https") => ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"],
        _ => ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"],
    }
}

/// Returns the proxy through which a server is asked; one on this machine is asked directly.
pub(crate) fn of(server: &str, is_on_this_machine: bool) -> Option<NamedProxy> {
    choose(server, is_on_this_machine, |variable| env::var_os(variable)?.into_string().ok())
}

fn choose(
    server: &str,
    is_on_this_machine: bool,
    value: impl Fn(&str) -> Option<String>,
) -> Option<NamedProxy> {
    let uri: Uri = server.parse().ok()?;
    let named = |variable: &&'static str| value(variable).is_some_and(|text| !text.is_empty());
    let variable = variables(uri.scheme_str()).into_iter().find(|variable| named(variable))?;
    let proxy = Proxy::new(&value(variable)?).ok()?;
    let exceptions = value("NO_PROXY").or_else(|| value("no_proxy")).unwrap_or_default();
    let is_direct = is_on_this_machine || is_among(&uri, &exceptions, &proxy);
    (!is_direct).then_some(NamedProxy { proxy, variable })
}

/// Tells whether a server is among those that are asked directly.
fn is_among(uri: &Uri, exceptions: &str, proxy: &Proxy) -> bool {
    let exceptions = exceptions.split(',').map(str::trim).filter(|one| !one.is_empty());
    let builder = Proxy::builder(proxy.protocol()).host(proxy.host()).port(proxy.port());
    let excepting = exceptions.fold(builder, ureq::ProxyBuilder::no_proxy).build();
    excepting.is_ok_and(|proxy| proxy.is_no_proxy(uri))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_elsewhere_is_asked_through_the_proxy_of_its_scheme() {
        for (server, is_here, set, expected) in [
            ("http://10.0.0.1:8080", false, "HTTP_PROXY", Some("proxy:3128 of HTTP_PROXY")),
            ("http://10.0.0.1:8080", false, "http_proxy", Some("proxy:3128 of http_proxy")),
            ("http://10.0.0.1:8080", false, "HTTPS_PROXY", None),
            ("https://geo.example.com", false, "HTTPS_PROXY", Some("proxy:3128 of HTTPS_PROXY")),
            ("https://geo.example.com", false, "HTTP_PROXY", None),
            ("https://geo.example.com", false, "ALL_PROXY", Some("proxy:3128 of ALL_PROXY")),
            ("http://127.0.0.1:8080", true, "ALL_PROXY", None),
            ("http://127.0.0.1:8080", true, "HTTP_PROXY", None),
        ] {
            let value = |variable: &str| {
                (variable == set).then(|| "http://user:secret@proxy:3128".to_owned())
            };
            let chosen = choose(server, is_here, value).map(|proxy| proxy.to_string());
            assert_eq!(chosen.as_deref(), expected, "{server} {set}");
        }
    }

    #[test]
    fn exceptions_are_asked_directly() {
        for (exceptions, is_direct) in [
            ("geo.example.com", true),
            ("other.example.com, .example.com", true),
            ("*", true),
            ("other.example.com", false),
            ("", false),
        ] {
            let value = |variable: &str| match variable {
                "ALL_PROXY" => Some("http://proxy:3128".to_owned()),
                "NO_PROXY" => Some(exceptions.to_owned()),
                _ => None,
            };
            let chosen = choose("https://geo.example.com", false, value);
            assert_eq!(chosen.is_none(), is_direct, "{exceptions}");
        }
    }
}
