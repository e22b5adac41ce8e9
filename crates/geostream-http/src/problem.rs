//! Errors as answers.

use std::time::Duration;

use bytes::Bytes;
use geostream_api::{Explanation, FieldError, FieldErrors, Problem, Time, pointer_in_service};
use geostream_app::{AccessError, ForbiddenProbe, RouteError, UnassignedCountry, WriteError};
use geostream_domain::{ConfigError, GrantError, NoRegion, RegionId, Timestamp, WiderError};
use geostream_ports::{Chain, ImportError, Unavailable};
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{Response, StatusCode};

use crate::content::Content;

/// What every response is made of.
pub(crate) type Answer = Response<Content>;

/// An error on its way to the client.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: Kind,
    detail: String,
    errors: Vec<FieldError>,
    /// The methods of the path, if the request's is not one of them.
    allow: Option<Box<str>>,
    /// How many seconds to wait before asking again.
    retry_after: Option<u64>,
    /// Every region's fate, if it was asked for and none can serve the client.
    explanation: Option<Box<Explanation>>,
}

/// The kinds of problem: each has a stable `type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    InvalidRequest,
    Unauthorized,
    Forbidden,
    Geofenced,
    NotFound,
    UnknownService,
    MethodNotAllowed,
    RequestTimeout,
    InUse,
    LastRegion,
    RevisionConflict,
    PayloadTooLarge,
    UnsupportedMediaType,
    InvalidConfiguration,
    ProbeForbidden,
    EndsInPast,
    RevisionRequired,
    NoRegion,
    TooManyRequests,
    TooManyListeners,
    Busy,
    NotReady,
    StoreUnavailable,
    Internal,
}

impl Kind {
    /// Every kind.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 24] = [
        Self::InvalidRequest,
        Self::Unauthorized,
        Self::Forbidden,
        Self::Geofenced,
        Self::NotFound,
        Self::UnknownService,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::InUse,
        Self::LastRegion,
        Self::RevisionConflict,
        Self::PayloadTooLarge,
        Self::UnsupportedMediaType,
        Self::InvalidConfiguration,
        Self::ProbeForbidden,
        Self::EndsInPast,
        Self::RevisionRequired,
        Self::NoRegion,
        Self::TooManyRequests,
        Self::TooManyListeners,
        Self::Busy,
        Self::NotReady,
        Self::StoreUnavailable,
        Self::Internal,
    ];

    fn described(self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::InvalidRequest => (S::BAD_REQUEST, "invalid-request", "The request is invalid"),
            Self::Unauthorized => (S::UNAUTHORIZED, "unauthorized", "A valid token is needed"),
            Self::Forbidden => (S::FORBIDDEN, "forbidden", "The request is not permitted"),
            Self::Geofenced => {
                (S::FORBIDDEN, "geofenced", "The geofence permits no region to this client")
            }
            Self::NotFound => (S::NOT_FOUND, "not-found", "There is no such thing"),
            Self::UnknownService => (S::NOT_FOUND, "unknown-service", "There is no such service"),
            Self::MethodNotAllowed => {
                (S::METHOD_NOT_ALLOWED, "method-not-allowed", "The path has no such method")
            }
            Self::RequestTimeout => {
                (S::REQUEST_TIMEOUT, "request-timeout", "The request took too long to arrive")
            }
            Self::InUse => (S::CONFLICT, "in-use", "Something else still needs it"),
            Self::LastRegion => {
                (S::CONFLICT, "last-region", "No region would be left that can serve")
            }
            Self::RevisionConflict => {
                (S::PRECONDITION_FAILED, "revision-conflict", "Somebody else has written since")
            }
            Self::PayloadTooLarge => {
                (S::PAYLOAD_TOO_LARGE, "payload-too-large", "The body is too large")
            }
            Self::UnsupportedMediaType => {
                (S::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "The body is not JSON")
            }
            Self::InvalidConfiguration => (
                S::UNPROCESSABLE_ENTITY,
                "invalid-configuration",
                "The result would not be a valid configuration",
            ),
            Self::ProbeForbidden => (
                S::UNPROCESSABLE_ENTITY,
                "probe-forbidden",
                "This server may not probe an address that the request names",
            ),
            Self::EndsInPast => {
                (S::UNPROCESSABLE_ENTITY, "ends-in-past", "The end that is named has passed")
            }
            Self::RevisionRequired => (
                S::PRECONDITION_REQUIRED,
                "revision-required",
                "A write names the revision that it was thought out on",
            ),
            Self::NoRegion => {
                (S::SERVICE_UNAVAILABLE, "no-region", "No region can serve this client")
            }
            Self::TooManyRequests => {
                (S::TOO_MANY_REQUESTS, "too-many-requests", "The client asks too often")
            }
            Self::TooManyListeners => {
                (S::SERVICE_UNAVAILABLE, "too-many-listeners", "Too many listen already")
            }
            Self::Busy => (S::SERVICE_UNAVAILABLE, "busy", "The server is busy with such requests"),
            Self::NotReady => (S::SERVICE_UNAVAILABLE, "not-ready", "The node is not ready"),
            Self::StoreUnavailable => {
                (S::SERVICE_UNAVAILABLE, "store-unavailable", "The store cannot be used")
            }
            Self::Internal => (S::INTERNAL_SERVER_ERROR, "internal", "The server made a mistake"),
        }
    }

    /// Tells whether it is about something that the request names: it is not there, is still
    /// needed, or does not fit.
    fn is_about_what_is_named(self) -> bool {
        matches!(self, Self::NotFound | Self::InUse | Self::LastRegion | Self::InvalidConfiguration)
    }

    /// Returns the problem's `type`.
    pub(crate) fn uri(self) -> String {
        format!("urn:geostream:problem:{}", self.described().1)
    }
}

