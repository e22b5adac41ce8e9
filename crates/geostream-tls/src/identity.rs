//! The certificate that a server presents, and how it is replaced while it is served.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use thiserror::Error;
use x509_cert::der::Decode as _;

use crate::pem_file::{self, PemFileError};
use crate::provider;

/// The files of a server's certificate and its key, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityFiles {
    /// The server's own certificate, and behind it those that lead to an authority.
    pub certificates: PathBuf,
    /// The private key of the first certificate.
    pub key: PathBuf,
}

/// The time within which a certificate is valid, in seconds since 1970 (UTC).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first moment.
    pub not_before: Duration,
    /// The last moment.
    pub not_after: Duration,
}

/// Why a certificate is not presented although it fits its key.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ValidityError {
    /// It has expired.
    #[error("the certificate has expired")]
    Expired,
    /// It is not valid yet.
    #[error("the certificate is not valid yet")]
    NotYet,
}

/// Why a certificate and its key cannot be used.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// One of the files cannot be used.
    #[error(transparent)]
    File(#[from] PemFileError),
    /// The certificate cannot be read.
    #[error("the certificate in {} cannot be read", .0.display())]
    Certificate(PathBuf, #[source] x509_cert::der::Error),
    /// The key is not the certificate's, or neither can be used.
    #[error("the certificate in {} and the key in {} cannot be used together", .0.certificates.display(), .0.key.display())]
    Pair(IdentityFiles, #[source] rustls::Error),
    /// The certificate would be refused by every client.
    #[error("{}", .0.display())]
    Validity(PathBuf, #[source] ValidityError),
}

/// What a look at the files has brought.
#[derive(Debug)]
pub enum Refreshed {
    /// The files are those that are served.
    Unchanged,
    /// New connections get another certificate.
    Replaced(Validity),
    /// The files cannot be used, and what was served is served still.
    ///
    /// It is the error of each look until they can, so that one of several causes is never hidden.
    Refused(IdentityError),
}

/// The certificate that a server presents, with its key.
///
/// The handshakes of many threads read it without a lock; [`ServerIdentity::refresh`] replaces it.
pub struct ServerIdentity {
    files: IdentityFiles,
    served: ArcSwap<Served>,
    /// Why the files that are there now are not served.
    refusal: Mutex<Option<Arc<str>>>,
}

struct Served {
    key: Arc<CertifiedKey>,
    validity: Validity,
    /// What the files looked like before they were read.
    marks: Option<[Mark; 2]>,
}

/// What tells one content of a file from another without reading it: a file that is replaced has
/// another inode, and one that is written has another time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

impl fmt::Debug for ServerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the key.
        f.debug_struct("ServerIdentity").field("files", &self.files).finish_non_exhaustive()
    }
}

impl ServerIdentity {
    /// Reads a certificate and its key.
    ///
    /// A certificate that has expired is taken: a server that starts with it can still be asked by
    /// clients that do not check it, and replaces it without another start.
    ///
    /// # Errors
    ///
    /// If a file cannot be used, or the two do not fit.
    pub fn read(files: IdentityFiles) -> Result<Self, IdentityError> {
        let served = ArcSwap::from_pointee(Served::read(&files)?);
        Ok(Self { files, served, refusal: Mutex::default() })
    }

    /// Returns the files.
    #[must_use]
    pub fn files(&self) -> &IdentityFiles {
        &self.files
    }

    /// Returns the time within which the certificate that is served is valid.
    #[must_use]
    pub fn validity(&self) -> Validity {
        self.served.load().validity
    }

    /// Returns why the files that are there now are not served, with all causes.
    #[must_use]
    pub fn refusal(&self) -> Option<Arc<str>> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks at the files, and serves what is in them if it is new and can be used.
    ///
    /// Reads files, so it blocks. The two files are written one after the other, so for a moment they
    /// may not fit: that is refused, and the next look brings the pair. `now` counts from 1970 (UTC).
    pub fn refresh(&self, now: Duration) -> Refreshed {
        let marks = Mark::of_files(&self.files);
        if marks.is_some() && marks == self.served.load().marks {
            self.note(None);
            return Refreshed::Unchanged;
        }
        let read = Served::read(&self.files).and_then(|served| {
            let of_file = |error| IdentityError::Validity(self.files.certificates.clone(), error);
            served.validity.check(now).map(|()| served).map_err(of_file)
        });
        match read {
            Ok(served) => {
                let validity = served.validity;
                self.served.store(Arc::new(served));
                self.note(None);
                Refreshed::Replaced(validity)
            }
            Err(error) => {
                self.note(Some(&error));
                Refreshed::Refused(error)
            }
        }
    }

    /// Returns the configuration of a server that presents this identity and offers these protocols
    /// by ALPN (RFC 7301), the first of them first.
    ///
    /// # Errors
    ///
    /// If the crypto provider offers no version of TLS.
    pub fn server_config(
        self: &Arc<Self>,
        protocols: &[&[u8]],
    ) -> Result<ServerConfig, rustls::Error> {
        let builder = ServerConfig::builder_with_provider(provider());
        let builder = builder.with_safe_default_protocol_versions()?.with_no_client_auth();
        let mut config = builder.with_cert_resolver(Arc::clone(self) as Arc<_>);
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(config)
    }

    fn note(&self, error: Option<&IdentityError>) {
        let mut refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        *refusal = error.map(|error| in_full(error).into());
    }
}

impl ResolvesServerCert for ServerIdentity {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.served.load().key))
    }
}

