//! What is known of a region, and what a probe has brought.

use std::fmt;
use std::time::{Duration, Instant};

/// The number of a probe, which its region's other probes do not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProbeId(pub(crate) u64);

/// What a probe was answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ProbeOutcome {
    /// The region is well, and took this long to say so.
    Well(Duration),
    /// It is not.
    Failed(ProbeFailure),
    /// It was not asked, or not listened to: its endpoint is asked too often, or this node is too
    /// busy. That says nothing of the region.
    NotAsked,
}

/// What was wrong with a probe's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProbeFailure {
    /// The connection was refused.
    Refused,
    /// The connection was cut.
    Reset,
    /// Nothing came in time.
    Timeout,
    /// There is no way to the address.
    Unreachable,
    /// The name has no address.
    Name,
    /// The certificate is not valid, or TLS failed otherwise.
    Tls(TlsFailure),
    /// The status is not one of those that are well.
    Status(u16),
    /// The body does not hold what it should.
    Body,
    /// A redirect that the probe may not follow, one too many, or one to a server that does not answer.
    Redirect,
    /// The answer broke off before its end.
    Incomplete,
    /// The head of the answer is larger than probes read.
    HeadTooLarge,
    /// What came is not the protocol.
    Protocol,
    /// The configuration does not permit probes to the address.
    Forbidden,
    /// This server could not send the probe: it has no file, port or memory left for it, or its own
    /// firewall refuses it. That says nothing of the region.
    Local,
}

impl ProbeFailure {
    /// Tells whether the connection failed, which proves that the region is dead where it is
    /// corroborated.
    ///
    /// One wrong resolver, clock, CA file or check produces each of the others at every region.
    pub(crate) fn is_of_connection(self) -> bool {
        match self {
            Self::Refused | Self::Reset | Self::Timeout | Self::Unreachable => true,
            Self::Name
            | Self::Tls(_)
            | Self::Status(_)
            | Self::Body
            | Self::Redirect
            | Self::Incomplete
            | Self::HeadTooLarge
            | Self::Protocol
            | Self::Forbidden
            | Self::Local => false,
        }
    }
}

impl fmt::Display for ProbeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("connection refused"),
            Self::Reset => f.write_str("connection reset"),
            Self::Timeout => f.write_str("no answer in time"),
            Self::Unreachable => f.write_str("unreachable"),
            Self::Name => f.write_str("its name has no address"),
            Self::Tls(failure) => failure.fmt(f),
            Self::Status(status) => write!(f, "status {status}"),
            Self::Body => f.write_str("the body does not hold what it should"),
            Self::Redirect => f.write_str(
                "a redirect that leads to no answer: more than 5, from https to http, without a URL, to \
                 an address that may not be probed, or to a server that does not answer",
            ),
            Self::Incomplete => f.write_str("the answer broke off before its end"),
            Self::HeadTooLarge => {
                f.write_str("the head of the answer has more than 256 fields or 64 KiB")
            }
            Self::Protocol => f.write_str("not the expected protocol"),
            Self::Forbidden => f.write_str("probes to its address are not permitted"),
            Self::Local => f.write_str("this server could not send the probe"),
        }
    }
}

/// What is wrong with TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsFailure {
    /// The certificate has expired, by the clock of this server.
    Expired,
    /// The certificate is not valid yet, by the clock of this server.
    NotYetValid,
    /// No authority that this server trusts has issued the certificate.
    UnknownAuthority,
    /// The certificate is for another name than the check asks for.
    WrongName,
    /// The certificate of a server to which a redirect leads is for another name.
    WrongNameOfRedirect,
    /// The certificate is not valid for another reason.
    Certificate,
    /// There is no version of TLS, or no cipher, that both sides speak.
    Version,
    /// The other side ended the handshake.
    Alert,
    /// The other side does not speak TLS.
    NotTls,
    /// Something else.
    Other,
}

impl fmt::Display for TlsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "TLS: the certificate has expired",
            Self::NotYetValid => "TLS: the certificate is not valid yet",
            Self::UnknownAuthority => "TLS: the certificate is of an unknown authority",
            Self::WrongName => "TLS: the certificate is for another name",
            Self::WrongNameOfRedirect => {
                "TLS: the certificate of the server that a redirect names is for another name"
            }
            Self::Certificate => "TLS: the certificate is not valid",
            Self::Version => "TLS: no common version or cipher (1.2 or 1.3 is needed)",
            Self::Alert => "TLS: the endpoint refused the handshake",
            Self::NotTls => "TLS: the endpoint does not speak it",
            Self::Other => "TLS failed",
        })
    }
}

/// Why a region's health is what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// So many probes in a row have failed, the last one by this.
    ProbesFailed(u8, ProbeFailure),
    /// So many probes in a row were well.
    ProbesWell(u8),
    /// So many of so many reports in a second were of failures.
    ReportsFailed(u32, u32),
    /// The reports of a trial were well, or none came.
    ReportsWell,
    /// It has rested long enough to be tried again.
    Rested,
    /// Nobody looks any more.
    CheckRemoved,
    /// The settings of this node do not permit probes to its address.
    ProbesForbidden,
}

impl Evidence {
    /// Returns how many failures it counts, in a row or of reports.
    #[must_use]
    pub fn failures(self) -> u32 {
        match self {
            Self::ProbesFailed(run, _) => run.into(),
            Self::ReportsFailed(failed, _) => failed,
            Self::ProbesWell(_)
            | Self::ReportsWell
            | Self::Rested
            | Self::CheckRemoved
            | Self::ProbesForbidden => 0,
        }
    }

    /// Tells whether the last failure is a certificate for another name than the check asks for.
    pub(crate) fn is_of_name(self) -> bool {
        matches!(self, Self::ProbesFailed(_, ProbeFailure::Tls(TlsFailure::WrongName)))
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ProbesFailed(1, failure) => write!(f, "a probe failed: {failure}"),
            Self::ProbesFailed(run, failure) => {
                write!(f, "{run} probes in a row failed, the last one: {failure}")
            }
            Self::ProbesWell(1) => f.write_str("a probe was well"),
            Self::ProbesWell(run) => write!(f, "{run} probes in a row were well"),
            Self::ReportsFailed(failed, all) => {
                write!(f, "{failed} of {all} reported outcomes were failures")
            }
            Self::ReportsWell => f.write_str("outcomes are well again"),
            Self::Rested => f.write_str("it has rested, and a few clients try it"),
            Self::CheckRemoved => f.write_str("its check was removed"),
            Self::ProbesForbidden => f.write_str(
                "this server may not probe its address, which is not public: permit it in \
                 probe.networks",
            ),
        }
    }
}

/// Whether anybody else is well: who sees everything fail has lost its own network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Witness {
    /// Nothing else is watched.
    Alone,
    /// Others are watched, and this is when one of them was last well.
    Others(Option<Instant>),
}

impl Witness {
    /// Tells whether somebody has been well since a moment, or nobody else could be.
    pub(crate) fn speaks_since(self, moment: Instant) -> bool {
        match self {
            Self::Alone => true,
            Self::Others(last) => last.is_some_and(|last| last >= moment),
        }
    }
}