impl Failure {
    /// There is no region of this id.
    pub(crate) fn no_region(id: &RegionId) -> Self {
        Self::new(Kind::NotFound, format!("there is no region {id}"))
    }

    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            errors: Vec::new(),
            allow: None,
            retry_after: None,
            explanation: None,
        }
    }

    /// One part of the request is to blame.
    pub(crate) fn naming(
        kind: Kind,
        pointer: impl Into<String>,
        detail: impl Into<String>,
    ) -> Self {
        let detail = detail.into();
        let errors = vec![FieldError { pointer: pointer.into(), detail: detail.clone() }];
        Self { errors, ..Self::new(kind, detail) }
    }

    /// One field is wrong.
    pub(crate) fn field(pointer: impl Into<String>, detail: impl std::fmt::Display) -> Self {
        Self::naming(Kind::InvalidRequest, pointer, detail.to_string())
    }

    /// Somebody asks too often (RFC 6585, section 4).
    pub(crate) fn too_many(who: &str, wait: Duration) -> Self {
        // A whole second at the least: the header knows no less.
        let seconds = wait.as_secs() + 1;
        let detail = format!("{who} asks too often; ask again in {seconds} s");
        Self { retry_after: Some(seconds), ..Self::new(Kind::TooManyRequests, detail) }
    }

    /// A client or token has its part of a shared pool already, until it gives some of it back.
    pub(crate) fn has_its_part(detail: impl Into<String>) -> Self {
        Self { retry_after: Some(1), ..Self::new(Kind::TooManyRequests, detail) }
    }

    /// A shared pool is used up at the moment.
    pub(crate) fn busy(detail: &str) -> Self {
        Self { retry_after: Some(1), ..Self::new(Kind::Busy, detail) }
    }

    pub(crate) fn unauthorized(detail: &str) -> Self {
        Self::naming(Kind::Unauthorized, "authorization", detail)
    }

    /// Says that the store, which alone says what tokens are good for, cannot be asked.
    pub(crate) fn tokens_unread() -> Self {
        let detail = "the tokens cannot be read, so only those that were known before the start \
                      are valid, and only for reading; decisions go on";
        Self::new(Kind::StoreUnavailable, detail)
    }

    pub(crate) fn expired(end: Timestamp) -> Self {
        Self::unauthorized(&format!("the token expired at {}; make another one", Time(end)))
    }

    pub(crate) fn method(allowed: &str) -> Self {
        let detail = format!("the methods of this path are {allowed}");
        Self { allow: Some(allowed.into()), ..Self::new(Kind::MethodNotAllowed, detail) }
    }

    /// Tells every region's fate as well.
    pub(crate) fn explained(self, explanation: Explanation) -> Self {
        Self { explanation: Some(Box::new(explanation)), ..self }
    }

    /// Says that what the path names is missing, where the rules speak of a reference to it.
    pub(crate) fn about_the_path(self) -> Self {
        if self.kind == Kind::InvalidConfiguration {
            Self::new(Kind::NotFound, self.detail)
        } else {
            self
        }
    }

    /// Points at the part of the request that names what the rules speak of, where they know of none.
    pub(crate) fn at(self, pointer: &str) -> Self {
        if self.errors.is_empty() && self.kind.is_about_what_is_named() {
            Self::naming(self.kind, pointer, self.detail)
        } else {
            self
        }
    }

    /// Points at parameters of the query, where the rules speak of a document's fields.
    pub(crate) fn in_query(mut self) -> Self {
        for error in self.errors.iter_mut().filter(|error| error.pointer.starts_with('/')) {
            error.pointer = match error.pointer.rsplit('/').next().unwrap_or_default() {
                "location" => "?latitude".to_owned(),
                name => format!("?{name}"),
            };
        }
        self
    }

    /// Points into one region, where the failure points into a whole configuration.
    pub(crate) fn in_region(self, id: &RegionId) -> Self {
        self.below(&format!("/regions/{id}"))
    }

    /// Points into one part, where the failure points into a whole configuration.
    pub(crate) fn below(mut self, prefix: &str) -> Self {
        for error in &mut self.errors {
            if let Some(pointer) = error.pointer.strip_prefix(prefix) {
                error.pointer = pointer.to_owned();
            }
        }
        self
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.kind.described().0
    }

    /// Returns the last part of the problem's `type`.
    pub(crate) fn name(&self) -> &'static str {
        self.kind.described().1
    }

    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    pub(crate) fn to_problem(&self) -> Problem {
        let (status, _, title) = self.kind.described();
        Problem {
            kind: self.kind.uri(),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: self.detail.clone(),
            errors: self.errors.clone(),
            explanation: self.explanation.clone(),
        }
    }

    pub(crate) fn into_answer(self) -> Answer {
        self.into_answer_in(Bytes::from)
    }

    /// Answers with the problem, whose bytes are kept by the caller's rule.
    pub(crate) fn into_answer_in(self, keep: impl FnOnce(Vec<u8>) -> Bytes) -> Answer {
        let body = serde_json::to_vec(&self.to_problem()).unwrap_or_default();
        let mut answer = Response::new(Content::whole(keep(body)));
        *answer.status_mut() = self.status();
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.kind == Kind::Unauthorized {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(methods) = self.allow.and_then(|allow| HeaderValue::from_str(&allow).ok()) {
            headers.insert(ALLOW, methods);
        }
        answer
    }
}

