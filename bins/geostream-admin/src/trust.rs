//! Which authorities vouch for the server.

use std::path::Path;
use std::sync::Arc;

use geostream_tls::{Authorities, AuthoritiesError};
use rustls::{CertificateError, Error as TlsError};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// Returns how connections are secured: by the authorities in a file, or by those of the system.
///
/// Those of the system are read only where they are needed: there are hundreds.
pub(crate) fn config(
    ca_file: Option<&Path>,
    uses_tls: bool,
) -> Result<TlsConfig, AuthoritiesError> {
    let authorities = match ca_file {
        _ if !uses_tls => Authorities::Empty,
        Some(file) => Authorities::File(file),
        None => Authorities::System,
    };
    // What is no authority's certificate would be left out below without a word.
    authorities.roots()?;
    let certificates = authorities.certificates()?;
    let certificates = certificates.iter().map(|der| Certificate::from_der(der).to_owned());
    let roots = RootCerts::Specific(Arc::new(certificates.collect()));
    Ok(TlsConfig::builder().root_certs(roots).build())
}

/// Returns what helps against an error of TLS, to be put behind it.
pub(crate) fn remedy(error: &ureq::Error) -> Option<&'static str> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "few of many errors have a remedy")]
    match tls_error(error)? {
        TlsError::InvalidCertificate(CertificateError::UnknownIssuer) => Some(
            ", since no authority that is trusted here vouches for its certificate: name a file \
             with the one that does by --ca-file, GEOSTREAM_CA_FILE or SSL_CERT_FILE",
        ),
        TlsError::InvalidMessage(_) => {
            Some(", since what answers does not speak TLS: is http:// meant?")
        }
        _ => None,
    }
}

/// Finds the error of TLS below an error of the client.
fn tls_error(error: &ureq::Error) -> Option<&TlsError> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "two of many errors may be of TLS")]
    match error {
        ureq::Error::Rustls(error) => Some(error),
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref(),
        _ => None,
    }
}
