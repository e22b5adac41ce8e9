//! Asking regions how they are.

use std::future::Future;

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
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Probed {
    /// Whether the region is well.
    pub outcome: ProbeOutcome,
    /// The load that it reports, in the unit of its capacity.
    pub load: Option<Load>,
}
