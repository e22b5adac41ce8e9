//! A configuration to decide by, a clock to set, and a locator that knows two networks.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use geostream_app::Intent;
use geostream_domain::{
    Change, Config, GeoPoint, Line, Location, Region, RegionId, Revision, Service, Setting,
    Timestamp,
};
use geostream_ports::{Clock, GeoDatabase, GeoLocator, Place};

/// A wall clock that stands until it is set, beside the clock that tokio's tests may pause.
#[derive(Clone, Debug, Default)]
pub(crate) struct SetClock(Arc<AtomicU64>);

impl SetClock {
    pub(crate) fn set(&self, millis: u64) {
        self.0.store(millis, Ordering::SeqCst);
    }
}

impl Clock for SetClock {
    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn wall(&self) -> Timestamp {
        Timestamp::from_unix_millis(self.0.load(Ordering::SeqCst))
    }
}

/// Knows 192.0.2.0/24 to be in Berlin, and nothing else.
#[derive(Debug)]
pub(crate) struct Berlin;

impl GeoLocator for Berlin {
    fn locate(&self, address: IpAddr) -> Place {
        if !address.to_string().starts_with("192.0.2.") {
            return Place::UNKNOWN;
        }
        let country = "DE".parse().expect("a country");
        let location = Location::at(point(52.5, 13.4)).in_country(country);
        Place { location, network: None }
    }

    fn databases(&self) -> Vec<GeoDatabase> {
        Vec::new()
    }

    fn is_complete(&self) -> bool {
        true
    }
}

pub(crate) fn point(latitude: f64, longitude: f64) -> GeoPoint {
    GeoPoint::new(latitude, longitude).expect("a point")
}

pub(crate) fn line(text: &str) -> Line {
    text.parse().expect("a line")
}

/// A write that expects this revision.
pub(crate) fn intent(expected: u64) -> Intent {
    let expected = Revision::new(expected);
    Intent { expected, author: line("ops"), reason: line("because"), attempt: None }
}

pub(crate) fn region(id: &str, latitude: f64, longitude: f64) -> Change {
    let id = id.parse().expect("a name");
    Change::from(Region::new(id, point(latitude, longitude)))
}

/// Two regions, and the service `api` over both, which is the default.
pub(crate) fn two_regions() -> Vec<Change> {
    let members = ["eu", "us"].map(|id| id.parse::<RegionId>().expect("a name"));
    let service = Service::new("api".parse().expect("a name"), members);
    let default = Setting::DefaultService(Some(service.id.clone()));
    vec![
        region("eu", 50.1, 8.7),
        region("us", 39.0, -77.5),
        Change::from(service),
        Change::SetSetting(default),
    ]
}

pub(crate) fn config() -> Config {
    Config::default().after(two_regions()).expect("valid")
}
