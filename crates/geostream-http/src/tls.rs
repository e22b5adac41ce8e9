//! TLS, where the operator gives a certificate.

use std::sync::Arc;

use geostream_tls::ServerIdentity;
use rustls::ServerConfig;
use tokio_rustls::TlsAcceptor;

/// How connections of HTTP are secured.
///
/// All workers share it, so that a session that one of them began is resumed by any of them.
#[derive(Clone, Debug)]
pub struct Tls {
    config: Arc<ServerConfig>,
}

impl Tls {
    /// Secures connections by what an identity presents at the time of each handshake.
    ///
    /// # Errors
    ///
    /// If the crypto provider offers no version of TLS.
    pub fn new(identity: &Arc<ServerIdentity>) -> Result<Self, rustls::Error> {
        let config = identity.server_config(&[b"h2", b"http/1.1"])?;
        Ok(Self { config: Arc::new(config) })
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }
}
