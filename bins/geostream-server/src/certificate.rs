//! The server's certificate, which is replaced without a restart.

use std::sync::Arc;
use std::time::Duration;

use geostream_api::Time;
use geostream_domain::Timestamp;
use geostream_ports::{Clock as _, SystemClock};
use geostream_tls::{Refreshed, ServerIdentity};
use tokio::signal::unix::Signal;

/// How often the files of the certificate are looked at.
const CERTIFICATE_LOOK: Duration = Duration::from_secs(2);

/// Looks at the certificate's files now and then, and at once on SIGHUP, for ever.
pub(crate) async fn refresh(identity: Arc<ServerIdentity>, mut hangup: Signal) {
    let mut told = None;
    loop {
        tokio::select! {
            () = tokio::time::sleep(CERTIFICATE_LOOK) => {}
            // What is wrong is told again to an operator who asks.
            _ = hangup.recv() => told = None,
        }
        let looking = Arc::clone(&identity);
        let now = SystemClock.wall().since(Timestamp::EPOCH);
        match tokio::task::spawn_blocking(move || looking.refresh(now)).await {
            Ok(Refreshed::Replaced(validity)) => {
                let until = Time(Timestamp::EPOCH.after(validity.not_after));
                tracing::info!(%until, "new connections get the new TLS certificate");
            }
            Ok(Refreshed::Unchanged | Refreshed::Refused(_)) => {}
            Err(error) => tracing::error!(%error, "the TLS certificate could not be looked at"),
        }
        let refusal = identity.refusal();
        if let Some(error) = refusal.as_deref().filter(|_| refusal != told) {
            tracing::error!(error, "the TLS certificate on disk is not used; the one before it is");
        }
        told = refusal;
    }
}
