//! Asking regions how they are.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use geostream_domain::{HealthCheck, Load, ProbeOutcome};

use crate::TraceContext;

/// Asks a region how it is.
pub trait Prober: Send + Sync + 'static {
    /// Asks once, and returns within the check's timeout.
    ///
    /// Whatever goes wrong is an outcome, and so is that the endpoint is asked too often already. Dropping the future ends the probe.
    /// The region is told which trace the probe is a part of, if it is of any.
    fn probe(
        &self,
        check: &HealthCheck,
        trace: Option<TraceContext>,
    ) -> impl Future<Output = Probed> + Send;
}

/// What a probe has brought.
#[derive(Debug)]
pub struct Probed {
    /// Whether the region is well.
    pub outcome: ProbeOutcome,
    /// The load that it reports, in the unit of its capacity.
    pub load: Option<Load>,
    /// The probe's connection, if it is still open.
    pub connection: Option<KeptConnection>,
}

impl Probed {
    /// Says that a probe had this outcome and brought nothing else.
    #[must_use]
    pub fn new(outcome: ProbeOutcome) -> Self {
        Self { outcome, load: None, connection: None }
    }
}

/// A connection that is kept open after a probe: a future that ends when the other side ends it.
///
/// A process that crashes closes its connections at once, so the end tells of the crash before the
/// next probe would. Dropping the future closes the connection, which is no end in this sense.
pub struct KeptConnection(Pin<Box<dyn Future<Output = ()> + Send>>);

impl KeptConnection {
    /// Keeps a connection that this future owns, and whose end by the other side ends it.
    pub fn new(ended: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(Box::pin(ended))
    }
}

impl Future for KeptConnection {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(context)
    }
}

impl fmt::Debug for KeptConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeptConnection")
    }
}
