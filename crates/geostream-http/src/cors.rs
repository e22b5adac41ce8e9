//! Cross-origin requests: which web pages may ask for a region from a browser (WHATWG Fetch,
//! section 3.3).

use std::str::FromStr;

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD,
    HeaderValue, ORIGIN, VARY,
};
use http::{Method, Request, Uri};
use serde::Deserialize;
use thiserror::Error;

use crate::body::no_content;
use crate::problem::Answer;
use crate::routes;

/// How long a browser keeps the answer to a preflight, in seconds: the longest that Chromium does.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");

/// What a page may send and read beside what every page may.
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST");
const REQUEST_HEADERS: HeaderValue =
    HeaderValue::from_static("Authorization, Content-Type, Traceparent");
const ANSWER_HEADERS: HeaderValue = HeaderValue::from_static("Retry-After, Traceparent");

/// The origin of a web page, such as `https://play.example.com`, or `*` for every page.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct AllowedOrigin(HeaderValue);

/// A text that is no origin.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "{0:?} is not an origin: a scheme, a host and perhaps a port are expected, without a path, as \
     in https://play.example.com, or * for all web pages"
)]
pub struct OriginError(String);

impl TryFrom<String> for AllowedOrigin {
    type Error = OriginError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl FromStr for AllowedOrigin {
    type Err = OriginError;

    /// Reads an origin; capital letters are taken as small ones, since browsers send small ones.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || OriginError(text.chars().take(64).collect());
        let small = text.to_ascii_lowercase();
        if small != "*" {
            let uri: Uri = small.parse().map_err(|_| error())?;
            let scheme = uri.scheme_str().ok_or_else(error)?;
            let authority = uri.authority().ok_or_else(error)?;
            let is_whole = small == format!("{scheme}://{authority}");
            if !is_whole || authority.as_str().contains('@') {
                return Err(error());
            }
        }
        HeaderValue::try_from(small).map(Self).map_err(|_| error())
    }
}

/// The web pages that may ask for regions from a browser; none by default.
#[derive(Clone, Debug, Default)]
pub struct AllowedOrigins(Vec<AllowedOrigin>);

impl AllowedOrigins {
    /// Permits pages of these origins.
    #[must_use]
    pub fn new(origins: Vec<AllowedOrigin>) -> Self {
        Self(origins)
    }

    /// Judges a request by the page that sends it; `None` where no page has to be told.
    pub(crate) fn judge<B>(&self, request: &Request<B>) -> Option<Verdict> {
        if self.0.is_empty() || !routes::is_for_decisions(request.uri().path()) {
            return None;
        }
        let origin = request.headers().get(ORIGIN);
        let is_it = |allowed: &&AllowedOrigin| allowed.0 == "*" || Some(&allowed.0) == origin;
        let allowed = self.0.iter().find(is_it).filter(|_| origin.is_some());
        let asks = request.method() == Method::OPTIONS
            && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        Some(Verdict { allowed: allowed.map(|origin| origin.0.clone()), is_preflight: asks })
    }
}

/// Whether the page that sends a request may read the answer.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// What names the page in the answer, if it may.
    allowed: Option<HeaderValue>,
    is_preflight: bool,
}

impl Verdict {
    /// Answers a browser that asks whether a page may send a request, if it may.
    pub(crate) fn preflight(&self) -> Option<Answer> {
        self.allowed.as_ref().filter(|_| self.is_preflight)?;
        let mut answer = no_content();
        let headers = answer.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS);
        headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        Some(answer)
    }

    /// Tells a browser whether the page may read this answer.
    pub(crate) fn tell(self, answer: &mut Answer) {
        let headers = answer.headers_mut();
        // A cache must not hand the answer for one page to another.
        headers.append(VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = self.allowed {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, ANSWER_HEADERS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(texts: &[&str]) -> AllowedOrigins {
        AllowedOrigins::new(texts.iter().map(|text| text.parse().unwrap()).collect())
    }

    fn request(method: &str, path: &str, origin: &str) -> Request<()> {
        let request = Request::builder().method(method).uri(path).header(ORIGIN, origin);
        request.header(ACCESS_CONTROL_REQUEST_METHOD, "POST").body(()).unwrap()
    }

    #[test]
    fn an_origin_is_a_scheme_a_host_and_perhaps_a_port() {
        for (text, read) in [
            ("*", Some("*")),
            ("https://play.example.com", Some("https://play.example.com")),
            ("HTTPS://Play.Example.com:8443", Some("https://play.example.com:8443")),
            ("http://[::1]:3000", Some("http://[::1]:3000")),
            ("https://play.example.com/", None),
            ("https://play.example.com/game", None),
            ("https://*.example.com/*", None),
            ("https://user@example.com", None),
            ("play.example.com", None),
            ("null", None),
            ("", None),
        ] {
            let origin = text.parse::<AllowedOrigin>().ok();
            let written = origin.as_ref().map(|origin| origin.0.to_str().unwrap());
            assert_eq!(written, read, "{text}");
        }
    }

    #[test]
    fn only_pages_of_allowed_origins_ask_and_only_for_decisions() {
        let one = origins(&["https://a.example"]);
        let all = origins(&["*"]);
        for (origins, path, origin, allowed) in [
            (&one, "/api/v1/route", "https://a.example", Some("https://a.example")),
            (&one, "/api/v1/route/batch", "https://a.example", Some("https://a.example")),
            (&one, "/api/v1/route?service=api", "https://a.example", Some("https://a.example")),
            (&one, "/api/v1/route", "https://b.example", None),
            (&one, "/api/v1/route", "https://a.example.evil", None),
            (&one, "/api/v1/route", "null", None),
            (&one, "/api/v1/config", "https://a.example", None),
            (&one, "/metrics", "https://a.example", None),
            (&all, "/api/v1/route", "https://b.example", Some("*")),
            (&all, "/api/v1/tokens", "https://b.example", None),
            (&AllowedOrigins::default(), "/api/v1/route", "https://a.example", None),
        ] {
            let request = request("OPTIONS", path, origin);
            let verdict = origins.judge(&request);
            let preflight = verdict.as_ref().and_then(Verdict::preflight);
            assert_eq!(preflight.is_some(), allowed.is_some(), "{path} {origin}");
            let mut answer = preflight.unwrap_or_default();
            if let Some(verdict) = verdict {
                verdict.tell(&mut answer);
            }
            let named = answer.headers().get(ACCESS_CONTROL_ALLOW_ORIGIN);
            assert_eq!(named.map(|name| name.to_str().unwrap()), allowed, "{path} {origin}");
        }
        let one = origins(&["https://a.example"]);
        let no_preflight = request("POST", "/api/v1/route", "https://a.example");
        assert!(one.judge(&no_preflight).unwrap().preflight().is_none());
    }
}
