//! How a region is asked whether it is well.

mod request;
mod status;

use std::net::SocketAddr;
use std::time::Duration;

use thiserror::Error;

use crate::config::endpoint::Endpoint;
use crate::name::Line;

pub use self::request::{
    ProbeHeaderName, ProbeHeaderNameError, ProbeHeaderValue, ProbeHeaderValueError, ProbeHeaders,
    ProbeHost, ProbeMethod, ProbeRequest, ProbeRequestError, TooManyHeaders,
};
pub use self::status::{StatusCodes, StatusCodesError, StatusRange, StatusRangeError};

/// What a region is asked, how often, and what counts as an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked: `http`, `https`, `tcp`, `grpc` or `grpcs`, by the URL's scheme.
    pub target: ProbeTarget,
    /// What the request says beside the URL.
    pub request: ProbeRequest,
    /// The status codes that are well.
    pub status: StatusCodes,
    /// What the body's first 64 KiB have to hold.
    pub body: Option<Line>,
    /// How often, and how many answers count.
    pub timing: CheckTiming,
}

impl HealthCheck {
    /// Asks this target at the default pace.
    #[must_use]
    pub fn of(target: ProbeTarget) -> Self {
        Self {
            target,
            request: ProbeRequest::default(),
            status: StatusCodes::default(),
            body: None,
            timing: CheckTiming::default(),
        }
    }

    /// Returns the name that TLS asks for, and that a certificate has to be for.
    #[must_use]
    pub fn tls_name(&self) -> &str {
        self.request.host.as_ref().map_or_else(|| self.target.url().host(), ProbeHost::name)
    }
}

/// An endpoint that can be probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeTarget {
    url: Endpoint,
    protocol: ProbeProtocol,
}

/// What a probe speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeProtocol {
    /// A request, and a status that is well.
    Http,
    /// As HTTP, over TLS.
    Https,
    /// A connection that is accepted.
    Tcp,
    /// `grpc.health.v1.Health/Check`, for the service that the path names.
    Grpc,
    /// As gRPC, over TLS.
    Grpcs,
}

/// Why an endpoint cannot be probed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ProbeTargetError {
    /// The scheme is none that probes speak.
    #[error("a check's URL begins with http://, https://, tcp://, grpc:// or grpcs://")]
    Scheme,
    /// The scheme has no port of its own, and the URL names none.
    #[error("a check's URL of this scheme needs a port, such as tcp://host:443")]
    Port,
}

impl ProbeTarget {
    /// Takes an endpoint whose scheme can be probed.
    ///
    /// # Errors
    ///
    /// Refuses other schemes, and `tcp`, `grpc` and `grpcs` without a port.
    pub fn new(url: Endpoint) -> Result<Self, ProbeTargetError> {
        let protocol = match url.scheme() {
            "http" => ProbeProtocol::Http,
            "https" => ProbeProtocol::Https,
            "tcp" => ProbeProtocol::Tcp,
            "grpc" => ProbeProtocol::Grpc,
            "grpcs" => ProbeProtocol::Grpcs,
            _ => return Err(ProbeTargetError::Scheme),
        };
        let target = Self { url, protocol };
        if target.url.port().is_none() && target.default_port().is_none() {
            return Err(ProbeTargetError::Port);
        }
        Ok(target)
    }

    /// Takes an address that has to accept connections.
    ///
    /// # Panics
    ///
    /// Never: an address with a port is an endpoint.
    #[must_use]
    pub fn tcp(address: SocketAddr) -> Self {
        let url = format!("tcp://{address}").parse().expect("an address with a port is a URL's");
        Self { url, protocol: ProbeProtocol::Tcp }
    }

    /// Returns the URL.
    #[must_use]
    pub fn url(&self) -> &Endpoint {
        &self.url
    }

    /// Returns what is spoken.
    #[must_use]
    pub fn protocol(&self) -> ProbeProtocol {
        self.protocol
    }

    /// Returns the port: the URL's, or its scheme's own.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.url.port().or_else(|| self.default_port()).unwrap_or_default()
    }

    /// Returns what is probed, `host:port`: regions behind one endpoint share its fate.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("{}:{}", self.url.host(), self.port())
    }

    fn default_port(&self) -> Option<u16> {
        match self.protocol {
            ProbeProtocol::Http => Some(80),
            ProbeProtocol::Https => Some(443),
            ProbeProtocol::Tcp | ProbeProtocol::Grpc | ProbeProtocol::Grpcs => None,
        }
    }
}

/// How often a region is asked, and how many answers it takes to believe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckTiming {
    interval: Duration,
    timeout: Duration,
    fall: u8,
    rise: u8,
    ramp: Duration,
}

/// Which part of a timing lies outside its range.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum CheckTimingError {
    /// The time between probes.
    #[error("the interval is 1 second to 1 hour")]
    Interval,
    /// The time that a probe may take.
    #[error("the timeout is 50 milliseconds to 60 seconds")]
    Timeout,
    /// The failures in a row.
    #[error("fall is 1 to 20 failures")]
    Fall,
    /// The successes in a row.
    #[error("rise is 1 to 20 successes")]
    Rise,
    /// The time of the slow start.
    #[error("the ramp is 0 seconds to 1 hour")]
    Ramp,
}

impl CheckTiming {
    /// Takes the time between probes (1 s to 1 h), the time that one may take (50 ms to 60 s), how
    /// many failures in a row remove a region and how many successes bring it back (1 to 20), and
    /// how long its share of clients takes to grow back (up to 1 h).
    ///
    /// # Errors
    ///
    /// Names the first part that lies outside its range.
    pub fn new(
        interval: Duration,
        timeout: Duration,
        fall: u8,
        rise: u8,
        ramp: Duration,
    ) -> Result<Self, CheckTimingError> {
        const HOUR: Duration = Duration::from_secs(3600);
        let range = |what: Duration, from, to| (from..=to).contains(&what);
        if !range(interval, Duration::from_secs(1), HOUR) {
            Err(CheckTimingError::Interval)
        } else if !range(timeout, Duration::from_millis(50), Duration::from_secs(60)) {
            Err(CheckTimingError::Timeout)
        } else if !(1..=20).contains(&fall) {
            Err(CheckTimingError::Fall)
        } else if !(1..=20).contains(&rise) {
            Err(CheckTimingError::Rise)
        } else if ramp > HOUR {
            Err(CheckTimingError::Ramp)
        } else {
            Ok(Self { interval, timeout, fall, rise, ramp })
        }
    }

    /// Returns the time between probes while nothing is wrong.
    #[must_use]
    pub fn interval(self) -> Duration {
        self.interval
    }

    /// Returns the time that a probe may take.
    #[must_use]
    pub fn timeout(self) -> Duration {
        self.timeout
    }

    /// Returns how many failures in a row remove a region.
    #[must_use]
    pub fn fall(self) -> u8 {
        self.fall
    }

    /// Returns how many successes in a row bring a region back.
    #[must_use]
    pub fn rise(self) -> u8 {
        self.rise
    }

    /// Returns how long a region's share of clients takes to grow back.
    #[must_use]
    pub fn ramp(self) -> Duration {
        self.ramp
    }
}

impl Default for CheckTiming {
    fn default() -> Self {
        let second = Duration::from_secs(1);
        Self { interval: second, timeout: second, fall: 5, rise: 3, ramp: second * 30 }
    }
}
