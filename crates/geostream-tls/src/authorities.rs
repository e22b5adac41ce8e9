//! The authorities by which a client knows a server.

use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;

use crate::pem_file::{self, PemFileError};
use crate::provider;

/// The authorities that a client trusts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authorities<'a> {
    /// None, for a client that may not use TLS.
    Empty,
    /// Those of the system; where `SSL_CERT_FILE` or `SSL_CERT_DIR` is set, those that they name.
    System,
    /// Those in a file of PEM certificates, and no others.
    File(&'a Path),
    /// Those of the system, and those in a file of PEM certificates.
    SystemAnd(&'a Path),
}

/// Why authorities cannot be used.
#[derive(Debug, Error)]
pub enum AuthoritiesError {
    /// Their file cannot be used.
    #[error(transparent)]
    File(#[from] PemFileError),
    /// A certificate in their file cannot be one of an authority.
    #[error("{} has a certificate that is none of an authority", .0.display())]
    Certificate(PathBuf, #[source] rustls::Error),
    /// TLS cannot be prepared.
    #[error("TLS cannot be prepared")]
    Tls(#[from] rustls::Error),
}

impl Authorities<'_> {
    /// Returns the certificates of the authorities.
    ///
    /// Of those of the system, the ones that cannot be read are left out: a server that only they
    /// know is not trusted.
    ///
    /// # Errors
    ///
    /// [`AuthoritiesError::File`] if the file cannot be read or has no certificate.
    pub fn certificates(self) -> Result<Vec<CertificateDer<'static>>, AuthoritiesError> {
        let of_system = || rustls_native_certs::load_native_certs().certs;
        Ok(match self {
            Self::Empty => Vec::new(),
            Self::System => of_system(),
            Self::File(path) => pem_file::read_certificates(path)?,
            Self::SystemAnd(path) => {
                let mut certificates = pem_file::read_certificates(path)?;
                certificates.extend(of_system());
                certificates
            }
        })
    }

    /// Returns the authorities in the form in which rustls checks certificates by them.
    ///
    /// # Errors
    ///
    /// As [`Authorities::certificates`], and [`AuthoritiesError::Certificate`] if a certificate of the
    /// file is none of an authority.
    pub fn roots(self) -> Result<RootCertStore, AuthoritiesError> {
        let mut roots = RootCertStore::empty();
        let (file, uses_system) = match self {
            Self::Empty => (None, false),
            Self::System => (None, true),
            Self::File(path) => (Some(path), false),
            Self::SystemAnd(path) => (Some(path), true),
        };
        if let Some(path) = file {
            for certificate in Authorities::File(path).certificates()? {
                let added = roots.add(certificate);
                added.map_err(|error| AuthoritiesError::Certificate(path.to_owned(), error))?;
            }
        }
        if uses_system {
            roots.add_parsable_certificates(Authorities::System.certificates()?);
        }
        Ok(roots)
    }

    /// Returns the configuration of a client that trusts these authorities and shows no certificate
    /// of its own.
    ///
    /// # Errors
    ///
    /// As [`Authorities::roots`].
    pub fn client_config(self) -> Result<ClientConfig, AuthoritiesError> {
        let builder = ClientConfig::builder_with_provider(provider());
        let builder = builder.with_safe_default_protocol_versions()?;
        Ok(builder.with_root_certificates(self.roots()?).with_no_client_auth())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn authority() -> String {
        rcgen::generate_simple_self_signed(["authority.example".to_owned()]).unwrap().cert.pem()
    }

    #[test]
    fn a_file_of_authorities_is_trusted_alone_or_beside_those_of_the_system() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ca.pem");
        fs::write(&file, authority() + &authority()).unwrap();
        let of_system = Authorities::System.roots().unwrap().len();
        assert_eq!(Authorities::Empty.roots().unwrap().len(), 0);
        assert_eq!(Authorities::File(&file).roots().unwrap().len(), 2);
        assert_eq!(Authorities::SystemAnd(&file).roots().unwrap().len(), of_system + 2);
        assert_eq!(Authorities::File(&file).certificates().unwrap().len(), 2);
    }

    #[test]
    fn an_error_names_the_file_and_what_is_wrong_with_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("empty.pem"), "").unwrap();
        fs::write(path("half.pem"), &authority()[..200]).unwrap();
        let no_authority = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
        fs::write(path("other.pem"), no_authority).unwrap();
        fs::write(path("large.pem"), vec![b'\n'; (4 << 20) + 1]).unwrap();
        fs::create_dir(path("directory")).unwrap();
        for (name, expected) in [
            ("empty.pem", "has no certificate"),
            ("half.pem", "is not PEM"),
            ("other.pem", "is none of an authority"),
            ("large.pem", "is larger than 4 MiB"),
            ("directory", "is not a regular file"),
            ("missing.pem", "cannot be read"),
        ] {
            let told = Authorities::File(&path(name)).roots().unwrap_err().to_string();
            assert!(told.contains(name) && told.contains(expected), "{told}");
        }
    }
}