impl Served {
    fn read(files: &IdentityFiles) -> Result<Self, IdentityError> {
        // Before they are read: what is written meanwhile is seen by the next look.
        let marks = Mark::of_files(files);
        let chain = pem_file::read_certificates(&files.certificates)?;
        let validity = Validity::of(&chain[0])
            .map_err(|error| IdentityError::Certificate(files.certificates.clone(), error))?;
        let key = PrivateKeyDer::from_pem_slice(&pem_file::read(&files.key)?)
            .map_err(|_| PemFileError::NoKey(files.key.clone()))?;
        let pair = CertifiedKey::from_der(chain, key, &provider());
        let key = pair.map_err(|error| IdentityError::Pair(files.clone(), error))?;
        Ok(Self { key: Arc::new(key), validity, marks })
    }
}

impl Validity {
    fn of(certificate: &CertificateDer<'_>) -> Result<Self, x509_cert::der::Error> {
        let certificate = x509_cert::Certificate::from_der(certificate)?;
        let validity = certificate.tbs_certificate.validity;
        Ok(Self {
            not_before: validity.not_before.to_unix_duration(),
            not_after: validity.not_after.to_unix_duration(),
        })
    }

    /// Returns from when on the certificate should have been replaced: when 15 % of its life are left,
    /// and 14 days at the most.
    ///
    /// Renewal is usual when a third is left (RFC 9773's clients, certbot, step-ca), so that several
    /// attempts have failed by then, for a certificate of a day as for one of a year.
    #[must_use]
    pub fn overdue(&self) -> Duration {
        let life = self.not_after.saturating_sub(self.not_before);
        self.not_after.saturating_sub((life * 3 / 20).min(LONGEST_NOTICE))
    }

    fn check(&self, now: Duration) -> Result<(), ValidityError> {
        if now > self.not_after {
            Err(ValidityError::Expired)
        } else if now < self.not_before {
            Err(ValidityError::NotYet)
        } else {
            Ok(())
        }
    }
}

/// How long before its end a certificate of any life should have been replaced.
const LONGEST_NOTICE: Duration = Duration::from_secs(14 * 86_400);

impl Mark {
    /// Returns what both files look like; `None` if one of them cannot be looked at.
    fn of_files(files: &IdentityFiles) -> Option<[Self; 2]> {
        Some([Self::of(&files.certificates)?, Self::of(&files.key)?])
    }

    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }
}

