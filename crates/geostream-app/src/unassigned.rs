//! Codes in geofences that no country has.

use std::fmt;

use geostream_domain::{Service, ServiceId, UnassignedCode};

/// A code in a service's geofence that no country has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnassignedCountry {
    /// The service.
    pub service: ServiceId,
    /// The code, and where it is.
    pub code: UnassignedCode,
}

impl fmt::Display for UnassignedCountry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the geofence of {}: {}", self.service, self.code)
    }
}

/// Returns the codes in geofences that no country has.
pub(crate) fn unassigned_in<'a>(
    services: impl IntoIterator<Item = &'a Service>,
) -> Vec<UnassignedCountry> {
    let of_one = |service: &'a Service| {
        let codes = service.geofence.unassigned_codes();
        codes.map(|code| UnassignedCountry { service: service.id.clone(), code })
    };
    services.into_iter().flat_map(of_one).collect()
}