impl From<FieldErrors> for Failure {
    fn from(FieldErrors(errors): FieldErrors) -> Self {
        let detail = match &errors[..] {
            [one] => one.detail.clone(),
            many => format!("{} fields are wrong", many.len()),
        };
        Self { errors, ..Self::new(Kind::InvalidRequest, detail) }
    }
}

impl From<RouteError> for Failure {
    fn from(error: RouteError) -> Self {
        let detail = error.to_string();
        match error {
            RouteError::NotReady => Self::new(Kind::NotReady, detail),
            RouteError::UnknownService(_) | RouteError::NoDefaultService => {
                Self::naming(Kind::UnknownService, "/service", detail)
            }
            RouteError::ClaimRefused => Self::naming(Kind::Forbidden, "/location", detail),
            RouteError::NoRegion { why, .. } => {
                let kind = match why {
                    NoRegion::Fenced => Kind::Geofenced,
                    NoRegion::Drained | NoRegion::Closed => Kind::NoRegion,
                };
                Self::new(kind, format!("{detail}: {why}"))
            }
        }
    }
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Conflict { .. } => {
                let detail = format!("{error}; read it again and repeat the write");
                Self::naming(Kind::RevisionConflict, "if-match", detail)
            }
            WriteError::Invalid(error) => error.source.into(),
            WriteError::LastRegion { .. } => {
                let detail = format!("{error}; with force it is drained all the same");
                Self::new(Kind::LastRegion, detail)
            }
            WriteError::UnassignedCodes(codes) => codes.into(),
            WriteError::Forbidden(probes) => probes.into(),
            WriteError::NotKept(_) => Self::new(Kind::NotFound, error.to_string()),
            WriteError::Unavailable(error) => error.into(),
        }
    }
}

impl From<Vec<UnassignedCountry>> for Failure {
    /// Names each code where it is; more than a hundred are summed up.
    fn from(codes: Vec<UnassignedCountry>) -> Self {
        const NAMED: usize = 100;
        let detail = match &codes[..] {
            [one] => one.to_string(),
            many => format!("{} codes in geofences are no country's", many.len()),
        };
        let errors = codes.iter().take(NAMED).map(|found| {
            let UnassignedCountry { service, code } = found;
            let (rule, entry) = (code.rule, code.entry);
            let pointer = format!("/services/{service}/geofence/{rule}/clients/countries/{entry}");
            FieldError { pointer, detail: code.to_string() }
        });
        Self { errors: errors.collect(), ..Self::new(Kind::InvalidConfiguration, detail) }
    }
}

