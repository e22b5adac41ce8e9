//! Files of certificates and keys.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject as _};
use thiserror::Error;

/// Why a file of certificates or of a key cannot be used.
#[derive(Debug, Error)]
pub enum PemFileError {
    /// The file cannot be read.
    #[error("{} cannot be read", .0.display())]
    Unreadable(PathBuf, #[source] io::Error),
    /// It is a directory, a pipe or a device, of which reading might never end.
    #[error("{} is not a regular file", .0.display())]
    NotAFile(PathBuf),
    /// The file is larger than any chain of certificates.
    #[error("{} is larger than {} MiB", .0.display(), LARGEST >> 20)]
    TooLarge(PathBuf),
    /// What is in it is not PEM.
    #[error("{} is not PEM", .0.display())]
    NotPem(PathBuf, #[source] pem::Error),
    /// There is no certificate in it.
    #[error("{} has no certificate (BEGIN CERTIFICATE)", .0.display())]
    NoCertificate(PathBuf),
    /// There is no key in it that can be used.
    #[error(
        "{} has no private key without a password (BEGIN PRIVATE KEY)", .0.display()
    )]
    NoKey(PathBuf),
}

/// The largest file that is read. The file of all authorities of Debian has 0.2 MiB.
const LARGEST: u64 = 4 << 20;

/// Reads a file that is not larger than any file of certificates.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, PemFileError> {
    let unreadable = |error| PemFileError::Unreadable(path.to_owned(), error);
    // Before it is opened: opening a pipe waits for its writer.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(PemFileError::NotAFile(path.to_owned()));
    }
    let mut content = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(LARGEST + 1).read_to_end(&mut content).map_err(unreadable)?;
    if content.len() as u64 > LARGEST {
        return Err(PemFileError::TooLarge(path.to_owned()));
    }
    Ok(content)
}

/// Reads all certificates of a file, of which there is at least one, in their order.
pub(crate) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemFileError> {
    let content = read(path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&content).collect();
    let certificates =
        certificates.map_err(|error| PemFileError::NotPem(path.to_owned(), error))?;
    if certificates.is_empty() {
        return Err(PemFileError::NoCertificate(path.to_owned()));
    }
    Ok(certificates)
}
