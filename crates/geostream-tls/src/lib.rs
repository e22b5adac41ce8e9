//! TLS for all crates that speak it: one crypto provider, the authorities that clients trust, and the
//! certificates that servers present.
//!
//! A certificate lives for weeks or hours, and a server for months. [`ServerIdentity`] reads the new
//! pair of certificate and key, checks it, and only then presents it to new connections; a pair that
//! cannot be used leaves the old one in place.

mod authorities;
mod identity;
mod pem_file;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

pub use authorities::{Authorities, AuthoritiesError};
pub use identity::{
    IdentityError, IdentityFiles, Refreshed, ServerIdentity, Validity, ValidityError,
};
pub use pem_file::PemFileError;

/// Returns the crypto provider of all TLS in this workspace.
///
/// Two providers in one program would make rustls panic at the first connection that names none.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