impl From<Vec<ForbiddenProbe>> for Failure {
    /// Names each check and reachability target; more than a hundred are summed up.
    fn from(probes: Vec<ForbiddenProbe>) -> Self {
        const NAMED: usize = 100;
        let detail = match &probes[..] {
            [one] => one.to_string(),
            many => format!(
                "{} checks or reachability targets name addresses that are not public, so this \
                 server does not probe them; permit their networks with probe.networks in the \
                 server's settings",
                many.len()
            ),
        };
        let errors = probes.iter().take(NAMED).map(|probe| FieldError {
            pointer: match probe {
                ForbiddenProbe::Check(check) => format!("/regions/{}/check/url", check.region),
                ForbiddenProbe::Target(_) => "/settings/reachability_targets".to_owned(),
            },
            detail: probe.to_string(),
        });
        Self { errors: errors.collect(), ..Self::new(Kind::ProbeForbidden, detail) }
    }
}

impl From<ImportError> for Failure {
    fn from(error: ImportError) -> Self {
        let detail = error.to_string();
        match error {
            ImportError::NotEmpty { .. } => {
                let detail = format!("{detail}; import into a store without any commit");
                Self::naming(Kind::RevisionConflict, "/part", detail)
            }
            ImportError::NotBegun => {
                let detail = format!("{detail}; begin again, alone");
                Self::naming(Kind::RevisionConflict, "/import", detail)
            }
            ImportError::Unfit(error) => {
                let detail = Chain(&error).to_string();
                Self::naming(Kind::InvalidConfiguration, "/part", detail)
            }
            ImportError::Unavailable(error) => error.into(),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        use ConfigError as E;
        let detail = error.to_string();
        match &error {
            E::UnknownRegion(_) | E::NoOverride(_) => Self::new(Kind::NotFound, detail),
            E::RegionInUse { .. } | E::ServiceIsDefault(_) => Self::new(Kind::InUse, detail),
            E::UnknownService(_)
            | E::NoMembers(_)
            | E::UnknownMember { .. }
            | E::UnknownStatic { .. }
            | E::BadOrder { .. }
            | E::FenceTooLong(_)
            | E::FenceTooComplex(_)
            | E::TooManyRegions
            | E::TooManyServices => match pointer_in_service(&error) {
                "" => Self::new(Kind::InvalidConfiguration, detail),
                pointer => Self::naming(Kind::InvalidConfiguration, pointer, detail),
            },
        }
    }
}

impl From<GrantError> for Failure {
    fn from(error: GrantError) -> Self {
        Self::naming(Kind::Forbidden, "authorization", error.to_string())
    }
}

impl From<WiderError> for Failure {
    fn from(error: WiderError) -> Self {
        let detail = match error {
            WiderError::Expires(end) => format!("{error}; it expires at {}", Time(end)),
            WiderError::Scope(_) | WiderError::Limits(_) => error.to_string(),
        };
        Self::naming(Kind::Forbidden, "authorization", detail)
    }
}

impl From<AccessError> for Failure {
    fn from(error: AccessError) -> Self {
        match error {
            AccessError::TooMany | AccessError::LastAdmin => {
                Self::new(Kind::InUse, error.to_string())
            }
            AccessError::Unknown(_) => Self::new(Kind::NotFound, error.to_string()),
            AccessError::Wider(error) => error.into(),
            AccessError::Past => Self::naming(Kind::EndsInPast, "/expires", error.to_string()),
            AccessError::NoRandomness(_) => {
                tracing::error!(error = %Chain(&error), "a token cannot be made");
                Self::new(Kind::Internal, error.to_string())
            }
            AccessError::Unavailable(error) => error.into(),
        }
    }
}

impl From<Unavailable> for Failure {
    fn from(error: Unavailable) -> Self {
        let error = Chain(&error).to_string();
        tracing::error!(error, "a control request failed");
        let detail = format!("{error}; decisions go on, and the request can be repeated later");
        Self::new(Kind::StoreUnavailable, detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_described_once_and_in_the_reference() {
        let reference = include_str!("../../../docs/API_Reference.md");
        let mut uris: Vec<_> = Kind::ALL.iter().map(|kind| kind.uri()).collect();
        for uri in &uris {
            assert!(reference.contains(&format!("`{uri}`")), "{uri}");
        }
        uris.sort();
        uris.dedup();
        assert_eq!(uris.len(), Kind::ALL.len());
    }
}