/// Writes an error with its causes.
fn in_full(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |told, cause| format!("{told}: {cause}"))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};
    use tempfile::TempDir;

    use super::*;

    /// The middle of 2020.
    fn now() -> Duration {
        Duration::from_secs(1_593_561_600)
    }

    /// A directory with the files of an identity.
    struct Home(TempDir);

    impl Home {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn files(&self) -> IdentityFiles {
            let path = |name: &str| self.0.path().join(name);
            IdentityFiles { certificates: path("cert.pem"), key: path("key.pem") }
        }

        /// Replaces both files as certbot and Kubernetes do: each by another file.
        fn put(&self, certificate: &str, key: &str) {
            let IdentityFiles { certificates, key: key_file } = self.files();
            for (path, content) in [(certificates, certificate), (key_file, key)] {
                let new = path.with_extension("new");
                fs::write(&new, content).unwrap();
                fs::rename(&new, &path).unwrap();
            }
        }
    }

    /// Makes a certificate that is valid from the begin of one year to the begin of another.
    fn pair(from: i32, until: i32) -> (String, String) {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    fn served(identity: &ServerIdentity) -> CertificateDer<'static> {
        identity.served.load().key.cert[0].clone()
    }

    #[test]
    fn another_pair_is_served_as_soon_as_it_is_there() {
        let home = Home::new();
        let (certificate, key) = pair(2020, 2021);
        home.put(&certificate, &key);
        let identity = ServerIdentity::read(home.files()).unwrap();
        assert!(matches!(identity.refresh(now()), Refreshed::Unchanged));
        let year = Duration::from_secs(366 * 86_400);
        let Validity { not_before, not_after } = identity.validity();
        assert_eq!(not_after - not_before, year);

        let (certificate, key) = pair(2020, 2022);
        home.put(&certificate, &key);
        let before = served(&identity);
        assert!(matches!(identity.refresh(now()), Refreshed::Replaced(_)));
        assert_ne!(served(&identity), before);
        assert!(identity.validity().not_after > not_after);
        assert!(matches!(identity.refresh(now()), Refreshed::Unchanged));
    }

    #[test]
    fn what_cannot_be_used_is_refused_and_the_old_pair_goes_on() {
        let home = Home::new();
        let (certificate, key) = pair(2020, 2021);
        let (other, other_key) = pair(2020, 2022);
        let (expired, expired_key) = pair(2018, 2019);
        let (early, early_key) = pair(2021, 2022);
        home.put(&certificate, &key);
        let identity = ServerIdentity::read(home.files()).unwrap();
        let first = served(&identity);
        let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE \
                         KEY-----\n";
        let half = &other[..other.len() / 2];
        for (certificate, key, expected) in [
            (&*other, &*key, "cannot be used together"),
            (half, &other_key, "is not PEM"),
            ("", &other_key, "has no certificate"),
            (&other, "", "has no private key"),
            (&other, encrypted, "without a password"),
            (&expired, &expired_key, "the certificate has expired"),
            (&early, &early_key, "the certificate is not valid yet"),
        ] {
            home.put(certificate, key);
            // The second look says it again.
            for _ in 0..2 {
                assert!(matches!(identity.refresh(now()), Refreshed::Refused(_)), "{expected}");
                let told = identity.refusal().unwrap();
                assert!(told.contains(expected) && told.contains(".pem"), "{told}");
                assert_eq!(served(&identity), first);
            }
        }
        fs::remove_file(home.files().key).unwrap();
        assert!(matches!(identity.refresh(now()), Refreshed::Refused(_)));
        home.put(&other, &other_key);
        assert!(matches!(identity.refresh(now()), Refreshed::Replaced(_)));
        assert_eq!(identity.refusal(), None);
    }

    #[test]
    fn the_old_pair_that_is_put_back_ends_the_refusal() {
        let home = Home::new();
        let (certificate, key) = pair(2020, 2021);
        home.put(&certificate, &key);
        let identity = ServerIdentity::read(home.files()).unwrap();
        let kept = home.0.path().join("kept.pem");
        fs::rename(home.files().certificates, &kept).unwrap();
        assert!(matches!(identity.refresh(now()), Refreshed::Refused(_)));
        assert!(identity.refusal().unwrap().contains("cannot be read"));
        fs::rename(&kept, home.files().certificates).unwrap();
        assert!(matches!(identity.refresh(now()), Refreshed::Unchanged));
        assert_eq!(identity.refusal(), None);
    }

    #[test]
    fn a_server_starts_with_an_expired_certificate() {
        let home = Home::new();
        let (certificate, key) = pair(2018, 2019);
        home.put(&certificate, &key);
        let identity = ServerIdentity::read(home.files()).unwrap();
        assert!(identity.validity().not_after < now());
        assert!(matches!(identity.refresh(now()), Refreshed::Unchanged));
    }

    #[test]
    fn a_certificate_is_overdue_by_its_life() {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        for (life, notice) in [(20, 3), (160, 24), (90 * 24, 324), (398 * 24, 14 * 24)] {
            let validity = Validity { not_before: hours(1000), not_after: hours(1000 + life) };
            assert_eq!(validity.not_after - validity.overdue(), hours(notice), "{life} hours");
        }
    }

    #[test]
    fn no_key_is_shown() {
        let home = Home::new();
        let (certificate, key) = pair(2020, 2021);
        home.put(&certificate, &key);
        let identity = ServerIdentity::read(home.files()).unwrap();
        let shown = format!("{identity:?}");
        assert!(shown.contains("cert.pem") && shown.len() < 200, "{shown}");
    }
}
